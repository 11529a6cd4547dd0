"""`neurodeploy simulate` on GPUs: the network in float32 on what a user gives, and what every layer did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.spikes import Layout
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.given_exit import steps_of_images
from neurodeploy.jobs.gpu_input import read_values
from neurodeploy.jobs.opened import Opened
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim.files import write_arrays
from neurodeploy.sim.gpu_input import n_steps
from neurodeploy.sim.gpu_reference import run_reference
from neurodeploy.sim.gpu_run import run

MAX_RECORDED = 2**32  # bytes


@dataclass(frozen=True)
class GpuSimulateResult:
    """What was run and what fired; fields as in `simulate.SimulateResult`."""

    out: Path
    target: str
    n_timesteps: int
    n_samples: int
    input: str
    spikes_per_layer: dict[str, int]
    neurons_per_layer: dict[str, int]
    simulator: str
    arrays: dict[str, list[int]]
    fits: bool = True
    errors: tuple[NeurodeployError, ...] = ()
    exit_steps: list[int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**{k: v for k, v in vars(self).items() if k != "errors"}, "out": str(self.out)}


def simulate_on_gpu(
    opened: Opened, graph: Graph, given: Path, out: Path, *, target: str, layout: Layout, states: bool, use_reference: bool,
    progress: Progress = SILENT,
) -> GpuSimulateResult:
    """Run the network on `given` (`gpu_input.read_values`) and write `spikes/<layer>`, with `states` also `v_mem/<layer>`
    (before the threshold is asked), [T, B, *shape], and `votes`, to `out`."""
    x = read_values(given, graph, layout)
    n_neurons = sum(math.prod(graph.shapes[n.name]) for n in graph.neurons)
    size = n_steps(graph) * x.shape[1] * n_neurons * 4 * (1 + states)
    if size > MAX_RECORDED:
        raise UsageError(
            f"the recording would take {size / 2**30:.3g} GiB", where="--out", limit=f"At most {MAX_RECORDED / 2**30:g} GiB",
            remedy="Run fewer samples at a time, or leave --states out",
        )
    progress.start("simulation", 1)
    trace = run_reference(graph, x) if use_reference else run(graph, x, membranes=states)
    progress.advance("simulation")
    progress.done("simulation")
    arrays: dict[str, NDArray[Any]] = {f"spikes/{name}": spikes.astype(np.int32) for name, spikes in trace.spikes.items()}
    if states:
        arrays |= {f"v_mem/{name}": v for name, v in trace.membranes.items()}
    arrays["votes"] = trace.votes
    write_arrays(out, arrays)
    return GpuSimulateResult(
        out=out, target=target, n_timesteps=n_steps(graph), n_samples=x.shape[1], input=graph.inputs[0].name,
        spikes_per_layer={name: int(s.sum()) for name, s in trace.spikes.items()},
        neurons_per_layer={n.name: math.prod(graph.shapes[n.name]) for n in graph.neurons},
        simulator="reference" if use_reference else "fast", arrays={name: list(a.shape) for name, a in arrays.items()},
        exit_steps=steps_of_images(opened, graph, x),
    )
