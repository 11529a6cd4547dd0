"""A graph as a chip's mapper sees it: neuron layers, and the groups of synapses that feed each of them.

A layer is one neuron node with every synapse node in front of it; a group is all synapses from one source through one
synapse node. `Flatten` only renames elements (C, H, W order), so groups look through it, and every shape is handled as
a map: a vector (N,) is (N, 1, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import Violation
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Conv2d, Delta, Flatten, Input, Linear, Node, Shape, Sigma, Vote
from neurodeploy.place.neuron_sets import neuron_sets

Map = tuple[int, int, int]
Synapse = Conv2d | Linear


def as_map(shape: Shape) -> Map:
    """(C, H, W) of a node's shape; a vector (N,) is (N, 1, 1).

    >>> as_map((10,))
    (10, 1, 1)
    """
    c, h, w = (*shape, 1, 1)[:3]
    return (c, h, w)


@dataclass(frozen=True, eq=False)
class SynapseGroup:
    """All synapses from `source` through one synapse node into the layer `target`. `delay` counts timesteps in all."""

    synapse: Synapse
    source: str
    source_map: Map
    target: str
    target_map: Map
    delay: int

    @property
    def n_sources(self) -> int:
        """Elements of the source, connected or not."""
        c, h, w = self.source_map
        return c * h * w

    @property
    def is_dense(self) -> bool:
        """Whether no two neurons share a weight: linear, or a kernel that has but one place on its source's whole map."""
        s = self.synapse
        return isinstance(s, Linear) or (s.groups == 1 and s.weight.shape[1:] == self.source_map and tuple(s.padding) == (0, 0))

    def describe(self) -> str:
        """`conv3 (in 72, out 64, 3x3)`, for messages."""
        weight = self.synapse.weight
        if isinstance(self.synapse, Linear):
            return f"{self.synapse.name} (in {weight.shape[1]}, out {weight.shape[0]})"
        groups = f", {self.synapse.groups} groups" if self.synapse.groups > 1 else ""
        kernel = f"{weight.shape[2]}x{weight.shape[3]}"
        return f"{self.synapse.name} (in {weight.shape[1] * self.synapse.groups}, out {weight.shape[0]}, {kernel}{groups})"


@dataclass(frozen=True, eq=False)
class Layer:
    """A neuron layer. `host_inputs` are inputs written into its neurons without a synapse; `n_groups_out` counts groups
    that it feeds."""

    node: Node
    map: Map
    groups: tuple[SynapseGroup, ...]
    host_inputs: tuple[str, ...]
    n_groups_out: int

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def n_neurons(self) -> int:
        c, h, w = self.map
        return c * h * w

    @cached_property
    def is_dense(self) -> bool:
        """True for a vector that no convolution feeds: cut by neurons, not into tiles."""
        shape = getattr(self.node, "shape", ())
        return len(shape) == 1 and all(isinstance(g.synapse, Linear) for g in self.groups)

    @cached_property
    def neuron_sets(self) -> NDArray[np.int64] | None:
        """[C, H, W] number of each neuron's set of decays and threshold; None where all share one."""
        return neuron_sets(self.node)


@dataclass(frozen=True, eq=False)
class Network:
    """The layers of a graph in mapping order, its inputs, and what no mapper can place."""

    graph: Graph
    layers: tuple[Layer, ...]
    problems: tuple[Violation, ...]

    @cached_property
    def groups(self) -> tuple[SynapseGroup, ...]:
        return tuple(g for layer in self.layers for g in layer.groups)


def _unplaceable(where: str, what: str, remedy: str) -> Violation:
    return Violation(
        rule="supported_nodes", where=where, what=what,
        limit="A core holds neurons fed by convolutions, linear maps or biases", remedy=remedy,
    )


def _sources(graph: Graph, synapse: Node, problems: list[Violation]) -> list[tuple[Node, int]]:
    """(source, delay) of a synapse node, looking back through Flatten to neurons and inputs."""
    found: list[tuple[Node, int]] = []
    waiting = [(graph[e.src], e.delay) for e in graph.incoming(synapse.name)]
    while waiting:
        node, delay = waiting.pop(0)
        if isinstance(node, Flatten):
            waiting[:0] = [(graph[e.src], delay + e.delay) for e in graph.incoming(node.name)]
        elif node.is_neuron or isinstance(node, Input):
            found.append((node, delay))
        else:
            problems.append(_unplaceable(
                node.name, f"a {type(node).__name__} stands between neurons and the synapses of {synapse.name}",
                "Lower the graph for this target first",
            ))
    return found


def _is_written(source: Input, target: Node) -> bool:
    """Whether the host writes an input straight into neurons: a bias, or what sigma-delta neurons take the change of."""
    return source.kind in ("bias", "analog") or (source.kind == "graded" and isinstance(target, Delta | Sigma))


def read_network(graph: Graph) -> Network:
    """Layers and groups of a graph. Constructs no core can hold come back as `problems`, all of them."""
    problems: list[Violation] = []
    groups: dict[str, list[SynapseGroup]] = {}
    host: dict[str, list[str]] = {}
    for node in graph.neurons:
        groups[node.name], host[node.name] = [], []
        for edge in graph.incoming(node.name):
            source = graph[edge.src]
            if isinstance(source, Conv2d | Linear):
                groups[node.name] += [
                    SynapseGroup(
                        synapse=source, source=origin.name, source_map=as_map(graph.shapes[origin.name]),
                        target=node.name, target_map=as_map(graph.shapes[node.name]), delay=delay + edge.delay,
                    )
                    for origin, delay in _sources(graph, source, problems)
                ]
            elif isinstance(source, Input) and _is_written(source, node):
                host[node.name].append(source.name)
            else:
                problems.append(_unplaceable(
                    node.name, f"{source.name} ({type(source).__name__}) feeds its neurons without a synapse",
                    "Lower the graph for this target first, or put a 1x1 convolution between them",
                ))
    for node in graph.nodes:
        for edge in graph.incoming(node.name):
            if isinstance(graph[edge.src], Conv2d | Linear) and not node.is_neuron:
                problems.append(_unplaceable(
                    edge.src, f"its output goes to {node.name} ({type(node).__name__}), not to neurons",
                    "Lower the graph for this target first, or end it with a neuron layer",
                ))
            elif isinstance(node, Vote) and not graph[edge.src].is_neuron:
                what = f"reads votes from {edge.src}, which is no neuron layer"
                problems.append(_unplaceable(node.name, what, "Read out neurons"))
    fed: dict[str, int] = {}
    for group in (g for layer in groups.values() for g in layer):
        fed[group.source] = fed.get(group.source, 0) + 1
    layers = tuple(
        Layer(
            node=n, map=as_map(graph.shapes[n.name]), groups=tuple(groups[n.name]), host_inputs=tuple(host[n.name]),
            n_groups_out=fed.get(n.name, 0),
        )
        for n in graph.neurons
    )
    if not layers:
        problems.append(_unplaceable(graph.nodes[0].name, "the graph has no neurons", "Give it at least one neuron layer"))
    return Network(graph=graph, layers=layers, problems=tuple(problems))
