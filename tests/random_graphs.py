"""Hypothesis strategies for small graphs of every node type."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import (
    BatchNorm,
    Conv2d,
    CubaLif,
    Flatten,
    Input,
    Lif,
    Linear,
    MaxPool2d,
    Node,
    Shape,
    Vote,
)
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


def draw_cuba(draw: st.DrawFn, rng: np.random.Generator, name: str, shape: Shape, weight: int) -> CubaLif:
    """An integer neuron layer whose threshold is within reach of weights of size `weight`."""
    decay = st.sampled_from([0, 1, 1024, 2048, 4095, 4096]) | st.integers(0, 4096)
    per = draw(st.sampled_from(["none", "one", "channel", "all"]))
    size = {"none": (1,), "one": (1,), "channel": (shape[0], *[1] * (len(shape) - 1)), "all": shape}[per]
    bias = np.zeros(size, dtype=np.int64) if per == "none" else rng.integers(-weight, weight + 1, size=size)
    interval = draw(st.none() | st.integers(1, 6))
    return CubaLif(
        name, shape=shape, i_decay=draw(decay), v_decay=draw(decay), v_th=draw(st.integers(0, 2 * weight)),
        bias_mant=bias, bias_exp=draw(st.sampled_from([6, 6, 0, -1, 9])), reset_interval=interval,
        reset_offset=draw(st.integers(0, 9)),
    )


@st.composite
def int_graphs(draw: st.DrawFn) -> IntGraph:
    """Input -> conv or linear layers with shortcuts, recurrence, extra delays -> (Vote)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["spikes", "graded", "bias"]))
    flat = draw(st.booleans())
    shape: Shape = (draw(st.integers(1, 9)),) if flat else (
        draw(st.sampled_from([1, 2, 4])), draw(st.integers(2, 6)), draw(st.integers(2, 6)))
    top = 1 if kind == "spikes" else draw(st.sampled_from([1, 15, 255, 2000]))
    nodes: list[Node] = [Input("in", shape=shape, kind=kind, max_value=top)]  # type: ignore[arg-type]
    edges: list[Edge] = []
    at = "in"
    if kind == "bias":
        nodes.append(draw_cuba(draw, rng, "n_in", shape, top))
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
        nodes.append(layer)
        edges.append(Edge(at, layer.name, draw(st.integers(0, 3))))
        shape = layer.output_shape(shape)
        nodes.append(draw_cuba(draw, rng, f"n{i}", shape, 64))
        edges.append(Edge(layer.name, f"n{i}", draw(st.sampled_from([0, 0, 0, 2]))))
        at = f"n{i}"
        if draw(st.booleans()):  # recurrence
            c = shape[0]
            size = (c, c, 1, 1) if len(shape) == 3 else (c, c)
            w = draw_weight(draw, rng, size)
            nodes.append(Conv2d(f"r{i}", weight=w) if len(shape) == 3 else Linear(f"r{i}", weight=w))
            edges += [Edge(at, f"r{i}", draw(st.integers(1, 2))), Edge(f"r{i}", at)]
        if draw(st.booleans()):  # a shortcut around a second layer of the same shape
            size = (shape[0], 1, 3, 3) if len(shape) == 3 else (shape[0], shape[0])
            w = draw_weight(draw, rng, size)
            body = Conv2d(f"b{i}", weight=w, padding=(1, 1), groups=shape[0]) if len(shape) == 3 else Linear(f"b{i}", weight=w)
            nodes += [body, draw_cuba(draw, rng, f"m{i}", shape, 2)]
            edges += [Edge(at, f"b{i}", 1), Edge(f"b{i}", f"m{i}"), Edge(at, f"m{i}", draw(st.integers(0, 2)))]
            at = f"m{i}"
        if len(shape) == 3 and draw(st.integers(0, 3)) == 0:
            nodes.append(Flatten(f"f{i}"))
            edges.append(Edge(at, f"f{i}", draw(st.integers(0, 1))))
            at, shape = f"f{i}", nodes[-1].output_shape(shape)
    if len(shape) == 1:
        group = draw(st.sampled_from([g for g in (1, 2, 3) if shape[0] % g == 0]))
        nodes.append(Vote("vote", n_classes=shape[0] // group, group=group))
        edges.append(Edge(at, "vote"))
    return IntGraph(tuple(nodes), tuple(edges), draw(st.integers(1, 5)), {"name": "random"}, target="loihi2")


@st.composite
def inputs_for(draw: st.DrawFn, graph: IntGraph) -> NDArray[np.int64]:
    """Input [T, B, *shape] within the input's range, sparse or dense."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    node = graph.inputs[0]
    size = (graph.n_timesteps, draw(st.integers(1, 4)), *node.shape)
    low = -node.max_value if node.kind == "bias" else 0
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
        Lif("out", shape=(4,)), Vote("vote", n_classes=2, group=2),
    )
    names = [n.name for n in nodes]
    edges = tuple(Edge(a, b) for a, b in pairwise(names))
    host = None
    if draw(st.booleans()):
        host = Graph((Input("in", shape=(2, 4, 5)), Flatten("f")), (Edge("in", "f"),), 1)
    return Graph(nodes, edges, draw(st.integers(1, 9)), {"arch": ["a", 1, 0.5, None]}, host=host)
