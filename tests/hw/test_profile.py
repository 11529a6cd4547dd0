"""Profiles as data: every shipped one loads, and whatever is wrong with one is said in one clear error."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import STATUS_ORDER, Profile, Quantity, names, read, resolve, target, weakest
from neurodeploy.resources import folder

TEMPLATE = folder("hw_profiles") / "_template.toml"


@pytest.mark.parametrize("name", names())
def test_every_shipped_profile_loads(name: str) -> None:
    profile = target(name)
    assert profile.name == name
    assert all(target(alias).name == name for alias in profile.aliases)
    for table in (profile.energy, profile.time, profile.power):
        for quantity in table.values():
            low, nominal, high = quantity.si
            assert 0 <= low <= nominal <= high and len(quantity.source) > 10
    assert profile.systems and profile.n_chips == 1
    assert len(profile.digest) == 64 and profile.digest == target(name).digest


def test_loihi2_by_hand() -> None:
    profile = target("loihi2")
    assert (profile.capacity.cores_per_chip.count, profile.partition.synapse_words) == (120, 16000)
    assert profile.energy["synapse"].si == (7.0 * 1e-12, 15.3 * 1e-12, 24.0 * 1e-12)
    assert profile.power["static"].si == (0.12, 0.25, 0.28)
    assert profile.arithmetic.bias_max == 4095 and profile.arithmetic.v_th_max == 131071
    assert profile.arithmetic.decay_one == 4096


def test_the_template_is_a_valid_profile_but_no_target() -> None:
    profile = read(TEMPLATE)
    assert profile.name == "mychip" and "mychip" not in names()
    assert {q.status for q in profile.energy.values()} == {"assumed"}
    wanted = target("loihi2")
    assert set(profile.energy) >= set(wanted.energy) and set(profile.time) >= set(wanted.time)


# override -> words of the message
BROKEN: list[tuple[dict, str]] = [
    ({"energy.synapse.unit": "eV"}, r"energy\.synapse: unit 'eV' is none of"),
    ({"energy.synapse.unit": "ns"}, r"synapse has unit ns, expected one of J"),
    ({"time.spike.unit": "pJ"}, r"spike has unit pJ, expected one of s"),
    ({"power.static.unit": "pJ"}, r"static has unit pJ, expected one of W/chip"),
    ({"energy.synapse.status": "guessed"}, r"energy\.synapse\.status"),
    ({"energy.synapse.source": "  "}, r"energy\.synapse: a source is missing"),
    ({"energy.synapse.low": 11.0}, r"energy\.synapse: the value 10\.0 lies outside its band 11\.0\.\.100\.0"),
    ({"energy.synapse.value": 101.0}, r"lies outside its band"),
    ({"energy.synapse.low": -1.0}, r"energy\.synapse: a negative quantity"),
    ({"energy.synapse.value": "ten"}, r"energy\.synapse\.value"),
    ({"capacity.cores_per_chip.value": 2}, r"cores_per_chip 2 exceeds the mesh: 1 tiles of 1 cores"),
    ({"partition.compiler": "new"}, r"compiler 'new' is none of only"),
    ({"partition.rule": "magic"}, r"partition\.rule"),
    ({"arithmetic.neuron": "magic"}, r"arithmetic\.neuron"),
    ({"arithmetic.fire": ">>"}, r"arithmetic\.fire"),
    ({"systems.board": 2}, r"systems names no single-chip system"),
    ({"schema_version": 2}, r"schema_version"),
]


@pytest.mark.parametrize(("overrides", "message"), BROKEN)
def test_what_is_wrong_is_named(overrides: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(TEMPLATE, overrides)
    assert "_template.toml" in caught.value.where and caught.value.exit_code == 2


def test_all_problems_come_in_one_error() -> None:
    with pytest.raises(UsageError) as caught:
        read(TEMPLATE, {"energy.synapse.unit": "eV", "time.spike.source": "", "arithmetic.fire": "?"})
    assert all(part in str(caught.value) for part in ("energy.synapse", "time.spike", "arithmetic.fire"))


@pytest.mark.parametrize(
    "key", ["energy.synaps.value", "energy.synapse.valu", "nothing", "name.deeper", "energy.synapse.value.x"]
)
def test_an_override_of_an_unknown_key_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="no key") as caught:
        target("loihi2", {key: 1})
    assert caught.value.limit.startswith("Known there: ")


def test_an_override_changes_one_number() -> None:
    changed = target("loihi2", {"energy.synapse.value": 20})
    assert changed.energy["synapse"].value == 20 and changed.digest != target("loihi2").digest
    assert changed.energy["spike"] == target("loihi2").energy["spike"]


def test_a_missing_or_unknown_entry_is_named(tmp_path: Path) -> None:
    text = TEMPLATE.read_text()
    path = tmp_path / "own.toml"
    path.write_text(text.replace("mesh_width", "mesh_widht", 1))
    with pytest.raises(UsageError, match=r"capacity\.mesh_width: Field required") as caught:
        read(path)
    assert "capacity.mesh_widht" in str(caught.value)


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("name = [")
    with pytest.raises(UsageError, match="not valid TOML"):
        read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not valid TOML"):
        read(path)
    with pytest.raises(UsageError, match="cannot read"):
        read(tmp_path / "absent.toml")


def test_aliases_and_unknown_names() -> None:
    assert resolve("loihi") == resolve("loihi2") == "loihi2"
    with pytest.raises(UsageError, match="unknown target 'loihi9'") as caught:
        target("loihi9")
    assert caught.value.error_code == "unknown_target" and "loihi2" in caught.value.limit


def test_weakest_status() -> None:
    assert weakest([]) == "measured"
    assert weakest(["published", "assumed", "measured"]) == "assumed"
    assert [weakest([s]) for s in STATUS_ORDER] == list(STATUS_ORDER)


def test_a_quantity_without_a_band_is_its_own_band() -> None:
    quantity = Quantity(value=2.0, unit="nJ", status="measured", source="a meter")
    assert quantity.si == (2e-9, 2e-9, 2e-9)


def test_the_template_names_every_field() -> None:
    assert set(tomllib.loads(TEMPLATE.read_text())) == set(Profile.model_fields)
