"""The worker's side of the protocol, with a runner of ours in place of Lava's: it runs on any Python 3.10 or newer."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy import vendor
from neurodeploy.ir import archive
from numpy.typing import NDArray

WORKER = Path(vendor.__file__).with_name("lava_worker.py")

# Doubles its input, or fails as told; prints on stdout as libraries do.
RUNNER = """
import os, sys
import numpy as np

class RunnerError(Exception):
    pass

class Net:
    def __init__(self, document, arrays):
        self.neurons = ["one", "a.b"]
        self.told = document["told"]

def read_archive(path):
    import json
    with np.load(path, allow_pickle=False) as file:
        return json.loads(bytes(file["graph.json"])), {}

def check_supported(net):
    print("noise")
    os.system("echo noise of a child")
    if net.told == "refuse":
        raise RunnerError("no process for it")

def versions():
    return {"python": sys.version.split()[0], "lava-nc": None}

class LavaRun:
    def __init__(self, net, chip, power):
        assert not chip and not power
        self.net = net

    def play(self, x, n_steps, netx):
        if self.net.told == "crash":
            raise ValueError("odd weights")
        seen = np.concatenate([2 * x, np.zeros((n_steps - len(x), *x.shape[1:]), dtype=x.dtype)])
        return {"one": seen, "a.b": seen + (0 if netx is None else netx[1]["add"])}
"""


def job(folder: Path, told: str = "", protocol: int = 1, net_kwargs: dict[str, Any] | None = None) -> NDArray[np.int64]:
    (folder / "code").mkdir()
    shutil.copyfile(WORKER, folder / "code" / WORKER.name)
    (folder / "code" / "stub.py").write_text(RUNNER)
    x = np.arange(12, dtype=np.int64).reshape(2, 3, 2)
    document = np.frombuffer(json.dumps({"told": told}).encode(), np.uint8)
    np.savez(folder / "graph.npz", **{"graph.json": document})  # type: ignore[arg-type]
    (folder / "input.npz").write_bytes(archive.pack({}, {"x": x}))
    fields = {"protocol": protocol, "runner": "stub", "n_steps": 5, "net_kwargs": net_kwargs}
    (folder / "job.json").write_text(json.dumps(fields))
    return x


def work(folder: Path) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    command = [sys.executable, "-I", str(folder / "code" / WORKER.name), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, start_new_session=True)
    return done, json.loads((folder / "status.json").read_text())


@pytest.mark.parametrize("net_kwargs", [None, {"add": 7}])
def test_a_job(net_kwargs: dict[str, Any] | None, tmp_path: Path) -> None:
    x = job(tmp_path, net_kwargs=net_kwargs)
    done, status = work(tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("noise")) == (0, "", 2)
    assert (status["ok"], len(status["wall_s"])) == (True, 3)
    arrays = archive.unpack(archive.read(tmp_path / "result.npz"), "result")[1]
    wanted = np.concatenate([2 * x, np.zeros((3, 3, 2), dtype=np.int64)])
    np.testing.assert_array_equal(arrays["spikes/one"], wanted)
    np.testing.assert_array_equal(arrays["spikes/a.b"], wanted + (0 if net_kwargs is None else 7))
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.int32)}
    assert sorted(p.name for p in tmp_path.glob("*.part")) == []


@pytest.mark.parametrize(
    ("told", "protocol", "kind", "error"),
    [("refuse", 1, "unsupported", "no process for it"), ("crash", 1, "crashed", "ValueError: odd weights"),
     ("", 2, "crashed", "ValueError: this worker speaks protocol 1")],
)
def test_a_job_that_fails(told: str, protocol: int, kind: str, error: str, tmp_path: Path) -> None:
    job(tmp_path, told, protocol)
    done, status = work(tmp_path)
    assert (done.returncode, status["ok"], status["kind"], status["error"]) == (0, False, kind, error)
    assert not (tmp_path / "result.npz").exists()
    assert ("Traceback" in done.stderr) is (kind == "crashed")


def test_it_stands_alone_and_is_python_3_10() -> None:
    tree = ast.parse(WORKER.read_text(encoding="utf-8"), feature_version=(3, 10))
    imported = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imported - {"numpy"} <= sys.stdlib_module_names
