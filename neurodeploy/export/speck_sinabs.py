"""What sinabs can rebuild of a configuration, and the real numbers that its quantization turns into the same integers.

The integers are divided by 2^(bits - 1), exactly. sinabs multiplies by the scale that stretches the largest weight to its
8 bits, which is that power of two again where a weight is 127, or -128 beside a larger one: a weight of 100 would become
127. Where a core has no such weight sinabs is told not to quantize, and is given the integers themselves.
Source: sinabs 3.1.3, backend/dynapcnn/discretize.py and chips/dynapcnn.py (writes `.int()` of what the layers hold).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.event_layers import Destination as Entry
from neurodeploy.place.dynapcnn_config import ChipConfig, CnnLayer
from neurodeploy.quantize.iaf_core import FloatCore
from neurodeploy.quantize.iaf_sinabs import FORMATS, quantize_sinabs

FACTOR = float(2 ** (FORMATS.weight_bits - 1))


def sinabs_weights(layer: CnnLayer, name: str = "core") -> FloatCore:
    """The core in real numbers for sinabs; a bias of zeros is none. Raises UsageError for a threshold of 0."""
    bias = (layer.biases / FACTOR).astype(np.float32) if layer.biases.any() else None
    weight = (layer.weights / FACTOR).astype(np.float32)
    return FloatCore(name, weight, bias, layer.threshold_high / FACTOR, layer.threshold_low / FACTOR)


def rebuilds(layer: CnnLayer) -> bool:
    """Whether sinabs' rule gives the integers of this core back."""
    try:
        ints = quantize_sinabs(sinabs_weights(layer)).ints
    except NeurodeployError:
        return False
    return (
        np.array_equal(ints.weight, layer.weights) and (ints.v_th, ints.v_min) == (layer.threshold_high, layer.threshold_low)
        and (ints.bias is None or np.array_equal(ints.bias, layer.biases))
    )


def sinabs_reason(config: ChipConfig, entry: Sequence[Entry]) -> str | None:
    """Why sinabs' networks cannot hold the configuration, None where they can; `entry`: where input events go."""
    if len(entry) != 1:
        return f"events enter {len(entry)} cores: sinabs merges by addition, which is no concatenation of channels"
    if entry[0].pool != (1, 1):
        return "events are pooled before the first core: sinabs pools behind neurons only"
    fed: dict[int, int] = {}
    for core, layer in sorted(config.cores.items()):
        leading = [d for d in layer.destinations if d.enable]
        if len(leading) > 1:
            return f"core {core} feeds {len(leading)} cores: sinabs merges by addition, which is no concatenation of channels"
        for d in leading:
            if d.layer in fed:
                return f"cores {fed[d.layer]} and {core} are concatenated by feature shift, where sinabs adds"
            fed[d.layer] = core
        if layer.initial_state.any():
            return f"core {core} starts from a state, which sinabs takes into its scale"
    return None
