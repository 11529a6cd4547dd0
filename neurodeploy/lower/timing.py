"""Time on the chip: every synapse takes a timestep, and all paths into a neuron must take equally many."""

from __future__ import annotations

from dataclasses import replace

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Flatten, Input, Node
from neurodeploy.lower.pool import memoryless, one_to_one


def identities_to_synapses(graph: Graph) -> Graph:
    """A neuron that feeds a neuron directly (identity shortcut) does so through unit weights, one to one.

    So does an input of spikes; one written as biases needs no synapse.
    """
    nodes: list[Node] = list(graph.nodes)
    edges: list[Edge] = []
    taken: set[str] = set()
    for edge in graph.edges:
        source = graph[edge.src]
        spikes = source.is_neuron or (isinstance(source, Input) and source.kind == "spikes")
        if spikes and graph[edge.dst].is_neuron:
            name = f"{edge.dst}.identity"
            synapse = one_to_one(name if name not in taken else f"{name}.{edge.src}", graph.shapes[edge.src])
            taken.add(synapse.name)
            nodes.append(synapse)
            edges += [Edge(edge.src, synapse.name, edge.delay), Edge(synapse.name, edge.dst)]
        else:
            edges.append(edge)
    return replace(graph, nodes=tuple(nodes), edges=tuple(edges))


def delay_synapses(graph: Graph, latency: int) -> Graph:
    """Add the chip's synaptic latency to every edge into a synapse."""
    edges = tuple(replace(e, delay=e.delay + latency) if graph[e.dst].is_synapse else e for e in graph.edges)
    return replace(graph, edges=edges)


def balance_delays(graph: Graph) -> Graph:
    """Insert relay neurons (fire one step after their source fires) in front of shortcuts that would arrive early.

    Relays of one source are shared by all its shortcuts. A relay layer costs as many neurons as its source has.
    `metadata["relays"]` maps each relay to the layer whose spikes it repeats. Raises UsageError where a relay
    cannot help: for values that are no spikes, or behind a synapse that other neurons read at other times.
    """
    while True:
        late = _first_unbalanced(graph)
        if late is None:
            return graph
        edge, missing = late
        graph = _delay_by_relays(graph, edge, missing)


def _first_unbalanced(graph: Graph) -> tuple[Edge, int] | None:
    """The edge out of a neuron or input whose path into a neuron is too short, and by how many timesteps."""
    for node in graph.feedforward_order:
        arrivals = [(graph.latencies[e.src] + e.delay, e) for e in graph.incoming(node.name)]
        if not arrivals:
            continue
        last = max(a for a, _ in arrivals)
        for arrival, edge in arrivals:
            if arrival < last:
                while graph[edge.src].is_synapse or isinstance(graph[edge.src], Flatten):
                    if len(graph.outgoing(edge.src)) > 1:
                        raise _no_relay(edge.src, "is read by several nodes, one of which needs its values later",
                                        "Give each of them a synapse of its own")
                    edge = graph.incoming(edge.src)[0]
                source = graph[edge.src]
                if isinstance(source, Input) and source.kind != "spikes":
                    raise _no_relay(source.name, f"its {source.kind} values would have to wait {last - arrival} timesteps",
                                    "Let the network's first neurons feed the shortcut, or use input = 'rate'")
                return edge, last - arrival
    return None


def _no_relay(where: str, what: str, remedy: str) -> UsageError:
    return UsageError(what, where=where, limit="Relays repeat spikes", remedy=remedy, code="cannot_lower")


def _delay_by_relays(graph: Graph, edge: Edge, steps: int) -> Graph:
    nodes, edges = list(graph.nodes), list(graph.edges)
    shape = graph.shapes[edge.src]
    latency = next(e.delay for e in graph.edges if graph[e.dst].is_synapse)
    previous = edge.src
    relays = dict(graph.metadata.get("relays", {}))
    origin = relays.get(edge.src, edge.src)
    for i in range(1, steps // latency + 1):
        relay = f"{edge.src}.relay{i}"
        if relay not in graph.by_name:
            synapse = one_to_one(f"{relay}.synapse", shape)
            nodes += [synapse, memoryless(relay, shape)]
            edges += [Edge(previous, synapse.name, latency), Edge(synapse.name, relay)]
            relays[relay] = origin
        previous = relay
    edges[edges.index(edge)] = replace(edge, src=previous)
    metadata = {**graph.metadata, "relays": relays}
    return replace(graph, nodes=tuple(nodes), edges=tuple(edges), metadata=metadata)
