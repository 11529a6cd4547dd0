"""What all commands share: one JSON object, exit codes, warnings, interruption, errors without tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from neurodeploy import errors
from neurodeploy.errors import NeurodeployError, NeurodeployWarning

from commands import bare, run, run_json


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Makes `pipeline.worker` do something, and returns the arguments of the command that calls it."""

    def install(action: Callable[[], dict[str, Any]]) -> tuple[str, ...]:
        def fake(run_dir: Path, *, progress: object) -> SimpleNamespace:
            data = action()
            return SimpleNamespace(to_dict=lambda: data)

        monkeypatch.setitem(sys.modules, "neurodeploy.commands", SimpleNamespace(worker=fake))
        monkeypatch.setattr("neurodeploy.commands", SimpleNamespace(worker=fake), raising=False)
        return ("worker", "--run", str(tmp_path))

    return install


def raising(error: BaseException) -> Callable[[], dict[str, Any]]:
    def action() -> dict[str, Any]:
        raise error

    return action


@pytest.mark.parametrize(
    "args",
    [
        ("serch",), ("search", "--nonsense"), ("search", "--budget", "many"), ("search", "--budget", "0"), ("check",),
        ("energy", "missing.safetensors", "--target", "loihi2"), ("targets", "forget"), ("worker", "--run", "missing"), (),
    ],
)  # fmt: skip
def test_usage_errors_are_one_object(args: tuple[str, ...]) -> None:
    code, answer = run_json(*args)
    assert code == 2
    assert answer["errors"][0]["code"] == "usage"
    assert "--help" in answer["errors"][0]["remedy"]


def test_usage_error_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run("serch")
    assert (code, out) == (2, "")
    assert "Did you mean 'search'?" in bare(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2), (errors.Mismatch("x"), 4), (errors.EnvironmentMissing("x"), 5),
        (errors.UnsafeFile("x"), 6), (errors.VendorFailure("x"), 7), (errors.Interrupted("x"), 130),
        (NeurodeployError("x"), 1), (ValueError("x"), 1), (KeyboardInterrupt(), 130),
        (PermissionError(13, "Permission denied", "/nowhere/x"), 2), (BrokenPipeError("x"), 1),
    ],
)  # fmt: skip
def test_each_error_has_its_exit_code(
    error: BaseException, code: int, worker: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    args = worker(raising(error))
    assert run_json(*args)[0] == code
    assert run(*args) == (code, "")
    shown = capsys.readouterr().err
    assert "Error: " in shown and "Traceback" not in shown


def test_every_violation_is_an_error(worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tuple(errors.Violation("neurons", f"conv{i}", "needs 9 neurons", "a core holds 8", "Use 8") for i in range(2))
    args = worker(raising(errors.DoesNotFit(broken, target="loihi2")))
    code, answer = run_json(*args)
    assert code == 3
    assert answer["data"] == {"fits": False}
    assert [e["where"] for e in answer["errors"]] == ["conv0", "conv1"]
    assert {e["code"] for e in answer["errors"]} == {"does_not_fit"}
    run(*args)
    assert bare(capsys.readouterr().err).count("Error: conv") == 2


def test_debug_shows_the_traceback(worker: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    args = worker(raising(ValueError("boom")))
    run(*args, "--debug")
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("NEURODEPLOY_DEBUG", "1")
    code, _ = run_json(*args)
    assert code == 1
    assert "Traceback" in capsys.readouterr().err


def test_warnings_are_collected_once(worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def warn() -> dict[str, Any]:
        for _ in range(2):
            warnings.warn(NeurodeployWarning("no images", code="uncalibrated", where="conv1"), stacklevel=1)
        return {}

    args = worker(warn)
    _, answer = run_json(*args)
    assert answer["warnings"] == [{"code": "uncalibrated", "where": "conv1", "what": "no images", "remedy": ""}]
    run(*args)
    assert bare(capsys.readouterr().err).strip() == "Warning: conv1: no images."


def test_what_a_library_prints_stays_out_of_the_object(worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def chat() -> dict[str, Any]:
        print("a library's chatter")
        return {"n_evaluated": 1}

    _, answer = run_json(*worker(chat))
    assert answer["data"] == {"n_evaluated": 1}
    assert "chatter" in capsys.readouterr().err


def test_data_takes_json_types(worker: Any) -> None:
    import numpy as np

    data = {"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": Path("x"), "e": (True, None), 1: {"f"}}
    _, answer = run_json(*worker(lambda: data))
    assert answer["data"] == {"a": 0.5, "b": [0, 1], "c": None, "d": "x", "e": [True, None], "1": ["f"]}


def test_the_process_writes_only_the_object_on_stdout(tmp_path: Path) -> None:
    """Native code and children write to descriptor 1, past sys.stdout."""
    script = (
        "import os, subprocess, sys, types\n"
        "def worker(run_dir, *, progress):\n"
        "    os.write(1, b'native')\n"
        "    subprocess.run([sys.executable, '-c', 'print(\"child\")'], check=True)\n"
        "    return types.SimpleNamespace(to_dict=lambda: {'n_evaluated': 0})\n"
        "sys.modules['neurodeploy.commands'] = types.SimpleNamespace(worker=worker)\n"
        "from neurodeploy.cli.main import run; run()\n"
    )
    args = [sys.executable, "-c", script, "worker", "--run", str(tmp_path), "--json"]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["data"] == {"n_evaluated": 0}, done.stderr
    assert "native" in done.stderr and "child" in done.stderr
    assert done.returncode == 0


def test_a_reader_that_leaves_ends_the_process_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    args = [sys.executable, "-c", "from neurodeploy.cli.main import run; run()", "targets", "show", "loihi2"]
    done = subprocess.run(args, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_no_color(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    run("serch")
    assert "\x1b[31m" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    run("serch")
    assert "\x1b[31m" not in capsys.readouterr().err


def test_version() -> None:
    code, answer = run_json("--version")
    assert code == 0
    assert run("--version") == (0, f"neurodeploy {answer['data']['version']}\n")
