"""One timestep of every node as ONNX operators, in float32 and in the order in which torch computes it here.

A new node type is one entry of `STATELESS` or `STATEFUL`. Operators are named `<layer>:<operator><number>`, so that they can be
counted layer by layer (`op_counts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Li, Lif, Linear, MaxPool2d, Node, Qcfs, Relu, Shape, SumPool2d, Vote
from neurodeploy.ir.reference import is_integer_node

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
CLOCK = "t"  # the state that counts timesteps, where a neuron restarts at set times
SHAPING = frozenset({"Identity", "Flatten", "Reshape", "Unsqueeze"})  # operators that compute nothing


@dataclass(frozen=True)
class StateSpec:
    """A state of the step form: input `name`, output `next/<name>`, each [B, *shape]; `initial` broadcasts to shape."""

    name: str
    shape: Shape
    initial: float | Array
    dtype: int = FLOAT

    @property
    def output(self) -> str:
        """The name of the state after the step."""
        return f"next/{self.name}"

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        kind = "int64" if self.dtype == INT64 else "float32"
        initial = self.initial.tolist() if isinstance(self.initial, np.ndarray) else self.initial
        return {"input": self.name, "output": self.output, "shape": list(self.shape), "initial": initial, "dtype": kind}


class Ops:
    """Operators and constants of a graph that is being written. `owner` is the layer that the next operators belong to."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.owner = ""
        self._n: Counter[str] = Counter()
        self._produced: set[str] = set()
        self._public: dict[str, str] = {}  # internal name -> the name it has in the finished graph

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Append an operator with one output; returns that output's name."""
        return self.ops(kind, *inputs, outputs=None if output is None else [output], **attributes)[0]

    def ops(self, kind: str, *inputs: str, n: int = 1, outputs: list[str] | None = None, **attributes: Any) -> list[str]:
        """Append an operator with `n` outputs; returns their names."""
        name = f"{self.owner}:{kind}{self._n[self.owner]}"
        self._n[self.owner] += 1
        outputs = outputs or [name if i == 0 else f"{name}.{i}" for i in range(n)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=name, **attributes))
        self._produced.update(outputs)
        return outputs

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """A constant of the layer, `<layer>:<name>`; asked for again it is the same one."""
        full = f"{self.owner}:{name}"
        if full not in self.constants:
            self.constants[full] = numpy_helper.from_array(np.asarray(value, dtype, order="C"), full)
        return full

    def axis(self, n: int) -> str:
        """The number of an axis, as operators take it."""
        return self.constant(f"axis{n}", [n], np.int64)

    def slice(self, x: str, start: int, end: int, axis: int) -> str:
        """x[start:end] along an axis."""
        bounds = [self.constant(f"{what}{n}", [n], np.int64) for what, n in (("start", start), ("end", end))]
        return self.op("Slice", x, *bounds, self.axis(axis))

    def publish(self, name: str, public: str) -> None:
        """Give a tensor a name of the finished graph; a copy where it has one already, or is an input."""
        if name in self._public or name not in self._produced:
            self.op("Identity", name, output=public)
        else:
            self._public[name] = public

    def finished(self) -> list[NodeProto]:
        """The operators under their tensors' public names."""
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [self._public.get(n, n) for n in names]
        return self.nodes

    def total(self, terms: list[str]) -> str:
        """The sum of the terms, added in their order."""
        total = terms[0]
        for term in terms[1:]:
            total = self.op("Add", total, term)
        return total


def _with_bias(ops: Ops, inputs: list[str], bias: Array | None) -> list[str]:
    return inputs if bias is None else [*inputs, ops.constant("bias", bias)]


def _conv2d(ops: Ops, node: Conv2d, x: str, shape: Shape) -> str:
    (top, left), kernel = node.padding, list(node.weight.shape[2:])
    return ops.op(
        "Conv", *_with_bias(ops, [x, ops.constant("weight", node.weight)], node.bias), kernel_shape=kernel,
        strides=list(node.stride), pads=[top, left, top, left], dilations=list(node.dilation), group=node.groups,
    )


def _linear(ops: Ops, node: Linear, x: str, shape: Shape) -> str:
    return ops.op("Gemm", *_with_bias(ops, [x, ops.constant("weight", node.weight)], node.bias), transB=1)


def _max_pool(ops: Ops, node: MaxPool2d, x: str, shape: Shape) -> str:
    return ops.op("MaxPool", x, kernel_shape=list(node.kernel), strides=list(node.kernel))


def _sum_pool(ops: Ops, node: SumPool2d, x: str, shape: Shape) -> str:
    """A convolution of ones: an average times its area would be rounded twice."""
    ones = ops.constant("ones", np.ones((shape[0], 1, *node.kernel)))
    return ops.op("Conv", x, ones, kernel_shape=list(node.kernel), strides=list(node.kernel), group=shape[0])


def _flatten(ops: Ops, node: Flatten, x: str, shape: Shape) -> str:
    return ops.op("Flatten", x, axis=1)


def _vote(ops: Ops, node: Vote, x: str, shape: Shape) -> str:
    if node.group == 1:
        return ops.op("Identity", x)
    groups = ops.op("Reshape", x, ops.constant("groups", [-1, node.n_classes, node.group], np.int64))
    return ops.op("ReduceMean", groups, ops.constant("axes", [2], np.int64), keepdims=0)


def _qcfs(ops: Ops, node: Qcfs, x: str, shape: Shape) -> str:
    lam, zero = ops.constant("lam", node.lam), ops.constant("zero", 0.0)
    if node.levels is None:
        return ops.op("Clip", x, zero, lam)
    levels = ops.constant("levels", node.levels)
    scaled = ops.op("Add", ops.op("Mul", ops.op("Div", x, lam), levels), ops.constant("half", 0.5))
    share = ops.op("Div", ops.op("Floor", scaled), levels)
    return ops.op("Mul", ops.op("Clip", share, zero, ops.constant("one", 1.0)), lam)


# (writer, node, input [N, *shape], shape without batch) -> output [N, ...]
STATELESS: dict[type[Node], Callable[[Ops, Any, str, Shape], str]] = {
    Conv2d: _conv2d, Linear: _linear, MaxPool2d: _max_pool, SumPool2d: _sum_pool, Flatten: _flatten, Vote: _vote,
    Relu: lambda ops, node, x, shape: ops.op("Relu", x), Qcfs: _qcfs,
}


def _charge(ops: Ops, node: Lif, x: str, v: str) -> str:
    if node.inv_tau == 0 and not node.decay_input:
        return ops.op("Add", x, v)
    inv_tau = ops.constant("inv_tau", node.inv_tau)
    lost = ops.op("Sub", v, ops.constant("v_reset", node.v_reset)) if node.v_reset else v
    if node.decay_input:
        return ops.op("Add", ops.op("Mul", ops.op("Sub", x, lost), inv_tau), v)
    return ops.op("Add", ops.op("Sub", x, ops.op("Mul", lost, inv_tau)), v)


def _lif(ops: Ops, node: Lif, x: str, v: str) -> tuple[str, str]:
    h = _charge(ops, node, x, v)
    needs_threshold = not node.multi_spike or node.v_th != 1
    threshold = ops.constant("v_th", node.v_th) if needs_threshold else ""
    if node.multi_spike:
        n = ops.op("Relu", ops.op("Floor", h if node.v_th == 1 else ops.op("Div", h, threshold)))
        fired = ops.op("Greater", n, ops.constant("zero", 0.0)) if node.reset == "hard" else ""
    else:
        fired = ops.op("GreaterOrEqual" if node.fire == ">=" else "Greater", h, threshold)
        n = ops.op("Cast", fired, to=FLOAT)
    if node.reset == "hard":
        v = ops.op("Where", fired, ops.constant("v_reset", node.v_reset), h)
    else:
        v = ops.op("Sub", h, n if node.v_th == 1 else ops.op("Mul", n, threshold))
    return n, v if node.v_min is None else ops.op("Max", v, ops.constant("v_min", node.v_min))


def _li(ops: Ops, node: Li, x: str, v: str) -> tuple[str, str]:
    driven = x if np.all(node.gain == 1) else ops.op("Mul", x, ops.constant("gain", node.gain))
    if np.any(node.inv_tau):
        lost = ops.op("Sub", v, ops.constant("v_leak", node.v_leak)) if np.any(node.v_leak) else v
        driven = ops.op("Sub", driven, ops.op("Mul", lost, ops.constant("inv_tau", node.inv_tau)))
    v = ops.op("Add", v, driven)
    return v, v


def start(ops: Ops, node: Node) -> str:
    """The membrane of a stateful node before its first timestep, a constant that broadcasts."""
    return ops.constant("start", STATEFUL[type(node)][1](node))


def restarted(ops: Ops, node: Any, v: str, clock: str) -> str:
    """The membrane [B, *shape] before the step of the clock [B], the first one where the layer starts a sample."""
    after = ops.op("Add", clock, ops.constant("one", 1, np.int64))
    phase = ops.op("Mod", after, ops.constant("interval", node.reset_interval, np.int64))
    now = ops.op("Equal", phase, ops.constant("offset", node.reset_offset % node.reset_interval, np.int64))
    now = ops.op("Reshape", now, ops.constant("each", [-1, *[1] * len(node.shape)], np.int64))
    return ops.op("Where", now, start(ops, node), v)


# ((writer, node, input, membrane) -> (output, membrane after), node -> membrane before the first timestep); shapes broadcast
STATEFUL: dict[type[Node], tuple[Callable[[Ops, Any, str, str], tuple[str, str]], Callable[[Any], float | Array]]] = {
    Lif: (_lif, lambda node: float(node.v_reset)), Li: (_li, lambda node: node.v_leak),
}


def check_expressible(node: Node) -> None:
    """Raise UsageError naming a node that has no form here."""
    if is_integer_node(node):
        raise UsageError(
            f"a {type(node).__name__} in the integers of a chip", where=node.name, code="not_onnx",
            limit="ONNX forms are written for networks in real numbers", remedy="Give the model that it was quantized from",
        )
    if type(node) not in STATELESS and type(node) not in STATEFUL:
        known = ", ".join(sorted(kind.__name__ for kind in (*STATELESS, *STATEFUL)))
        raise UsageError(f"{type(node).__name__} has no ONNX form", where=node.name, code="not_onnx", limit=f"Known: {known}")
    for name, value in vars(node).items():
        if isinstance(value, np.ndarray | float) and np.abs(value).max(initial=0) > np.finfo(np.float32).max:
            raise UsageError(f"{name} exceeds what float32 holds", where=node.name, code="not_onnx",
                             limit=f"At most {np.finfo(np.float32).max:.3g}", remedy="Scale the weights and the threshold")


def op_counts(model: ModelProto, *, shaping: bool = False) -> dict[str, int]:
    """Operators of each layer of a step form, a sum of several edges counted with the layer that they enter.

    Operators that compute nothing (`SHAPING`) are left out unless `shaping`. Raises NeurodeployError for a model whose
    operators name no layer.
    """
    found: Counter[str] = Counter()
    for node in model.graph.node:
        layer, colon, _ = node.name.rpartition(":")
        if not colon:
            raise NeurodeployError(f"operator {node.name!r} names no layer", where=model.graph.name, code="not_onnx")
        if shaping or node.op_type not in SHAPING:
            found[layer] += 1
    return dict(found)
