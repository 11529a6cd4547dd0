"""Others' `.nir` files as graphs: feed-forward networks of convolutions, linear layers, pools and IF neurons.

NIR's text has IF neurons fire above the threshold and return to v_reset; the tools that write such networks for
event-driven chips mean something else, which no field of the file says. `NirOptions` states it, and what it leaves open is
assumed as sinabs 3.1.3 has it, with a warning (`nir_assumed`).

Shapes are inferred from the input. Average pools become sum pools, their factor goes into the weights behind (in the
precision of the file, which is sinabs' arithmetic); biases that are all zero are dropped.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import nir
import numpy as np

from neurodeploy.errors import NeurodeployError, NeurodeployWarning, UnsafeFile
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nir_foreign_nodes import READERS, End, NodeReader
from neurodeploy.ir.nodes import Fire, Flatten, Node, Reset, Shape, Vote

_ASSUMED: dict[str, Any] = {
    "fire": ">=", "reset": "soft", "v_min": "-v_threshold", "multi_spike": True, "n_timesteps": 32,
}


@dataclass(frozen=True)
class NirOptions:
    """What a NIR file does not say about its IF neurons. None: not known, assume sinabs' convention.

    fire: `>=` or `>` (assumed `>=`). reset: `soft` (subtract) or `hard` (assumed `soft`). v_min: floor of the state, a
    number, `none` or `-v_threshold` (assumed). multi_spike: several spikes a timestep (assumed). n_timesteps: of the graph
    (assumed 32). n_classes: add a Vote of equal groups of output neurons; nothing by default.
    """

    fire: Fire | None = None
    reset: Reset | None = None
    v_min: float | Literal["none", "-v_threshold"] | None = None
    multi_spike: bool | None = None
    n_timesteps: int | None = None
    n_classes: int | None = None

    def settled(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Every convention with its value, and the names of those that were assumed."""
        assumed = tuple(name for name in _ASSUMED if getattr(self, name) is None)
        return {name: _ASSUMED[name] if name in assumed else getattr(self, name) for name in _ASSUMED}, assumed


def to_graph(found: nir.NIRGraph, where: str, options: NirOptions) -> Graph:
    """The float graph of a NIR graph that was not written by neurodeploy; metadata `nir` holds the conventions.

    Raises UnsafeFile naming the node that is not supported or not valid. Warns about what was assumed.
    """
    conventions, assumed = options.settled()
    graph = _Builder(found, where, conventions).build(options.n_classes)
    if assumed:
        said = ", ".join(f"{name} {conventions[name]}" for name in assumed)
        warnings.warn(
            NeurodeployWarning(f"the file leaves conventions open, assumed: {said}", code="nir_assumed", where=where,
                               remedy="State them where you know better: --set nir.reset=hard, or NirOptions"),
            stacklevel=3,
        )
    return graph


class _Builder:
    """Translates node by node in topological order. `scale[name]`: what average pools left for the next weights."""

    def __init__(self, found: nir.NIRGraph, where: str, conventions: dict[str, Any]) -> None:
        self.found, self.where, self.conventions = found, where, conventions
        self.reader = NodeReader(where, conventions)
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.shapes: dict[str, Shape] = {}
        self.scale: dict[str, float] = {}

    def build(self, n_classes: int | None) -> Graph:
        nodes, incoming = self.found.nodes, self._incoming()
        odd = [f"{name} ({type(node).__name__})" for name, node in nodes.items() if type(node) not in READERS]
        if odd:
            known = ", ".join(kind.__name__ for kind in READERS)
            raise UnsafeFile(f"unsupported nodes: {', '.join(odd)}", where=self.where, limit=f"Supported: {known}",
                             remedy="Write the network with these nodes")
        for kind in (nir.Input, nir.Output):
            n = sum(isinstance(node, kind) for node in nodes.values())
            if n != 1:
                raise UnsafeFile(f"{n} nodes of type {kind.__name__}", where=self.where, limit="One")
        waiting = list(nodes)
        while waiting:
            name = next((n for n in waiting if all(s in self.shapes for s in incoming[n])), None)
            if name is None:
                at, seen = waiting[0], set[str]()
                while at not in seen:  # back along what is not known yet, until on the ring
                    seen.add(at)
                    at = next(s for s in incoming[at] if s not in self.shapes)
                self.reader.refuse(at, "a recurrent connection", "Feed-forward networks")
            self._add(name, nodes[name], incoming[name])
            waiting.remove(name)
        if n_classes is not None:
            self._vote(n_classes)
        self.nodes = {name: node for name, node in self.nodes.items() if not isinstance(node, End)}
        edges = tuple(e for e in self.edges if e.dst in self.nodes)
        try:
            return Graph(tuple(self.nodes.values()), edges, self.conventions["n_timesteps"], {"nir": dict(self.conventions)})
        except NeurodeployError as err:
            raise UnsafeFile(err.what, where=f"{self.where}: {err.where}", limit=err.limit) from err

    def _incoming(self) -> dict[str, list[str]]:
        incoming: dict[str, list[str]] = {name: [] for name in self.found.nodes}
        for src, dst in self.found.edges:
            for end in (src, dst):
                if end not in incoming:
                    self.reader.refuse(end, f"an edge {src} -> {dst} names it, but there is no such node")
            incoming[dst].append(src)
        return incoming

    def _add(self, name: str, node: Any, sources: list[str]) -> None:
        if bool(sources) == isinstance(node, nir.Input):
            self.reader.refuse(name, "nothing feeds it", "One input, and a way from it to every node")
        shapes, scales = {self.shapes[s] for s in sources}, {self.scale[s] for s in sources}
        if len(shapes) > 1 or len(scales) > 1:
            self.reader.refuse(
                name, f"its sources have shapes {sorted(shapes)} and factors of average pools {sorted(scales)}", "Equal ones"
            )
        shape, scale = shapes.pop() if shapes else (), scales.pop() if scales else 1.0
        new, left = self.reader.read(name, node, shape, scale)
        try:
            self.shapes[name] = new.output_shape(shape)
        except NeurodeployError as err:
            self.reader.refuse(name, err.what, err.limit)
        self.nodes[name], self.scale[name] = new, left
        self.edges += [Edge(s, name) for s in sources]

    def _vote(self, n_classes: int) -> None:
        end = next(name for name, node in self.nodes.items() if isinstance(node, End))
        shape, sources = self.shapes[end], [e.src for e in self.edges if e.dst == end]
        if len(shape) > 1:
            flat = Flatten(f"{end}.flatten")
            self.nodes[flat.name] = flat
            self.edges += [Edge(s, flat.name) for s in sources]
            sources = [flat.name]
        n = int(np.prod(shape))
        if n_classes < 1 or n % n_classes:
            self.reader.refuse(end, f"{n} output neurons for {n_classes} classes", "Equal groups of neurons")
        vote = Vote(f"{end}.vote", n_classes, n // n_classes)
        self.nodes[vote.name] = vote
        self.edges += [Edge(s, vote.name) for s in sources]
