"""Output channels spread out for the readout block of the chip, which reads class n from channel stride * (n - 1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.place.dynapcnn_config import ChipConfig, IntArray
from neurodeploy.sim.readout import Readout


def pad_for_readout(config: ChipConfig, core: int, votes: Readout, profile: EventProfile) -> ChipConfig:
    """The configuration with stride * (classes - 1) + 1 output channels on the core; those between have zero weights.

    A channel of zero weights never fires, its threshold being above 0. The core needs more memory then: check the result.
    Raises UsageError where the chip has no such block, or it cannot read this output.
    """
    block, layer = profile.readout, config.cores[core]
    if block is None:
        raise UsageError("it has no readout block", where=profile.name, remedy="Count spikes on the host")
    n_max, stride = int(block.classes_max.value), int(block.channel_stride.value)
    n_classes = layer.out_shape[0]
    why = None
    if layer.out_shape[1:] != (1, 1):
        why = f"an output map of {layer.out_shape[1]} x {layer.out_shape[2]}: it counts the spikes of single neurons"
    elif votes.group != 1 or votes.n_classes != n_classes:
        why = f"{votes.group} neurons for each of {votes.n_classes} classes: it counts the spikes of one"
    elif n_classes > n_max:
        why = f"{n_classes} classes: it has {n_max}"
    elif layer.threshold_high < 1:
        why = f"a threshold of {layer.threshold_high}: the channels between would fire"
    if why is not None:
        raise UsageError(f"the readout block cannot read {why}", where=votes.layer,
                         remedy="Export without it, and count spikes on the host")
    n_channels = stride * (n_classes - 1) + 1
    weights, biases, states = (_spread(a, stride, n_channels) for a in (layer.weights, layer.biases, layer.initial_state))
    padded = replace(layer, out_shape=(n_channels, 1, 1), weights=weights, biases=biases, initial_state=states)
    return ChipConfig({**config.cores, core: padded}, config.dvs)


def _spread(array: IntArray, stride: int, n_channels: int) -> IntArray:
    spread = np.zeros((n_channels, *array.shape[1:]), dtype=np.int64)
    spread[::stride] = array
    return spread
