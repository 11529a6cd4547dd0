"""Recurrent networks on a chip whose synapses take a timestep: when each layer starts, and what feeds back when.

A layer that starts at chip timestep d does model step t at d + t. Spikes of a layer at d reach one at e, D model timesteps
later, D + e - d timesteps after they were sent, which must be the one timestep of a synapse, or more with relays. So a loop
is exact where its delays are at least as long as its synapses, and starts are the longest ways through the graph.

Before it starts a layer may fire (biases integrate), and in a loop such spikes would reach model steps 0 to D - 1 of others,
which no model step sent. Behind layers that can therefore stands a gate: relays that keep their membrane, start so far below
the threshold that all spikes before the first model step do not lift it there, and are reset to zero when that one arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from neurodeploy.errors import DoesNotFit, Violation
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, Flatten, Input, Lif, Linear
from neurodeploy.lower.pool import gate, memoryless, one_to_one


@dataclass(frozen=True)
class _Way:
    """From `source` into the neurons `target` by `edges`, the first one out of the source, `delay` model timesteps later."""

    source: str
    target: str
    delay: int
    edges: tuple[Edge, ...]

    @property
    def n_synapses(self) -> int:
        return len(self.edges) > 1


def time_loops(graph: Graph, latency: int, target: str) -> tuple[Graph, dict[str, int]]:
    """(the graph in chip time, the chip timestep at which each layer of neurons starts). Neurons must be fed by synapses.

    Raises DoesNotFit for a loop that is shorter in time than its synapses, and for delays that a chip has no form for.
    """
    ways = list(_ways(graph, target))
    early = _firing_early(graph, ways)
    starts = _starts(graph, ways, early, latency, target)
    nodes, edges = list(graph.nodes), list(graph.edges)
    relays: dict[str, str] = {}
    for way in ways:
        hops = (way.delay + starts[way.target] - starts[way.source]) // latency - way.n_synapses
        if hops and isinstance(graph[way.source], Input):
            raise _refused(target, way.edges[0], f"the input would have to wait {hops * latency} timesteps",
                           "Relays repeat spikes of neurons", "Let the network's first neurons feed it")
        at = way.source
        for i in range(1, hops + 1):
            relay = f"{way.source}.relay{i}"
            if relay not in starts:
                starts[relay] = starts[at] + latency
                shape = graph.shapes[way.source]
                gated = i == 1 and way.source in early
                synapse = one_to_one(f"{relay}.synapse", shape)
                nodes += [synapse, gate(relay, shape, starts[relay]) if gated else memoryless(relay, shape)]
                edges += [Edge(at, synapse.name, latency), Edge(synapse.name, relay)]
                relays[relay] = way.source
            at = relay
        for i, edge in enumerate(way.edges):
            into_synapse = not isinstance(graph[edge.dst], Flatten) and i < len(way.edges) - 1
            edges[edges.index(edge)] = Edge(at if i == 0 else edge.src, edge.dst, latency * into_synapse)
    metadata = {**graph.metadata, "relays": {**graph.metadata.get("relays", {}), **relays}}
    timed = replace(graph, nodes=tuple(nodes), edges=tuple(edges), metadata=metadata)
    last = timed.output
    for edge in (Edge(last.name, last.name),) if last.is_neuron else timed.incoming(last.name):
        if timed.latencies[edge.src] != starts[edge.src]:
            raise _refused(target, edge, "delayed ways alone lead there", "The first answers would belong to no input",
                           "Lead a way without delay from the input to the output")
    return timed, starts


def refuse_loops_of_maps(graph: Graph, target: str) -> None:
    """Raise DoesNotFit for a loop without neurons: a chip has no place that keeps a real value."""
    waiting = {n.name for n in graph.nodes if not n.is_neuron}
    while free := {name for name in waiting if not any(e.src in waiting for e in graph.incoming(name))}:
        waiting -= free
    if waiting:
        edge = next(e for name in sorted(waiting) for e in graph.incoming(name) if e.src in waiting and e.delay)
        raise _refused(target, edge, "a loop passes no neurons", "What is kept from timestep to timestep are neurons' states",
                       "Draw cells with spiking=True, or put neurons into the loop")


def start_samples(graph: Graph, starts: dict[str, int]) -> Graph:
    """Restart every neuron layer where it starts, once a sample: its loops leave no room for a next one behind it."""
    nodes = (
        replace(n, reset_interval=max(graph.n_timesteps, starts[n.name] + 1), reset_offset=starts[n.name] + 1)
        if isinstance(n, Lif) else n for n in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def _ways(graph: Graph, target: str) -> Iterator[_Way]:
    for neurons in graph.nodes:
        if not neurons.is_neuron:
            continue
        for last in graph.incoming(neurons.name):
            edges = [last]
            while isinstance(node := graph[edges[0].src], Conv2d | Linear | Flatten):
                before = graph.incoming(node.name)
                if len(before) != 1 or len(graph.outgoing(node.name)) != 1:
                    raise _refused(target, edges[0], f"{node.name} has several sources or readers",
                                   "Each may be of another time", "Give each way a map of its own")
                if edges[0].delay and (bias := getattr(node, "bias", None)) is not None and bias.any():
                    raise _refused(target, edges[0], f"the bias of {node.name} would begin {edges[0].delay} timesteps late",
                                   "A chip's neurons have it from the start",
                                   "Delay what enters the synapse (SNASNet: feedback 'loop'), or train it without bias")
                edges.insert(0, before[0])
            n_synapses = sum(isinstance(graph[e.src], Conv2d | Linear) for e in edges)
            source = graph[edges[0].src]
            if n_synapses > 1 or not (source.is_neuron or isinstance(source, Input)):
                raise _refused(target, edges[0], f"{source.name} stands between neurons",
                               "One synapse leads from neurons to neurons", "Leave it out, or put neurons behind it")
            yield _Way(source.name, neurons.name, sum(e.delay for e in edges), tuple(edges))


def _firing_early(graph: Graph, ways: list[_Way]) -> set[str]:
    """Layers that may fire before they start: driven by a bias (of any sign: fine-tuning moves them), or by such layers; what
    is delayed is gated."""
    found = {w.target for w in ways if len(w.edges) > 1 and getattr(graph[w.edges[-1].src], "bias", None) is not None}
    while more := {w.target for w in ways if w.source in found and not w.delay} - found:
        found |= more
    return found


def _starts(graph: Graph, ways: list[_Way], early: set[str], latency: int, target: str) -> dict[str, int]:
    starts = {n.name: 0 for n in graph.nodes if n.is_neuron or isinstance(n, Input)}
    for _ in range(len(starts) + 1):
        moved: list[_Way] = []
        for way in ways:
            taken = latency * (way.n_synapses + (way.delay > 0 and way.source in early))
            if (at := starts[way.source] + taken - way.delay) > starts[way.target]:
                starts[way.target] = at
                moved.append(way)
        if not moved:
            return starts
    delayed = next((w for w in moved if w.delay), moved[0])
    raise DoesNotFit((Violation(
        "delayed", f"{delayed.source} -> {delayed.target}",
        f"a delay of {delayed.delay} in a loop that takes longer on the chip",
        f"A synapse takes {latency} timestep, and so does the gate behind neurons that may fire before a sample reaches them",
        "Train with longer delays (SNASNet: feedback 'loop'), or remove the loop",
    ),), target=target)


def _refused(target: str, edge: Edge, what: str, limit: str, remedy: str) -> DoesNotFit:
    return DoesNotFit((Violation("delayed", f"{edge.src} -> {edge.dst}", what, limit, remedy),), target=target)
