"""What layers do on the chip outside of their window of a sample, where rates in model time say nothing.

A layer at latency L works on a sample in steps [L, L + T). Before, and after, its biases alone may make it fire: the
chip runs on, and those spikes cost. They do not depend on the sample, because nothing of it has arrived, or it has been
cleared by the reset at L + T; so one run without input gives them exactly. An input written as biases stays on after
T: then every layer starts over with the same sample, and repeats its window.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import INT_NEURONS, CubaLif
from neurodeploy.ir.reference import evaluate

Floats = NDArray[np.float64]


@lru_cache(maxsize=8)
def idle_spikes(graph: Graph) -> dict[str, Floats]:
    """Spikes (messages that are not zero) [T', *shape] of every neuron layer in a run without input.

    Nothing for a network that stays silent without input: no biases, and no state or threshold that makes neurons fire.
    """
    if not _may_fire_alone(graph):
        return {}
    dtype: Any = np.int64 if any(isinstance(n, INT_NEURONS) for n in graph.neurons) else np.float64
    source = graph.inputs[0]
    silence = np.zeros((graph.n_timesteps, 1, *source.shape), dtype=dtype)
    outputs = evaluate(graph, silence, graph.n_chip_steps)
    return {n.name: (outputs[n.name][:, 0] != 0).astype(np.float64) for n in graph.neurons}


def repeats_its_input(graph: Graph) -> bool:
    """True where the host writes the input into neurons, so that it stays on after T timesteps."""
    return any(graph[e.dst].is_neuron for source in graph.inputs for e in graph.outgoing(source.name))


def _may_fire_alone(graph: Graph) -> bool:
    own = (getattr(n, name, None) for n in graph.nodes for name in ("bias_mant", "i_init", "v_init"))
    carried = (getattr(n, "bias", None) for n in graph.nodes)
    below_rest = any(isinstance(n, CubaLif) and np.any(np.asarray(n.v_th) < 0) for n in graph.neurons)
    return below_rest or any(b is not None and np.any(b) for b in (*own, *carried))
