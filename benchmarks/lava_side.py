"""Lava's side of `bench_lava.py`, run by a Python 3.10 with lava-nc: `python lava_side.py FOLDER`.

In FOLDER: `run_on_loihi2.py` (which builds Lava's processes), `graph.npz`, `x.npy` [T, *shape], `job.json` {n_steps, repeats}.
Out: `spikes.npz` by layer number, [n_steps, *shape], of one recorded run, and `seconds.json`: start-up (building, compiling,
the first timestep) and each repeat of n_steps more timesteps, in which only the last layer is recorded.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np


def main(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    import run_on_loihi2 as runner  # type: ignore[import-not-found]
    from lava.magma.core.run_conditions import RunSteps  # type: ignore[import-not-found]
    from lava.magma.core.run_configs import Loihi2SimCfg  # type: ignore[import-not-found]

    job = json.loads((folder / "job.json").read_text())
    n_steps, repeats = job["n_steps"], job["repeats"]
    net = runner.Net(*runner.read_archive(folder / "graph.npz"))
    runner.check_supported(net)
    x = np.load(folder / "x.npy")
    spikes = runner.LavaRun(net, chip=False, power=False).play(x, n_steps)
    np.savez(folder / "spikes.npz", **{str(i): spikes[name].astype(np.int8) for i, name in enumerate(net.neurons)})

    run, total = runner.LavaRun(net, chip=False, power=False), 1 + n_steps * repeats
    started = time.perf_counter()
    ports = run._build(runner.extend(x, net.nodes[net.source]["kind"], total))
    last = run._record({net.neurons[-1]: ports[net.neurons[-1]]}, str(folder), total)
    last.run(condition=RunSteps(num_steps=1), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    seconds = {"start_up": time.perf_counter() - started, "steps": []}
    for _ in range(repeats):
        started = time.perf_counter()
        last.run(condition=RunSteps(num_steps=n_steps))
        seconds["steps"].append(time.perf_counter() - started)
    last.stop()
    (folder / "seconds.json").write_text(json.dumps({**seconds, "versions": runner.versions()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
