"""`golden.npz` of a bundle for GPUs: inputs of some samples, what every layer puts out, and which spikes may flip.

Libraries add the products of a convolution in different orders, so a membrane closer to its threshold than FLIP_TOLERANCE
may fall on either side of it. `near` lists these places; anywhere else a spike must be equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UnsafeFile
from neurodeploy.export.golden import GOLDEN, small
from neurodeploy.ir import archive
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array, Node
from neurodeploy.sim.gpu_input import Float32, n_steps, timed
from neurodeploy.sim.gpu_run import run

__all__ = [
    "FLIP_TOLERANCE", "GOLDEN", "LOGIT_TOLERANCE", "GoldenGpu", "boundary_distance", "load_gpu", "record_gpu", "save_gpu",
]

FLIP_TOLERANCE = 1e-5  # about 100 roundings of a float32 near 1: more than sums of some thousand products collect
LOGIT_TOLERANCE = 1e-5  # of sums of votes that came from equal spikes
_HEADER = {"format": "neurodeploy golden of a GPU", "schema_version": 1}


@dataclass(frozen=True, eq=False)
class GoldenGpu:
    """x float32 [T', B, *input shape]; spikes int64 [T', B, *shape] by neuron layer; votes float32 [T, B, n].

    T' and T as in `sim.gpu_run.GpuTrace`. near: by neuron layer, rows (timestep, sample, *neuron) of membranes close to
    the threshold.
    """

    x: Float32
    spikes: dict[str, NDArray[np.int64]]
    votes: Float32
    near: dict[str, NDArray[np.int64]]

    @property
    def n_spikes(self) -> dict[str, int]:
        """Spikes of each layer over all samples."""
        return {name: int(raster.sum()) for name, raster in self.spikes.items()}


def boundary_distance(node: Node, v: Array) -> Array:
    """How far membranes are from the nearest value at which the number of spikes changes."""
    threshold = np.float64(getattr(node, "v_th"))  # noqa: B009
    v = v.astype(np.float64)
    at = threshold * np.maximum(1, np.rint(v / threshold)) if getattr(node, "multi_spike", False) else threshold
    return np.asarray(np.abs(v - at))


def record_gpu(graph: Graph, x: Array) -> GoldenGpu:
    """Golden vectors of a graph that `lower_to_gpu` made, for x [T, B, *input shape]; UsageError where it does not fit."""
    trace = run(graph, x, membranes=True)
    near = {
        n.name: np.argwhere(boundary_distance(n, trace.membranes[n.name]) < FLIP_TOLERANCE) for n in graph.neurons
    }
    return GoldenGpu(timed(graph, x), {k: v.astype(np.int64) for k, v in trace.spikes.items()}, trace.votes, near)


def save_gpu(golden: GoldenGpu, path: Path) -> None:
    """Write golden vectors; equal ones give equal bytes."""
    arrays = {
        "x": golden.x, "votes": golden.votes, **{f"spikes/{name}": small(v) for name, v in golden.spikes.items()},
        **{f"near/{name}": v.astype(np.int32) for name, v in golden.near.items()},
    }
    archive.write(path, archive.pack(_HEADER, arrays))


def load_gpu(path: Path, graph: Graph) -> GoldenGpu:
    """Golden vectors of a graph. Raises UnsafeFile where the file is corrupt or holds those of another network."""
    document, arrays = archive.unpack(archive.read(path), str(path))
    if document != _HEADER or not {"x", "votes"} <= set(arrays):
        raise UnsafeFile("no golden vectors of a known version", where=str(path), remedy="Export again")
    parts = {
        kind: {name[len(kind) + 1:]: v.astype(np.int64) for name, v in arrays.items() if name.startswith(f"{kind}/")}
        for kind in ("spikes", "near")
    }
    golden = GoldenGpu(arrays["x"].astype(np.float32), parts["spikes"], arrays["votes"].astype(np.float32), parts["near"])
    steps, batch = n_steps(graph), golden.x.shape[1] if golden.x.ndim > 1 else 0
    shapes = {n.name: (steps, batch, *graph.shapes[n.name]) for n in graph.neurons}
    fits = (
        batch > 0 and golden.x.shape == (steps, batch, *graph.inputs[0].shape)
        and {name: v.shape for name, v in golden.spikes.items()} == shapes
        and golden.votes.shape == (graph.n_timesteps, batch, int(np.prod(graph.shapes[graph.output.name])))
        and set(golden.near) == set(shapes)
        and all(rows.ndim == 2 and rows.shape[1] == len(shapes[name]) for name, rows in golden.near.items())
    )
    if not fits or not np.isfinite(golden.x).all():
        raise UnsafeFile("the golden vectors are none of this network", where=str(path), remedy="Export again")
    return golden
