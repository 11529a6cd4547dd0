"""Sums of linear maps as synapse groups: what leads from one layer of neurons to another becomes one synapse.

Where convolutions or pools read a sum (a chip has no place that holds one), each way from neurons to neurons is composed, and
ways between the same two layers are added: f(a + b) = f(a) + f(b). The function is the same. SNASNet's skip edges vanish so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Array, Conv2d, Node, Shape, SumPool2d
from neurodeploy.lower.linear_maps import as_convolution, compose, in_groups


@dataclass(frozen=True, eq=False)
class _Way:
    """From `source`, read `delay` timesteps late, through `maps`, composed to one synapse."""

    source: str
    synapse: Conv2d
    maps: tuple[str, ...]
    delay: int = 0


def fold_paths(graph: Graph) -> Graph:
    """The graph unchanged where no convolution or pool reads a sum and no edge has a delay; else every way through such maps
    that ends in neurons as a synapse `<neurons>.from.<source>(.late<delay>)`, those of equal source, delay and stride added.
    Batch norms must be folded, and loops pass neurons.

    `metadata["lowering"]["folded"]` lists the maps that each took in. Raises UsageError (`cannot_lower`) for a way that is no
    convolution, as a padded pool behind a padded convolution: beyond a map's border stand zeros, not what it would go on with;
    and for a bias behind which a delay stands: it would begin late.
    """
    if not any(e.delay for e in graph.edges) and not any(_is_map(n) and len(graph.incoming(n.name)) > 1 for n in graph.nodes):
        return graph
    nodes = [n for n in graph.nodes if not _folds(graph, n)]
    edges = [e for e in graph.edges if not _folds(graph, graph[e.src]) and not _folds(graph, graph[e.dst])]
    notes = graph.metadata.get("lowering", {})
    were: dict[str, list[str]] = notes.get("folded", {})
    folded = {n.name: were[n.name] for n in nodes if n.name in were}
    for neurons in (n.name for n in graph.nodes if n.is_neuron):
        ends = (e for e in graph.incoming(neurons) if _folds(graph, graph[e.src]))
        ways = (_later(way, e) for e in ends for way in _ways(graph, graph[e.src]))
        groups: dict[str, _Way] = {}
        for way in ways:
            name = f"{neurons}.from.{way.source}" + f".late{way.delay}" * (way.delay > 0)
            while name in groups and (one := _added(groups[name], way, graph.shapes[way.source])) is None:
                name += "'"  # of another stride
            groups[name] = one if name in groups and one is not None else way
        for name, way in groups.items():
            folded[name] = [part for m in way.maps for part in (*were.get(m, ()), m)]
            nodes.append(replace(way.synapse, name=name))
            edges += [Edge(way.source, name, way.delay), Edge(name, neurons)]
    metadata = {**graph.metadata, "lowering": {**notes, "folded": folded}}
    return replace(graph, nodes=tuple(nodes), edges=tuple(edges), metadata=metadata)


def _is_map(node: Node) -> bool:
    return isinstance(node, Conv2d | SumPool2d)


def _folds(graph: Graph, node: Node) -> bool:
    """Whether all that it does ends in neurons; a map in front of a flattening stays."""
    readers = [graph[e.dst] for e in graph.outgoing(node.name)]
    return _is_map(node) and bool(readers) and all(n.is_neuron or _folds(graph, n) for n in readers)


def _ways(graph: Graph, last: Node) -> Iterator[_Way]:
    """All ways whose last map is `last`; its bias goes with the first of them."""
    before = graph.incoming(last.name)
    own = as_convolution(last, graph.shapes[before[0].src])
    for edge in before:
        node = graph[edge.src]
        if not _folds(graph, node):
            yield _Way(node.name, own, (last.name,), edge.delay)
            own = replace(own, bias=None)
            continue
        for way in _ways(graph, node):
            whole = compose(way.synapse, own, graph.shapes[way.source])
            yield replace(_later(way, edge), synapse=whole, maps=(*way.maps, last.name))
            own = replace(own, bias=None)


def _later(way: _Way, edge: Edge) -> _Way:
    """The way with an edge behind it."""
    if edge.delay and way.synapse.bias is not None and way.synapse.bias.any():
        raise UsageError(
            f"its bias would begin {edge.delay} timesteps late", where=way.maps[-1], code="cannot_lower",
            limit="Biases of a chip's neurons are there from the start",
            remedy="Delay what enters the map (SNASNet: feedback 'loop'), or train it without bias",
        )
    return replace(way, delay=way.delay + edge.delay)


def _added(a: _Way, b: _Way, source: Shape) -> _Way | None:
    """Both as one synapse that reads maps of shape `source`; None where their strides do not let them be one."""
    one, other = a.synapse, b.synapse
    if one.stride != other.stride or one.dilation != (1, 1) or other.dilation != (1, 1):
        return None
    groups = gcd(one.groups, other.groups)
    pad = max(one.padding[0], other.padding[0]), max(one.padding[1], other.padding[1])
    kernels = [_moved(c, groups, pad) for c in (one, other)]
    size = np.max([k.shape for k in kernels], axis=0)
    first, second = (np.pad(k, [(0, int(n - m)) for n, m in zip(size, k.shape, strict=True)]) for k in kernels)
    biases = [c.bias for c in (one, other) if c.bias is not None]
    both = replace(one, weight=first + second, bias=sum(biases[1:], biases[0]) if biases else None, padding=pad, groups=groups)
    if both.output_shape(source) != one.output_shape(source):
        return None
    return replace(a, synapse=both, maps=tuple(dict.fromkeys((*a.maps, *b.maps))))


def _moved(conv: Conv2d, groups: int, pad: tuple[int, int]) -> Array:
    """Weights [O, I / groups, kH, kW] that with a padding of `pad` do what the convolution's do with its own."""
    w = in_groups(conv, groups)
    return np.pad(w.reshape(-1, *w.shape[2:]), [(0, 0), (0, 0), *((p - q, 0) for p, q in zip(pad, conv.padding, strict=True))])
