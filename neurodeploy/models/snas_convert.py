"""A trained SNASNet as a float Graph: nodes named by module paths, weights in float64, backward edges as late as they are.

A skip edge is a wire: who reads a cell's node reads all that its edges end in. Factors of averages stand in the weights
beside them. Layers of neurons that read the same node are one, for they are the same at every timestep: it has the name of the
first. With feedback "loop" the delays stand where neurons are read (what comes before the first timestep is then what no
spikes give), so that maps which are read late are there once more, as `<map>.late<timesteps>`. The function is the network's,
spike for spike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from neurodeploy.errors import UsageError
from neurodeploy.ir import nodes
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.models.blocks import BatchNorm
from neurodeploy.models.convert import Builder
from neurodeploy.models.snas_cell import POOL, SKIP, is_spiking
from neurodeploy.models.snasnet import LifConv, SnasCell, SnasNet

Source = tuple[str, int]  # a node, and the delay of the edge from it


def to_graph(net: SnasNet) -> Graph:
    """The network in evaluation mode: Input "input", ..., Vote "vote". Graph.metadata holds `snasnet` (sizes) and `arch`.

    Raises UsageError (`cannot_lower`) for a cell with a loop of skip and pool edges alone, which would be an integrator, one
    that reads a node which nothing feeds (`search.snas_space.sanitise` leaves such edges out), and one whose backward edges
    close no loop; UsageError for weights that are not finite, and metadata under the network's own names.
    """
    if taken := net.describe().keys() & net.metadata.keys():
        raise UsageError(f"metadata holds {sorted(taken)}", where="metadata", remedy="These names are the network's own")
    if not is_spiking(net.arch):
        raise _refused(net, "a loop of its edges passes no neurons", "Draw cells with spiking=True")
    c, graph = net.config, Builder()
    at = graph.add(nodes.Input("input", (c.in_channels, *c.image_size)))
    weight = _values("stem_conv", net.stem_conv.weight)
    stem = nodes.Conv2d("stem_conv", weight, stride=(c.stem_stride, c.stem_stride), padding=(1, 1))
    at = graph.bn("stem_bn", net.stem_bn, graph.add(stem, at))
    if net.entry is not None:
        at = graph.conv("entry.conv", net.entry.conv, graph.neuron("entry.neuron", net.entry.neuron, at))
        at = graph.bn("entry.bn", net.entry.bn, at)
    at = _scaled(graph, "down_bn", net.down_bn, _cell(graph, net, "cell1", at))
    at = graph.conv("down", net.down, graph.neuron("down_neuron", net.down_neuron, at))
    at = graph.bn("down_bn2", net.down_bn2, at)
    norm = graph.nodes[-1]
    assert isinstance(norm, nodes.BatchNorm)
    graph.nodes[-1] = replace(norm, gamma=norm.gamma / 4, beta=norm.beta / 4)
    at = graph.add(nodes.SumPool2d("down_pool", (2, 2)), at)
    at = _scaled(graph, "last_bn", net.last_bn, _cell(graph, net, "cell2", at))
    at = graph.add(nodes.SumPool2d("last_pool", (c.pool, c.pool)), graph.neuron("last_neuron", net.last_neuron, at))
    at = graph.add(nodes.Flatten("flatten"), at)
    at = graph.add(nodes.Linear("hidden", _values("hidden", net.hidden.weight) / c.pool**2), at)
    at = graph.neuron("hidden_neuron", net.hidden_neuron, at)
    share = 1 if c.ends == "spikes" else c.n_timesteps
    weight, bias = _values("output", net.output.weight), _values("output", net.output.bias)
    at = graph.add(nodes.Linear("output", weight / share, bias / share), at)
    if net.output_neuron is not None:
        at = graph.neuron("output_neuron", net.output_neuron, at)
    graph.add(nodes.Vote("vote", c.n_classes, c.group), at)
    made = Graph(tuple(graph.nodes), tuple(graph.edges), c.n_timesteps, {**net.metadata, **net.describe()})
    if made.is_acyclic and any(e.delay for e in made.edges):
        raise _refused(net, "its backward edges delay a way and close no loop", "Draw cells with spiking=True")
    return _late_from_neurons(made) if c.feedback == "loop" else made


def _late_from_neurons(graph: Graph) -> Graph:
    """The graph with a copy of each map for each delay with which it is read: the delay stands in front of the copy."""
    made: dict[str, nodes.Node] = {}
    edges: list[Edge] = []

    def source(name: str, delay: int) -> tuple[str, int]:
        """(node, delay) to read instead of node `name` that many timesteps late."""
        node = graph[name]
        if node.is_neuron or not delay:
            return add(name, 0), delay
        return add(name, delay), 0

    def add(name: str, delay: int) -> str:
        copy = f"{name}.late{delay}" if delay else name
        if copy not in made:
            made[copy] = replace(graph[name], name=copy)
            for edge in graph.incoming(name):
                src, late = source(edge.src, edge.delay + delay)
                edges.append(Edge(src, copy, late))
        return copy

    add(graph.output.name, 0)
    return replace(graph, nodes=tuple(made.values()), edges=tuple(edges))


def _cell(graph: Builder, net: SnasNet, prefix: str, entry: str) -> list[Source]:
    """Adds a cell that reads `entry`; returns what its last node is the sum of."""
    cell: SnasCell = getattr(net, prefix)

    def ends(row: int, col: int, op: int) -> list[Source]:
        """What an edge puts into node `col`."""
        late = (cell.delay or 1) * (row > col)
        if op == SKIP:
            return [(name, delay + late) for name, delay in value(row)]
        return [(f"{prefix}.edges.{row}{col}.{'pool' if op == POOL else 'bn'}", late)]

    def value(node: int) -> list[Source]:
        """What node `node` is the sum of, wherever it is read."""
        return [(entry, 0)] * (node == 0) + [end for row, col, op in cell.ops if col == node for end in ends(row, col, op)]

    convolving = [(row, f"{row}{col}") for row, col, op in cell.ops if op not in (SKIP, POOL)]
    firing = dict(reversed(convolving))  # node -> the first edge whose neurons read it
    pools = [(row, f"{row}{col}") for row, col, op in cell.ops if op == POOL]
    if not all(value(row) for row in (3, *firing, *(row for row, _ in pools))):
        raise _refused(net, "it reads a node that nothing feeds", "Sanitise it with search.snas_space.sanitise")
    shape = graph.shapes[entry]
    ahead = [f"{prefix}.edges.{row}{col}.{end}" for row, col, _ in cell.ops for end in ("pool", "bn")]
    graph.shapes |= dict.fromkeys(ahead, shape)  # of what a loop reads before it is there
    for row, name in pools:
        ninth = np.full((shape[0], 1, 3, 3), 1 / 9)
        _join(graph, nodes.Conv2d(f"{prefix}.edges.{name}.pool", ninth, padding=(1, 1), groups=shape[0]), value(row))
    for row, name in convolving:
        at, edge = f"{prefix}.edges.{name}", cell.get_submodule(f"edges.{name}")
        assert isinstance(edge, LifConv)
        if firing[row] == name:
            d, k = edge.neuron.dynamics, 1 / edge.neuron.tau
            _join(graph, nodes.Lif(f"{at}.neuron", shape, inv_tau=k, decay_input=d.decay_input, v_th=d.v_th), value(row))
        graph.bn(f"{at}.bn", edge.bn, graph.conv(f"{at}.conv", edge.conv, f"{prefix}.edges.{firing[row]}.neuron"))
    return value(3)


def _join(graph: Builder, node: nodes.Node, sources: Sequence[Source]) -> str:
    """Adds a node that reads the sum of `sources`; one that is there n times is multiplied by n first."""
    terms = []
    for (source, delay), n in Counter(sources).items():
        times = f"{source}.times{n}"
        if n > 1 and times not in graph.shapes:
            channels = graph.shapes[source][0]
            graph.add(nodes.Conv2d(times, np.full((channels, 1, 1, 1), float(n)), groups=channels), source)
        terms.append((times if n > 1 else source, delay))
    graph.add(node, *(name for name, _ in terms))
    graph.edges[-len(terms) :] = [Edge(name, node.name, delay) for name, delay in terms]
    return node.name


def _scaled(graph: Builder, name: str, bn: BatchNorm, sources: Sequence[Source]) -> str:
    """A batch norm of a sum, which is no part of one convolution: a factor and a bias for each channel."""
    mean, var, gamma, beta = (_values(name, t) for t in (bn.running_mean, bn.running_var, bn.weight, bn.bias))
    gain = gamma / np.sqrt(var + bn.eps)
    norm = nodes.Conv2d(name, gain.reshape(-1, 1, 1, 1), beta - mean * gain, groups=len(gain))
    return _join(graph, norm, sources)


def _refused(net: SnasNet, what: str, remedy: str) -> UsageError:
    return UsageError(what, where=f"cell {' '.join(net.arch)}", code="cannot_lower", remedy=remedy,
                      limit="A graph has wires, synapses and neurons")


def _values(name: str, tensor: Tensor | None) -> nodes.Array:
    assert tensor is not None  # batch norms here have running statistics, linear layers the biases that are read
    values = tensor.detach().to("cpu", torch.float64).numpy().copy()
    if not np.isfinite(values).all():
        raise UsageError(f"{int((~np.isfinite(values)).sum())} weights are not finite", where=name, remedy="Train again")
    return values
