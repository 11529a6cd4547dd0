"""Side environments appear whole or not at all, once, whoever else is at work and whenever somebody is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from neurodeploy import vendor
from neurodeploy.errors import EnvironmentMissing, NeurodeployWarning, UsageError, VendorFailure
from neurodeploy.vendor.environments import COMPLETE
from tests.commands import run, run_json
from tests.vendor.fake_python import PINS, alive, fake, pids, records, wait_for, with_lava


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NEURODEPLOY_CACHE", str(folder))
    monkeypatch.setenv("NEURODEPLOY_PYTHON310", str(fake(tmp_path / "py", diary=tmp_path / "diary")))
    return folder


def started(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "neurodeploy", "env", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )


def test_create_list_remove(cache: Path, tmp_path: Path) -> None:
    assert vendor.environments() == []
    with pytest.raises(EnvironmentMissing, match="there is no side environment 'loihi2', which holds lava-nc") as caught:
        vendor.find("loihi2")
    assert "`neurodeploy env create loihi2`" in caught.value.remedy
    assert caught.value.exit_code == 5
    made = vendor.create("loihi2")
    assert (made.name, made.kind, made.python_version, made.versions) == ("loihi2", "created", "3.10.9", PINS)
    assert made.folder is not None and made.python.is_file() and records(cache) == [made.folder.name]
    assert vendor.find("loihi2") == made
    assert vendor.environments() == [made]
    assert json.loads((made.folder / COMPLETE).read_text())["versions"] == PINS
    assert vendor.create("loihi2") == made
    assert len(pids(tmp_path / "diary", "pip")) == 2, "one pip, that begins and ends"
    assert vendor.remove("loihi2") == [made]
    assert records(cache) == []
    with pytest.raises(UsageError, match="there is no side environment 'loihi2'"):
        vendor.remove("loihi2")


def test_the_command(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = run_json("env", "create", "loihi2", "--dry-run")
    assert (code, answer["data"]["python_version"], len(answer["data"]["packages"])) == (0, "3.10.9", len(PINS))
    assert records(cache) == []
    code, answer = run_json("env", "create", "loihi2")
    (entry,) = answer["data"]["envs"]
    assert (code, entry["name"], entry["versions"]["lava-nc"]) == (0, "loihi2", "0.10.0")
    assert "installing 11 pinned packages" in capsys.readouterr().err
    for args in (("env", "list"), ("env",)):
        assert run_json(*args)[1]["data"]["envs"] == [entry]
    assert "lava-nc" in run("env", "list")[1]
    assert run_json("env", "remove", "loihi2")[1]["data"]["envs"] == []
    assert "neurodeploy env create loihi2" in run("env", "list")[1]
    assert run_json("env", "remove", "loihi2")[0] == 2
    for args in (("create", "nowhere"), ("add", "nowhere", "--python", "x"), ("remove", "nowhere"), ("create",)):
        assert run_json("env", *args)[0] == 2
    assert run_json("env", "create", "loihi2", "--set", "a=1")[0] == 2


def test_two_at_once_make_one(cache: Path, tmp_path: Path) -> None:
    fake(tmp_path / "py", diary=tmp_path / "diary", pip_s=0.5)
    both = [started("create", "loihi2", "--json") for _ in range(2)]
    answers = [json.loads(p.communicate(timeout=60)[0]) for p in both]
    assert [p.returncode for p in both] == [0, 0]
    assert answers[0]["data"]["envs"] == answers[1]["data"]["envs"]
    assert len(set(pids(tmp_path / "diary", "pip"))) == 1
    assert len(records(cache)) == 1


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_killed_while_it_installs(kind: signal.Signals, cache: Path, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    fake(tmp_path / "py", diary=diary, pip_s=1.5)
    process = started("create", "loihi2", "--json")
    wait_for(lambda: pids(diary, "pip"))
    os.kill(process.pid, kind)
    out, _ = process.communicate(timeout=60)
    assert not [r for r in records(cache) if not r.startswith(".")], "nothing that looks finished"
    (first,) = pids(diary, "pip")
    if kind is signal.SIGINT:
        assert process.returncode == 130
        assert json.loads(out)["errors"][0]["code"] == "interrupted"
        assert not alive(first)
        assert records(cache) == []
    fake(tmp_path / "py", diary=diary)
    made = vendor.create("loihi2")
    # An orphaned pip holds the lock to its end: nobody builds beside it.
    lines = diary.read_text().splitlines()
    if kind is signal.SIGKILL:
        assert lines.index(f"pip {first} ends") < len(lines) - 2
    assert not alive(first)
    assert made.folder is not None
    assert records(cache) == [made.folder.name]
    assert made.versions == PINS


@pytest.mark.parametrize(
    ("told", "what"),
    [({"pip_fails": True}, r"pip .*ended with exit code 1.*no matching distribution"),
     ({"installs": {"lava-nc": "0.9.0"}}, r"does not work.*lava-nc 0\.9\.0 instead of 0\.10\.0"),
     ({"failed": {"h5py": "ImportError: libhdf5"}}, "does not work.*import h5py: ImportError: libhdf5")],
)
def test_a_failed_installation_leaves_nothing(told: dict[str, object], what: str, cache: Path, tmp_path: Path) -> None:
    fake(tmp_path / "py", **told)
    with pytest.raises(VendorFailure) as caught:
        vendor.create("loihi2")
    assert re.search(what, str(caught.value)), str(caught.value)
    assert caught.value.exit_code == 7 and caught.value.remedy
    assert records(cache) == []
    fake(tmp_path / "py")
    assert vendor.create("loihi2").versions == PINS


def test_one_that_broke_is_made_anew(cache: Path, tmp_path: Path) -> None:
    made = vendor.create("loihi2")
    made.python.unlink()
    with pytest.raises(EnvironmentMissing, match="is gone"):
        vendor.find("loihi2")
    assert vendor.create("loihi2") == made
    assert made.python.is_file()
    assert made.folder is not None
    (made.folder / COMPLETE).write_text("{")
    assert vendor.environments() == []
    assert vendor.create("loihi2") == made
    (made.folder / COMPLETE).write_text(json.dumps({"lock": "another", "python": "p", "python_version": "3", "versions": {}}))
    assert vendor.environments() == []


def test_the_labs_own_interpreter(cache: Path, tmp_path: Path) -> None:
    own = with_lava(tmp_path / "lab" / "python", says="Lab cluster: welcome!")
    added = vendor.add("loihi2", own)
    assert (added.kind, added.python, added.versions, added.folder) == ("added", own, PINS, None)
    assert vendor.find("loihi2") == added
    with pytest.warns(NeurodeployWarning, match="the interpreter that was added is used"):
        made = vendor.create("loihi2")
    assert vendor.environments() == [added, made]
    assert vendor.find("loihi2") == added
    vendor.remove("loihi2")
    assert own.is_file()
    assert vendor.environments() == []


def test_an_interpreter_on_path(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = with_lava(tmp_path / "bin" / "lab-python")
    monkeypatch.setenv("PATH", str(own.parent))
    assert vendor.add("loihi2", Path("lab-python")).python == own
    monkeypatch.chdir(tmp_path)
    assert vendor.add("loihi2", Path("bin/lab-python")).python == own


def test_an_interpreter_of_no_use(cache: Path, tmp_path: Path) -> None:
    for told, what in (
        ({"dies": 1}, "no usable Python"), ({}, "lava-nc does not run there"),
        ({"versions": PINS, "failed": {"h5py": "ImportError: x"}}, "import h5py: ImportError: x"),
    ):
        with pytest.raises(UsageError, match=what):
            vendor.add("loihi2", fake(tmp_path / "own", **told))
    with pytest.raises(UsageError, match="cannot be started"):
        vendor.add("loihi2", tmp_path / "nowhere")
    assert records(cache) == []
    with pytest.warns(NeurodeployWarning, match=r"lava-nc 0\.9\.1, not 0\.10\.0"):
        vendor.add("loihi2", with_lava(tmp_path / "own", versions={"lava-nc": "0.9.1"}))
    (tmp_path / "own").unlink()
    with pytest.raises(EnvironmentMissing, match="is gone"):
        vendor.find("loihi2")


def test_no_python(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEURODEPLOY_PYTHON310")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PYENV_ROOT", "XDG_DATA_HOME", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.delenv(name, raising=False)
    code, answer = run_json("env", "create", "loihi2")
    assert (code, answer["errors"][0]["code"]) == (5, "python_missing")
    assert "pyenv install 3.10" in answer["errors"][0]["remedy"]
    assert records(cache) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEURODEPLOY_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="cannot write to the cache folder"):
        vendor.create("loihi2")
    assert vendor.environments() == []


def test_doctor(cache: Path, tmp_path: Path) -> None:
    def found() -> dict[str, dict[str, str]]:
        code, answer = run_json("doctor")
        assert code == 0
        return {c["name"]: c for c in answer["data"]["checks"]}

    before = found()
    assert {"python", "torch", "GPU", "numba", "cache folder", "Python 3.10 for lava"} <= set(before)
    assert (before["environment loihi2"]["status"], before["Python 3.10 for lava"]["status"]) == ("gap", "ok")
    assert before["environment loihi2"]["remedy"] == "neurodeploy env create loihi2"
    assert not cache.exists(), "the doctor changes nothing"
    vendor.create("loihi2")
    assert found()["environment loihi2"]["status"] == "ok"
    fake(tmp_path / "py", version="3.12.0")
    (after,) = (c for n, c in found().items() if n == "Python 3.10 for lava")
    assert after["status"] == "gap" and "3.12.0" in after["what"]
    assert "To mend the gaps" in run("doctor")[1]


def test_every_lock_is_complete() -> None:
    for name, lock in vendor.locks().items():
        assert all(version for version in lock.pins.values()) and lock.main in lock.pins, name
        package = Path(vendor.__file__).parent.parent
        assert (package / lock.worker).is_file() and (package / lock.runner).is_file()
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, lock_name in (("loihi", "loihi2"), ("speck", "sinabs")):
        listed = [requirement.partition(";")[0] for requirement in extras[extra]]
        assert listed and set(listed) <= set(vendor.lock_named(lock_name).packages), "pyproject lists what the lock pins"
    assert {tool: vendor.lock_of_tool(tool).name for tool in ("lava", "samna", "sinabs")} == {
        "lava": "loihi2", "samna": "speck", "sinabs": "sinabs",
    }
    with pytest.raises(UsageError, match="no vendor tool 'nengo'"):
        vendor.lock_of_tool("nengo")
