"""What the fast simulator knows about a graph before it runs: how large values get, how far delays reach, the kernels."""

from __future__ import annotations

from dataclasses import dataclass

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import INT_NEURONS, Conv2d, CubaLif, Flatten, Iaf, Input, Linear, MaxPool2d, Node, SumPool2d, Vote
from neurodeploy.ir.reference import input_range
from neurodeploy.sim.kernels import Synapse
from neurodeploy.sim.neurons import Layer, layer_of
from neurodeploy.sim.trace import vote_node


@dataclass(frozen=True, eq=False)
class Plan:
    """order: nodes so that what a node needs comes first. synapses, layers: kernels by node name (layers have state).

    bounds: largest magnitude of what a node puts out, None where unknown. depths: steps of a node's past that others
    see. carriers: nodes other than inputs and neurons that hand on the events a trace of updates needs.
    """

    graph: IntGraph
    entry: Input
    vote: Vote | None
    order: tuple[Node, ...]
    synapses: dict[str, Synapse]
    layers: dict[str, Layer]
    bounds: dict[str, int | None]
    depths: dict[str, int]
    carriers: frozenset[str]

    def drive(self, name: str) -> int | None:
        """The largest magnitude of the sum that reaches a node."""
        return _added([self.bounds[e.src] for e in self.graph.incoming(name)])


def plan(graph: IntGraph, track_updates: bool) -> Plan:
    """Raises NeurodeployError where exactness cannot be shown or a node has no integer meaning."""
    if len(graph.inputs) != 1:
        raise NeurodeployError(f"the graph has {len(graph.inputs)} inputs", limit="One is supported", code="bad_graph")
    bounds: dict[str, int | None] = {}
    synapses: dict[str, Synapse] = {}
    for name in _bound_order(graph):
        node, drive = graph[name], _added([bounds[e.src] for e in graph.incoming(name) if e.src in bounds])
        if isinstance(node, Input):
            bounds[name] = int(max(abs(v) for v in input_range(node)))
        elif node.is_neuron:
            # What one Iaf may send grows with every layer before it: the values at hand are a better bound than the worst case.
            bounds[name] = 1 if isinstance(node, CubaLif) or (isinstance(node, Iaf) and not node.multi_spike) else None
        elif isinstance(node, Conv2d | Linear):
            synapses[name] = Synapse(node, drive, graph.shapes[name])
            bounds[name] = synapses[name].bound
        elif isinstance(node, SumPool2d):
            bounds[name] = None if drive is None else drive * node.kernel[0] * node.kernel[1]
        elif isinstance(node, Flatten | MaxPool2d | Vote):
            bounds[name] = drive
        else:
            raise NeurodeployError(f"{type(node).__name__} in an integer graph", where=name, code="bad_node")
    layers = {
        node.name: layer_of(node, _added([bounds[e.src] for e in graph.incoming(node.name)]))
        for node in graph.nodes if isinstance(node, INT_NEURONS)
    }
    return Plan(
        graph, graph.inputs[0], vote_node(graph), graph.feedforward_order if graph.is_acyclic else graph.order,
        synapses, layers, bounds, {n.name: max((e.delay for e in graph.outgoing(n.name)), default=0) for n in graph.nodes},
        _event_carriers(graph, layers) if track_updates else frozenset(),
    )


def _added(bounds: list[int | None]) -> int | None:
    known = [b for b in bounds if b is not None]
    return sum(known) if len(known) == len(bounds) else None


def _bound_order(graph: IntGraph) -> list[str]:
    """Nodes so that the sources of everything but neurons and inputs come first; neurons are bounded by themselves."""
    order = [n.name for n in graph.nodes if isinstance(n, Input) or n.is_neuron]
    waiting = [n.name for n in graph.nodes if n.name not in order]
    while waiting:
        ready = next((n for n in waiting if all(e.src in order for e in graph.incoming(n))), None)
        if ready is None:
            raise NeurodeployError("a loop without neurons has no bound", where=", ".join(waiting[:4]), code="not_exact")
        order.append(ready)
        waiting.remove(ready)
    return order


def _event_carriers(graph: IntGraph, layers: dict[str, Layer]) -> frozenset[str]:
    """Synapses and reshapes through which events must be followed: those behind neurons not updated anyway."""
    front = [name for name, layer in layers.items() if not layer.biased.all()]
    found: set[str] = set()
    while front:
        for source, _ in graph.sources(front.pop()):
            if not (isinstance(source, Input) or source.is_neuron) and source.name not in found:
                found.add(source.name)
                front.append(source.name)
    return frozenset(found)
