"""A real-valued network as three ONNX models of the same arithmetic: one timestep, all of them written out, and a `Scan`.

All take float32 and any batch; the same graph gives the same bytes. Inputs have as many timesteps as `sim.gpu_input.n_steps`
says. Outputs of each: `votes` (class scores of a timestep, or what the last node puts out where there is no Vote) and
`spikes/<layer>` of every neuron layer. The step form has its states as further inputs and outputs (`StateSpec`), so that a
program decides after each timestep whether there is another; batch rows may be dropped between steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from neurodeploy.errors import UsageError
from neurodeploy.export.onnx_ops import (
    CLOCK,
    FLOAT,
    INT64,
    STATEFUL,
    STATELESS,
    Ops,
    StateSpec,
    check_expressible,
    op_counts,
    restarted,
    start,
)
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Input, Node
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.sim.gpu_input import n_steps

OPSET = 20
IR_VERSION = 9  # the oldest that holds opset 20
MAX_BYTES = 2**31 - 1  # of a protocol buffer
MAX_OPERATORS = 200_000  # of the unrolled form; runtimes take minutes to load more
VOTES, X = "votes", "x"
STATES_KEY = "neurodeploy.states"  # of the step form's metadata: its states as JSON


def step_model(graph: Graph) -> ModelProto:
    """One timestep: x [B, *shape] and states to votes [B, n], spikes [B, *shape] and the next states.

    Raises UsageError naming a node that ONNX forms cannot hold.
    """
    graph = prepared(graph)
    ops, states = Ops(), step_states(graph)
    values = _step(ops, graph, X, {s.name: s.name for s in states}, {s.name: s.output for s in states})
    outputs = _publish(ops, graph, values, ["B"])
    before, after = _state_values(states)
    inputs = [_value(X, FLOAT, ["B", *graph.inputs[0].shape]), *before]
    metadata = {STATES_KEY: json.dumps([s.to_dict() for s in states])}
    return _model("step", ops, inputs, [*outputs, *after], metadata)


def unrolled_model(graph: Graph) -> ModelProto:
    """All timesteps written out: x [T, B, *shape] to votes [T, B, n] and spikes [T, B, *shape]; errors as `step_model`.

    A feed-forward network goes layer by layer, each synapse once for all timesteps; a recurrent one timestep by timestep.
    """
    graph = prepared(graph)
    ops, steps = Ops(), n_steps(graph)
    per_step = sum(op_counts(step_model(graph)).values())
    if steps * per_step > MAX_OPERATORS:
        raise UsageError(
            f"{steps} timesteps of {per_step} operators, written out", where=graph.output.name, code="too_long",
            limit=f"At most {MAX_OPERATORS} operators", remedy="Use fewer timesteps",
        )
    values = _by_layers(ops, graph, steps) if graph.is_acyclic else _by_timesteps(ops, graph, steps)
    outputs = _publish(ops, graph, values, [steps, "B"])
    return _model("unrolled", ops, [_value(X, FLOAT, [steps, "B", *graph.inputs[0].shape])], outputs, {})


def scan_model(graph: Graph) -> ModelProto:
    """The step as body of a `Scan`: x [T, B, *shape] of any T to votes [T, B, n] and spikes; errors as `step_model`."""
    graph = prepared(graph)
    states = step_states(graph)
    body, outer = Ops(), Ops()
    values = _step(body, graph, "step/x", {s.name: s.name for s in states}, {s.name: s.output for s in states})
    per_step = _publish(body, graph, values, ["B"], "step/")  # names of an inner graph differ from those of the outer one
    stacked = _outputs(graph, ["T", "B"])
    before, after = _state_values(states)
    x = _value("step/x", FLOAT, ["B", *graph.inputs[0].shape])
    subgraph = helper.make_graph(body.finished(), "step", [*before, x], [*after, *per_step])
    outer.constants = body.constants
    starts = _initial_states(outer, states)
    outer.ops(
        "Scan", *starts, X, outputs=[*(f"final/{s.name}" for s in states), *(v.name for v in stacked)], body=subgraph,
        num_scan_inputs=1,
    )
    return _model("scan", outer, [_value(X, FLOAT, ["T", "B", *graph.inputs[0].shape])], stacked, {})


FORMS: dict[str, Callable[[Graph], ModelProto]] = {"step": step_model, "unrolled": unrolled_model, "scan": scan_model}


def to_bytes(model: ModelProto) -> bytes:
    """The file of a model, a function of the model alone. Raises UsageError beyond what a protocol buffer holds."""
    if model.ByteSize() > MAX_BYTES:
        raise UsageError(f"the ONNX form would have {model.ByteSize()} bytes", where=model.graph.name,
                         limit=f"At most {MAX_BYTES}", remedy="Use a smaller network")
    return bytes(model.SerializeToString(deterministic=True))


def prepared(graph: Graph) -> Graph:
    """The graph as a GPU runs it, every node of which has an ONNX form; UsageError naming the one that has none."""
    graph = lower_to_gpu(graph)
    if len(graph.inputs) != 1:
        raise UsageError(f"{len(graph.inputs)} inputs", where=", ".join(n.name for n in graph.inputs), code="not_onnx",
                         limit="ONNX forms have one")
    _ = graph.output
    for node in graph.nodes:
        if isinstance(node, Input):
            continue
        check_expressible(node)
        if not graph.incoming(node.name):
            raise UsageError("nothing feeds it", where=node.name, code="not_onnx", remedy="Connect it, or leave it out")
    return graph


def step_states(graph: Graph) -> tuple[StateSpec, ...]:
    """The states of a prepared graph's step: membranes, what delayed edges hold (newest first), and a clock where layers
    restart."""
    states = [
        StateSpec(f"v_mem/{n.name}", graph.shapes[n.name], STATEFUL[type(n)][1](n)) for n in graph.order if type(n) in STATEFUL
    ]
    for node in graph.nodes:
        longest = max((e.delay for e in graph.outgoing(node.name)), default=0)
        if longest:
            states.append(StateSpec(f"past/{node.name}", (longest, *graph.shapes[node.name]), 0.0))
    if any(_restarts(n) for n in graph.nodes):
        states.append(StateSpec(CLOCK, (), 0, INT64))
    return tuple(states)


def _restarts(node: Node) -> bool:
    return getattr(node, "reset_interval", None) is not None


def _step(ops: Ops, graph: Graph, x: str, states: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """Write one timestep; tensors [B, *shape] of every node by name. The next states get the names in `after`."""
    values: dict[str, str] = {}
    for node in graph.order:
        ops.owner = node.name
        if isinstance(node, Input):
            values[node.name] = x
            continue
        total = ops.total([_arrived(ops, graph, e, states, values) for e in graph.incoming(node.name)])
        state = f"v_mem/{node.name}"
        if type(node) in STATEFUL:
            v = restarted(ops, node, states[state], states[CLOCK]) if _restarts(node) else states[state]
            values[node.name], v = STATEFUL[type(node)][0](ops, node, total, v)
            ops.publish(v, after[state])
        else:
            values[node.name] = STATELESS[type(node)](ops, node, total, graph.shapes[graph.incoming(node.name)[0].src])
    for node in graph.nodes:
        state = f"past/{node.name}"
        if state in states:
            ops.owner = node.name
            newest = ops.op("Unsqueeze", values[node.name], ops.axis(1))
            longest = max(e.delay for e in graph.outgoing(node.name))
            kept = [] if longest == 1 else [ops.slice(states[state], 0, longest - 1, axis=1)]
            ops.op("Concat", newest, *kept, axis=1, output=after[state])
    if CLOCK in states:
        ops.owner = CLOCK
        ops.op("Add", states[CLOCK], ops.constant("one", 1, np.int64), output=after[CLOCK])
    return values


def _arrived(ops: Ops, graph: Graph, edge: Edge, states: dict[str, str], values: dict[str, str]) -> str:
    if not edge.delay:
        return values[edge.src]
    index = ops.constant(f"delay{edge.delay}", edge.delay - 1, np.int64)
    return ops.op("Gather", states[f"past/{edge.src}"], index, axis=1)


def _by_layers(ops: Ops, graph: Graph, steps: int) -> dict[str, str]:
    """Every layer for all timesteps; tensors [T, B, *shape] of every node by name."""
    values: dict[str, str] = {}
    for node in graph.feedforward_order:
        ops.owner = node.name
        if isinstance(node, Input):
            values[node.name] = X
            continue
        incoming = graph.incoming(node.name)
        total = ops.total([_later(ops, values[e.src], e.delay, len(graph.shapes[e.src]), steps) for e in incoming])
        if type(node) in STATEFUL:
            values[node.name] = _states_over_time(ops, node, total, steps)
        else:
            source = graph.shapes[incoming[0].src]
            flat = ops.op("Reshape", total, ops.constant("merged", [-1, *source], np.int64))
            flat = STATELESS[type(node)](ops, node, flat, source)
            values[node.name] = ops.op("Reshape", flat, ops.constant("steps", [steps, -1, *graph.shapes[node.name]], np.int64))
    return values


def _later(ops: Ops, value: str, delay: int, rank: int, steps: int) -> str:
    """[T, B, *shape] `delay` timesteps later, zeros first."""
    if not delay:
        return value
    pads = ops.constant(f"pads{delay}", [delay, *[0] * (2 * rank + 3)], np.int64)
    return ops.slice(ops.op("Pad", value, pads), 0, steps, axis=0)


def _states_over_time(ops: Ops, node: Any, x: str, steps: int) -> str:
    v, outputs = start(ops, node), []
    for t, current in enumerate(_timesteps(ops, x, steps)):
        if _restarts(node) and (t + 1) % node.reset_interval == node.reset_offset % node.reset_interval:
            v = start(ops, node)
        y, v = STATEFUL[type(node)][0](ops, node, current, v)
        outputs.append(y)
    return ops.op("Concat", *outputs, axis=0)


def _timesteps(ops: Ops, x: str, steps: int) -> list[str]:
    """[T, B, *shape] as T tensors [1, B, *shape]."""
    return [x] if steps == 1 else ops.ops("Split", x, n=steps, axis=0, num_outputs=steps)


def _by_timesteps(ops: Ops, graph: Graph, steps: int) -> dict[str, str]:
    """A recurrent graph step after step; tensors [T, B, *shape] of its outputs by node."""
    ops.owner = X
    states = step_states(graph)
    currents = [ops.op("Squeeze", part, ops.axis(0)) for part in _timesteps(ops, X, steps)]
    names = dict(zip((s.name for s in states), _initial_states(ops, states), strict=True))
    seen: dict[str, list[str]] = {n.name: [] for n in (*graph.neurons, graph.output)}
    for t, current in enumerate(currents):
        after = {s.name: f"{t}/{s.output}" for s in states}
        values = _step(ops, graph, current, names, after)
        for name, outputs in seen.items():
            ops.owner = name
            outputs.append(ops.op("Unsqueeze", values[name], ops.axis(0)))
        names = after
    stacked = {}
    for name, outputs in seen.items():
        ops.owner = name
        stacked[name] = ops.op("Concat", *outputs, axis=0)
    return stacked


def _initial_states(ops: Ops, states: Sequence[StateSpec]) -> list[str]:
    """Tensors [B, *shape] of the states before the first timestep, B from x [T, B, ...]."""
    ops.owner = X
    batch = ops.op("Shape", X, start=1, end=2)
    names = []
    for state in states:
        ops.owner = state.name
        shape = ops.op("Concat", batch, ops.constant("shape", state.shape, np.int64), axis=0) if state.shape else batch
        initial = ops.constant("initial", state.initial, np.int64 if state.dtype == INT64 else np.float32)
        names.append(ops.op("Expand", initial, shape))
    return names


def _state_values(states: Sequence[StateSpec]) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """The states as inputs and as outputs."""
    shapes = [(s, ["B", *s.shape]) for s in states]
    return [_value(s.name, s.dtype, shape) for s, shape in shapes], [_value(s.output, s.dtype, shape) for s, shape in shapes]


def _outputs(graph: Graph, leading: list[Any], prefix: str = "") -> list[ValueInfoProto]:
    return [_value(prefix + name, FLOAT, [*leading, *graph.shapes[node.name]]) for name, node in _named(graph)]


def _named(graph: Graph) -> list[tuple[str, Node]]:
    """(name, node) of every output."""
    return [(VOTES, graph.output), *((f"spikes/{n.name}", n) for n in graph.neurons)]


def _publish(ops: Ops, graph: Graph, values: dict[str, str], leading: list[Any], prefix: str = "") -> list[ValueInfoProto]:
    """Give the votes and the spikes of every layer their public names; the outputs."""
    for name, node in _named(graph):
        ops.owner = node.name
        ops.publish(values[node.name], prefix + name)
    return _outputs(graph, leading, prefix)


def _value(name: str, dtype: int, shape: Iterable[Any]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, list(shape))


def _model(
    form: str, ops: Ops, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto], metadata: dict[str, str]
) -> ModelProto:
    graph = helper.make_graph(ops.finished(), form, inputs, outputs, list(ops.constants.values()))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="neurodeploy"
    )
    for key, value in {"neurodeploy.form": form, **metadata}.items():
        model.metadata_props.add(key=key, value=value)
    return model
