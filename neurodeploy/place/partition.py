"""The "halving" rule: one layer a core, halved until every limit of a core holds.

First-order model of Intel's compiler, fitted on its public tables (profile entry `partition`): compare core counts
only, the tile is one of several minima. Readings of our own, where the tables say nothing:

* Several groups of synapses into one layer share its cores: their words and axons add up.
* A grouped convolution stores, as the formula says, C_in/groups * kx * ky rows of one weight per channel of the tile.
* An axon in is one source element with a synapse into the core. An axon out is one neuron of the core times the groups
  it feeds, not times the cores: the compiler's own PilotNet would otherwise need 24,576 of 16,000 on a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from neurodeploy.hw.profile import Profile
from neurodeploy.ir.nodes import Linear
from neurodeploy.place.layers import Layer, SynapseGroup
from neurodeploy.place.reach import Ints, Range, Reach, build_reach, by_range, channel_taps, conv_taps


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def chunks(n: int, size: int) -> tuple[Range, ...]:
    """Consecutive ranges of `size`, the last one shorter."""
    return tuple((a, min(a + size, n)) for a in range(0, n, size))


def even_parts(n: int, n_parts: int) -> tuple[Range, ...]:
    """n_parts consecutive ranges that differ by at most one."""
    edges = [n * k // n_parts for k in range(n_parts + 1)]
    return tuple(pairwise(edges))


def word_limit(profile: Profile) -> int:
    """Synapse words of a core: what it has, and what the chosen compiler fills."""
    return min(profile.capacity.synapse_words_per_core.count, profile.partition.synapse_words)


def n_words(group: SynapseGroup, n_neurons: int, profile: Profile) -> int:
    """Synapse words of a group on one core that holds `n_neurons` of a vector, or that many channels of a map."""
    part, word = profile.partition, profile.capacity.synapse_word_bits.count
    weight = group.synapse.weight
    if isinstance(group.synapse, Linear):
        return int(weight.shape[1]) * _ceil_div(part.dense_synapse_bits * n_neurons + part.dense_axon_bits, word)
    rows = int(weight.shape[1] * weight.shape[2] * weight.shape[3])
    return rows * _ceil_div(n_neurons * part.conv_weight_bits + part.conv_overhead_bits, word)


@dataclass(frozen=True, eq=False)
class Cut:
    """A layer cut into a grid of cores: the ranges along each axis, and the synapse words of the fullest core."""

    layer: Layer
    channels: tuple[Range, ...]
    rows: tuple[Range, ...]
    cols: tuple[Range, ...]
    n_words: tuple[int, ...]  # per channel range

    @property
    def n_cores(self) -> int:
        return len(self.channels) * len(self.rows) * len(self.cols)

    @cached_property
    def reaches(self) -> tuple[Reach, ...]:
        """Reach of each group of the layer, in the order of `layer.groups`."""
        return tuple(build_reach(g, self.channels, self.rows, self.cols) for g in self.layer.groups)

    @cached_property
    def n_axons_in(self) -> Ints:
        """[n_cores]: axon entries, over all groups."""
        total = np.zeros(self.n_cores, dtype=np.int64)
        for reach in self.reaches:
            total += reach.n_axons_in
        return total


def smallest_need(layer: Layer, profile: Profile) -> tuple[int, int, int]:
    """(words, axons in, axons out) of a core that holds a single neuron: below this no cut can go."""
    words = sum(n_words(g, 1, profile) for g in layer.groups)
    if layer.is_dense:
        axons = sum(g.n_sources for g in layer.groups)
    else:
        one = [[(n, n + 1) for n in range(size)] for size in layer.map]
        axons = max((int(sum(_max_axons(g, *one) for g in layer.groups)), 0))
    return words, axons, layer.n_groups_out


def _max_axons(group: SynapseGroup, channels: Sequence[Range], rows: Sequence[Range], cols: Sequence[Range]) -> int:
    """Most source elements that any core of the grid hears (exact: the axes are independent)."""
    if isinstance(group.synapse, Linear):
        return group.n_sources
    return (
        _most(channel_taps(group), channels) * _most(conv_taps(group, 0), rows) * _most(conv_taps(group, 1), cols)
    )


def _most(taps: Ints, ranges: Sequence[Range]) -> int:
    return int((by_range(taps, ranges) > 0).sum(axis=0).max())


def cut_layer(layer: Layer, profile: Profile) -> Cut | None:
    """Fewest cores that hold a layer, or None where not even single neurons fit (`rules` says which limit)."""
    return _cut_dense(layer, profile) if layer.is_dense else _cut_map(layer, profile)


def _cut_dense(layer: Layer, profile: Profile) -> Cut | None:
    capacity = profile.capacity
    most = min(layer.n_neurons, capacity.neurons_per_core.count)
    if layer.n_groups_out:
        most = min(most, capacity.axons_out_per_core.count // layer.n_groups_out)
    if sum(g.n_sources for g in layer.groups) > capacity.axons_in_per_core.count:
        return None

    def fits(n: int) -> bool:
        return sum(n_words(g, n, profile) for g in layer.groups) <= word_limit(profile)

    low, high = 0, most  # words grow with n: the largest n that fits lies in low..high
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    if low == 0:
        return None
    channels = even_parts(layer.n_neurons, _ceil_div(layer.n_neurons, low))
    words = tuple(sum(n_words(g, b - a, profile) for g in layer.groups) for a, b in channels)
    return Cut(layer, channels, ((0, 1),), ((0, 1),), words)


def _halvings(n: int) -> list[int]:
    """ceil(n / 2^k) for k = 0, 1, ... down to 1, each size once."""
    sizes = [n]
    while sizes[-1] > 1:
        sizes.append(_ceil_div(sizes[-1], 2))
    return sizes


def _cut_map(layer: Layer, profile: Profile) -> Cut | None:
    capacity = profile.capacity
    c_all, h, w = layer.map
    widths = [2**k for k in range(w.bit_length() + 1) if 2**k < 2 * w]  # powers of two up to the first that spans it
    for c in _halvings(c_all):
        if sum(n_words(g, c, profile) for g in layer.groups) > word_limit(profile):
            continue
        best: tuple[tuple[int, int, int], tuple[tuple[Range, ...], ...]] | None = None
        for ty in _halvings(h):
            for tx in widths:
                n = min(tx, w) * ty * c
                if tx * ty * c >= capacity.neurons_per_core.count:  # strictly less, as in the compiler's tables
                    continue
                if layer.n_groups_out * n > capacity.axons_out_per_core.count:
                    continue
                ranges = (chunks(c_all, c), chunks(h, ty), chunks(w, tx))
                # Fewest cores, then the fewest neurons on the fullest one, then the widest tile.
                rank = (len(ranges[0]) * len(ranges[1]) * len(ranges[2]), n, -tx)
                if best is not None and rank >= best[0]:
                    continue
                if sum(_max_axons(g, *ranges) for g in layer.groups) > capacity.axons_in_per_core.count:
                    continue
                best = (rank, ranges)
        if best is not None:
            channels, rows, cols = best[1]
            words = tuple(sum(n_words(g, b - a, profile) for g in layer.groups) for a, b in channels)
            return Cut(layer, channels, rows, cols, words)
    return None
