"""Input and time of real-valued graphs as a GPU runs them: float32, with as many timesteps as the answer needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array
from neurodeploy.ir.reference import input_at

Float32 = NDArray[np.float32]


def latency(graph: Graph) -> int:
    """Timesteps that the answer comes later than the input; 0 in a recurrent graph, which answers at every timestep."""
    return graph.latencies[graph.output.name] if graph.is_acyclic else 0


def n_steps(graph: Graph) -> int:
    """Timesteps of one sample, from its first input to its last answer."""
    return graph.n_timesteps + latency(graph)


def timed(graph: Graph, x: Array) -> Float32:
    """Input x [T, B, *input shape] as float32 [n_steps, B, ...]: after T zeros, or the last value of a bias.

    Raises UsageError for another shape and for values that float32 cannot hold.
    """
    entry = graph.inputs[0]
    x = np.asarray(x)
    if x.ndim < 2 or x.shape[0] != graph.n_timesteps or x.shape[2:] != entry.shape or not x.shape[1]:
        raise UsageError(f"the input has shape {x.shape}", where=entry.name,
                         limit=f"Expected [{graph.n_timesteps}, B, {', '.join(map(str, entry.shape))}]")
    with np.errstate(over="ignore"):
        single = x.astype(np.float32)
    if not np.isfinite(single).all():
        raise UsageError("the input holds values that are no finite float32", where=entry.name, remedy="Scale it")
    return np.stack([input_at(entry, single, t) for t in range(n_steps(graph))])
