"""A run's folder: complete from its first moment, one process at a time, nothing half written left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.jobs.run import Run, located, read_json, write_json
from neurodeploy.search.recipe import read


def create(out: Path | None) -> Run:
    return Run.create("search", read("digits"), target("loihi2"), out)


def test_a_run_is_opened_as_it_was_created(tmp_path: Path) -> None:
    run = create(tmp_path / "deep" / "run")
    assert Run.open(run.path, "search") == run
    assert [p.name for p in run.path.iterdir()] == ["run.json"]
    assert [p.name for p in run.path.parent.iterdir()] == ["run"]
    with pytest.raises(UsageError, match="search"):
        Run.open(run.path, "train")


def test_the_default_folder_names_time_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert create(None).path.match("runs/*Z-search-*")


def test_a_profile_is_kept_as_it_was(tmp_path: Path) -> None:
    changed = target("loihi2", {"energy.synapse.value": 20.0})
    Run.create("search", read("digits"), changed, tmp_path / "run")
    assert Run.open(tmp_path / "run", "search").profile.digest == changed.digest != target("loihi2").digest


def test_a_run_without_a_target_says_so(tmp_path: Path) -> None:
    Run.create("train", read("digits"), None, tmp_path / "run", {"arch": ["skip_connect"] * 5})
    run = Run.open(tmp_path / "run", "train")
    assert run.arguments["arch"] == ["skip_connect"] * 5
    with pytest.raises(UnsafeFile, match="no target"):
        _ = run.profile


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema_version": 1, "command": "search"}'])
def test_a_damaged_request_is_named(tmp_path: Path, damage: str) -> None:
    run = create(tmp_path / "run")
    (run.path / "run.json").write_text(damage)
    with pytest.raises((UnsafeFile, UsageError), match="run"):
        Run.open(run.path, "search")


def test_what_a_killed_process_left_is_removed_and_the_rest_kept(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    left = (".references.json.ab12", ".model.safetensors.x", "supernet.ckptq1.part")
    for name in (*left, "notes.txt", ".mine", "supernet.ckpt"):
        (run.path / name).write_text("half")
    (run.path / ".bundle.zz").mkdir()
    (run.path / ".bundle.zz" / "graph.npz").write_text("half")
    with run.locked():
        pass
    assert {p.name for p in run.path.iterdir()} == {"run.json", "run.lock", "notes.txt", ".mine", "supernet.ckpt"}


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    with run.locked(), pytest.raises(UsageError, match="another process"), Run.open(run.path, "search").locked():
        pass
    with run.locked():
        pass


def test_once_computes_once(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    assert run.once("a.json", lambda: {"x": 1.5}) == {"x": 1.5}
    assert run.once("a.json", lambda: pytest.fail("again")) == {"x": 1.5}


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"x": 1})
    for bad in ({"x": float("nan")}, {"x": object()}):
        with pytest.raises((ValueError, TypeError)):
            write_json(file, bad)
    assert read_json(file) == {"x": 1} and [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert file.stat().st_mode & 0o777 == 0o644
    file.write_text(json.dumps([1]))
    with pytest.raises(UnsafeFile, match="no JSON object"):
        read_json(file)


def test_a_dataset_in_a_file_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.npz").touch()
    monkeypatch.chdir(tmp_path)
    assert located("mine.npz") == str(tmp_path.resolve() / "mine.npz")
    assert located("digits") == "digits"
