"""Ways that are no convolution at the borders of their maps: there each neuron gets weights and a bias of its own.

A padded pool behind a padded convolution reads zeros beyond the border, not what the convolution would go on with. The way is
linear all the same: a convolution whose kernel is the whole map, with one output channel for each neuron. The layer behind
it has its neurons as channels, and so have all layers behind that. Exact, and as large as a dense layer: chips pay for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Linear, Node, Vote
from neurodeploy.ir.reference import step
from neurodeploy.lower.linear_maps import NoConvolution, as_convolution, sent_back
from neurodeploy.lower.paths import folds, late_bias, ways

MOST_WEIGHTS = 2**24  # of one synapse; as many as the largest chip here holds


@dataclass(frozen=True)
class _Chain:
    """Edges and maps from `source`, read `delay` timesteps late, to neurons."""

    source: str
    delay: int
    maps: tuple[str, ...]


def flatten_borders(graph: Graph) -> Graph:
    """The graph with neurons as channels [N, 1, 1] in layers that a way reaches which is no convolution, and in those behind;
    itself where there are none. Synapses into these layers are `<neurons>.from.<source>(.late<delay>)`, [N, *source shape].

    `metadata["lowering"]["flattened"]` names the layers, `["folded"]` the maps that each synapse took in. Batch norms must be
    folded, and loops pass neurons. Raises UsageError (`cannot_lower`) where a synapse would be too large, and where pools of
    spikes or other maps that must stay read such a layer.
    """
    found: dict[str, NoConvolution] = {}
    for neurons in graph.neurons:
        try:
            for edge in graph.incoming(neurons.name):
                for _ in ways(graph, graph[edge.src]) if folds(graph, graph[edge.src]) else ():
                    pass
        except NoConvolution as error:
            found[neurons.name] = error
    if not found:
        return graph
    reason, flat = next(iter(found.values())), _behind(graph, set(found))
    for name in sorted(flat):
        for edge in graph.outgoing(name):
            reader = graph[edge.dst]
            if not (reader.is_neuron or isinstance(reader, Flatten | Linear | Vote) or folds(graph, reader)):
                raise reason  # it needs the layer as maps
    nodes: dict[str, Node] = {n.name: n for n in graph.nodes}
    edges = [e for e in graph.edges if e.dst not in flat]
    notes = graph.metadata.get("lowering", {})
    folded = dict(notes.get("folded", {}))
    while unread := {name for name in nodes if folds(graph, graph[name]) and not any(e.src == name for e in edges)}:
        nodes = {name: node for name, node in nodes.items() if name not in unread}
        edges = [e for e in edges if e.dst not in unread]
    for name in (n.name for n in graph.nodes if n.name in flat):
        shape = graph.shapes[name]
        n = prod(shape)
        nodes[name] = replace(graph[name], shape=(n, 1, 1))  # type: ignore[call-arg]  # every neuron has a shape
        bias = np.zeros((1, *shape))
        for edge in graph.incoming(name):
            if folds(graph, graph[edge.src]):
                bias = bias + _silent(graph, edge)
        for (source, delay), (weight, maps) in _weights(graph, name, reason).items():
            synapse = f"{name}.from.{source}" + f".late{delay}" * (delay > 0)
            read = (prod(graph.shapes[source]), 1, 1) if source in flat else graph.shapes[source]
            nodes[synapse] = Conv2d(synapse, weight.reshape(n, *read), bias.reshape(n) if bias.any() else None)
            bias = np.zeros(1)  # once
            folded[synapse] = [part for m in maps for part in (*notes.get("folded", {}).get(m, ()), m)]
            edges += [Edge(source, synapse, delay), Edge(synapse, name)]
    flattened = [n.name for n in graph.nodes if n.name in flat]
    metadata = {**graph.metadata, "lowering": {**notes, "folded": folded, "flattened": flattened}}
    return replace(graph, nodes=tuple(nodes.values()), edges=tuple(edges), metadata=metadata)


def _behind(graph: Graph, layers: set[str]) -> set[str]:
    """The layers, and all layers of maps that they lead to."""
    found, front = set(layers), list(layers)
    while front:
        for edge in graph.outgoing(front.pop()):
            node = graph[edge.dst]
            if node.name not in found and (folds(graph, node) or (node.is_neuron and len(graph.shapes[node.name]) == 3)):
                found.add(node.name)
                front.append(node.name)
    return {name for name in found if graph[name].is_neuron}


def _chains(graph: Graph, edge: Edge) -> Iterator[_Chain]:
    """All that end with an edge."""
    if not folds(graph, graph[edge.src]):
        yield _Chain(edge.src, edge.delay, ())
        return
    for before in graph.incoming(edge.src):
        for chain in _chains(graph, before):
            yield _Chain(chain.source, chain.delay + edge.delay, (*chain.maps, edge.src))


def _weights(graph: Graph, name: str, reason: UsageError) -> dict[tuple[str, int], tuple[Array, tuple[str, ...]]]:
    """(weights [N, *source shape], maps) of all ways into a layer, by source and delay."""
    shape = graph.shapes[name]
    found: dict[tuple[str, int], tuple[Array, tuple[str, ...]]] = {}
    for edge in graph.incoming(name):
        for chain in _chains(graph, edge):
            if (size := prod(shape) * prod(graph.shapes[chain.source])) > MOST_WEIGHTS:
                raise UsageError(
                    f"{reason.what}; with weights of its own for each neuron, {name} takes {size} from {chain.source}",
                    where=reason.where, code="cannot_lower", limit=f"At most {MOST_WEIGHTS} in a synapse", remedy=reason.remedy,
                )
            rows = np.eye(prod(shape)).reshape(-1, *shape)
            for m in reversed(chain.maps):
                source = graph.shapes[graph.incoming(m)[0].src]
                rows = sent_back(as_convolution(graph[m], source), rows, source)
            weight, maps = found.get((chain.source, chain.delay), (np.zeros_like(rows), ()))
            found[chain.source, chain.delay] = weight + rows, tuple(dict.fromkeys((*maps, *chain.maps)))
    return found


def _silent(graph: Graph, edge: Edge) -> Array:
    """What a map hands on by an edge while nothing fires, [1, *shape]: its biases and those in front of it."""
    node = graph[edge.src]
    before = graph.incoming(node.name)
    source = graph.shapes[before[0].src]
    total = np.zeros((1, *source))
    for e in before:
        if folds(graph, graph[e.src]):
            total = total + _silent(graph, e)
    values, _ = step(as_convolution(node, source), total, {})
    if edge.delay and values.any():
        raise late_bias(node.name, edge.delay)
    return values
