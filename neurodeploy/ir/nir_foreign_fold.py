"""Factors and constants of what neurons receive, moved into the synapses in front of them.

A neuron that adds gain * a + offset, with a = W x + b, adds a' = (gain W) x + (gain b + offset). Rows of a Linear and output
channels of a Conv2d take them, past a Flatten; a factor also past a sum pool, with which it commutes within a channel. Where
no weights stand in front, or others read them too, a synapse of its own takes them, one to one (`name.factor`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.ir.graph import Edge
from neurodeploy.ir.nir_foreign_nodes import MOST_VALUES, NodeReader
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Linear, Node, Shape, SumPool2d


class Folder:
    """Changes `nodes`, `edges` and `shapes` of the graph that is built in place."""

    def __init__(self, reader: NodeReader, nodes: dict[str, Node], edges: list[Edge], shapes: dict[str, Shape]) -> None:
        self.reader, self.nodes, self.edges, self.shapes = reader, nodes, edges, shapes

    def factor(self, name: str, gain: Array) -> None:
        """Multiply all that arrives at a node by `gain`, 0-d or of its shape. Raises UnsafeFile naming it."""
        self._factor(name, name, gain)

    def _factor(self, blamed: str, at: str, gain: Array) -> None:
        for edge in [e for e in self.edges if e.dst == at]:
            src, node = edge.src, self.nodes[edge.src]
            alone = self._feeds_only(edge)
            if alone and isinstance(node, Conv2d | Linear):
                rows = self._rows(blamed, src, gain)
                bias = None if node.bias is None else node.bias * rows
                self.nodes[src] = replace(node, weight=node.weight * rows.reshape(-1, *[1] * (node.weight.ndim - 1)), bias=bias)
            elif alone and isinstance(node, Flatten | SumPool2d):
                shape = self._arriving(src)
                if gain.ndim and np.prod(shape, dtype=float) > MOST_VALUES:
                    self.reader.refuse(blamed, f"factors that differ, past {src} of shape {shape}",
                                       f"At most {MOST_VALUES} values")
                if gain.ndim and isinstance(node, SumPool2d):
                    further: Array = np.broadcast_to(self._rows(blamed, src, gain)[:, np.newaxis, np.newaxis], shape)
                else:
                    further = gain.reshape(shape) if gain.ndim else gain
                self._factor(blamed, src, further)
            else:
                self._one_to_one(edge, self._rows(blamed, src, gain))

    def constant(self, name: str, offset: Array) -> None:
        """Add a constant, 0-d or of its shape, to what arrives at a node in every timestep. Raises UnsafeFile naming it."""
        at = name
        while True:
            sources = [e for e in self.edges if e.dst == at]
            taker = next((e for e in sources if isinstance(self.nodes[e.src], Conv2d | Linear) and self._feeds_only(e)), None)
            flat = taker is None and len(sources) == 1 and isinstance(self.nodes[sources[0].src], Flatten)
            if not flat or not self._feeds_only(sources[0]):
                break
            at = sources[0].src
            offset = offset.reshape(self._arriving(at)) if offset.ndim else offset
        if taker is None:
            n = self.shapes[sources[0].src][0]
            taker = self._one_to_one(sources[0], np.ones(n))
        node = self.nodes[taker.src]
        assert isinstance(node, Conv2d | Linear)
        bias = np.zeros(len(node.weight)) if node.bias is None else node.bias
        self.nodes[taker.src] = replace(node, bias=bias + self._rows(name, taker.src, offset, "v_leak"))

    def _one_to_one(self, edge: Edge, rows: Array) -> Edge:
        """A synapse on an edge that multiplies each row or channel; returns the edge out of it."""
        shape, name = self.shapes[edge.src], f"{edge.dst}.factor"
        while name in self.nodes:
            name += "_"
        if len(shape) == 1 and shape[0] ** 2 > MOST_VALUES:
            self.reader.refuse(edge.dst, f"a factor for each of {shape[0]} values, with no weights in front to take it",
                               f"At most {MOST_VALUES} weights", "Use a convolution or linear layer in front of it")
        new: Conv2d | Linear = Linear(name, np.diag(rows))
        if len(shape) == 3:
            new = Conv2d(name, rows.reshape(-1, 1, 1, 1), groups=len(rows))
        self.nodes[name], self.shapes[name] = new, shape
        at = self.edges.index(edge)
        self.edges[at : at + 1] = [replace(edge, dst=name), Edge(name, edge.dst)]
        return self.edges[at + 1]

    def _arriving(self, name: str) -> Shape:
        return next(self.shapes[e.src] for e in self.edges if e.dst == name)

    def _feeds_only(self, edge: Edge) -> bool:
        return [e.dst for e in self.edges if e.src == edge.src] == [edge.dst]

    def _rows(self, blamed: str, src: str, gain: Array, what: str = "factors") -> Array:
        """One factor for each row or channel that `src` puts out."""
        n = self.shapes[src][0]
        by_row = gain.reshape(n, -1) if gain.ndim else np.full((n, 1), float(gain))
        if (by_row != by_row[:, :1]).any():
            self.reader.refuse(blamed, f"{what} of {gain.min():g} to {gain.max():g} that differ within a channel",
                               "One value a channel", "Use one threshold, r, v_leak and Scale for the neurons of a channel")
        return by_row[:, 0].astype(np.float64)
