"""The configuration of a chip of the DYNAP-CNN family as plain values, and the numbers that limit it.

Positions are (c, y, x), pairs are (y, x), kernels [c_out, c_in, k_y, k_x] and states [c, y, x] here; the vendor's files
have x before y, which is translated where they are written. Nothing is checked on construction: `dynapcnn_rules` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neurodeploy.place.core_memory import CoreMemory

IntArray = NDArray[np.int64]
Pair = tuple[int, int]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class ChipLimits:
    """Every number that a configuration is checked against; `cores` has one entry per core.

    `accepted_poolings` is what the vendor's validator lets pass, `poolings` what its documentation promises.
    `byte_bits` and `count_bits` are the widths of the unsigned fields (sizes, kernel, stride, padding, pooling and
    destination; channel counts and feature shift); thresholds and states have `state_bits`, signed.
    """

    cores: tuple[CoreMemory, ...]
    weight_bits: int
    bias_bits: int
    state_bits: int
    byte_bits: int
    count_bits: int
    max_kernel: int
    strides: tuple[int, ...]
    max_padding: int
    max_input_size: int
    max_output_size: int
    max_channels: int
    accepted_poolings: tuple[int, ...]
    poolings: tuple[int, ...]
    max_feature_shift: int
    n_destinations: int
    dvs_size: int
    dvs_poolings: tuple[int, ...]


@dataclass(frozen=True)
class Destination:
    """Where a core's spikes go: a core, its sum pooling, and the first of its input channels that they take."""

    layer: int = 0
    enable: bool = False
    pooling: int = 1
    feature_shift: int = 0


@dataclass(frozen=True, eq=False)
class CnnLayer:
    """One core. The defaults are those of a core that nothing was written to."""

    in_shape: Shape = (1, 1, 1)
    out_shape: Shape = (1, 1, 1)
    kernel_size: int = 1
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    weights: IntArray = field(default_factory=lambda: np.zeros((1, 1, 1, 1), dtype=np.int64))
    biases: IntArray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    initial_state: IntArray = field(default_factory=lambda: np.zeros((1, 1, 1), dtype=np.int64))
    threshold_high: int = 0
    threshold_low: int = 0
    return_to_zero: bool = False
    leak_enable: bool = False
    monitor_enable: bool = False
    destinations: tuple[Destination, ...] = ()


@dataclass(frozen=True)
class DvsLayer:
    """The sensor's way into the cores: merge polarities, pool, cut from `origin` to `cut` (inclusive), then mirror.

    `origin` and `cut` are in pixels of the whole sensor, (y, x). A destination has no pooling nor shift of its own.
    """

    destinations: tuple[Destination, ...] = ()
    merge: bool = False
    pooling: Pair = (1, 1)
    origin: Pair = (0, 0)
    cut: Pair = (127, 127)
    mirror_diagonal: bool = False

    @property
    def out_shape(self) -> Shape:
        """(c, h, w) of the events before the mirrors. Needs poolings above 0."""
        height, width = ((c - o + 1) // p for c, o, p in zip(self.cut, self.origin, self.pooling, strict=True))
        return (1 if self.merge else 2, height, width)


@dataclass(frozen=True)
class ChipConfig:
    """Cores by index (the others stay untouched) and the sensor, None where nothing was written to it."""

    cores: dict[int, CnnLayer]
    dvs: DvsLayer | None = None


def each_core(config: ChipConfig) -> list[tuple[str, CnnLayer]]:
    """(where, layer) of the written cores, ascending."""
    return [(f"core {core}", layer) for core, layer in sorted(config.cores.items())]


def each_destination(where: str, destinations: tuple[Destination, ...]) -> list[tuple[str, Destination]]:
    """(where, destination) of each."""
    return [(f"{where} destination {i}", destination) for i, destination in enumerate(destinations)]


def listed(values: tuple[int, ...]) -> str:
    """Values for a sentence."""
    return ", ".join(map(str, values))
