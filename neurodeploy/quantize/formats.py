"""One neuron layer from real to integer parameters, given its scale.

With synaptic scale s the integer membrane is 64 * s * v' where v' = v / gain and gain = inv_tau for neurons that decay
their input (v' = alpha_mem * v' + x then fires at v_th / inv_tau), 1 otherwise. A current with memory (CurrentLif) is
u = 64 * s * i: it decays first, then takes the timestep's sum, and the membrane takes it after that, as the chip's does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError
from neurodeploy.fixedpoint import round_to_step
from neurodeploy.hw.profile import Arithmetic
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Conv2d, CubaLif, CurrentLif, Flatten, Input, Lif, Linear

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """A neuron layer of a lowered graph with what feeds it; `bias` is the sum of its synapses' biases, [C] or [N]."""

    neuron: Lif
    synapses: tuple[Conv2d | Linear, ...]
    bias: FloatArray
    host_input: Input | None

    @property
    def gain(self) -> float:
        return self.neuron.inv_tau if self.neuron.decay_input else 1.0

    @property
    def threshold(self) -> float:
        """Threshold of v' (above), in units of the synaptic sum."""
        return self.neuron.v_th / self.gain

    @property
    def current_loss(self) -> float:
        """Fraction of the current lost per timestep."""
        return self.neuron.inv_tau_syn if isinstance(self.neuron, CurrentLif) else 1.0

    @property
    def largest_weight(self) -> float:
        return max((float(np.abs(s.weight).max(initial=0.0)) for s in self.synapses), default=0.0)


def layer_of(graph: Graph, neuron: Lif) -> Layer:
    """The layer around a neuron node of a lowered graph; raises NeurodeployError for what the chip has no form for."""
    if neuron.reset != "hard" or neuron.v_reset != 0.0:
        raise NeurodeployError(
            f"resets {neuron.reset} to {neuron.v_reset}", where=neuron.name, code="cannot_quantize",
            limit="The target resets hard to zero", remedy="Train with reset = 'hard' and v_reset = 0",
        )
    if neuron.multi_spike or neuron.v_min is not None:
        raise NeurodeployError(
            "sends several spikes a timestep" if neuron.multi_spike else f"has a floor of {neuron.v_min}",
            where=neuron.name, code="cannot_quantize", limit="The target's neurons send one spike a timestep and have no floor",
            remedy="Train with one spike a timestep and no floor",
        )
    if neuron.v_th <= 0:
        raise NeurodeployError(f"v_th is {neuron.v_th}", where=neuron.name, code="cannot_quantize", limit="Above 0")
    if neuron.decay_input and neuron.inv_tau <= 0:
        raise NeurodeployError("a neuron that decays its input needs inv_tau > 0", where=neuron.name, code="cannot_quantize")
    sources = [n for n, _ in graph.sources(neuron.name)]
    synapses = tuple(n for n in sources if isinstance(n, Conv2d | Linear))
    inputs = [n for n in sources if isinstance(n, Input)]
    if len(synapses) + len(inputs) != len(sources) or len(inputs) > 1:
        odd = [n.name for n in sources if not isinstance(n, Conv2d | Linear | Input)]
        raise NeurodeployError(f"is fed by {odd} without a synapse", where=neuron.name, code="cannot_quantize")
    for synapse in synapses:
        for name in origins(graph, synapse.name):
            if not (graph[name].is_neuron or isinstance(graph[name], Input)):
                raise NeurodeployError(
                    f"reads {name}, a {type(graph[name]).__name__}", where=synapse.name, code="cannot_quantize",
                    limit="A synapse of the target reads spikes or input messages", remedy="Lower the graph first",
                )
    bias = np.zeros(neuron.shape[0])
    for synapse in synapses:
        if synapse.bias is not None:
            bias = bias + synapse.bias
    return Layer(neuron, synapses, bias, inputs[0] if inputs else None)


def origins(graph: Graph, synapse: str) -> list[str]:
    """The nodes whose outputs a synapse reads, behind a flatten."""
    found = []
    for source, _ in graph.sources(synapse):
        found += origins(graph, source.name) if isinstance(source, Flatten) else [source.name]
    return found


def sums(synapses: Iterable[Conv2d | Linear]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(negative, positive) parts of the weights that reach one neuron, summed over its synapses, [C] or [N]."""
    flat = [s.weight.reshape(s.weight.shape[0], -1) for s in synapses]
    return sum(np.minimum(w, 0).sum(1) for w in flat), sum(np.maximum(w, 0).sum(1) for w in flat)


def wrap_scale(layer: Layer, arithmetic: Arithmetic, message: int = 1) -> float:
    """The largest scale at which messages 0..`message` cannot make a layer's current wrap; infinite without weights.

    0 where rounding the weights alone could.
    """
    low, high = sums(layer.synapses)
    most = float(max(np.max(high, initial=0.0), np.max(-low, initial=0.0)))
    # Rounding moves each weight by half a step at most.
    rounding = sum(s.fan_in for s in layer.synapses) * arithmetic.weight_step / 2
    room = ((2 ** (arithmetic.state_bits - 1) - 1) >> arithmetic.state_shift) / message - rounding
    room *= layer.current_loss  # a current that is driven for ever comes to its sum / loss
    return max(room, 0.0) / most if most > 0 else np.inf


def largest_scale(layer: Layer, arithmetic: Arithmetic) -> float:
    """The largest scale at which weights, biases and the threshold all fit their formats without saturation."""
    bounds = [arithmetic.v_th_max / layer.threshold]
    if layer.largest_weight > 0:
        bounds.append(weight_range(arithmetic)[1] / layer.largest_weight)
    if np.abs(layer.bias).max(initial=0.0) > 0:
        bounds.append(arithmetic.bias_max / float(np.abs(layer.bias).max()))
    if layer.host_input is not None:  # real values of unknown size: let the threshold take a quarter of the bias range
        bounds.append(arithmetic.bias_max / 4 / layer.threshold)
    return min(bounds)


def snap(layer: Layer, scale: float) -> float:
    """The nearest smaller scale at which the threshold is a whole number, so that rounding it costs nothing."""
    steps = int(scale * layer.threshold)
    return steps / layer.threshold if steps >= 1 else scale


def is_grid_exact(neuron: Lif) -> bool:
    """True for neurons whose membranes lie on the threshold's grid (no leak, or no memory): `>` can express `>=`."""
    if isinstance(neuron, CurrentLif) and neuron.inv_tau_syn not in (0.0, 1.0):
        return False
    return neuron.inv_tau == 0.0 or (neuron.inv_tau == 1.0 and not neuron.decay_input)


def weight_range(arithmetic: Arithmetic) -> tuple[int, int]:
    """(lowest, highest) weight on the grid."""
    step = arithmetic.weight_step
    return -(-arithmetic.weight_min // step) * step, arithmetic.weight_max // step * step


def per_layer(value: int | NDArray[Any]) -> int:
    """A decay or threshold of `integer_neuron`, which has one for all neurons of the layer."""
    assert isinstance(value, int)
    return value


def integer_weight(weight: NDArray[Any], scale: float, arithmetic: Arithmetic) -> NDArray[np.int64]:
    """Weights on the chip's grid at a scale, saturated to its range."""
    return round_to_step(weight * scale, arithmetic.weight_step, *weight_range(arithmetic))


def integer_neuron(layer: Layer, scale: float, arithmetic: Arithmetic) -> CubaLif:
    """The chip's neuron for a layer at a scale. The chip fires at `>`: exact for neurons on the grid, see `is_grid_exact`."""
    neuron = layer.neuron
    threshold = round(scale * layer.threshold, 9)  # 126.99999999999999 is 127
    if not is_grid_exact(neuron):
        v_th = round(threshold)
    elif neuron.fire == ">=":
        v_th = int(np.ceil(threshold)) - 1
    else:
        v_th = int(np.floor(threshold))
    bias = np.clip(np.rint(layer.bias * scale), -arithmetic.bias_max, arithmetic.bias_max).astype(np.int64)
    return CubaLif(
        name=neuron.name, shape=neuron.shape, i_decay=round(arithmetic.decay_one * layer.current_loss),
        v_decay=round(arithmetic.decay_one * neuron.inv_tau), v_th=v_th,
        bias_mant=bias.reshape(-1, *[1] * (len(neuron.shape) - 1)), bias_exp=arithmetic.bias_exp,
        v_init=np.full(1, math.floor((neuron.v_init or 0.0) / layer.gain * scale) << arithmetic.state_shift, dtype=np.int64),
        reset_interval=neuron.reset_interval, reset_offset=neuron.reset_offset,
        state_bits=arithmetic.state_bits, state_shift=arithmetic.state_shift,
    )
