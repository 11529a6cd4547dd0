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
