"""A placed network as the cost model sees it: for each group of synapses, who sends to which cores over how many hops."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import Graph
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
class Wiring:
    """All links of a placed network."""

    network: Network
    links: tuple[Link, ...]


@lru_cache(maxsize=8)
def wire(graph: Graph, plan: Placement) -> Wiring:
    """Links of a graph placed by `plan`; kept for the last few, so that many rasters can be costed on one placement.

    Raises NeurodeployError where the placement is not one of this graph.
    """
    network = read_network(graph)
    if network.problems:
        raise NeurodeployError(str(network.problems[0]), code="not_placed")
    shapes = {layer.name: graph.shapes[layer.name] for layer in network.layers}
    if shapes != dict(plan.shapes):
        raise NeurodeployError(
            f"the placement holds {dict(plan.shapes)}, the network has {shapes}", code="not_placed",
            remedy="Place the network that is costed",
        )
    return Wiring(network=network, links=tuple(_link(group, graph, plan) for group in network.groups))


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
