"""Hypothesis strategies for small graphs of every node type."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import (
    BatchNorm,
    Conv2d,
    CubaLif,
    Delta,
    Flatten,
    Iaf,
    Input,
    Lif,
    Linear,
    MaxPool2d,
    Node,
    Shape,
    Sigma,
    SigmaDelta,
    SumPool2d,
    Vote,
)
from neurodeploy.ir.reference import input_range
from numpy.typing import NDArray

EXTREMES = (0, 1, -1, 2, -2, 126, 254, -256)


def conv_for(name: str, shape: Shape, weight: NDArray[Any], draw: st.DrawFn, groups: int) -> Conv2d:
    """A convolution with a drawn stride, padding and dilation that fits `shape`."""
    stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    least = [max(0, -(-(dilation[a] * (weight.shape[2 + a] - 1) + 1 - shape[1 + a]) // 2)) for a in (0, 1)]
    padding = (least[0] + draw(st.integers(0, 1)), least[1] + draw(st.integers(0, 2)))
    return Conv2d(name, weight=weight, stride=stride, padding=padding, dilation=dilation, groups=groups)


def draw_weight(draw: st.DrawFn, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Integer weights: random even ones of a drawn size, or extremes only."""
    if draw(st.booleans()):
        return np.asarray(rng.choice(EXTREMES, size=shape), dtype=np.int64)
    size = draw(st.sampled_from([4, 64, 254]))
    return np.asarray(rng.integers(-size // 2, size // 2 + 1, size=shape) * 2, dtype=np.int64)


def draw_cuba(
    draw: st.DrawFn, rng: np.random.Generator, name: str, shape: Shape, weight: int, *, every: bool = False
) -> CubaLif:
    """An integer neuron layer whose threshold is within reach of weights of size `weight`.

    `every`: with constants that differ by neuron or channel, initial states and other widths too.
    """
    decay = st.sampled_from([0, 1, 1024, 2048, 4095, 4096]) | st.integers(0, 4096)
    channels = (shape[0], *[1] * (len(shape) - 1))
    per = draw(st.sampled_from(["none", "one", "channel", "all"]))
    size = {"none": (1,), "one": (1,), "channel": channels, "all": shape}[per]
    bias = np.zeros(size, dtype=np.int64) if per == "none" else rng.integers(-weight, weight + 1, size=size)
    interval = draw(st.none() | st.integers(1, 6))
    node = CubaLif(
        name, shape=shape, i_decay=draw(decay), v_decay=draw(decay), v_th=draw(st.integers(0, 2 * weight)),
        bias_mant=bias, bias_exp=draw(st.sampled_from([6, 6, 0, -1, 9])), reset_interval=interval,
        reset_offset=draw(st.integers(0, 9)),
    )
    if not every:
        return node
    changes: dict[str, Any] = {}
    for field, low, high in (("i_decay", 0, 4096), ("v_decay", 0, 4096), ("v_th", -2, 2 * weight), ("bias_exp", -3, 7)):
        if draw(st.integers(0, 2)) == 0:
            changes[field] = rng.integers(low, high + 1, size=draw(st.sampled_from([channels, shape])))
    top = draw(st.sampled_from([0, 0, 100 * weight, 2**23, 2**30]))
    for field in ("i_init", "v_init"):
        changes[field] = rng.integers(-top, top + 1, size=draw(st.sampled_from([(1,), channels, shape])))
    bits, shift = draw(st.sampled_from([(24, 6), (24, 6), (24, 6), (16, 6), (32, 6), (24, 0), (12, 3)]))
    return replace(node, state_bits=bits, state_shift=shift, **changes)


def draw_neuron(draw: st.DrawFn, rng: np.random.Generator, name: str, shape: Shape, weight: int) -> Node:
    """A neuron layer of any type that an integer graph may hold."""
    kind = draw(st.sampled_from(["cuba", "cuba", "cuba", "delta", "sigma_delta", "sigma"]))
    if kind == "cuba":
        return draw_cuba(draw, rng, name, shape, weight, every=True)
    if kind == "sigma":
        return Sigma(name, shape=shape)
    size = draw(st.sampled_from([(1,), (shape[0], *[1] * (len(shape) - 1)), shape]))
    threshold: Any = rng.integers(0, weight, size=size) if draw(st.booleans()) else draw(st.integers(0, weight))
    fields: dict[str, Any] = {
        "shape": shape, "v_th": threshold, "spike_exp": draw(st.integers(0, 6)), "state_exp": draw(st.integers(0, 6)),
    }
    if kind == "delta":
        return Delta(name, **fields)
    bias = rng.integers(-weight, weight + 1, size=size) * draw(st.integers(0, 1))
    return SigmaDelta(name, bias_mant=bias, activation=draw(st.sampled_from(["relu", "unit"])), **fields)


def draw_details(draw: st.DrawFn, rng: np.random.Generator, layer: Conv2d | Linear) -> Conv2d | Linear:
    """The synapse with what an integer graph may add to it."""
    binary = draw(st.integers(0, 3)) == 0
    if isinstance(layer, Conv2d):
        return replace(layer, binary=binary, sum_bits=draw(st.sampled_from([None, 24, 8])))
    delays = rng.integers(0, draw(st.integers(1, 5)), size=layer.weight.shape) if draw(st.integers(0, 2)) == 0 else None
    return replace(layer, binary=binary, weight_exp=draw(st.sampled_from([0, 0, 1, -1, -4])), delays=delays)


@st.composite
def int_graphs(draw: st.DrawFn, every: bool = False) -> IntGraph:
    """Input -> conv or linear layers with shortcuts, recurrence, extra delays -> (Vote).

    `every`: with every node type and field of an integer graph, not only those that training makes.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["spikes", "graded", "bias"]))
    flat = draw(st.booleans())
    shape: Shape = (draw(st.integers(1, 9)),) if flat else (
        draw(st.sampled_from([1, 2, 4])), draw(st.integers(2, 6)), draw(st.integers(2, 6)))
    top = 1 if kind == "spikes" else draw(st.sampled_from([1, 15, 255, 2000]))
    signed = every and kind == "graded" and draw(st.booleans())
    nodes: list[Node] = [Input("in", shape=shape, kind=kind, max_value=top, signed=signed)]  # type: ignore[arg-type]
    edges: list[Edge] = []
    at = "in"

    def neuron(name: str, weight: int) -> Node:
        return (draw_neuron if every else draw_cuba)(draw, rng, name, shape, weight)

    if kind == "bias" or (every and draw(st.integers(0, 3)) == 0):
        nodes.append(neuron("n_in", top))
        edges.append(Edge("in", "n_in"))
        at = "n_in"
    for i in range(draw(st.integers(1, 3))):
        layer: Conv2d | Linear
        if len(shape) == 3:
            groups = draw(st.sampled_from([g for g in (1, 2, 4) if shape[0] % g == 0]))
            size = (groups * draw(st.integers(1, 2)), shape[0] // groups, draw(st.integers(1, 3)), draw(st.integers(1, 3)))
            layer = conv_for(f"s{i}", shape, draw_weight(draw, rng, size), draw, groups)
        else:
            layer = Linear(f"s{i}", weight=draw_weight(draw, rng, (draw(st.integers(1, 12)), shape[0])))
        layer = draw_details(draw, rng, layer) if every else layer
        nodes.append(layer)
        edges.append(Edge(at, layer.name, draw(st.integers(0, 3))))
        shape = layer.output_shape(shape)
        nodes.append(neuron(f"n{i}", 64))
        edges.append(Edge(layer.name, f"n{i}", draw(st.sampled_from([0, 0, 0, 2]))))
        at = f"n{i}"
        if draw(st.booleans()):  # recurrence
            c = shape[0]
            size = (c, c, 1, 1) if len(shape) == 3 else (c, c)
            w = draw_weight(draw, rng, size)
            loop: Conv2d | Linear = Conv2d(f"r{i}", weight=w) if len(shape) == 3 else Linear(f"r{i}", weight=w)
            nodes.append(draw_details(draw, rng, loop) if every else loop)
            edges += [Edge(at, f"r{i}", draw(st.integers(1, 2))), Edge(f"r{i}", at)]
        if draw(st.booleans()):  # a shortcut around a second layer of the same shape
            size = (shape[0], 1, 3, 3) if len(shape) == 3 else (shape[0], shape[0])
            w = draw_weight(draw, rng, size)
            body = Conv2d(f"b{i}", weight=w, padding=(1, 1), groups=shape[0]) if len(shape) == 3 else Linear(f"b{i}", weight=w)
            nodes += [draw_details(draw, rng, body) if every else body, neuron(f"m{i}", 2)]
            edges += [Edge(at, f"b{i}", 1), Edge(f"b{i}", f"m{i}"), Edge(at, f"m{i}", draw(st.integers(0, 2)))]
            at = f"m{i}"
        if every and len(shape) == 3 and min(shape[1:]) >= 2 and draw(st.integers(0, 2)) == 0:
            nodes.append(MaxPool2d(f"p{i}", kernel=draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))))
            edges.append(Edge(at, f"p{i}", draw(st.integers(0, 1))))
            at, shape = f"p{i}", nodes[-1].output_shape(shape)
        if len(shape) == 3 and draw(st.integers(0, 3)) == 0:
            nodes.append(Flatten(f"f{i}"))
            edges.append(Edge(at, f"f{i}", draw(st.integers(0, 1))))
            at, shape = f"f{i}", nodes[-1].output_shape(shape)
    if len(shape) == 1:
        group = draw(st.sampled_from([g for g in (1, 2, 3) if shape[0] % g == 0]))
        nodes.append(Vote("vote", n_classes=shape[0] // group, group=group))
        edges.append(Edge(at, "vote"))
    if every and draw(st.integers(0, 4)) == 0:  # neurons that nothing feeds add to the last layer of neurons
        last = next(n for n in reversed(nodes) if n.is_neuron)
        nodes.append(draw_cuba(draw, rng, "alone", last.shape, 64, every=True))  # type: ignore[attr-defined]
        edges.append(Edge("alone", last.name, draw(st.integers(0, 1))))
    return IntGraph(tuple(nodes), tuple(edges), draw(st.integers(1, 5)), {"name": "random"}, target="loihi2")


def draw_iaf(draw: st.DrawFn, rng: np.random.Generator, name: str, shape: Shape) -> Iaf:
    """Neurons of DYNAP-CNN whose threshold is within reach of small weights, some of which run away."""
    size = draw(st.sampled_from([(1,), (shape[0], *[1] * (len(shape) - 1)), shape]))
    bias = rng.integers(-9, 12, size=size) * draw(st.sampled_from([0, 0, 1]))
    v_min = draw(st.none() | st.sampled_from([0, -1, -40, -(2**20)]))
    return Iaf(
        name, shape=shape, v_th=draw(st.sampled_from([1, 2, 37, 200])), v_min=v_min, bias=bias,
        reset=draw(st.sampled_from(["soft", "soft", "hard"])), multi_spike=draw(st.sampled_from([True, True, False])),
        v_init=rng.integers(-30, 30, size=size) * draw(st.sampled_from([0, 0, 1, 2**24])),
    )


@st.composite
def iaf_graphs(draw: st.DrawFn) -> IntGraph:
    """Input -> (pool) -> conv or linear layers with sum pools, branches that merge, recurrence, delays -> (Vote)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    flat = draw(st.integers(0, 3)) == 0
    shape: Shape = (draw(st.integers(1, 9)),) if flat else (
        draw(st.sampled_from([1, 2, 4])), draw(st.integers(2, 7)), draw(st.integers(2, 7)))
    kind = draw(st.sampled_from(["graded", "graded", "spikes"]))
    top = 1 if kind == "spikes" else draw(st.sampled_from([1, 3, 255]))
    nodes: list[Node] = [Input("in", shape=shape, kind=kind, max_value=top)]  # type: ignore[arg-type]
    edges: list[Edge] = []
    at = "in"
    delay = draw(st.sampled_from([0, 0, 1]))  # sinabs has none

    def add(node: Node, source: str, steps: int = 0) -> str:
        nodes.append(node)
        edges.append(Edge(source, node.name, steps))
        return node.name

    for i in range(draw(st.integers(1, 3))):
        if len(shape) == 3 and draw(st.integers(0, 2)) == 0:
            kernel = tuple(draw(st.integers(1, min(2, size))) for size in shape[1:])
            at = add(SumPool2d(f"p{i}", kernel=kernel), at)  # type: ignore[arg-type]
            shape = nodes[-1].output_shape(shape)
        layer: Conv2d | Linear
        if len(shape) == 3:
            groups = draw(st.sampled_from([1, *[g for g in (2, 4) if shape[0] % g == 0]]))
            size = (groups * draw(st.integers(1, 2)), shape[0] // groups, draw(st.integers(1, 3)), draw(st.integers(1, 3)))
            layer = conv_for(f"s{i}", shape, draw_weight(draw, rng, size), draw, groups)
        else:
            layer = Linear(f"s{i}", weight=draw_weight(draw, rng, (draw(st.integers(1, 12)), shape[0])))
        at = add(draw_details(draw, rng, layer) if draw(st.integers(0, 3)) == 0 else layer, at, delay)
        shape = layer.output_shape(shape)
        at = add(draw_iaf(draw, rng, f"n{i}", shape), at)
        if draw(st.integers(0, 5)) == 0:  # recurrence
            loop = add(Flatten(f"l{i}"), at, 1) if len(shape) == 3 else at
            if len(shape) == 1:
                add(Linear(f"r{i}", weight=draw_weight(draw, rng, (shape[0], shape[0])) // 8), loop, 1)
                edges.append(Edge(f"r{i}", at))
        if len(shape) == 3 and draw(st.booleans()):  # two branches from one layer, pooled alike, that merge
            pooled = tuple(draw(st.integers(1, min(2, size))) for size in shape[1:])
            ends = []
            for k in (0, 1):
                end = add(SumPool2d(f"b{i}.{k}", kernel=pooled), at)  # type: ignore[arg-type]
                if k or draw(st.booleans()):
                    depthwise = draw_weight(draw, rng, (shape[0], 1, 3, 3))
                    body = Conv2d(f"c{i}.{k}", weight=depthwise, padding=(1, 1), groups=shape[0])
                    inner = nodes[-1].output_shape(shape)
                    end = add(draw_iaf(draw, rng, f"m{i}.{k}", inner), add(body, end, delay))
                ends.append(end)
            shape = SumPool2d("", kernel=pooled).output_shape(shape)  # type: ignore[arg-type]
            merge = Conv2d(f"d{i}", weight=draw_weight(draw, rng, (2, shape[0], 1, 1)))
            at = add(merge, ends[0])
            edges.append(Edge(ends[1], merge.name, delay))
            shape = (2, *shape[1:])
            at = add(draw_iaf(draw, rng, f"e{i}", shape), at)
        if len(shape) == 3 and draw(st.integers(0, 2)) == 0:
            at = add(Flatten(f"f{i}"), at)
            shape = nodes[-1].output_shape(shape)
    if len(shape) == 1:
        add(Vote("vote", n_classes=shape[0]), at)
    return IntGraph(tuple(nodes), tuple(edges), draw(st.integers(1, 6)), {"name": "random"})


@st.composite
def inputs_for(draw: st.DrawFn, graph: IntGraph) -> NDArray[np.int64]:
    """Input [T, B, *shape] within the input's range, sparse or dense."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    node = graph.inputs[0]
    size = (graph.n_timesteps, draw(st.integers(1, 4)), *node.shape)
    low = int(input_range(node)[0])
    values = rng.integers(low, node.max_value + 1, size=size)
    return np.asarray(values * (rng.random(size) < draw(st.sampled_from([0.1, 0.5, 1.0]))), dtype=np.int64)


@st.composite
def float_graphs(draw: st.DrawFn) -> Graph:
    """A small real-valued graph with batch norm and pooling."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    c = draw(st.integers(1, 3))
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    nodes: tuple[Node, ...] = (
        Input("in", shape=(2, 4, 5)),
        Conv2d("conv", weight=rng.normal(size=(c, 2, 3, 3)).astype(dtype), padding=(1, 1)),
        BatchNorm("bn", *(rng.random(c) for _ in range(4)), eps=draw(st.floats(1e-6, 1e-2))),
        Lif("n", shape=(c, 4, 5), inv_tau=draw(st.floats(0, 1)), decay_input=draw(st.booleans()),
            v_th=draw(st.floats(0.1, 2)), fire=draw(st.sampled_from([">", ">="])),
            reset=draw(st.sampled_from(["hard", "soft"])), reset_interval=draw(st.none() | st.integers(1, 5))),
        MaxPool2d("pool"), Flatten("flat"),
        Linear("fc", weight=rng.normal(size=(4, c * 4)), bias=rng.normal(size=4)),
        Lif("out", shape=(4,), multi_spike=draw(st.booleans()), v_min=draw(st.none() | st.floats(-3, 0))),
        Vote("vote", n_classes=2, group=2),
    )
    names = [n.name for n in nodes]
    edges = tuple(Edge(a, b) for a, b in pairwise(names))
    host = None
    if draw(st.booleans()):
        host = Graph((Input("in", shape=(2, 4, 5)), Flatten("f")), (Edge("in", "f"),), 1)
    return Graph(nodes, edges, draw(st.integers(1, 9)), {"arch": ["a", 1, 0.5, None]}, host=host)
