"""A network as its cost from layer rates sees it: maps, kernels, who feeds whom and what a neuron keeps; no weights.

Values, equal and hashed by content, so that what depends on geometry alone is computed once for all networks that share
a layer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.estimate import has_bias, memory_of
from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Lif, Linear, Node, Pair, Shape
from neurodeploy.place.layers import Layer, Map, Network, SynapseGroup, read_network

ALL, NONE = b"all", b""  # every neuron of a layer has a bias, or none


class Hashed:
    """The hash of a frozen dataclass, computed once: these values are looked up thousands of times a second."""

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, f.name) for f in fields(self)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class SynapseShape(Hashed):
    """One group of synapses into a layer, without its weights; `delay` counts the timesteps of its edges.

    `inner` says how many of the group's synapses take how many timesteps more: (timesteps, fraction of the synapses).
    """

    kind: Literal["conv2d", "linear"]
    weight: Shape
    source: Map
    target: Map
    delay: int
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    inner: tuple[tuple[int, float], ...] = ((0, 1.0),)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def group(self) -> SynapseGroup:
        """A group of this shape whose weights are all zero, for what reads geometry only."""
        weight = np.broadcast_to(np.int64(0), self.weight)
        longest = max(d for d, _ in self.inner)
        synapse = (
            Linear("synapse", weight=weight, delays=np.broadcast_to(np.int64(longest), self.weight) if longest else None)
            if self.kind == "linear"
            else Conv2d("synapse", weight=weight, stride=self.stride, padding=self.padding, dilation=self.dilation,
                        groups=self.groups)
        )
        return SynapseGroup(
            synapse=synapse, source="source", source_map=self.source, target="target", target_map=self.target, delay=self.delay
        )


@dataclass(frozen=True)
class Memory:
    """What a neuron keeps for the next step, what it starts with, and when it forgets: m % interval == phase, with m the
    steps since the layer's latency."""

    keeps_v: bool
    keeps_u: bool
    hard_reset: bool
    start_v: bool = False
    start_u: bool = False
    interval: int | None = None
    phase: int = 0


@dataclass(frozen=True)
class LayerShape(Hashed):
    """One neuron layer with the synapses into it. `biased` is ALL, NONE or the packed bits of [C, H, W].

    `sets` are the numbers of each neuron's set of decays and threshold, int64 [C, H, W]; NONE where all share one.
    """

    map: Map
    is_vector: bool
    synapses: tuple[SynapseShape, ...]
    memory: Memory
    biased: bytes = NONE
    sets: bytes = NONE
    n_groups_out: int = 1

    def __hash__(self) -> int:
        return self._hash

    @property
    def n_neurons(self) -> int:
        c, h, w = self.map
        return c * h * w

    @cached_property
    def layer(self) -> Layer:
        """The layer as a mapper reads it, its weights zero."""
        shape = self.map[:1] if self.is_vector else self.map
        sets: int | NDArray[np.int64] = np.frombuffer(self.sets, dtype=np.int64).reshape(shape) if self.sets else 1
        return Layer(
            node=CubaLif("target", shape=shape, v_th=sets), map=self.map,
            groups=tuple(s.group for s in self.synapses), host_inputs=(), n_groups_out=self.n_groups_out,
        )

    @cached_property
    def bias_mask(self) -> NDArray[np.bool_]:
        """[C, H, W]: which neurons have a bias, and are hence updated in every step."""
        if self.biased in (ALL, NONE):
            return np.full(self.map, self.biased == ALL)
        return np.unpackbits(np.frombuffer(self.biased, dtype=np.uint8), count=self.n_neurons).astype(bool).reshape(self.map)


@dataclass(frozen=True)
class NetworkShape:
    """Layers in mapping order. Nodes are the inputs that send messages, then the layers; `latencies` is per node.

    `sources` [layer][group] are node indices; `host_inputs` [layer] are the inputs written into its biases; `repeats` is
    per node the layer whose spikes a relay repeats, or None.
    """

    names: tuple[str, ...]
    layers: tuple[LayerShape, ...]
    sources: tuple[tuple[int, ...], ...]
    latencies: tuple[int, ...]
    input_maps: tuple[Map, ...]
    n_timesteps: int
    host_inputs: tuple[tuple[str, ...], ...]
    repeats: tuple[str | None, ...]

    @property
    def n_inputs(self) -> int:
        """Inputs that send messages."""
        return len(self.input_maps)

    @property
    def n_steps(self) -> int:
        """Chip timesteps from the first input to the last output of one sample."""
        return self.n_timesteps + max(self.latencies)


def shape_of(graph: Graph) -> NetworkShape:
    """Geometry of a lowered Graph or an IntGraph.

    Raises NeurodeployError for networks whose rates have no place in time (recurrent or unbalanced), for what no core
    holds, and for neurons whose updates rates say nothing about (sigma-delta).
    """
    network = read_network(graph)
    if network.problems:
        raise NeurodeployError(str(network.problems[0]), code="not_placed")
    if not graph.is_acyclic or not graph.is_balanced:
        raise NeurodeployError(
            "rates have no place in time where paths differ in length", where=graph.nodes[0].name, code="unbalanced",
            remedy="Lower the graph, or simulate it and count the trace",
        )
    senders = {g.source for g in network.groups}
    entries = [node for node in graph.inputs if node.name in senders]
    names = tuple(node.name for node in (*entries, *(layer.node for layer in network.layers)))
    index = {name: i for i, name in enumerate(names)}
    maps = {g.source: g.source_map for g in network.groups}
    relays = graph.metadata.get("relays", {})
    return NetworkShape(
        names=names, layers=tuple(_layer(layer, network) for layer in network.layers),
        sources=tuple(tuple(index[g.source] for g in layer.groups) for layer in network.layers),
        latencies=tuple(graph.latencies[name] for name in names), input_maps=tuple(maps[node.name] for node in entries),
        n_timesteps=graph.n_timesteps, host_inputs=tuple(layer.host_inputs for layer in network.layers),
        repeats=tuple(relays.get(name) for name in names),
    )


def with_fan_out(layer: LayerShape, n_groups_out: int) -> LayerShape:
    """The same layer, feeding that many groups of synapses."""
    return layer if layer.n_groups_out == n_groups_out else replace(layer, n_groups_out=n_groups_out)


def _layer(layer: Layer, network: Network) -> LayerShape:
    graph = network.graph
    biased = has_bias(layer) != 0
    return LayerShape(
        map=layer.map, is_vector=len(graph.shapes[layer.name]) == 1, synapses=tuple(_synapse(g) for g in layer.groups),
        memory=_memory(layer.node, graph.latencies[layer.name]),
        biased=ALL if biased.all() else np.packbits(biased).tobytes() if biased.any() else NONE,
        sets=layer.neuron_sets.tobytes() if layer.neuron_sets is not None else NONE, n_groups_out=layer.n_groups_out,
    )


def _synapse(group: SynapseGroup) -> SynapseShape:
    node = group.synapse
    shape = tuple(int(n) for n in node.weight.shape)
    if isinstance(node, Linear):
        found, n = np.unique(0 if node.delays is None else node.delays, return_counts=True)
        inner = tuple((int(d), float(k / n.sum())) for d, k in zip(found, n, strict=True))
        return SynapseShape("linear", shape, group.source_map, group.target_map, group.delay, inner=inner)
    return SynapseShape(
        "conv2d", shape, group.source_map, group.target_map, group.delay, node.stride, node.padding, node.dilation, node.groups
    )


def _memory(node: Node, latency: int) -> Memory:
    keeps_v, keeps_u = memory_of(node)
    assert isinstance(node, Lif | CubaLif)  # `memory_of` has refused the others
    phase = 0 if node.reset_interval is None else (node.reset_offset - latency - 1) % node.reset_interval
    starts = (node.v_init, node.i_init) if isinstance(node, CubaLif) else (np.zeros(1), np.zeros(1))
    start_v, start_u = (bool(np.any(start)) for start in starts)
    return Memory(
        start_v=start_v, start_u=start_u, keeps_v=bool(np.any(keeps_v)), keeps_u=bool(np.any(keeps_u)),
        hard_reset=not isinstance(node, Lif) or node.reset == "hard", interval=node.reset_interval, phase=phase,
    )
