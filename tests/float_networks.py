"""Real-valued networks of every node type whose float32 arithmetic is exact, so that any two engines must agree bit for bit.

Weights are eighths, inputs quarters, leaks powers of two, and there are few timesteps: every sum has less than 24 bits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, Flatten, Input, Li, Lif, Linear, MaxPool2d, Node, Qcfs, Relu, Shape, SumPool2d, Vote
from numpy.typing import NDArray


def eighths(rng: np.random.Generator, shape: tuple[int, ...], most: int = 8) -> NDArray[np.float64]:
    return np.asarray(rng.integers(-most // 2, most + 1, size=shape) / 8)


@st.composite
def lifs(draw: st.DrawFn, name: str, shape: Shape) -> Lif:
    """A neuron layer in any of its variants."""
    node = Lif(
        name, shape, inv_tau=draw(st.sampled_from([0.0, 0.5, 1.0])), decay_input=draw(st.booleans()),
        v_th=draw(st.sampled_from([0.25, 0.5, 1.0])), fire=draw(st.sampled_from([">=", ">"])),
        reset=draw(st.sampled_from(["hard", "soft"])), v_reset=draw(st.sampled_from([0.0, 0.0, 0.125, -0.5])),
    )
    if draw(st.integers(0, 3)) == 0:
        node = replace(node, reset_interval=draw(st.integers(1, 3)), reset_offset=draw(st.integers(0, 4)))
    if draw(st.integers(0, 2)) == 0:
        node = replace(node, v_min=node.v_reset - draw(st.sampled_from([0.0, 0.25, 1.0])))
    if draw(st.integers(0, 2)) == 0:
        node = replace(node, multi_spike=True, fire=">=")
    return node


@st.composite
def lis(draw: st.DrawFn, rng: np.random.Generator, name: str, shape: Shape) -> Li:
    """A leaky integrator whose constants are numbers or differ by channel."""
    channels = (shape[0], *[1] * (len(shape) - 1))
    many = draw(st.booleans())
    return Li(
        name, shape, inv_tau=rng.choice([0.0, 0.5], channels) if many else draw(st.sampled_from([0.0, 0.5])),
        gain=rng.choice([0.5, 1.0], channels) if many else draw(st.sampled_from([0.5, 1.0])),
        v_leak=rng.choice([0.0, -0.25], channels) if many else draw(st.sampled_from([0.0, 0.25])),
        reset_interval=draw(st.none() | st.integers(1, 3)), reset_offset=draw(st.integers(0, 3)),
    )


@st.composite
def float_networks(draw: st.DrawFn, *, delays: bool = True) -> Graph:
    """One to three layers on maps and vectors, with pools, shortcuts, and where `delays` delays and loops too."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape: Shape = draw(st.sampled_from([(2, 5, 4), (4, 4, 4), (6,)]))
    nodes: list[Node] = [Input("in", shape, "analog")]
    edges: list[Edge] = []

    def delay() -> int:
        return draw(st.sampled_from([0, 0, 1, 2])) if delays else 0

    def add(node: Node, *sources: str, wait: int = 0) -> str:
        nodes.append(node)
        edges.extend(Edge(source, node.name, wait) for source in sources)
        return node.name

    at = "in"
    for i in range(draw(st.integers(1, 3))):
        if len(shape) == 3 and i and min(shape[1:]) > 1 and draw(st.booleans()):
            pool = draw(st.sampled_from([MaxPool2d, SumPool2d]))(f"p{i}", (2, draw(st.integers(1, 2))))
            at = add(pool, at, wait=delay())
            shape = pool.output_shape(shape)
        if len(shape) == 3 and draw(st.integers(0, 3)) == 0:
            at = add(Flatten(f"f{i}"), at)
            shape = (int(np.prod(shape)),)
        layer: Conv2d | Linear
        if len(shape) == 3:
            groups = draw(st.sampled_from([1, shape[0]]))
            weight = eighths(rng, (shape[0], shape[0] // groups, draw(st.integers(1, 3)), draw(st.integers(1, 2))))
            layer = Conv2d(f"s{i}", weight, stride=draw(st.sampled_from([(1, 1), (2, 1)])), padding=(2, 1),
                           dilation=draw(st.sampled_from([(1, 1), (2, 1)])), groups=groups)
        else:
            layer = Linear(f"s{i}", eighths(rng, (draw(st.integers(1, 8)), shape[0])))
        if draw(st.booleans()):
            layer = replace(layer, bias=eighths(rng, layer.weight.shape[:1]))
        body = add(layer, at, wait=delay())
        shape = layer.output_shape(shape)
        kind = draw(st.sampled_from(["lif", "lif", "lif", "li", "relu", "qcfs"]))
        if kind == "relu":
            body = add(Relu(f"r{i}"), body)
        if kind == "qcfs":
            body = add(Qcfs(f"q{i}", draw(st.sampled_from([0.5, 4.0])), draw(st.sampled_from([1, 4, None]))), body)
        if kind == "li":
            body = add(draw(lis(rng, f"i{i}", shape)), body)
        before = at
        at = add(draw(lifs(f"n{i}", shape)), body)
        if len(shape) == 1 and draw(st.booleans()):  # a second synapse from the same source, added
            width = next(n for n in nodes if n.name == f"s{i}").weight.shape[1]  # type: ignore[attr-defined]
            edges.append(Edge(add(Linear(f"x{i}", eighths(rng, (shape[0], width))), before, wait=delay()), at))
        if delays and len(shape) == 1 and draw(st.integers(0, 3)) == 0:  # recurrence
            edges.append(Edge(add(Linear(f"l{i}", eighths(rng, (shape[0], shape[0]), 2)), at, wait=1), at))
    if draw(st.booleans()):
        if len(shape) == 3:
            at = add(Flatten("flat"), at)
            shape = (int(np.prod(shape)),)
        groups = 2 if shape[0] % 2 == 0 else 1
        add(Vote("vote", shape[0] // groups, groups), at, wait=delay())
    return Graph(tuple(nodes), tuple(edges), draw(st.integers(1, 4)), {"name": "random"})


@st.composite
def values_for(draw: st.DrawFn, graph: Graph) -> NDArray[np.float32]:
    """Input [T, B, *shape] of quarters."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = (graph.n_timesteps, draw(st.integers(1, 3)), *graph.inputs[0].shape)
    return np.asarray(rng.integers(0, 8, size=size) / 4, dtype=np.float32)


def values(graph: Graph, batch: int = 3, seed: int = 0) -> Any:
    """The same without hypothesis."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.integers(0, 8, size=(graph.n_timesteps, batch, *graph.inputs[0].shape)) / 4, dtype=np.float32)
