"""The slow simulator: `ir.reference` step by step, and which neurons the chip had to update. The definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurodeploy.fixedpoint import shift_signed
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Flatten, Iaf, Input, Linear, MaxPool2d, Node, SigmaDelta, SumPool2d
from neurodeploy.ir.reference import Moment, conv2d, default_steps, step, walk
from neurodeploy.sim.trace import STATES, Recorder, Trace, spike_readout, vote_node

Flags = NDArray[np.bool_]


def simulate(
    graph: IntGraph, x: Array, n_steps: int | None = None, record_state: bool = False, v_readout: str = "lava"
) -> Trace:
    """Run chip input x, integers [T, B, *input shape], for `n_steps` (default: see `ir.reference.evaluate`).

    `v_readout`: what v_mem shows where a neuron fired, see `trace.spike_readout`. Raises UsageError for input that the
    graph cannot take, NeurodeployError where sigma-delta or Iaf neurons leave their 32 bits.
    """
    vote = vote_node(graph)
    batch = x.shape[1] if x.ndim > 1 else 0
    n_steps = default_steps(graph, x.shape[0]) if n_steps is None else n_steps
    recorder = Recorder(graph, batch, n_steps, record_state, spike_readout(v_readout))
    events: list[dict[str, Flags]] = []  # by timestep, then node: where it sends an event on
    reached: list[dict[str, Flags]] = []  # by timestep, then delayed synapse: where an event reaches it
    for moment in walk(graph, x, n_steps):
        events.append({})
        reached.append({})
        for node in graph.order:
            output = moment.output[node.name]
            arrived = _arrived(graph, node, events, moment.t, batch)
            if isinstance(node, Input) or node.is_neuron:
                events[-1][node.name] = output != 0
                recorder.add(moment.t, "spikes", node.name, output)
            elif isinstance(node, Linear) and node.delays is not None:
                reached[-1][node.name] = arrived
                events[-1][node.name] = _delayed(node, node.delays, reached)
            else:
                events[-1][node.name] = _through(node, arrived)
            if node.is_neuron:
                recorder.add(moment.t, "updated", node.name, _updated(node, moment, arrived))
                if record_state:
                    for kind, name in STATES[type(node)].items():
                        recorder.add(moment.t, kind, node.name, moment.after[node.name][name])
        if vote is not None:
            recorder.votes[moment.t] = moment.output[vote.name]
    return recorder.trace()


def _updated(node: Node, moment: Moment, arrived: Flags) -> Flags:
    """Which neurons a layer had to update: see `Trace`."""
    updated: Flags = arrived | (moment.output[node.name] != 0)
    for name, state in moment.before[node.name].items():
        if name != "t" and not isinstance(node, Iaf):
            updated = updated | (state != 0)
    if isinstance(node, CubaLif):
        updated = updated | (shift_signed(node.bias_mant, node.bias_exp) != 0)
    elif isinstance(node, SigmaDelta):
        updated = updated | (node.bias_mant != 0)
    elif isinstance(node, Iaf):
        updated = updated | (node.bias != 0)
    return updated


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


def _delayed(node: Linear, delays: Array, reached: list[dict[str, Flags]]) -> Flags:
    """Where a synapse with delays hands on an event: at the neurons for which one that reached it is now due."""
    past = np.stack([step[node.name] for step in reached[::-1][: int(delays.max()) + 1]])  # newest first
    known = np.minimum(delays, len(past) - 1)
    # [O, I, B]: the event from source i that its delay to neuron o makes due, if the run is old enough.
    due = past[known, :, np.arange(delays.shape[1])] & (delays < len(past))[..., np.newaxis]
    return np.asarray(due.any(axis=1).T)


def _through(node: Node, arrived: Flags) -> Flags:
    """Where a node hands on an event, given where events reach it: every synapse carries it, whatever its weight."""
    if isinstance(node, Conv2d):
        ones = np.ones_like(node.weight)
        return conv2d(arrived.astype(np.int64), ones, node.stride, node.padding, node.dilation, node.groups) > 0
    if isinstance(node, Linear):
        return np.repeat(arrived.any(axis=1, keepdims=True), node.weight.shape[0], axis=1)
    if isinstance(node, Flatten | MaxPool2d | SumPool2d):
        return np.asarray(step(node, arrived, {})[0], dtype=bool)
    return arrived
