"""Runs in the side environment (Python 3.10, nothing of neurodeploy): one job in a folder, answered in files there.

    python -I code/lava_worker.py FOLDER

In: `job.json` {protocol, runner, net_kwargs (null: build from graph.npz), n_steps}, `graph.npz`, `network.net` where
net_kwargs are given, `input.npz` with x [T, B, *shape]; beside this file the runner, a copy of the package's own.
Out: `result.npz` with every neuron layer's output `spikes/<layer>` [n_steps, B, *shape], then `status.json`
{ok, kind, error, versions, wall_s}. What libraries print goes to stderr. It ends when its parent does.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
import zipfile
from pathlib import Path
from typing import Any

PROTOCOL = 1


def end_with_parent(parent: int, folder: Path) -> None:
    """When the parent is gone, remove the job and kill the whole group: Lava's processes would wait for ever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def play(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Run all samples one after the other; the fields of a good status."""
    import numpy as np

    runner = importlib.import_module(job["runner"])
    net = runner.Net(*runner.read_archive(folder / "graph.npz"))
    try:
        runner.check_supported(net)
        with np.load(folder / "input.npz", allow_pickle=False) as file:
            x = file["x"]
        netx = None if job["net_kwargs"] is None else (folder / "network.net", job["net_kwargs"])
        run = runner.LavaRun(net, chip=False, power=False)
        seen: dict[str, list[Any]] = {name: [] for name in net.neurons}
        wall_s = []
        for sample in range(x.shape[1]):
            started = time.perf_counter()
            for name, values in run.play(x[:, sample], job["n_steps"], netx).items():
                seen[name].append(values.astype(np.int32))
            wall_s.append(time.perf_counter() - started)
    except runner.RunnerError as error:
        return {"ok": False, "kind": "unsupported", "error": str(error), "versions": runner.versions()}
    arrays = {"spikes/" + name: np.ascontiguousarray(np.stack(values, axis=1)) for name, values in seen.items()}
    with (folder / "result.part").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    with zipfile.ZipFile(folder / "result.part", "a") as out:
        out.writestr("graph.json", "{}")  # the document that every archive of neurodeploy has
    (folder / "result.part").replace(folder / "result.npz")
    return {"ok": True, "kind": "played", "error": "", "versions": runner.versions(), "wall_s": wall_s}


def main(folder: Path) -> int:
    os.dup2(2, 1)
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    threading.Thread(target=end_with_parent, args=(os.getppid(), folder), daemon=True).start()
    try:
        job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        if job["protocol"] != PROTOCOL:
            raise ValueError(f"this worker speaks protocol {PROTOCOL}")
        status = play(folder, job)
    except Exception as error:
        traceback.print_exc()
        status = {"ok": False, "kind": "crashed", "error": f"{type(error).__name__}: {error}", "versions": {}}
    (folder / "status.part").write_text(json.dumps(status), encoding="utf-8")
    (folder / "status.part").replace(folder / "status.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
