"""A placed network as the cost model sees it: for each group of synapses, who sends to which cores over how many hops."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.mapping import Ints, Mapping, Plan, read_mapping
from neurodeploy.cost.synapse_table import synapse_table
from neurodeploy.errors import NeurodeployError
from neurodeploy.hw.profile import Zeros
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Iaf
from neurodeploy.place.assignment import Assignment
from neurodeploy.place.layers import Network, SynapseGroup, read_network
from neurodeploy.place.noc import INPUT_POSITION, hops
from neurodeploy.place.placement import Placement, Range
from neurodeploy.place.reach import Floats, Reach, build_reach

_CHUNK = 2**23  # elements of a raster that are converted to float64 at a time


@dataclass(frozen=True, eq=False)
class Block:
    """The part of a source that sits on one core (an input: all of it), and where its packets reach."""

    channels: Range
    rows: Range
    cols: Range
    reached: Reach  # of the block's elements into the target's cores
    hops: Floats  # [K, 2]: east-west and north-south hops to each target core


@dataclass(frozen=True, eq=False)
class Link:
    """One group of synapses between placed layers: K cores receive, one block per source core sends."""

    group: SynapseGroup
    reach: Reach
    blocks: tuple[Block, ...]

    def deliver(self, raster: NDArray[np.generic]) -> tuple[Floats, Floats, Floats, Floats]:
        """What spikes (or rates) [T', B, *source shape] cause, linear in them.

        Returns synops [T', B, K], packets in [T', B, K], packets out [T', B, J] and hops [T', B, J, 2]; one packet per
        spike and target core. Exact for integers (sums far below 2^53).
        """
        n_steps, batch = raster.shape[:2]
        maps = raster.reshape(n_steps, batch, *self.group.source_map)
        step = max(1, _CHUNK // max(1, maps[0].size))
        parts = [self._deliver(maps[t : t + step].astype(np.float64)) for t in range(0, n_steps, step)]
        synops, packets_in, packets_out, hop = (np.concatenate(p) for p in zip(*parts, strict=True))
        return synops, packets_in, packets_out, hop

    def _deliver(self, maps: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        received = np.zeros((*maps.shape[:2], self.reach.n_cores))
        sent, travelled = [], []
        for block in self.blocks:
            part = maps[:, :, slice(*block.channels), slice(*block.rows), slice(*block.cols)]
            packets = block.reached.apply(part)
            received += packets
            sent.append(packets.sum(axis=-1))
            travelled.append(packets @ block.hops)
        return self.reach.apply(maps), received, np.stack(sent, axis=-1), np.stack(travelled, axis=-2)


@dataclass(frozen=True, eq=False)
class TableLink:
    """The same for neurons that lie anywhere, or weights that are left out: element by element.

    `synapses` [N, K]: from each source element into each target core; `own` [N]: the source core (0..J-1) of each element,
    `hops` [J, K, 2] the way from it to each target core.
    """

    group: SynapseGroup
    synapses: Floats
    own: Ints
    hops: Floats

    @cached_property
    def _effects(self) -> Floats:
        """[N, K + K + 3 J]: what one spike of each element causes."""
        reached = (self.synapses > 0).astype(np.float64)
        n, n_cores = self.own.size, self.hops.shape[0]
        caused = [reached.sum(axis=1), *np.einsum("nk,nka->an", reached, self.hops[self.own])]  # packets, hops in x and y
        sent = np.zeros((3, n, n_cores))
        sent[:, np.arange(n), self.own] = caused
        return np.concatenate([self.synapses, reached, *sent], axis=1)

    def deliver(self, raster: NDArray[np.generic]) -> tuple[Floats, Floats, Floats, Floats]:
        """As `Link.deliver`."""
        n_steps, batch = raster.shape[:2]
        rows = raster.reshape(n_steps, batch, -1)
        step = max(1, _CHUNK // max(1, rows[0].size))
        parts = [rows[t : t + step].astype(np.float64) @ self._effects for t in range(0, n_steps, step)]
        k, j = self.synapses.shape[1], self.hops.shape[0]
        synops, received, sent, east, north = np.split(np.concatenate(parts), np.cumsum([k, k, j, j]), axis=-1)
        return synops, received, sent, np.stack([east, north], axis=-1)


@dataclass(frozen=True, eq=False)
class Wiring:
    """All links of a placed network."""

    network: Network
    mapping: Mapping
    links: tuple[Link | TableLink, ...]
    zeros: Zeros


@lru_cache(maxsize=8)
def wire(graph: Graph, plan: Plan, zeros: Zeros = "stored") -> Wiring:
    """Links of a graph placed by `plan`; kept for the last few, so that many rasters can be costed on one placement.

    Weights of zero are synapses like any other where `zeros` is "stored", and none where it is "culled".
    Raises NeurodeployError where the placement is not one of this graph, and for neurons of event-driven chips.
    """
    network = read_network(graph)
    foreign = next((layer.name for layer in network.layers if isinstance(layer.node, Iaf)), None)
    if foreign is not None:
        raise NeurodeployError(
            "an Iaf, the arithmetic of another chip", where=foreign, code="other_arithmetic",
            limit="These costs are those of cores that step through time and send one message a neuron and timestep",
            remedy="Quantize the trained network for the chip whose cost is asked for",
        )
    if network.problems:
        raise NeurodeployError(str(network.problems[0]), code="not_placed")
    shapes = {layer.name: graph.shapes[layer.name] for layer in network.layers}
    if isinstance(plan, Assignment):
        inputs = {node.name for node in graph.inputs}
        placed = {name: cores.shape for name, cores in plan.cores.items() if name not in inputs}
    else:
        placed = dict(plan.shapes)
    if shapes != placed:
        raise NeurodeployError(
            f"the placement holds {placed}, the network has {shapes}", code="not_placed",
            remedy="Place the network that is costed",
        )
    mapping = read_mapping(plan)
    if isinstance(plan, Placement) and zeros == "stored":
        links: tuple[Link | TableLink, ...] = tuple(_link(group, graph, plan) for group in network.groups)
    else:
        links = tuple(_table_link(group, plan, mapping, zeros) for group in network.groups)
    return Wiring(network=network, mapping=mapping, links=links, zeros=zeros)


def _table_link(group: SynapseGroup, plan: Plan, mapping: Mapping, zeros: Zeros) -> TableLink:
    targets = mapping.positions[mapping.columns[group.target]]
    synapses = synapse_table(group, _own(group.target, plan, mapping), len(targets), culled=zeros == "culled")
    if group.source in mapping.columns:
        own, sources = _own(group.source, plan, mapping), mapping.positions[mapping.columns[group.source]]
    else:
        own, sources = np.zeros(group.n_sources, dtype=np.int64), np.array([INPUT_POSITION])
    way = np.abs(targets[None, :, :] - sources[:, None, :]).astype(np.float64)  # XY routing
    return TableLink(group=group, synapses=synapses, own=own, hops=way)


def _own(name: str, plan: Plan, mapping: Mapping) -> Ints:
    """[N]: the core of every element, as an index into the node's columns."""
    return mapping.own[name] if not isinstance(plan, Placement) else plan.core_map(name).reshape(-1)


def _link(group: SynapseGroup, graph: Graph, plan: Placement) -> Link:
    reach = build_reach(group, *plan.grid(group.target))
    targets = plan.cores_of(group.target)
    if graph[group.source].is_neuron:
        senders = [((c.channels, c.rows, c.cols), (c.x, c.y)) for c in plan.cores_of(group.source)]
    else:
        c, h, w = group.source_map
        senders = [(((0, c), (0, h), (0, w)), INPUT_POSITION)]
    blocks = tuple(
        Block(
            *axes, reached=reach.within(*axes).reached,
            hops=np.array([hops(where, (core.x, core.y)) for core in targets], dtype=np.float64),
        )
        for axes, where in senders
    )
    return Link(group=group, reach=reach, blocks=blocks)
