"""The float32 run of a real-valued network in plain numpy: slow, and the definition that `gpu_run.py` must equal.

Equal up to the order in which sums of products are formed; where those are exact, bit for bit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array, Input, Node
from neurodeploy.ir.reference import State, initial_state, step
from neurodeploy.sim.gpu_input import Float32, latency, timed
from neurodeploy.sim.gpu_run import GpuTrace


def run_reference(graph: Graph, x: Array) -> GpuTrace:
    """As `gpu_run.run`, without membranes."""
    x = timed(graph, x)
    batch, nodes = x.shape[1], [_single(n) for n in graph.order]
    state: dict[str, State] = {n.name: _single_state(initial_state(n, batch)) for n in nodes}
    depth = max((e.delay for e in graph.edges), default=0)
    history: deque[dict[str, Float32]] = deque(maxlen=depth + 1)  # newest first
    seen: list[dict[str, Float32]] = []
    for x_t in x:
        history.appendleft({})
        for node in nodes:
            a = x_t if isinstance(node, Input) else _total(graph, node, history, batch)
            history[0][node.name], state[node.name] = step(node, a, state[node.name])
        seen.append(history[0])
    spikes = {n.name: np.stack([values[n.name] for values in seen]) for n in graph.neurons}
    votes = [values[graph.output.name].reshape(batch, -1) for values in seen[latency(graph):]]
    return GpuTrace(spikes, {}, np.stack(votes))


def _total(graph: Graph, node: Node, history: deque[dict[str, Float32]], batch: int) -> Float32:
    """The incoming values, added in the order of the edges; zero before the start."""
    nothing = np.zeros((batch, *graph.shapes[graph.incoming(node.name)[0].src]), dtype=np.float32)
    terms = [history[e.delay][e.src] if e.delay < len(history) else nothing for e in graph.incoming(node.name)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _single(node: Node) -> Node:
    """The node with its arrays in float32; numpy rounds its plain numbers to the type of the arrays that they meet."""
    single: dict[str, Any] = {k: v.astype(np.float32) if isinstance(v, np.ndarray) else v for k, v in vars(node).items()}
    return replace(node, **single)


def _single_state(state: State) -> State:
    return {name: v.astype(np.float32) if isinstance(v, np.ndarray) else v for name, v in state.items()}
