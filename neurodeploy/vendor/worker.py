"""One job for a vendor's tool in its side environment: a folder of files in, a folder of files out.

The worker is the package's own file, and so is the runner beside it; nothing of a bundle but its data is ever executed
or unpickled. What comes back is trusted no further than its declared shapes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import NeurodeployError, UnsafeFile, VendorFailure
from neurodeploy.ir import archive
from neurodeploy.ir.nodes import Array, Shape
from neurodeploy.vendor import processes
from neurodeploy.vendor.environments import Environment
from neurodeploy.vendor.locks import lock_named

PROTOCOL = 1
_PACKAGE = Path(__file__).parent.parent
_SPARE_BYTES = 16 * 2**20  # logs, and what the tool leaves beside its answer
_MAX_STATUS = 2**20
_MAX_SCRATCH = 50


@dataclass(frozen=True, eq=False)
class Answer:
    """What a tool computed: outputs of each neuron layer [n_steps, B, *shape] int64, versions by package, seconds a sample."""

    outputs: dict[str, Array]
    versions: dict[str, str]
    wall_s: tuple[float, ...]


def play(
    environment: Environment, graph: Path, x: Array, n_steps: int, shapes: Mapping[str, Shape], *, timeout_s: float,
    net: Path | None = None, net_kwargs: Mapping[str, Any] | None = None,
) -> Answer:
    """Run the samples x [T, B, *input shape] for n_steps on the tool, and hear what every neuron layer put out.

    graph: a `graph.npz`. net: the `network.net` that the vendor's loader shall read instead, with its arguments.
    shapes: of the neuron layers. Raises VendorFailure where the tool dies, hangs, refuses the network, or answers nonsense.
    """
    where = f"{environment.name} ({environment.python})"
    with tempfile.TemporaryDirectory(prefix="neurodeploy-", dir=_scratch(), ignore_cleanup_errors=True) as name:
        folder, log = Path(name), Path(name) / "log.txt"
        lock = lock_named(environment.name)
        _write_job(folder, (lock.worker, lock.runner), graph, x, n_steps, net, net_kwargs)
        n_given = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        wanted = {f"spikes/{layer}": (n_steps, x.shape[1], *shape) for layer, shape in shapes.items()}
        n_expected = sum(4 * int(np.prod(shape)) + 1024 for shape in wanted.values())
        try:
            done = processes.run(
                (environment.python, "-I", folder / "code" / Path(lock.worker).name, folder), folder=folder, log=log,
                timeout_s=timeout_s, max_bytes=n_given + 3 * n_expected + _SPARE_BYTES,
                environment={"TMPDIR": str(folder / "t")},
            )
        except NeurodeployError as error:
            raise failure(error.what, "vendor_crashed", where, remedy="Run `neurodeploy doctor`") from error
        said = processes.tail(log)
        if done.timed_out:
            raise failure(
                f"was stopped after {timeout_s:g} s", "vendor_timeout", where, said, "Allow more with --oracle-timeout SECONDS"
            )
        if done.too_large:
            raise failure(
                "was stopped because it wrote too much", "vendor_garbage", where,
                f"Expected about {n_expected:,} bytes of answer. {said}",
            )
        if not done.ok:
            raise failure(done.describe(), "vendor_crashed", where, said)
        status = _status(folder / "status.json", where, said)
        return Answer(_outputs(folder / "result.npz", wanted, where), status["versions"], tuple(status["wall_s"]))


def _scratch() -> str | None:
    """Where jobs lie: the usual place, or /tmp where that has a long name. Lava's processes meet at sockets in their
    temporary folder, whose names may have 107 characters."""
    usual = tempfile.gettempdir()
    return "/tmp" if len(usual) > _MAX_SCRATCH and os.access("/tmp", os.W_OK | os.X_OK) else None


def failure(what: str, code: str, where: str, said: str = "", remedy: str = "") -> VendorFailure:
    """The error of a tool that failed; `said`: the end of what it printed."""
    return VendorFailure(
        f"the vendor's tool {what}", where=where, limit=f"It said: {said}" if said else "", code=code,
        remedy=remedy or "Try again; if it stays, make the environment anew (`neurodeploy env remove`, `env create`)",
    )


def _write_job(
    folder: Path, scripts: tuple[str, str], graph: Path, x: Array, n_steps: int, net: Path | None,
    net_kwargs: Mapping[str, Any] | None,
) -> None:
    for part in ("code", "t"):
        (folder / part).mkdir()
    for script in scripts:
        shutil.copyfile(_PACKAGE / script, folder / "code" / Path(script).name)
    shutil.copyfile(graph, folder / "graph.npz")
    if net is not None:
        shutil.copyfile(net, folder / "network.net")
    archive.write(folder / "input.npz", archive.pack({}, {"x": x}))
    job = {
        "protocol": PROTOCOL, "runner": Path(scripts[1]).stem, "n_steps": n_steps,
        "net_kwargs": None if net is None else dict(net_kwargs or {}),
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def _status(path: Path, where: str, said: str) -> dict[str, Any]:
    """The worker's status, of the right types. Raises VendorFailure where there is none, or it tells of a failure."""
    if not path.is_file() or path.is_symlink():
        raise failure("ended without an answer", "vendor_garbage", where, said)
    try:
        status = json.loads(path.read_bytes()) if path.stat().st_size <= _MAX_STATUS else None
    except (ValueError, RecursionError):
        status = None
    if not isinstance(status, dict) or type(status.get("ok")) is not bool or not isinstance(status.get("versions"), dict):
        raise failure("answered with a status that is none", "vendor_garbage", where, said)
    if not status["ok"]:
        if status.get("kind") == "unsupported":
            raise VendorFailure(
                f"the vendor's tool cannot run this network: {status.get('error')}", where=where, code="vendor_unsupported",
                remedy="Its simulators here do (`neurodeploy validate` without --oracle)",
            )
        raise failure(f"failed: {str(status.get('error'))[:500]}", "vendor_crashed", where, said)
    walls = status.get("wall_s")
    if not isinstance(walls, list) or not all(isinstance(s, float | int) for s in walls):
        raise failure("answered with a status that is none", "vendor_garbage", where, said)
    return {"versions": {str(k): str(v) for k, v in status["versions"].items() if v is not None}, "wall_s": walls}


def _outputs(path: Path, wanted: Mapping[str, tuple[int, ...]], where: str) -> dict[str, Array]:
    """The arrays of a result, checked against the shapes that the network has."""
    try:
        if path.is_symlink():
            raise UnsafeFile("it is a link")
        arrays = archive.unpack(archive.read(path), path.name)[1]
    except NeurodeployError as error:
        raise failure(f"wrote a result that cannot be read: {error}", "vendor_garbage", where) from error
    if set(arrays) != set(wanted):
        odd = sorted(set(arrays) ^ set(wanted))
        raise failure(f"recorded other layers: {', '.join(odd[:4])}", "vendor_garbage", where)
    for name, shape in wanted.items():
        if arrays[name].shape != shape or arrays[name].dtype.kind != "i":
            raise failure(
                f"recorded {name} as {arrays[name].dtype} {list(arrays[name].shape)}", "vendor_garbage", where,
                remedy=f"Expected integers {list(shape)}: make the environment anew",
            )
    return {name.removeprefix("spikes/"): array.astype(np.int64) for name, array in arrays.items()}
