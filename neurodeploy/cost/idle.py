"""What layers do on the chip outside of their window of a sample, where rates in model time say nothing.

A layer at latency L works on a sample in steps [L, L + T). Before, and after, its biases alone may make it fire: the
chip runs on, and those spikes cost. They do not depend on the sample, because nothing of it has arrived, or it has been
cleared by the reset at L + T; so one run without input gives them exactly. An input written as biases stays on after
T: then every layer starts over with the same sample, and repeats its window.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import INT_NEURONS, CubaLif, Input, Linear, Node, Vote
from neurodeploy.ir.reference import initial_state, step

Floats = NDArray[np.float64]


@lru_cache(maxsize=8)
def idle_spikes(graph: Graph) -> dict[str, Floats]:
    """Spikes (messages that are not zero) [T', *shape] of every neuron layer in a run without input.

    Nothing for a network that stays silent without input: no biases, and no state or threshold that makes neurons fire.
    """
    if not _may_fire_alone(graph):
        return {}
    return {
        name: (values != 0).astype(np.float64)
        for name, values in _without_input(graph).items() if graph[name].is_neuron
    }


def _without_input(graph: Graph) -> dict[str, NDArray[Any]]:
    """Outputs [T', *shape] of `reference.evaluate` on silence, bit for bit, but a node at a time: what has no state and
    treats samples one by one takes all timesteps as one batch, and silence has one answer."""
    dtype: Any = np.int64 if any(isinstance(n, INT_NEURONS) for n in graph.neurons) else np.float64
    n_steps = graph.n_chip_steps
    found: dict[str, NDArray[Any]] = {}
    for node in graph.feedforward_order:
        if isinstance(node, Vote):
            continue
        terms = []
        for edge in graph.incoming(node.name):
            late = np.zeros_like(found[edge.src])
            late[edge.delay :] = found[edge.src][: max(0, n_steps - edge.delay)]
            terms.append(late)
        a = terms[0] if terms else np.zeros((n_steps, *graph.shapes[node.name]), dtype=dtype)
        for term in terms[1:]:
            a = a + term
        found[node.name] = a if isinstance(node, Input) else _outputs(node, a)
    return found


def _outputs(node: Node, a: NDArray[Any]) -> NDArray[Any]:
    """What a node makes of a [T', *shape], starting from its initial state."""
    state = initial_state(node, 1)
    if not state and not isinstance(node, Linear):  # a matrix product may round otherwise for several rows at once
        return step(node, a, state)[0]
    answers = []
    silent: NDArray[Any] | None = None
    for row in a:
        if state or row.any():
            answer, state = step(node, row[None], state)
        else:
            silent = answer = step(node, row[None], state)[0] if silent is None else silent
        answers.append(answer[0])
    return np.stack(answers)


def run_rates(graph: Graph, rates: Mapping[str, float | NDArray[Any]]) -> dict[str, Floats]:
    """Mean rate of each node in every chip step [T'], from rates in model time: a number or [T] for each.

    Outside of its window a layer does what its biases make it do, or repeats its window where the input stays on.
    """
    quiet, repeats = idle_spikes(graph), repeats_its_input(graph)
    found = {}
    for name, rate in rates.items():
        first, last = graph.latencies[name], graph.latencies[name] + graph.n_timesteps
        window = np.broadcast_to(np.asarray(rate, dtype=np.float64), (graph.n_timesteps,))
        run = quiet[name].reshape(graph.n_chip_steps, -1).mean(axis=1) if name in quiet else np.zeros(graph.n_chip_steps)
        run[first:last] = window
        if graph[name].is_neuron and repeats:
            run[last:] = window[np.arange(graph.n_chip_steps - last) % graph.n_timesteps]
        found[name] = run
    return found


def repeats_its_input(graph: Graph) -> bool:
    """True where the host writes the input into neurons, so that it stays on after T timesteps."""
    return any(graph[e.dst].is_neuron for source in graph.inputs for e in graph.outgoing(source.name))


def _may_fire_alone(graph: Graph) -> bool:
    own = (getattr(n, name, None) for n in graph.nodes for name in ("bias_mant", "i_init", "v_init"))
    carried = (getattr(n, "bias", None) for n in graph.nodes)
    below_rest = any(isinstance(n, CubaLif) and np.any(np.asarray(n.v_th) < 0) for n in graph.neurons)
    return below_rest or any(b is not None and np.any(b) for b in (*own, *carried))
