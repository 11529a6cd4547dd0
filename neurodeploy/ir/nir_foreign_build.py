"""Others' NIR graphs, node by node in topological order, as a Graph of ours."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np

from neurodeploy.errors import NeurodeployError, UnsafeFile
from neurodeploy.ir.checks import check_graph
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nir_foreign_flat import Pairs, flattened, loops
from neurodeploy.ir.nir_foreign_fold import Folder
from neurodeploy.ir.nir_foreign_neurons import READERS, read_node
from neurodeploy.ir.nir_foreign_nodes import ONE, End, NodeReader, Read
from neurodeploy.ir.nodes import Array, Flatten, Node, Shape, Vote


def flat_nodes(found: nir.NIRGraph, where: str) -> tuple[dict[str, Any], Pairs]:
    """(nodes, edges) without graphs inside, all of types that can be read; raises one UnsafeFile naming all others."""
    nodes, edges = flattened(found, where)
    odd = [f"{name} ({type(node).__name__})" for name, node in nodes.items() if type(node) not in READERS]
    if odd:
        known = ", ".join(kind.__name__ for kind in READERS)
        raise UnsafeFile(f"unsupported nodes: {', '.join(odd)}", where=where, limit=f"Supported: {known}",
                         remedy="Write the network with these nodes")
    for kind, end in ((nir.Input, 1), (nir.Output, 0)):
        names = [name for name, node in nodes.items() if isinstance(node, kind)]
        if len(names) != 1:
            raise UnsafeFile(f"{len(names)} nodes of type {kind.__name__}", where=where, limit="One")
        wrong = next((e for e in edges if e[end] == names[0]), None)
        if wrong is not None:
            raise UnsafeFile(f"an edge {wrong[0]} -> {wrong[1]}", where=f"{where}: {names[0]}",
                             limit="Nothing feeds the input, and the output feeds nothing")
    return nodes, edges


class Builder:
    """left[name]: factor for the weights behind; fronts[name]: the integrator of ours in front of a node, where it has one.

    repairs: what was put right so far; reading adds to it.
    """

    def __init__(
        self, flat: tuple[dict[str, Any], Pairs], where: str, conventions: dict[str, Any], repairs: list[str]
    ) -> None:
        (self.found, pairs), self.where, self.conventions = flat, where, conventions
        self.incoming: dict[str, list[str]] = {name: [] for name in self.found}
        for src, dst in pairs:
            self.incoming[dst].append(src)
        kinds = {type(node) for node in self.found.values()}
        out = next(n for n, node in self.found.items() if isinstance(node, nir.Output))
        last = self.incoming[out]
        end = last[0] if len(last) == 1 and [dst for src, dst in pairs if src == last[0]] == [out] else None
        self.reader = NodeReader(where, conventions, nir.Conv1d in kinds, end, repairs)
        if {nir.Conv1d, nir.Conv2d} <= kinds:
            name = next(n for n, node in self.found.items() if isinstance(node, nir.Conv1d))
            self.reader.refuse(name, "a Conv1d in one network with a Conv2d", "Maps of one or of two dimensions")
        entry = next(n for n, node in self.found.items() if isinstance(node, nir.Input))
        self.delays = {n: read_node(NodeReader(where, conventions), n, node, np.shape(node.delay), ONE).delay
                       for n, node in self.found.items() if isinstance(node, nir.Delay)}
        closing, delayed = loops(self.found, pairs, entry, self.delays, where)
        self.closing, self.waits = closing, dict.fromkeys(delayed, 1)
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.shapes: dict[str, Shape] = {}
        self.left: dict[str, Array] = {}
        self.fronts: dict[str, str] = {}
        self.pending: dict[str, Read] = {}

    def build(self, n_classes: int | None) -> Graph:
        """The graph; raises UnsafeFile naming the node that is not valid or not supported."""
        waiting, order = list(self.found), list[str]()
        while waiting:
            name = next((n for n in waiting if all(s in self.shapes for s in self._before(n))), None)
            if name is None:  # a loop that nothing from the input reaches
                self.reader.refuse(waiting[0], "nothing feeds it but its own loop", "A way from the input to every node")
            self._add(name)
            order.append(name)
            waiting.remove(name)
        for name in order:
            self._connect(name)
        folder = Folder(self.reader, self.nodes, self.edges, self.shapes)
        for name, read in self.pending.items():
            if read.gain.ndim or read.gain != 1:
                folder.factor(name, read.gain)
        for name, read in self.pending.items():
            if read.offset is not None:
                folder.constant(name, read.offset)
        end = next(name for name, node in self.nodes.items() if isinstance(node, End))
        read_out = [e.src for e in self.edges if e.dst == end]
        if n_classes is not None:
            self._vote(end, n_classes)
        nodes = tuple(node for node in self.nodes.values() if not isinstance(node, End))
        edges = tuple(e for e in self.edges if e.dst != end)
        try:
            graph = Graph(nodes, edges, self.conventions["n_timesteps"], {"nir": dict(self.conventions)})
            check_graph(graph)
            if not graph.is_acyclic and n_classes is None and [graph.output.name] != read_out:
                self.reader.refuse(end, f"{', '.join(read_out)} feeds it, within a loop", f"Read-out is at {graph.output.name}",
                                   "Put a layer of neurons behind the loop")
        except UnsafeFile:
            raise
        except NeurodeployError as err:
            raise UnsafeFile(err.what, where=f"{self.where}: {err.where}", limit=err.limit) from err
        return graph

    def _before(self, name: str) -> list[str]:
        """What feeds a node, loops' ways back aside."""
        return [s for s in self.incoming[name] if (s, name) not in self.closing]

    def _add(self, name: str) -> None:
        sources = self._before(name)
        if not sources and not isinstance(self.found[name], nir.Input):
            self.reader.refuse(name, "nothing feeds it", "One input, and a way from it to every node")
        shapes = {self.shapes[s] for s in sources}
        factor = self.left[sources[0]] if sources else ONE
        if len(shapes) > 1 or any(not np.array_equal(self.left[s], factor) for s in sources):
            self.reader.refuse(name, f"its sources have shapes {sorted(shapes)} and factors of Scales or average pools "
                               f"{sorted({float(np.max(self.left[s])) for s in sources})}", "Equal ones")
        shape = shapes.pop() if shapes else ()
        read = read_node(self.reader, name, self.found[name], shape, factor)
        self.left[name] = read.left
        if read.node is None:
            self.shapes[name] = shape
            return
        try:
            self.shapes[name] = read.node.output_shape(shape)
        except NeurodeployError as err:
            self.reader.refuse(name, err.what, err.limit)
        if read.front is not None:
            if read.front.name in self.found:
                self.reader.refuse(name, f"its current would be named {read.front.name}, as another node is", "",
                                   "Rename that one")
            self.nodes[read.front.name], self.shapes[read.front.name] = read.front, shape
            self.fronts[name] = read.front.name
        self.nodes[name], self.pending[name] = read.node, read

    def _connect(self, name: str) -> None:
        """Edges into a node of ours from all that feeds it, those that close a loop too."""
        if name not in self.nodes:
            return
        for src in self.incoming[name]:
            left = self.left[src]
            if (src, name) in self.closing and (left.ndim or left != 1):
                self.reader.refuse(name, f"{src} leaves a factor on the way back into it", "Weights that take it before")
            self.edges += [Edge(real, self.fronts.get(name, name), wait) for real, wait in self._real(src, name)]
        if name in self.fronts:
            self.edges.append(Edge(self.fronts[name], name))

    def _real(self, src: str, dst: str) -> list[tuple[str, int]]:
        """(node of ours, delay in timesteps) behind an edge of the file, Scales and Delays passed."""
        found, waiting = list[tuple[str, int]](), [(src, self.waits.get((src, dst), 0))]
        while waiting:
            at, wait = waiting.pop(0)
            if at in self.nodes:
                found.append((at, wait))
                continue
            wait += self.delays.get(at, 0)
            waiting += [(s, wait + self.waits.get((s, at), 0)) for s in self.incoming[at]]
        return found

    def _vote(self, end: str, n_classes: int) -> None:
        shape, sources = self.shapes[end], [e for e in self.edges if e.dst == end]
        if any(isinstance(self.nodes[e.src], Vote) for e in sources):
            if shape != (n_classes,):
                self.reader.refuse(end, f"{shape[0]} integrators for {n_classes} classes", "One for each class")
            return
        if len(shape) > 1:
            flat = Flatten(f"{end}.flatten")
            self.nodes[flat.name] = flat
            self.edges += [Edge(e.src, flat.name, e.delay) for e in sources]
            sources = [Edge(flat.name, end)]
        n = int(np.prod(shape))
        if n_classes < 1 or n % n_classes:
            self.reader.refuse(end, f"{n} output neurons for {n_classes} classes", "Equal groups of neurons")
        vote = Vote(f"{end}.vote", n_classes, n // n_classes)
        self.nodes[vote.name] = vote
        self.edges += [Edge(e.src, vote.name, e.delay) for e in sources]
