"""The "halving" rule: one layer a core, halved until every limit of a core holds.

First-order model of Intel's compiler, fitted on its public tables (profile entry `partition`): compare core counts
only, the tile is one of several minima. Readings of our own, where the tables say nothing:

* Several groups of synapses into one layer, recurrent ones too, share its cores: their words and axons add up.
* A grouped convolution stores, as the formula says, C_in/groups * kx * ky rows of one weight per channel of the tile.
* An axon in is one source element with a synapse into the core. An axon out is one neuron of the core times the groups
  it feeds, not times the cores: the compiler's own PilotNet would otherwise need 24,576 of 16,000 on a core.
* A layer whose neurons differ in decays or threshold is halved until no core holds more sets of them than it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from neurodeploy.hw.profile import Profile
from neurodeploy.ir.nodes import Linear
from neurodeploy.place.layers import Layer, SynapseGroup
from neurodeploy.place.reach import Ints, Range, Reach, build_reach, by_range, channel_taps, conv_taps
from neurodeploy.place.words import ceil_div, n_words, word_limit

Ranges = tuple[tuple[Range, ...], tuple[Range, ...], tuple[Range, ...]]  # along channels, rows and columns
_FREE = 2**62  # a limit that nothing reaches


def chunks(n: int, size: int) -> tuple[Range, ...]:
    """Consecutive ranges of `size`, the last one shorter."""
    return tuple((a, min(a + size, n)) for a in range(0, n, size))


def even_parts(n: int, n_parts: int) -> tuple[Range, ...]:
    """n_parts consecutive ranges that differ by at most one."""
    edges = [n * k // n_parts for k in range(n_parts + 1)]
    return tuple(pairwise(edges))


@dataclass(frozen=True)
class Limits:
    """What one core holds of each resource."""

    neurons: int
    synapse_words: int
    axons_in: int
    axons_out: int
    neuron_groups: int

    def only(self, resource: str) -> Limits:
        """The same with every other resource without end."""
        return replace(self, **{f.name: _FREE for f in fields(self) if f.name != resource})


RESOURCES = tuple(f.name for f in fields(Limits))


def limits_of(profile: Profile) -> Limits:
    """Limits of a core of the target."""
    capacity = profile.capacity
    return Limits(
        neurons=capacity.neurons_per_core.count, synapse_words=word_limit(profile),
        axons_in=capacity.axons_in_per_core.count, axons_out=capacity.axons_out_per_core.count,
        neuron_groups=capacity.neuron_groups_per_core.count,
    )


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

    @property
    def ranges(self) -> Ranges:
        return self.channels, self.rows, self.cols

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

    @cached_property
    def used(self) -> Limits:
        """Most of each resource that any core of the layer uses."""
        n = _largest(self.ranges)
        return Limits(
            neurons=n, synapse_words=max(self.n_words), axons_in=int(self.n_axons_in.max()),
            axons_out=n * self.layer.n_groups_out, neuron_groups=_most_sets(self.layer, self.ranges),
        )


def grid_cut(layer: Layer, ranges: Ranges, profile: Profile) -> Cut:
    """The cut of a layer by given ranges, whether or not it fits."""
    words = tuple(sum(n_words(g, b - a, profile) for g in layer.groups) for a, b in ranges[0])
    return Cut(layer, *ranges, words)


def fits(cut: Cut, profile: Profile) -> bool:
    """Whether every core of a cut is within the target's limits."""
    used, limits = cut.used, limits_of(profile)
    most = limits.neurons if cut.layer.is_dense else limits.neurons - 1  # a tile stays below, as in the compiler's tables
    return used.neurons <= most and all(
        getattr(used, r) <= getattr(limits, r) for r in RESOURCES if r != "neurons"
    )


def smallest_need(layer: Layer, profile: Profile) -> tuple[int, int, int]:
    """(words, axons in, axons out) of a core that holds a single neuron: below this no cut can go."""
    words = sum(n_words(g, 1, profile) for g in layer.groups)
    if layer.is_dense:
        axons = sum(g.n_sources for g in layer.groups)
    else:
        one = [[(n, n + 1) for n in range(size)] for size in layer.map]
        axons = max((int(sum(_max_axons(g, *one) for g in layer.groups)), 0))
    return words, axons, layer.n_groups_out


def _largest(ranges: Ranges) -> int:
    """Neurons on the fullest core of a grid."""
    c, r, x = (max(b - a for a, b in axis) for axis in ranges)
    return c * r * x


def _max_axons(group: SynapseGroup, channels: Sequence[Range], rows: Sequence[Range], cols: Sequence[Range]) -> int:
    """Most source elements that any core of the grid hears (exact: the axes are independent)."""
    if isinstance(group.synapse, Linear):
        return group.n_sources
    return (
        _most(channel_taps(group), channels) * _most(conv_taps(group, 0), rows) * _most(conv_taps(group, 1), cols)
    )


def _most(taps: Ints, ranges: Sequence[Range]) -> int:
    return int((by_range(taps, ranges) > 0).sum(axis=0).max())


def _most_sets(layer: Layer, ranges: Ranges) -> int:
    """Sets of decays and threshold on the core of a grid that has the most."""
    numbers = layer.neuron_sets
    if numbers is None:
        return 1
    return max(
        len(np.unique(numbers[slice(*c), slice(*r), slice(*x)])) for c in ranges[0] for r in ranges[1] for x in ranges[2]
    )


def cut_layer(layer: Layer, profile: Profile, limits: Limits | None = None) -> Cut | None:
    """Fewest cores that hold a layer, or None where not even single neurons fit (`rules` says which limit).

    limits: of a core, default those of the target.
    """
    cut = _cut_dense if layer.is_dense else _cut_map
    return cut(layer, profile, limits or limits_of(profile))


def _cut_dense(layer: Layer, profile: Profile, limits: Limits) -> Cut | None:
    most = min(layer.n_neurons, limits.neurons)
    if layer.n_groups_out:
        most = min(most, limits.axons_out // layer.n_groups_out)
    if sum(g.n_sources for g in layer.groups) > limits.axons_in or limits.neuron_groups < 1:
        return None

    def holds(n: int) -> bool:
        return sum(n_words(g, n, profile) for g in layer.groups) <= limits.synapse_words

    low, high = 0, most  # words grow with n: the largest n that fits lies in low..high
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    if low == 0:
        return None
    n_parts = ceil_div(layer.n_neurons, low)
    one: tuple[Range, ...] = ((0, 1),)
    while _most_sets(layer, (even_parts(layer.n_neurons, n_parts), one, one)) > limits.neuron_groups:
        n_parts = min(2 * n_parts, layer.n_neurons)
    return grid_cut(layer, (even_parts(layer.n_neurons, n_parts), one, one), profile)


def _halvings(n: int) -> list[int]:
    """ceil(n / 2^k) for k = 0, 1, ... down to 1, each size once."""
    sizes = [n]
    while sizes[-1] > 1:
        sizes.append(ceil_div(sizes[-1], 2))
    return sizes


def _cut_map(layer: Layer, profile: Profile, limits: Limits) -> Cut | None:
    c_all, h, w = layer.map
    widths = [2**k for k in range(w.bit_length() + 1) if 2**k < 2 * w]  # powers of two up to the first that spans it
    for c in _halvings(c_all):
        if sum(n_words(g, c, profile) for g in layer.groups) > limits.synapse_words:
            continue
        best: tuple[tuple[int, int, int], Ranges] | None = None
        for ty in _halvings(h):
            for tx in widths:
                n = min(tx, w) * ty * c
                if tx * ty * c >= limits.neurons:  # strictly less, as in the compiler's tables
                    continue
                if layer.n_groups_out * n > limits.axons_out:
                    continue
                ranges = (chunks(c_all, c), chunks(h, ty), chunks(w, tx))
                # Fewest cores, then the fewest neurons on the fullest one, then the widest tile.
                rank = (len(ranges[0]) * len(ranges[1]) * len(ranges[2]), n, -tx)
                if best is not None and rank >= best[0]:
                    continue
                if sum(_max_axons(g, *ranges) for g in layer.groups) > limits.axons_in:
                    continue
                if _most_sets(layer, ranges) > limits.neuron_groups:
                    continue
                best = (rank, ranges)
        if best is not None:
            return grid_cut(layer, best[1], profile)
    return None
