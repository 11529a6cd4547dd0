"""Profiles as data: every shipped one loads, and whatever is wrong with one is said in one clear error."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import (
    STATUS_ORDER,
    GpuProfile,
    Profile,
    Quantity,
    any_target,
    names,
    read,
    resolve,
    target,
    weakest,
)
from neurodeploy.resources import folder

TEMPLATE = folder("hw_profiles") / "_template.toml"


@pytest.mark.parametrize("name", names())
def test_every_shipped_profile_loads(name: str) -> None:
    profile = any_target(name)
    assert profile.name == name
    assert all(any_target(alias).name == name for alias in profile.aliases)
    tables = [profile.energy, profile.time, profile.power]
    if isinstance(profile, Profile):
        assert profile.systems and profile.n_chips == 1
        tables.append(profile.sync)
    elif isinstance(profile, GpuProfile):
        tables += [profile.rates, profile.factors]
    else:
        tables += [profile.rates, profile.dynamic_split]
    for quantity in (quantity for table in tables for quantity in table.values()):
        low, nominal, high = quantity.si
        assert 0 <= low <= nominal <= high and len(quantity.source) > 10
    assert len(profile.digest) == 64 and profile.digest == any_target(name).digest


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
    text = TEMPLATE.read_text()
    optional = {name for name in Profile.model_fields if f"# [{name}]" in text}
    assert optional == Profile.added
    assert set(tomllib.loads(text)) == set(Profile.model_fields) - optional


def test_what_the_template_comments_out_is_valid(tmp_path: Path) -> None:
    """Uncommented, in the form that it is an alternative to."""
    optional = ("# linear", "# conv2d", "# zeros", "# source", "# status", "# [s", "# 1 ", "# axon_in")
    lines = [line[2:] if line.startswith(optional) else line for line in TEMPLATE.read_text().splitlines()]
    text = "\n".join(lines).replace("\nsynapse = {", "\nsynapse_dense = {")
    path = tmp_path / "own.toml"
    path.write_text(text)
    profile = read(path)
    assert profile.synapses is not None and profile.synapses.linear == "dense" and profile.zeros == "stored"
    assert profile.sync_of(7) == ("1", profile.sync["1"]) and "axon_in" in profile.time


def test_loihi1_by_hand() -> None:
    """The table of design/energy.md, section 1, which is that of SANA-FE's fixtures."""
    profile = target("loihi1")
    joule = {name: q.value for name, q in profile.energy.items()}
    assert joule == {
        "synapse_dense": 35.5, "synapse_sparse": 33.6, "synapse_conv": 24.0, "soma_access": 51.2, "soma_update": 21.6,
        "soma_spike": 69.3, "axon_out": 111.0, "hop_ew": 3.0, "hop_ns": 4.2,
    }
    assert {name: q.value for name, q in profile.time.items()} == {
        "synapse_dense": 3.8, "synapse_sparse": 4.7, "synapse_conv": 3.1, "soma_access": 6.0, "soma_update": 3.7,
        "soma_spike": 30.0, "axon_out": 5.1, "axon_in": 16.0, "hop_ew": 4.1, "hop_ns": 6.5,
    }
    assert {name: q.value for name, q in profile.sync.items()} == {"1": 0.6, "2": 1.0, "4": 1.4, "29": 1.8}
    for table, share in ((profile.energy, 0.12), (profile.time, 0.25), (profile.sync, 0.25)):
        for quantity in table.values():  # the published accuracy, on every constant
            assert (quantity.low, quantity.high) == pytest.approx(
                ((1 - share) * quantity.value, (1 + share) * quantity.value), rel=1e-12  # decimals of the file
            )
    assert profile.power["static"].si == pytest.approx((0.029, 0.0297, 0.030), rel=1e-12)  # mW in the file
    assert profile.power["management"].si[1] == pytest.approx(0.070, rel=1e-12)
    assert (profile.capacity.neurons_per_core.count, profile.capacity.synapse_words_per_core.count) == (1024, 128 * 1024 // 8)
    assert profile.arithmetic.message_bits == 1 and profile.systems["Pohoiki Springs"] == 768
    assert "12 %" in profile.disclaimer and "25 %" in profile.disclaimer


@pytest.mark.parametrize(("tiles", "key"), [(1, "1"), (2, "2"), (3, "2"), (4, "4"), (28, "4"), (29, "29"), (32, "29")])
def test_synchronisation_by_tiles(tiles: int, key: str) -> None:
    profile = target("loihi1")
    assert profile.sync_of(tiles) == (key, profile.sync[key])
    assert target("loihi2").sync_of(tiles) is None


def entry(name: str, unit: str) -> str:
    return f'{name} = {{ value = 1, unit = "{unit}", status = "assumed", source = "a test" }}'


# table of loihi1.toml, line added to it, words of the message
MIXED: list[tuple[str, str, str]] = [
    ("[energy] ", entry("spike", "pJ"), r"axon_out, soma_spike, spike.*twice"),
    ("[energy] ", entry("update_active", "pJ"), r"update_active.*twice"),
    ("[energy] ", entry("synapse", "pJ"), "give one entry a unit"),
    ("[time] ", entry("spike", "ns"), "time has .*twice"),
    ("[energy] ", entry("synpase", "pJ"), "energy.synpase is no event"),
    ("[sync] ", entry('"0"', "us"), "expected numbers of tiles"),
    ("[sync] ", entry('"many"', "us"), "expected numbers of tiles"),
    ("[sync] ", entry('"3"', "pJ"), "3 has unit pJ"),
]


@pytest.mark.parametrize(("table", "line", "message"), MIXED)
def test_forms_do_not_mix(table: str, line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = (folder("hw_profiles") / "loihi1.toml").read_text()
    head = next(row for row in text.splitlines() if row.startswith(table))
    path.write_text(text.replace(head, f"{head}\n{line}"))
    with pytest.raises(UsageError, match=message):
        read(path)


def test_synchronisation_starts_at_one_tile(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = (folder("hw_profiles") / "loihi1.toml").read_text()
    path.write_text(text.replace("\n1 = {", "\n3 = {"))
    with pytest.raises(UsageError, match="no entry for 1 tile"):
        read(path)


def test_units_need_a_table_that_says_who_uses_them() -> None:
    raw = (folder("hw_profiles") / "loihi1.toml").read_text()
    content = tomllib.loads(raw)
    del content["synapses"]
    with pytest.raises(ValueError, match=r"no \[synapses\] says"):
        Profile.model_validate(content)


def test_later_fields_leave_old_digests_alone() -> None:
    """A bundle stores a profile's content and digest; content written before a field existed must still match."""
    profile = target("loihi2")
    content = profile.model_dump(mode="json")
    for name in Profile.added:
        del content[name]
    assert Profile.model_validate(content).digest == profile.digest
    assert target("loihi1").digest != target("loihi1", {"synapses.zeros": "culled"}).digest
