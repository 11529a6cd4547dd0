"""Interpreters are believed only when they run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from neurodeploy.errors import EnvironmentMissing, UsageError, VendorFailure
from neurodeploy.vendor import pythons
from tests.vendor.fake_python import alive, fake, own_path, pids


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any interpreter."""
    for name in ("NEURODEPLOY_PYTHON310", "PYENV_ROOT", "XDG_DATA_HOME", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", own_path(tmp_path / "bin"))
    return tmp_path


def test_the_first_that_works_is_taken(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [bare / name for name in ("shim", "noise", "other", "no_venv", "good", "later")]
    monkeypatch.setenv("PATH", own_path(bare / "missing", *folders))
    fake(folders[0] / "python3.10", dies=127)
    (folders[1]).mkdir()
    (folders[1] / "python3.10").write_text("#!/bin/sh\necho hello\n")
    (folders[1] / "python3.10").chmod(0o755)
    fake(folders[2] / "python3.10", version="3.9.1")
    fake(folders[3] / "python3.10", has_venv=False)
    good = fake(folders[4] / "python3.10", says="warning: a library talks")
    fake(folders[5] / "python3.10", version="3.10.99")
    found = pythons.find_python("3.10")
    assert (found.path, found.version, found.minor) == (good, "3.10.9", "3.10")


def test_folders_of_pyenv_and_uv(bare: Path) -> None:
    uv = fake(bare / ".local/share/uv/python/cpython-3.10.4-linux/bin/python3.10", version="3.10.4")
    assert pythons.find_python("3.10").path == uv
    fake(bare / ".pyenv/versions/3.9.18/bin/python3.10")
    pyenv = fake(bare / ".pyenv/versions/3.10.13/bin/python3.10", version="3.10.13")
    assert pythons.find_python("3.10").path == pyenv
    on_path = fake(bare / "bin/python3")
    assert pythons.find_python("3.10").path == on_path


def test_none_tells_what_was_tried(bare: Path) -> None:
    fake(bare / "bin/python3.10", dies=3)
    fake(bare / "bin/python3", version="3.12.1")
    with pytest.raises(EnvironmentMissing, match=r"no Python 3\.10 was found") as caught:
        pythons.find_python("3.10")
    assert "python3.10: no usable Python: it ended with exit code 3" in caught.value.limit
    assert "NEURODEPLOY_PYTHON310" in caught.value.remedy
    (bare / "bin/python3.10").unlink()
    with pytest.raises(EnvironmentMissing, match=r"No file there is called python3\.10"):
        pythons.find_python("3.10")


def test_the_one_that_is_named_is_taken_or_refused(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(bare / "bin/python3.10")
    named = fake(bare / "elsewhere/py", version="3.10.2")
    monkeypatch.setenv("NEURODEPLOY_PYTHON310", str(named))
    assert pythons.find_python("3.10").path == named
    fake(named, version="3.11.0")
    with pytest.raises(UsageError, match=r"CPython 3\.11\.0, not CPython 3\.10") as caught:
        pythons.find_python("3.10")
    assert "NEURODEPLOY_PYTHON310" in caught.value.where
    monkeypatch.setenv("NEURODEPLOY_PYTHON310", str(bare / "nowhere"))
    with pytest.raises(UsageError, match="cannot be started"):
        pythons.find_python("3.10")


def test_one_that_hangs_is_ended(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "_LOOK_S", 0.4)
    path = fake(bare / "bin/python3.10", work="", hangs=True, n_children=0, diary=bare / "diary")
    with pytest.raises(VendorFailure, match="does not answer") as caught:
        pythons.ask(path)
    assert caught.value.error_code == "vendor_timeout"
    assert not [p for p in pids(bare / "diary", "work") if alive(p)]
    good = fake(bare / ".pyenv/versions/3.10.1/bin/python3.10")
    assert pythons.find_python("3.10").path == good


@pytest.mark.parametrize("said", ["", "[]", '{"version": 3}', "{", '{"version": "3.10.1"}'])
def test_an_answer_that_is_none(said: str, tmp_path: Path) -> None:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\necho 'NEURODEPLOY-ANSWER {said}'\n")
    path.chmod(0o755)
    with pytest.raises(UsageError, match="did not answer as Python does"):
        pythons.ask(path)


def test_an_answer_without_end(tmp_path: Path) -> None:
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nyes\n")
    path.chmod(0o755)
    with pytest.raises(UsageError, match="no usable Python"):
        pythons.ask(path)


def test_this_interpreter() -> None:
    found = pythons.ask(Path(sys.executable), ("numpy", "no-such-package"), ("json", "no_such_module"))
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert set(found.versions) == {"numpy"}
    assert list(found.failed) == ["no_such_module"]
    assert "ModuleNotFoundError" in found.failed["no_such_module"]
