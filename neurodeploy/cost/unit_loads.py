"""What one spike per source element causes on each core, and how many neurons of each fan-in a core holds.

Both follow from geometry alone and are kept per layer geometry, so that networks which share a layer share the work. All
weights count, those that are zero too: a geometry has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.geometry import Hashed, LayerShape
from neurodeploy.ir.nodes import Linear
from neurodeploy.place.layers import Map, SynapseGroup
from neurodeploy.place.partition import Ranges
from neurodeploy.place.reach import Floats, Range, build_reach, conv_taps

_KEPT = 2048  # entries of the cache; one of a layer on a few cores takes some kB


@dataclass(frozen=True)
class LayerCut(Hashed):
    """A layer's geometry and the ranges along channels, rows and columns whose product is its cores."""

    shape: LayerShape
    ranges: Ranges

    def __hash__(self) -> int:
        return self._hash

    @property
    def n_cores(self) -> int:
        c, r, x = self.ranges
        return len(c) * len(r) * len(x)


def whole(source: Map) -> Ranges:
    """One block that holds all of an input."""
    c, h, w = source
    return ((0, c),), ((0, h),), ((0, w),)


@dataclass(frozen=True, eq=False)
class UnitLink:
    """One spike of every source element: synops and packets received [K] per target core, packets sent [J] per source core.

    packets: [J, K] from core to core, None where only their sums are known.
    """

    synops: Floats
    packets_in: Floats
    packets_out: Floats
    packets: Floats | None = None

    @cached_property
    def flat(self) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        """Packets [J K], and the source and target core (of the layer) of each."""
        assert self.packets is not None
        j, k = np.indices(self.packets.shape).reshape(2, -1)
        return self.packets.reshape(-1), j, k


def unit_link(target: LayerCut, group: int, source: Ranges) -> UnitLink:
    """What group number `group` of a cut layer receives from a source whose cores are the product of ranges."""
    reach = build_reach(target.shape.synapses[group].group, *target.ranges)
    reached = reach.reached
    axes = [
        np.stack([factor[a:b].sum(axis=0) for a, b in ranges])
        for factor, ranges in zip((reached.channels, reached.rows, reached.cols), source, strict=True)
    ]
    packets = _product(*axes)
    return UnitLink(
        synops=_product(*(factor.sum(axis=0)[None] for factor in (reach.channels, reach.rows, reach.cols)))[0],
        packets_in=packets.sum(axis=0), packets_out=packets.sum(axis=1), packets=packets,
    )


def _product(channels: Floats, rows: Floats, cols: Floats) -> Floats:
    """[Jc*Jy*Jx, Kc*Ky*Kx] from one matrix an axis, cores numbered as in `place.reach`."""
    full = np.einsum("ad,be,cf->abcdef", channels, rows, cols)
    return np.asarray(full.reshape(full.shape[0] * full.shape[1] * full.shape[2], -1))


@dataclass(frozen=True, eq=False)
class UnitLayer:
    """The neurons of a layer by core. Those without a bias fall into classes of equal fan-in.

    fan_in: [n_classes, n_links]: synapses from each link (a group, or its part that takes one delay).
    n_of_class: [K, n_classes] neurons; n_biased: [K] neurons with a bias; n_neurons: [K] all of them.
    links: (group, timesteps on the way) of each link.
    """

    links: tuple[tuple[int, int], ...]
    fan_in: Floats
    n_of_class: Floats
    n_biased: Floats
    n_neurons: Floats


@lru_cache(maxsize=_KEPT)
def unit_layer(cut: LayerCut) -> UnitLayer:
    """Neurons of a cut layer by core and fan-in."""
    shape = cut.shape
    links: list[tuple[int, int]] = []
    fans: list[Floats] = []
    for g, synapse in enumerate(shape.synapses):
        fan = _fan_in(synapse.group)
        for delay, fraction in synapse.inner:
            links.append((g, synapse.delay + delay))
            fans.append(fan * fraction)
    return classes(np.stack(fans) if fans else np.zeros((0, *shape.map[1:])), shape.bias_mask, cut.ranges, tuple(links))


def classes(fan_in: Floats, biased: NDArray[np.bool_], ranges: Ranges, links: tuple[tuple[int, int], ...]) -> UnitLayer:
    """Classes of neurons [C, H, W] on a grid of cores, given the fan-in [n_links, H, W] of each position."""
    _, h, w = fan_in.shape
    found, of = _distinct(fan_in.reshape(len(fan_in), h * w))
    is_class = (of[:, None] == np.arange(found.shape[1])).reshape(h, w, -1)
    free = _per_core((~biased)[..., None] & is_class[None], ranges)
    every = _per_core(np.ones((*biased.shape, 1), dtype=bool), ranges)[:, 0]
    return _unit_layer(links, found, free, every)


def scattered(
    fan_in: Floats, biased: NDArray[np.bool_], own: NDArray[np.int64], links: tuple[tuple[int, int], ...]
) -> UnitLayer:
    """Classes of neurons [N] that lie anywhere, `own` [N] being the core of each, given their fan-in [n_links, N]."""
    found, of = _distinct(fan_in)
    free = np.zeros((int(own.max()) + 1, found.shape[1]))
    np.add.at(free, (own, of), ~biased)
    return _unit_layer(links, found, free, np.bincount(own).astype(np.float64))


def _distinct(fan_in: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Distinct columns of [n_links, n] and which of them each column is."""
    if not len(fan_in):
        return np.zeros((0, 1)), np.zeros(fan_in.shape[1], dtype=np.int64)
    found, of = np.unique(fan_in, axis=1, return_inverse=True)
    return found, of.reshape(-1).astype(np.int64)


def _unit_layer(links: tuple[tuple[int, int], ...], fan_in: Floats, free: Floats, every: Floats) -> UnitLayer:
    present = free.any(axis=0)
    return UnitLayer(
        links=links, fan_in=np.ascontiguousarray(fan_in.T[present]), n_of_class=free[:, present],
        n_biased=every - free.sum(axis=1), n_neurons=every,
    )


def _per_core(flags: NDArray[np.bool_], ranges: Ranges) -> Floats:
    """[K, n]: flags [C, H, W, n] summed over the block of each core."""
    total = flags.astype(np.float64)
    for axis, parts in enumerate(ranges):
        total = _summed(total, parts, axis)
    return total.reshape(-1, total.shape[-1])


def _summed(values: Floats, parts: Sequence[Range], axis: int) -> Floats:
    return np.stack([values.take(range(a, b), axis=axis).sum(axis=axis) for a, b in parts], axis=axis)


def _fan_in(group: SynapseGroup) -> Floats:
    """[H, W]: synapses into each neuron of a position, whatever its channel."""
    _, h, w = group.target_map
    node = group.synapse
    if isinstance(node, Linear):
        return np.full((h, w), float(group.n_sources))
    rows, cols = (conv_taps(group, axis).sum(axis=0) for axis in (0, 1))
    return np.asarray(rows[:, None] * cols[None, :] * node.weight.shape[1], dtype=np.float64)
