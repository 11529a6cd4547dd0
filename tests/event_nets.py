"""Small trained networks for event-driven chips, in real numbers and in integers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, Flatten, Iaf, Input, Lif, Linear, Node, SumPool2d, Vote

G = TypeVar("G", bound=Graph)


def lif(name: str, *shape: int, **changes: Any) -> Lif:
    return replace(Lif(name, shape, reset="soft", multi_spike=True, v_min=-1.0), **changes)


def conv(name: str, c_in: int, c_out: int, kernel: int = 3, **changes: Any) -> Conv2d:
    pad = kernel // 2
    weight = np.random.default_rng(c_in * 1000 + c_out).normal(0.1, 0.3, size=(c_out, c_in, kernel, kernel))
    return replace(Conv2d(name, weight, padding=(pad, pad)), **changes)


def linear(name: str, n_in: int, n_out: int) -> Linear:
    return Linear(name, np.random.default_rng(n_in).normal(0.1, 0.3, size=(n_out, n_in)))


def chain(*nodes: Node, more: tuple[tuple[str, str], ...] = (), T: int = 5, **metadata: Any) -> Graph:
    """Nodes one behind the other, and more edges."""
    edges = [(a.name, b.name) for a, b in pairwise(nodes)]
    return Graph(nodes, tuple(Edge(*pair) for pair in (*edges, *more)), T, metadata)


def changed(graph: G, **by_name: dict[str, Any]) -> G:
    """The graph with other fields in some nodes."""
    nodes: list[Any] = list(graph.nodes)
    return replace(graph, nodes=tuple(replace(n, **by_name.get(n.name, {})) for n in nodes))


def residual() -> Graph:
    """A residual block whose shortcut goes from `n1` to `n3`, then a pool and a linear layer into 5 classes of 2."""
    return chain(
        Input("input", (2, 8, 8)), conv("c1", 2, 4), lif("n1", 4, 8, 8), conv("c2", 4, 4), lif("n2", 4, 8, 8),
        conv("c3", 4, 4), lif("n3", 4, 8, 8), SumPool2d("pool", (2, 2)), Flatten("flat"), linear("fc", 64, 10),
        lif("n4", 10), Vote("vote", 5, 2), more=(("n1", "n3"),), encoding="events",
    )  # fmt: skip


def plain(n_layers: int) -> Graph:
    """`n_layers` layers of neurons one behind the other."""
    nodes: list[Node] = [Input("input", (2, 4, 4))]
    for i in range(n_layers):
        nodes += [conv(f"c{i}", 2, 2), lif(f"n{i}", 2, 4, 4)]
    return chain(*nodes)


def integers(graph: Graph, scale: float = 30.0) -> IntGraph:
    """The lowered graph with every number times one scale, rounded."""

    def whole(node: Node) -> Node:
        if isinstance(node, Conv2d | Linear):
            return replace(node, weight=np.rint(node.weight * scale).astype(np.int64))
        if isinstance(node, Lif):
            v_min = None if node.v_min is None else round(node.v_min * scale)
            return Iaf(node.name, node.shape, v_th=round(node.v_th * scale), v_min=v_min, reset=node.reset)
        return node

    return IntGraph(tuple(whole(n) for n in graph.nodes), graph.edges, graph.n_timesteps, graph.metadata)
