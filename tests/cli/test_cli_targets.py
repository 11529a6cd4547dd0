"""`neurodeploy targets`, and how --set and --target are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from neurodeploy.cli.options import overrides
from neurodeploy.errors import UsageError
from neurodeploy.resources import folder

from commands import bare, run, run_json

LOIHI2 = folder("hw_profiles") / "loihi2.toml"


@pytest.mark.parametrize("args", [("targets",), ("targets", "list")])
def test_list(args: tuple[str, ...]) -> None:
    code, answer = run_json(*args)
    assert code == 0
    assert answer["command"] == "targets"
    entry = next(t for t in answer["data"]["targets"] if t["name"] == "loihi2")
    assert entry["aliases"] == ["loihi"]
    assert entry["energy_status"] == "estimated"
    assert entry["n_cores"] == 120
    shown = bare(run(*args)[1])
    assert "Intel Loihi 2" in shown and "estimated" in shown and entry["disclaimer"] in shown


def test_show_has_every_number_with_its_source() -> None:
    _, answer = run_json("targets", "show", "loihi2")
    shown = run("targets", "show", "loihi2")[1]
    profile = answer["data"]["profile"]
    for table in ("capacity", "energy", "time", "power"):
        for name, quantity in profile[table].items():
            line = next(row for row in shown.splitlines() if row.startswith(f"{name} ") and quantity["source"] in row)
            assert quantity["unit"] in line and quantity["status"] in line
    assert " 16000 " in shown, "counts are shown in full"


@pytest.mark.parametrize("args", [("targets",), ("targets", "list")])
def test_list_has_event_driven_chips(args: tuple[str, ...]) -> None:
    _, answer = run_json(*args)
    entries = {entry["name"]: entry for entry in answer["data"]["targets"]}
    assert entries["speck2f"]["aliases"] == ["speck"] and entries["speck2f"]["n_cores"] == 9
    assert {name: entry["kind"] for name, entry in entries.items()} == {
        "dynapcnn": "event-driven", "loihi1": "timesteps", "loihi2": "timesteps", "speck2e": "event-driven",
        "speck2f": "event-driven", **dict.fromkeys(("a100", "h100", "h100-server", "h200", "orin", "orin-nano"), "GPU"),
    }
    assert entries["h200"]["aliases"] == ["gpu"] and entries["h200"]["n_cores"] is None, "a GPU has no cores to place on"
    shown = bare(run(*args)[1])
    assert "SynSense Speck2f event-driven estimated 9 speck2fdevkit 1" in shown
    assert entries["speck2f"]["disclaimer"] in shown


@pytest.mark.parametrize("name", ["speck2f", "speck2e", "dynapcnn"])
def test_show_of_an_event_driven_chip_has_every_number_with_its_source(name: str) -> None:
    _, answer = run_json("targets", "show", name)
    profile, shown = answer["data"]["profile"], run("targets", "show", name)[1]
    lines = [bare(line).strip() for line in shown.splitlines()]
    for table in ("capacity", "sensor", "readout", "energy", "time", "power", "dynamic_split"):
        for number, quantity in (profile[table] or {}).items():
            start = quantity["source"][:60]  # a long source is folded
            value = f"{quantity['value']:g}" if "value" in quantity else ", ".join(map(str, quantity["values"])) or "none"
            value = "" if number.endswith("_words") else f"{value} "  # in full, not rounded; memories are below
            found = [row for row in lines if row.startswith(f"{number} {value}") and start in f"{row} "]
            assert any(f" {quantity['unit']} {quantity['status']} " in row for row in found), number
    assert any(line.startswith("kernel_words 16384 (cores 0-2, 7-8), 32768 (3-4), 65536 (5-6)") for line in lines)
    assert any(line.startswith("bias_words 1024 (cores 0-8) ") for line in lines)
    assert f"configuration {profile['vendor']['configuration']} - - - published" in "\n".join(lines)
    assert f"device {profile['vendor']['device']} " in "\n".join(lines)
    assert all(erratum in lines for erratum in profile["errata"])
    assert "static_rails ram, logic" in lines and f"digest {answer['data']['digest']}" in lines


def test_show_of_an_event_driven_chip_with_an_override() -> None:
    _, answer = run_json("targets", "show", "speck", "--set", "profile.energy.synop.value=11.5")
    assert answer["data"]["profile"]["energy"]["synop"]["value"] == 11.5
    assert answer["data"]["aliases"] == {"speck": "speck2f"}
    assert "synop 11.5 10 100 pJ estimated" in bare(run("targets", "show", "speck", "--set", "energy.synop.value=11.5")[1])


def test_check_of_a_board_that_extends_a_packaged_chip(tmp_path: Path) -> None:
    file = tmp_path / "my_board.toml"
    measured = '{ value = 20.0, unit = "pJ", status = "measured", source = "five rails of my board" }'
    file.write_text(f'extends = "speck2f"\nname = "my_board"\naliases = []\n[energy]\nsynop = {measured}\n')
    code, answer = run_json("targets", "check", str(file))
    assert code == 0 and answer["data"]["profile"] == "my_board" and answer["data"]["energy_status"] == "measured"
    assert answer["data"]["kind"] == "event-driven"
    file.write_text(file.read_text().replace("speck2f", "speck3"))
    code, answer = run_json("targets", "check", str(file))
    assert code == 2 and "speck3.toml" in answer["errors"][0]["where"]
    file.write_text(file.read_text().replace("speck3", "my_board"))
    code, answer = run_json("targets", "check", str(file))
    assert code == 2 and "no ring" in answer["errors"][0]["limit"]


@pytest.mark.parametrize("key", ["profile.energy.synapse.value", "energy.synapse.value"])
def test_show_with_an_override(key: str) -> None:
    _, answer = run_json("targets", "show", "loihi", "--set", f"{key}=20.5")
    assert answer["data"]["profile"]["energy"]["synapse"]["value"] == 20.5
    assert answer["data"]["aliases"] == {"loihi": "loihi2"}


def test_show_of_an_unknown_target_lists_the_known() -> None:
    code, answer = run_json("targets", "show", "loihi7")
    assert code == 2
    (error,) = answer["errors"]
    assert error["code"] == "unknown_target"
    assert "loihi2" in error["limit"]


def test_check_accepts_the_packaged_profile() -> None:
    code, answer = run_json("targets", "check", str(LOIHI2))
    assert code == 0
    assert answer["data"]["profile"] == "loihi2"
    assert "Intel Loihi 2" in run("targets", "check", str(LOIHI2))[1]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('unit = "pJ"', 'unit = "kcal"', "kcal"),
        ("schema_version = 1", "schema_version = 1\nextra = 1", "extra"),
        ("mesh_height = { value = 4,", "mesh_height = { value = 1,", "exceeds the mesh"),
        ("[power]", "[power", "not valid TOML"),
    ],
)
def test_check_says_what_is_wrong_once(old: str, new: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "chip.toml"
    file.write_text(LOIHI2.read_text("utf-8").replace(old, new, 1), "utf-8")
    code, answer = run_json("targets", "check", str(file))
    assert code == 2
    (error,) = answer["errors"]
    assert reason in error["what"] + error["limit"]
    assert error["where"] == str(file)


@pytest.mark.parametrize("path", ["missing.toml", "."])
def test_check_of_no_file(path: str) -> None:
    assert run_json("targets", "check", path)[0] == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1", 1), ("a=1.5", 1.5), ("a=true", True), ('a="1"', "1"), ("a=[1, 2]", [1, 2]), ("a=word", "word"), ("a=x=y", "x=y")],
)
def test_settings_are_toml(text: str, value: Any) -> None:
    assert overrides([text]) == {"a": value}
    assert type(overrides([text])["a"]) is type(value)


@pytest.mark.parametrize("texts", [["a"], ["=1"], ["a..b=1"], ["a=1", "a=2"]])
def test_settings_that_are_none(texts: list[str]) -> None:
    with pytest.raises(UsageError):
        overrides(texts)


def test_a_setting_cannot_smuggle_a_second_key() -> None:
    assert overrides(["a=1\nb=2"]) == {"a": "1\nb=2"}
