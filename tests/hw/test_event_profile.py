"""Profiles of event-driven chips: shared by difference, checked like the others."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import Counts, EventProfile, any_target, names, parse, read, resolve, target
from neurodeploy.resources import folder

FOLDER = folder("hw_profiles")
EVENT_TARGETS = [name for name in names() if isinstance(any_target(name), EventProfile)]


def chip(name: str, **overrides: Any) -> EventProfile:
    profile = any_target(name, {key.replace("__", "."): value for key, value in overrides.items()})
    assert isinstance(profile, EventProfile)
    return profile


def own(tmp_path: Path, text: str, name: str = "own") -> Path:
    path = tmp_path / f"{name}.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_family_is_there() -> None:
    assert EVENT_TARGETS == ["dynapcnn", "speck2e", "speck2f"]
    assert resolve("speck") == "speck2f" and any_target("speck") == any_target("speck2f")
    assert not any(name.startswith("_") for name in names()), "what chips share is no target"


@pytest.mark.parametrize("name", EVENT_TARGETS)
def test_nine_cores(name: str) -> None:
    """The vendor's table: five cores of 16, two of 32 and two of 64 Ki words of kernels; 320 Ki words of neurons in all."""
    c = chip(name).capacity
    assert c.n_cores == 9
    assert sum(c.kernel_words.values) == (16 * 5 + 32 * 2 + 64 * 2) * 1024
    assert sum(c.neuron_words.values) == 320 * 1024 and set(c.bias_words.values) == {1024}
    assert c.kernel_words.values[5] == c.kernel_words.values[6] == 65536, "the large kernels are in the middle"


def test_what_the_chips_do_not_share() -> None:
    speck2f, speck2e, dynapcnn = (chip(name) for name in ("speck2f", "speck2e", "dynapcnn"))
    assert speck2f.readout == speck2e.readout is not None and dynapcnn.readout is None
    assert speck2f.capacity == speck2e.capacity and speck2f.capacity.parallel_cores.values == (0, 1)
    assert dynapcnn.capacity.parallel_cores.values == () and not dynapcnn.errata and len(speck2f.errata) == 2
    assert {q.status for q in speck2f.power.values()} == {"measured"}
    for other in (speck2e, dynapcnn):
        assert {q.status for q in other.power.values()} == {"estimated"}, "nobody measured these boards"
        assert {rail: q.value for rail, q in other.power.items()} == {rail: q.value for rail, q in speck2f.power.items()}
        assert "measured" not in other.disclaimer
    assert len({p.vendor.device for p in (speck2f, speck2e, dynapcnn)}) == 3
    assert len({p.digest for p in (speck2f, speck2e, dynapcnn)}) == 3


def test_energy_by_hand() -> None:
    profile = chip("speck2f")
    assert profile.energy["synop"].si == pytest.approx((10e-12, 30e-12, 100e-12), rel=1e-12)
    rest = sum(profile.power[rail].si[1] for rail in profile.static_rails)
    assert rest == pytest.approx(0.42e-3, rel=0.01), "the resting power that Yao et al. 2024 publish"
    assert 9 * profile.time["core"].si[1] == pytest.approx(3.36e-6, rel=0.01), "Richter et al. 2023: through nine layers"


EXTENDING = """extends = "speck2f"
name = "own"
title = "My board"
aliases = []

[energy]
synop = { value = 20.0, unit = "pJ", status = "measured", source = "the five rails of my board" }
"""


def test_a_quantity_is_replaced_whole(tmp_path: Path) -> None:
    """The base's band and source do not stand behind the new number; all else is the base's."""
    profile, base = read(own(tmp_path, EXTENDING)), chip("speck2f")
    assert profile.energy["synop"].band == (20.0, 20.0, 20.0)
    assert profile.energy["synop"].source == "the five rails of my board"
    assert isinstance(profile, EventProfile) and profile.capacity == base.capacity and profile.power == base.power


def test_tables_merge_and_lists_are_replaced_whole(tmp_path: Path) -> None:
    text = EXTENDING + """
[capacity]
poolings = { values = [1, 2], unit = "pixel", status = "assumed", source = "a careful user" }
"""
    profile = read(own(tmp_path, text))
    assert isinstance(profile, EventProfile)
    assert profile.capacity.poolings == Counts(values=(1, 2), unit="pixel", status="assumed", source="a careful user")
    assert profile.capacity.kernel_words == chip("speck2f").capacity.kernel_words


def test_the_base_is_looked_for_beside_the_file_first(tmp_path: Path) -> None:
    own(tmp_path, EXTENDING.replace("20.0", "21.0"), "speck2e")
    path = own(tmp_path, 'extends = "speck2e"\nname = "mine"\n', "mine")
    assert read(path).energy["synop"].value == 21.0
    assert read(path).name == "mine" and read(path).title == "My board"


@pytest.mark.parametrize("base", ["ring", "a/../speck2f", "", 3])
def test_a_ring_or_a_path_is_no_base(base: object, tmp_path: Path) -> None:
    path = own(tmp_path, EXTENDING.replace('"speck2f"', f'"{base}"' if isinstance(base, str) else str(base)), "ring")
    with pytest.raises(UsageError, match="extends") as caught:
        read(path)
    assert "no ring" in caught.value.limit and str(tmp_path) in caught.value.where


def test_an_unknown_base_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the profile") as caught:
        read(own(tmp_path, EXTENDING.replace("speck2f", "speck9")))
    assert "speck9.toml" in caught.value.where


# override -> words of the message
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"energy.synop.unit": "eV"}, r"energy\.synop: unit 'eV' is none of"),
    ({"energy.synop.unit": "us"}, r"synop has unit us, expected one of J"),
    ({"time.core.unit": "pJ"}, r"core has unit pJ, expected one of s"),
    ({"power.ram.unit": "pJ"}, r"ram has unit pJ, expected one of W"),
    ({"energy.synop.value": 200.0}, r"lies outside its band"),
    ({"energy.synop.source": " "}, r"energy\.synop: a source is missing"),
    ({"capacity.kernel_words.unit": "pJ"}, r"capacity\.kernel_words: unit 'pJ' is none of"),
    ({"capacity.kernel_words.source": ""}, r"capacity\.kernel_words: a source is missing"),
    ({"capacity.strides.values": [1, -2]}, r"capacity\.strides: a negative count"),
    ({"capacity.neuron_words.values": [65536] * 8}, r"neuron_words has 8 entries, kernel_words has 9: one for each core"),
    ({"capacity.bias_words.values": []}, r"bias_words has 0 entries, kernel_words has 9"),
    ({"capacity.parallel_cores.values": [0, 9]}, r"parallel_cores names core 9, cores are 0 to 8"),
    ({"static_rails": ["core"]}, r"static_rails names 'core', which \[power\] does not have"),
    ({"arithmetic.fire": ">"}, r"arithmetic\.fire"),
    ({"arithmetic.resets": ["none"]}, r"arithmetic\.resets"),
    ({"arithmetic.residual": "addition"}, r"arithmetic\.residual"),
]


@pytest.mark.parametrize(("overrides", "message"), BROKEN)
def test_what_is_wrong_is_named(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        any_target("speck2f", overrides)
    assert "speck2f.toml" in caught.value.where and caught.value.exit_code == 2


@pytest.mark.parametrize(("table", "entry"), [("energy", "synapse"), ("time", "hop"), ("rates", "events")])
def test_entries_that_nothing_counts_are_refused(table: str, entry: str, tmp_path: Path) -> None:
    unit = {"energy": "pJ", "time": "us", "rates": "synop/s"}[table]
    head, _, energy = EXTENDING.partition("[energy]\n")
    line = f'{entry} = {{ value = 1, unit = "{unit}", status = "assumed", source = "a test" }}\n'
    text = f"{head}[energy]\n{energy}{line if table == 'energy' else f'[{table}]{chr(10)}{line}'}"
    with pytest.raises(UsageError, match=rf"{table}\.{entry} is no entry that anything counts"):
        read(own(tmp_path, text))


def test_a_limit_of_synops_per_core_has_a_place(tmp_path: Path) -> None:
    line = 'synops_per_core = { value = 3e7, unit = "synop/s", status = "assumed", source = "a board that stalled" }\n'
    profile = read(own(tmp_path, f"{EXTENDING}\n[rates]\n{line}"))
    assert isinstance(profile, EventProfile) and profile.rates["synops_per_core"].si[1] == 3e7


def test_each_kind_names_its_own_fields(tmp_path: Path) -> None:
    """A chip with timesteps that extends an event-driven one is neither."""
    with pytest.raises(UsageError, match="systems"):
        read(own(tmp_path, EXTENDING + '\n[systems]\n"a board" = 1\n'))
    with pytest.raises(UsageError) as caught:
        any_target("speck2f", {"arithmetic.neuron": "cuba_lif"})
    assert "Field required" in str(caught.value)
    with pytest.raises(UsageError, match="speck2f is an event-driven chip"):
        target("speck2f")


def test_the_digest_is_that_of_the_content() -> None:
    """Stable over a round trip through plain values, in any order of keys; every number counts."""
    profile = chip("speck2f")
    content = profile.model_dump(mode="json")
    assert parse(content).digest == profile.digest
    assert parse(dict(reversed(content.items()))).digest == profile.digest
    for key, value in (("energy.synop.value", 31.0), ("capacity.strides.values", [1, 2]), ("vendor.module", "speck2g")):
        assert any_target("speck2f", {key: value}).digest != profile.digest


def test_files_hold_only_what_is_new() -> None:
    """A value that a file repeats from its base is one that can go stale."""
    for name in ("speck2f", "speck2e", "dynapcnn", "_speck2"):
        new = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
        base = tomllib.loads((FOLDER / f"{new['extends']}.toml").read_text("utf-8"))
        assert not {key for key, value in new.items() if base.get(key) == value}
        assert "capacity" not in new or set(new["capacity"]) == {"parallel_cores"}
