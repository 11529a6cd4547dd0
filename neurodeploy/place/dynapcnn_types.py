"""Values that no field of the vendor's configuration can hold: its package raises while the value is built.

Integers outside the width of their field (and anything that is no integer), arrays of another rank or beyond the width of
their entries, a destination or a core more than there are; assigning an empty array kills the process.
Source: samna 0.7.1.0, every field probed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from neurodeploy.errors import Violation
from neurodeploy.place.dynapcnn_config import ChipConfig, ChipLimits, CnnLayer, Destination

Span = tuple[int, int]


def container_types(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    """One violation per field that cannot hold its value, in the order in which a configuration is written."""
    byte, count = (0, 2**limits.byte_bits - 1), (0, 2**limits.count_bits - 1)
    for core, layer in sorted(config.cores.items()):
        where = f"core {core}"
        if not 0 <= core < len(limits.cores):
            yield Violation("type.core", where, "does not exist", f"cores are 0 to {len(limits.cores) - 1}",
                            "Use fewer layers, or smaller ones on the cores that there are")
        yield from _layer(where, layer, limits, byte, count)
        yield from _destinations(where, layer.destinations, limits, byte, count)
    if config.dvs is not None:
        yield from _destinations("DVS layer", config.dvs.destinations, limits, byte, count)
        for name in ("pooling", "origin", "cut"):
            for value in getattr(config.dvs, name):
                yield from _integer("DVS layer", name, value, byte)


def _layer(where: str, layer: CnnLayer, limits: ChipLimits, byte: Span, count: Span) -> Iterator[Violation]:
    state = _signed(limits.state_bits)
    fields = [
        ("channels", layer.in_shape[0], count), ("channels", layer.out_shape[0], count),
        ("kernel_size", layer.kernel_size, byte),
        *(("size", n, byte) for n in (*layer.in_shape[1:], *layer.out_shape[1:])),
        *(("stride", n, byte) for n in layer.stride), *(("padding", n, byte) for n in layer.padding),
    ]
    for name, value, span in fields:
        yield from _integer(where, name, value, span)
    for name, rank, span in (
        ("weights", 4, _signed(limits.weight_bits)), ("biases", 1, _signed(limits.bias_bits)), ("initial_state", 3, state),
    ):
        array = getattr(layer, name)
        if array.ndim != rank or array.dtype.kind not in "iu":
            yield Violation("type.array", where, f"{name} has {array.ndim} axes of {array.dtype}", f"{rank} axes of integers",
                            "Write integers, one axis per dimension")
        elif rank > 1 and 0 in (*array.shape[:-2], array.shape[-1]):  # the vendor's innermost axis is y: that may be empty
            yield Violation("crash.array", where, f"the array {name} is empty", "every extent is at least 1",
                            "Give one entry per kernel word and neuron")
        elif array.size and not span[0] <= int(array.min()) <= int(array.max()) <= span[1]:
            yield Violation("type.range", where, f"{name} go from {array.min()} to {array.max()}", f"{span[0]} to {span[1]}",
                            "Quantize again with a smaller scale, or clip")
    for name, value in (("threshold_high", layer.threshold_high), ("threshold_low", layer.threshold_low)):
        yield from _integer(where, name, value, state)


def _destinations(
    where: str, destinations: tuple[Destination, ...], limits: ChipLimits, byte: Span, count: Span
) -> Iterator[Violation]:
    if len(destinations) > limits.n_destinations:
        yield Violation("type.destinations", where, f"has {len(destinations)} destinations", f"at most {limits.n_destinations}",
                        "Branch in a layer behind this one, which has destinations of its own")
    for i, d in enumerate(destinations):
        fields = (("layer", d.layer, byte), ("pooling", d.pooling, byte), ("feature_shift", d.feature_shift, count))
        for name, value, span in fields:
            yield from _integer(f"{where} destination {i}", name, value, span)


def _integer(where: str, name: str, value: Any, span: Span) -> Iterator[Violation]:
    if not isinstance(value, int | np.integer) or not span[0] <= value <= span[1]:
        yield Violation("type.range", where, f"{name} {value!r} does not fit its field", f"integers {span[0]} to {span[1]}",
                        "Write a value that the chip has")


def _signed(bits: int) -> Span:
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
