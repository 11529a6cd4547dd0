"""Factors and constants of what neurons receive, moved into the synapses in front of them.

A neuron that adds gain * a + offset, with a = W x + b, adds a' = (gain W) x + (gain b + offset). Rows of a Linear and output
channels of a Conv2d take them, past a Flatten; a factor also past a sum pool, with which it commutes within a channel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.ir.graph import Edge
from neurodeploy.ir.nir_foreign_nodes import MOST_VALUES, NodeReader
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Linear, Node, Shape, SumPool2d

_HERE = "Put the factor into weights, or use a convolution or linear layer in front of it"


class Folder:
    """Changes `nodes` in place; edges are those of the graph that is built."""

    def __init__(self, reader: NodeReader, nodes: dict[str, Node], edges: list[Edge], shapes: dict[str, Shape]) -> None:
        self.reader, self.nodes, self.edges, self.shapes = reader, nodes, edges, shapes

    def factor(self, name: str, gain: Array) -> None:
        """Multiply all that arrives at a node by `gain`, 0-d or of its shape. Raises UnsafeFile naming it."""
        self._factor(name, name, gain)

    def _factor(self, blamed: str, at: str, gain: Array) -> None:
        for edge in self.edges:
            if edge.dst != at:
                continue
            src = self._only_reader(blamed, edge)
            node = self.nodes[src]
            if isinstance(node, Conv2d | Linear):
                rows = self._rows(blamed, src, gain)
                bias = None if node.bias is None else node.bias * rows
                self.nodes[src] = replace(node, weight=node.weight * rows.reshape(-1, *[1] * (node.weight.ndim - 1)), bias=bias)
            elif isinstance(node, Flatten | SumPool2d):
                (shape,) = {self.shapes[e.src] for e in self.edges if e.dst == src}
                if gain.ndim and np.prod(shape, dtype=float) > MOST_VALUES:
                    self.reader.refuse(blamed, f"factors that differ, past {src} of shape {shape}",
                                       f"At most {MOST_VALUES} values")
                if gain.ndim and isinstance(node, SumPool2d):
                    further: Array = np.broadcast_to(self._rows(blamed, src, gain)[:, np.newaxis, np.newaxis], shape)
                else:
                    further = gain.reshape(shape) if gain.ndim else gain
                self._factor(blamed, src, further)
            else:
                self.reader.refuse(blamed, f"a factor of {_span(gain)}, of r, a Scale or an average pool, with no weights to "
                                   f"take it: {src} feeds it", "A convolution or linear layer", _HERE)

    def constant(self, name: str, offset: float) -> None:
        """Add a constant to what arrives at a node in every timestep. Raises UnsafeFile naming it."""
        at = name
        while True:
            sources = [e for e in self.edges if e.dst == at and e.delay == 0]
            synapse = next((e for e in sources if isinstance(self.nodes[e.src], Conv2d | Linear)), None)
            if synapse is not None or len(sources) != 1 or not isinstance(self.nodes[sources[0].src], Flatten):
                break
            at = self._only_reader(name, sources[0])
        if synapse is None:
            self.reader.refuse(name, "v_leak is not v_reset, and no weights in front can carry the difference as a bias",
                               "A convolution or linear layer in front", "Use v_leak = v_reset")
        src = self._only_reader(name, synapse)
        node = self.nodes[src]
        assert isinstance(node, Conv2d | Linear)
        bias = np.zeros(len(node.weight)) if node.bias is None else node.bias
        self.nodes[src] = replace(node, bias=bias + offset)

    def _only_reader(self, blamed: str, edge: Edge) -> str:
        readers = [e.dst for e in self.edges if e.src == edge.src]
        if len(readers) != 1:
            self.reader.refuse(blamed, f"{edge.src} feeds {', '.join(readers)}, and its weights would have to take a factor or "
                               f"bias for {blamed} alone", "Weights of its own in front", _HERE)
        return edge.src

    def _rows(self, blamed: str, src: str, gain: Array) -> Array:
        """One factor for each row or channel that `src` puts out."""
        n = self.shapes[src][0]
        by_row = gain.reshape(n, -1) if gain.ndim else np.full((n, 1), float(gain))
        if (by_row != by_row[:, :1]).any():
            self.reader.refuse(blamed, f"factors of {_span(gain)} that differ within a channel", "One factor a channel", _HERE)
        return by_row[:, 0].astype(np.float64)


def _span(gain: Array) -> str:
    return f"{gain.min():g}" if gain.min() == gain.max() else f"{gain.min():g} to {gain.max():g}"
