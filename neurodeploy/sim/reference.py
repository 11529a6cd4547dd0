"""The slow simulator: `ir.reference` step by step, and which neurons the chip had to update. The definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurodeploy.fixedpoint import shift_signed
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Flatten, Input, Linear, MaxPool2d, Node
from neurodeploy.ir.reference import conv2d, default_steps, step, walk
from neurodeploy.sim.trace import Recorder, Trace, vote_node

Flags = NDArray[np.bool_]


def simulate(graph: IntGraph, x: Array, n_steps: int | None = None, record_state: bool = False) -> Trace:
    """Run chip input x, integers [T, B, *input shape], for `n_steps` (default: see `ir.reference.evaluate`).

    Raises UsageError for input that the graph cannot take.
    """
    vote = vote_node(graph)
    batch = x.shape[1] if x.ndim > 1 else 0
    n_steps = default_steps(graph, x.shape[0]) if n_steps is None else n_steps
    recorder = Recorder(graph, batch, n_steps, record_state)
    events: list[dict[str, Flags]] = []  # by timestep, then node: where it sends an event on
    for moment in walk(graph, x, n_steps):
        events.append({})
        for node in graph.order:
            output = moment.output[node.name]
            arrived = _arrived(graph, node, events, moment.t, batch)
            if isinstance(node, Input | CubaLif):
                events[-1][node.name] = output != 0
                recorder.add(moment.t, "spikes", node.name, output)
            else:
                events[-1][node.name] = _through(node, arrived)
            if isinstance(node, CubaLif):
                before, after = moment.before[node.name], moment.after[node.name]
                bias = shift_signed(node.bias_mant, node.bias_exp) != 0
                updated = (before["v_mem"] != 0) | (before["i_syn"] != 0) | arrived | bias | (output != 0)
                recorder.add(moment.t, "updated", node.name, updated)
                if record_state:
                    recorder.add(moment.t, "v_mem", node.name, after["v_mem"])
                    recorder.add(moment.t, "i_syn", node.name, after["i_syn"])
        if vote is not None:
            recorder.vote(moment.output[vote.name])
    return recorder.trace()


def _arrived(graph: IntGraph, node: Node, events: list[dict[str, Flags]], t: int, batch: int) -> Flags:
    """Where at least one event reaches a node in step t, over its incoming edges, [B, *source shape]."""
    found: Flags = np.zeros((batch, *_source_shape(graph, node)), dtype=bool)
    for edge in graph.incoming(node.name):
        if t >= edge.delay:
            found = found | events[t - edge.delay][edge.src]
    return found


def _source_shape(graph: IntGraph, node: Node) -> tuple[int, ...]:
    edges = graph.incoming(node.name)
    return graph.shapes[edges[0].src] if edges else graph.shapes[node.name]


def _through(node: Node, arrived: Flags) -> Flags:
    """Where a node hands on an event, given where events reach it: every synapse carries it, whatever its weight."""
    if isinstance(node, Conv2d):
        ones = np.ones_like(node.weight)
        return conv2d(arrived.astype(np.int64), ones, node.stride, node.padding, node.dilation, node.groups) > 0
    if isinstance(node, Linear):
        return np.repeat(arrived.any(axis=1, keepdims=True), node.weight.shape[0], axis=1)
    if isinstance(node, Flatten | MaxPool2d):
        return np.asarray(step(node, arrived, {})[0], dtype=bool)
    return arrived
