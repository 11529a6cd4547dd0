"""Rules for DYNAP-CNN chips that the vendor's validator does not have: what it accepts and the chip does badly.

Each is named in `STRICT` and asked for by name. A violation's rule starts with `strict.`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from neurodeploy.errors import Violation
from neurodeploy.place.dynapcnn_config import ChipConfig, ChipLimits, each_core, each_destination, listed
from neurodeploy.place.dynapcnn_flow import rings


def _cycle(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    del limits
    left = rings(config)
    if left:
        yield Violation("strict.cycle", ", ".join(f"core {k}" for k in left), "the cores feed each other in a ring",
                        "the vendor warns of deadlock on the chip", "Remove the feedback connection")


def _pooling(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    for where, layer in each_core(config):
        for at, d in each_destination(where, layer.destinations):
            if d.pooling in limits.accepted_poolings and d.pooling not in limits.poolings:
                yield Violation("strict.pooling", at, f"pools by {d.pooling}", f"documented are {listed(limits.poolings)}",
                                "Pool in two layers")


def _odd_map(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    for where, layer in each_core(config):
        for at, d in each_destination(where, layer.destinations):
            if d.enable and d.pooling in limits.accepted_poolings and any(n % d.pooling for n in layer.out_shape[1:]):
                height, width = layer.out_shape[1:]
                yield Violation("strict.odd_map", at, f"pools a map of {height} x {width} by {d.pooling}",
                                "the spikes of the last row or column get an address outside the next map",
                                f"Make the map divisible by {d.pooling} (padding, stride or crop)")


def _mirror_diagonal(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    del limits
    if config.dvs and config.dvs.mirror_diagonal and 0 not in config.dvs.pooling:
        _, height, width = config.dvs.out_shape
        if height != width:
            yield Violation("strict.mirror_diagonal", "DVS layer", f"mirrors a map of {height} x {width} on its diagonal",
                            "the validator compares the map before the mirror, which exchanges its sides",
                            "Cut and pool to a square")


def _threshold_zero(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    del limits
    for where, layer in each_core(config):
        if layer.threshold_high == 0:
            yield Violation("strict.threshold_zero", where, "threshold 0: every update that does not inhibit is a spike",
                            "at least 1", "Quantize with a scale that keeps the threshold")


def _over_threshold(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    del limits
    for where, layer in each_core(config):
        n_over, largest = int(np.count_nonzero(layer.weights > layer.threshold_high)), int(layer.weights.max(initial=0))
        if n_over:
            yield Violation("strict.weight_over_threshold", where,
                            f"{n_over} weights are above the threshold {layer.threshold_high}, up to {largest}",
                            "an update gives one spike at most, so what is above the threshold comes late",
                            "Train with weights at or below the threshold, or clip them")


def _bias_without_leak(config: ChipConfig, limits: ChipLimits) -> Iterator[Violation]:
    del limits
    for where, layer in each_core(config):
        if layer.biases.any() and not layer.leak_enable:
            yield Violation("strict.bias_without_leak", where, "has biases that are never added",
                            "they are added on ticks of the slow clock, with leak_enable", "Train without biases")


STRICT: dict[str, Callable[[ChipConfig, ChipLimits], Iterator[Violation]]] = {
    "pooling": _pooling,
    "threshold_zero": _threshold_zero,
    "cycle": _cycle,
    "odd_map": _odd_map,
    "mirror_diagonal": _mirror_diagonal,
    "weight_over_threshold": _over_threshold,
    "bias_without_leak": _bias_without_leak,
}
