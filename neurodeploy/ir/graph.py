"""Graph (real arithmetic) and IntGraph (a chip's integer arithmetic): nodes, edges with delays, and nothing that changes.

Time: an edge with delay d hands at step t what its source put out at step t - d (zero before the start). Edges of
delay 0 must be acyclic; recurrence needs a delay of at least one step. On a chip whose synapses take a timestep, the
edge INTO the synapse node carries delay 1, so a layer at latency d sees model step t at chip step t + d.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.nodes import INT_NEURONS, Iaf, Input, Node, Shape


@dataclass(frozen=True)
class Edge:
    src: str
    dst: str
    delay: int = 0


@dataclass(frozen=True, eq=False)
class Graph:
    """A network. `n_timesteps` is the model's T; `metadata` holds plain JSON values (architecture, dataset, ...).

    `host` is a real-valued graph computed on the host before the first node (None: data enters as it is).
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    n_timesteps: int
    metadata: dict[str, Any] = field(default_factory=dict)
    host: Graph | None = None

    def __post_init__(self) -> None:
        self.check()

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {n.name: n for n in self.nodes}

    def __getitem__(self, name: str) -> Node:
        return self.by_name[name]

    @cached_property
    def _incoming(self) -> dict[str, tuple[Edge, ...]]:
        return {n.name: tuple(e for e in self.edges if e.dst == n.name) for n in self.nodes}

    @cached_property
    def _outgoing(self) -> dict[str, tuple[Edge, ...]]:
        return {n.name: tuple(e for e in self.edges if e.src == n.name) for n in self.nodes}

    def incoming(self, name: str) -> tuple[Edge, ...]:
        """Edges into a node, in the order in which their values are added."""
        return self._incoming[name]

    def outgoing(self, name: str) -> tuple[Edge, ...]:
        return self._outgoing[name]

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """Nodes in topological order of the delay-0 edges, ties in the given order."""
        placed: set[str] = set()
        order: list[Node] = []
        waiting = list(self.nodes)
        while waiting:
            ready = [n for n in waiting if all(e.src in placed for e in self.incoming(n.name) if e.delay == 0)]
            if not ready:
                raise NeurodeployError(
                    "a loop without delay", where=", ".join(n.name for n in waiting[:4]), code="bad_graph",
                    remedy="Give one edge of the loop a delay of at least one timestep",
                )
            order.append(ready[0])
            placed.add(ready[0].name)
            waiting.remove(ready[0])
        return tuple(order)

    @cached_property
    def is_acyclic(self) -> bool:
        """True when no path returns to its start, delays or not."""
        return self._topological() is not None

    def _topological(self) -> tuple[Node, ...] | None:
        done: set[str] = set()
        order: list[Node] = []
        waiting = list(self.nodes)
        while waiting:
            ready = next((n for n in waiting if all(e.src in done for e in self.incoming(n.name))), None)
            if ready is None:
                return None
            done.add(ready.name)
            order.append(ready)
            waiting.remove(ready)
        return tuple(order)

    @cached_property
    def feedforward_order(self) -> tuple[Node, ...]:
        """Nodes so that every source comes first, delays included; raises NeurodeployError for a recurrent graph."""
        order = self._topological()
        if order is None:
            raise NeurodeployError("the graph is recurrent", code="recurrent", where=self.nodes[0].name)
        return order

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Output shape of every node."""
        known: dict[str, Shape] = {}
        waiting = list(self.nodes)
        while waiting:
            for node in waiting:
                sources = [known.get(e.src) for e in self.incoming(node.name)]
                # A recurrent edge may come from a node whose shape is not known yet; one known source is enough.
                first = next((s for s in sources if s is not None), None)
                own: Shape | None = getattr(node, "shape", None) if node.is_neuron else None  # neurons may have no source
                if isinstance(node, Input) or own is not None or first is not None:
                    known[node.name] = own or node.output_shape(first if first is not None else ())
                    waiting.remove(node)
                    break
            else:
                raise NeurodeployError("nothing feeds it", where=waiting[0].name, code="bad_graph")
        return known

    @cached_property
    def latencies(self) -> dict[str, int]:
        """Timesteps from the input to each node: along the longest path, or in a recurrent graph along the shortest.

        A neuron layer that nothing feeds counts from 0: its bias or its initial state drives it.
        """
        if self.is_acyclic:
            latency: dict[str, int] = {}
            for node in self.feedforward_order:
                latency[node.name] = max((latency[e.src] + e.delay for e in self.incoming(node.name)), default=0)
            return latency
        latency = {n.name: 0 for n in self.nodes if not self.incoming(n.name)}
        changed = True
        while changed:  # Bellman-Ford; delays are not negative
            changed = False
            for edge in self.edges:
                if edge.src in latency:
                    arrival = latency[edge.src] + edge.delay
                    if edge.dst not in latency or arrival < latency[edge.dst]:
                        latency[edge.dst] = arrival
                        changed = True
        return {n.name: latency.get(n.name, 0) for n in self.nodes}  # a loop that nothing feeds runs by itself

    @cached_property
    def is_balanced(self) -> bool:
        """True when all paths into each node take the same number of timesteps."""
        return all(self.latencies[e.src] + e.delay == self.latencies[e.dst] for e in self.edges)

    @property
    def inputs(self) -> tuple[Input, ...]:
        return tuple(n for n in self.nodes if isinstance(n, Input))

    @property
    def neurons(self) -> tuple[Node, ...]:
        """Neuron layers in topological order of the whole graph, or as given where it is recurrent."""
        return tuple(n for n in (self.feedforward_order if self.is_acyclic else self.nodes) if n.is_neuron)

    @cached_property
    def output(self) -> Node:
        """The one node nobody reads, or only the loop it is in; raises NeurodeployError when there are several.

        Of a loop at the end of a recurrent graph the neuron layer closest to the input counts.
        """
        sinks = [n for n in self.nodes if not self.outgoing(n.name)]
        if not sinks and not self.is_acyclic:
            reached = {n.name: self._reachable(n.name) for n in self.nodes}
            last = [n for n in self.nodes if n.is_neuron and all(n.name in reached[m] for m in reached[n.name])]
            sinks = sorted(last, key=lambda n: self.latencies[n.name])[:1]
        if len(sinks) != 1:
            raise NeurodeployError(f"expected one output, found {[n.name for n in sinks]}", code="bad_graph")
        return sinks[0]

    def _reachable(self, name: str) -> set[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            for edge in self.outgoing(waiting.pop()):
                if edge.dst not in found:
                    found.add(edge.dst)
                    waiting.append(edge.dst)
        return found

    @property
    def n_chip_steps(self) -> int:
        """Timesteps from the first input to the last output of one sample: T plus the pipeline of synapse layers."""
        return self.n_timesteps + self.latencies[self.output.name]

    def sources(self, name: str) -> Iterator[tuple[Node, Edge]]:
        """(source node, edge) of every incoming edge."""
        for edge in self.incoming(name):
            yield self[edge.src], edge

    def check(self) -> None:
        """Raise NeurodeployError unless names are unique, edges known, delays valid, shapes consistent and loops delayed."""
        if len(self.by_name) != len(self.nodes):
            raise NeurodeployError("two nodes share a name", code="bad_graph")
        if self.n_timesteps < 1:
            raise NeurodeployError(f"n_timesteps is {self.n_timesteps}", limit="At least 1", code="bad_graph")
        for edge in self.edges:
            for end in (edge.src, edge.dst):
                if end not in self.by_name:
                    raise NeurodeployError(f"edge {edge.src} -> {edge.dst} names an unknown node", where=end, code="bad_graph")
            if edge.delay < 0:
                raise NeurodeployError(f"edge {edge.src} -> {edge.dst} has delay {edge.delay}", code="bad_graph")
        _ = self.order
        for node in self.nodes:
            wanted = {self.shapes[e.src] for e in self.incoming(node.name)}
            if len(wanted) > 1:
                raise NeurodeployError(f"adds inputs of different shapes {sorted(wanted)}", where=node.name, code="bad_graph")
            if wanted:
                node.output_shape(next(iter(wanted)))


@dataclass(frozen=True, eq=False)
class IntGraph(Graph):
    """A network in a chip's integer arithmetic: weights int64, neurons those of INT_NEURONS.

    `target` names the profile it was made for, or is empty where it came from a file that names none (lava-dl's `.net`).

    The chip's input is rint(value_scale * y) saturated to the input's range, with y the image, or, where `host` is a
    graph, what that real-valued graph makes of the image (`host` is None for images sent as they are).
    """

    target: str = ""
    quantization: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        super().check()
        for node in self.nodes:
            weight = getattr(node, "weight", None)
            if weight is not None and weight.dtype.kind != "i":
                raise NeurodeployError(f"weights of type {weight.dtype} in an integer graph", where=node.name, code="bad_graph")
            if node.is_synapse and getattr(node, "bias", None) is not None:
                raise NeurodeployError("a synapse with a bias; biases belong to the neuron", where=node.name, code="bad_graph")
            if node.is_neuron and not isinstance(node, INT_NEURONS):
                raise NeurodeployError(f"{type(node).__name__} in an integer graph", where=node.name, code="bad_graph")
        iaf = next((n for n in self.nodes if isinstance(n, Iaf)), None)
        other = next((n for n in self.nodes if n.is_neuron and not isinstance(n, Iaf)), None)
        if iaf is not None and other is not None:
            raise NeurodeployError(
                f"an Iaf in one graph with {other.name}, a {type(other).__name__}", where=iaf.name, code="bad_graph",
                limit="They compute in the arithmetic of different chips",
            )
