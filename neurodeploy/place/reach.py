"""How many synapses join each source element to each core of a layer, factored by axis.

A layer's cores form a grid of channel, row and column ranges, so the number of synapses from source element (c, y, x)
into core (i, j, k) is channels[c, i] * rows[y, j] * cols[x, k]: exact for any stride, padding, dilation and number of
groups, clipped at the borders, zero weights included (they occupy synapse memory and are processed like any other).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.nodes import Linear
from neurodeploy.place.layers import SynapseGroup

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Range = tuple[int, int]


@lru_cache(maxsize=4096)
def axis_taps(n_in: int, n_out: int, kernel: int, stride: int, padding: int, dilation: int) -> Ints:
    """[n_in, n_out]: 1 where output o uses input i along one axis, i = o*stride - padding + tap*dilation."""
    taps = np.zeros((n_in, n_out), dtype=np.int64)
    outputs = np.arange(n_out)
    for tap in range(kernel):
        inputs = outputs * stride - padding + tap * dilation
        inside = (inputs >= 0) & (inputs < n_in)
        taps[inputs[inside], outputs[inside]] = 1
    taps.setflags(write=False)
    return taps


def by_range(taps: Ints, ranges: Sequence[Range]) -> Ints:
    """[n_in, len(ranges)]: taps summed over each range of outputs."""
    out: Ints = np.stack([taps[:, a:b].sum(axis=1) for a, b in ranges], axis=1)
    return out


def conv_taps(group: SynapseGroup, axis: int) -> Ints:
    """[n_in, n_out] of a convolution along rows (axis 0) or columns (axis 1)."""
    conv = group.synapse
    assert not isinstance(conv, Linear)
    return axis_taps(
        group.source_map[1 + axis], group.target_map[1 + axis], int(conv.weight.shape[2 + axis]),
        conv.stride[axis], conv.padding[axis], conv.dilation[axis],
    )


def channel_taps(group: SynapseGroup) -> Ints:
    """[C_in, C_out] of a convolution: 1 where both belong to the same group of channels."""
    conv = group.synapse
    assert not isinstance(conv, Linear)
    c_in, c_out = group.source_map[0], group.target_map[0]
    of_in = np.arange(c_in) // (c_in // conv.groups)
    of_out = np.arange(c_out) // (c_out // conv.groups)
    taps: Ints = (of_in[:, None] == of_out[None, :]).astype(np.int64)
    return taps


@dataclass(frozen=True, eq=False)
class Reach:
    """Synapses from source elements to the cores of one layer: channels [C, Kc], rows [H, Ky], cols [W, Kx].

    Core k of the layer is (i, j, l) with k = (i * Ky + j) * Kx + l.
    """

    channels: Floats
    rows: Floats
    cols: Floats

    @property
    def n_cores(self) -> int:
        n: int = self.channels.shape[1] * self.rows.shape[1] * self.cols.shape[1]
        return n

    @cached_property
    def reached(self) -> Reach:
        """1 where at least one synapse joins element and core, else 0: who gets a packet."""
        return Reach(*((f > 0).astype(np.float64) for f in (self.channels, self.rows, self.cols)))

    @cached_property
    def n_axons_in(self) -> Ints:
        """[n_cores]: source elements with at least one synapse into each core."""
        r = self.reached
        product = np.einsum("i,j,l->ijl", r.channels.sum(0), r.rows.sum(0), r.cols.sum(0))
        axons: Ints = product.reshape(-1).astype(np.int64)
        return axons

    def within(self, channels: Range, rows: Range, cols: Range) -> Reach:
        """The same for the source elements of one block only."""
        return Reach(self.channels[slice(*channels)], self.rows[slice(*rows)], self.cols[slice(*cols)])

    def apply(self, raster: Floats) -> Floats:
        """Sum over source elements of raster [..., C, H, W] times synapses into each core, [..., n_cores]."""
        per_row = np.tensordot(raster, self.cols, axes=(-1, 0))  # [..., C, H, Kx]
        per_channel = np.tensordot(per_row, self.rows, axes=(-2, 0))  # [..., C, Kx, Ky]
        grid = np.tensordot(per_channel, self.channels, axes=(-3, 0))  # [..., Kx, Ky, Kc]
        return np.moveaxis(grid, (-1, -2, -3), (-3, -2, -1)).reshape(*raster.shape[:-3], self.n_cores)


def build_reach(group: SynapseGroup, channels: Sequence[Range], rows: Sequence[Range], cols: Sequence[Range]) -> Reach:
    """Reach of a group into the core grid of its target layer, given the ranges along each axis."""
    c, h, w = group.source_map
    if isinstance(group.synapse, Linear):
        sizes = np.array([b - a for a, b in channels], dtype=np.float64)
        return Reach(np.tile(sizes, (c, 1)), np.ones((h, 1)), np.ones((w, 1)))
    return Reach(
        by_range(channel_taps(group), channels).astype(np.float64),
        by_range(conv_taps(group, 0), rows).astype(np.float64),
        by_range(conv_taps(group, 1), cols).astype(np.float64),
    )
