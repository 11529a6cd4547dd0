"""One frozen dataclass per primitive of a spiking network.

Shapes exclude time and batch: a map is (C, H, W), a vector (N,). Values travel as `[T, B, *shape]`. A node that has
several incoming edges receives their sum (a residual addition needs no node of its own). What each node computes is
written out in `reference.py`, which is the definition.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError

Shape = tuple[int, ...]
Pair = tuple[int, int]
Array = NDArray[Any]


def _fail(node: Node, what: str) -> NeurodeployError:
    return NeurodeployError(what, where=node.name, code="bad_node")


@dataclass(frozen=True, eq=False)
class Node:
    """A primitive. `name` is unique in its graph, a dotted path like `layers.2.bn1`."""

    name: str
    is_synapse: ClassVar[bool] = False  # a linear map with weights: one synop per weight a spike meets
    is_neuron: ClassVar[bool] = False  # has state, emits spikes, occupies a place on a core

    def output_shape(self, source: Shape) -> Shape:
        """Shape of the output for inputs of shape `source`; raises NeurodeployError where they do not fit."""
        return source


InputKind = Literal["analog", "graded", "bias", "spikes"]


@dataclass(frozen=True, eq=False)
class Input(Node):
    """Where data enters: x[t] of `shape`.

    kind `analog`: real values (float graphs); `spikes`: 0 or 1; `graded`: integer messages 0..max_value, one per
    non-zero element and timestep; `bias`: integers written once per sample by the host into the neurons that follow.
    `value_scale` turns an analog value into the integer one: integer = round(analog * value_scale).
    """

    shape: Shape = ()
    kind: InputKind = "analog"
    max_value: int = 1
    value_scale: float = 1.0

    def output_shape(self, source: Shape) -> Shape:
        return self.shape


@dataclass(frozen=True, eq=False)
class Conv2d(Node):
    """y = cross-correlation(x, weight) + bias. weight [O, I/groups, kH, kW], bias [O] or None; pairs are (y, x).

    In an IntGraph weights are int64, bias is None (biases belong to the neuron).
    """

    weight: Array = field(default_factory=lambda: np.zeros((1, 1, 1, 1)))
    bias: Array | None = None
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    is_synapse: ClassVar[bool] = True

    def output_shape(self, source: Shape) -> Shape:
        if len(source) != 3 or source[0] != self.weight.shape[1] * self.groups:
            raise _fail(self, f"expects {self.weight.shape[1] * self.groups} input channels, got shape {source}")
        size = [
            (source[1 + a] + 2 * self.padding[a] - self.dilation[a] * (self.weight.shape[2 + a] - 1) - 1) // self.stride[a] + 1
            for a in (0, 1)
        ]
        if min(size) < 1:
            raise _fail(self, f"kernel {self.weight.shape[2:]} does not fit the input map {source[1:]}")
        return (int(self.weight.shape[0]), size[0], size[1])

    @property
    def fan_in(self) -> int:
        """Synapses into one output neuron, borders aside."""
        return int(np.prod(self.weight.shape[1:]))


@dataclass(frozen=True, eq=False)
class Linear(Node):
    """y = weight @ x + bias. weight [O, I], bias [O] or None (None in an IntGraph)."""

    weight: Array = field(default_factory=lambda: np.zeros((1, 1)))
    bias: Array | None = None
    is_synapse: ClassVar[bool] = True

    def output_shape(self, source: Shape) -> Shape:
        if source != (self.weight.shape[1],):
            raise _fail(self, f"expects {self.weight.shape[1]} inputs, got shape {source}")
        return (int(self.weight.shape[0]),)

    @property
    def fan_in(self) -> int:
        """Synapses into one output neuron."""
        return int(self.weight.shape[1])


@dataclass(frozen=True, eq=False)
class BatchNorm(Node):
    """y = (x - mean) / sqrt(var + eps) * gamma + beta, per channel; all arrays [C]. Evaluation mode only."""

    mean: Array = field(default_factory=lambda: np.zeros(1))
    var: Array = field(default_factory=lambda: np.ones(1))
    gamma: Array = field(default_factory=lambda: np.ones(1))
    beta: Array = field(default_factory=lambda: np.zeros(1))
    eps: float = 1e-5


@dataclass(frozen=True, eq=False)
class MaxPool2d(Node):
    """Maximum over kernel windows, stride = kernel, no padding; an odd last row or column is dropped (floor)."""

    kernel: Pair = (2, 2)

    def output_shape(self, source: Shape) -> Shape:
        if len(source) != 3 or source[1] < self.kernel[0] or source[2] < self.kernel[1]:
            raise _fail(self, f"a {self.kernel} pool does not fit shape {source}")
        return (source[0], source[1] // self.kernel[0], source[2] // self.kernel[1])


@dataclass(frozen=True, eq=False)
class Flatten(Node):
    """(C, H, W) -> (C*H*W,) in C, H, W order (torch order)."""

    def output_shape(self, source: Shape) -> Shape:
        return (int(np.prod(source)),)


Fire = Literal[">=", ">"]
Reset = Literal["hard", "soft"]


@dataclass(frozen=True, eq=False)
class Lif(Node):
    """Leaky (or not) integrate-and-fire in real arithmetic. State v_mem = v_reset before the first timestep.

    decay_input=True  (PLIF as released):  v += (x - (v - v_reset)) * inv_tau
    decay_input=False:                     v = v + (x - (v - v_reset) * inv_tau)  (inv_tau = 0 is IF)
    s = [v fire v_th];  hard: v = v_reset where s;  soft: v -= v_th where s.
    inv_tau, the fraction of the membrane lost per timestep, is a scalar; alpha_mem = 1 - inv_tau. Source: AutoSNN.
    v = v_reset before the dynamics of step t where reset_interval and (t+1) % interval == reset_offset % interval:
    in a lowered graph a layer at latency d starts each sample at step d, whatever its bias did before.
    """

    shape: Shape = ()
    inv_tau: float = 0.0
    decay_input: bool = False
    v_th: float = 1.0
    v_reset: float = 0.0
    fire: Fire = ">="
    reset: Reset = "hard"
    reset_interval: int | None = None
    reset_offset: int = 0
    is_neuron: ClassVar[bool] = True

    def output_shape(self, source: Shape) -> Shape:
        if source != self.shape:
            raise _fail(self, f"has {self.shape} neurons, its input has shape {source}")
        return self.shape


@dataclass(frozen=True, eq=False)
class CubaLif(Node):
    """Loihi's fixed-point LIF (lava-nc 0.10.0, LIF / LIFReset bit-accurate). All integers, arrays broadcast to `shape`.

    Before the dynamics of step t (0-based): u = v = 0 where reset_interval and (t+1) % interval == reset_offset % interval.
    u = wrap_once(decay_toward_zero(u, i_decay) + (a << state_shift), state_bits)
    v = clip_symmetric(decay_toward_zero(v, v_decay) + u + (bias_mant << bias_exp), state_bits)
    s = v > (v_th << state_shift);  v = 0 where s.
    i_decay is the effective decay (lava's du + 1), 0..4096; v_decay 0..4096; a is the sum of the incoming edges.
    `bias_mant` has `shape`, or [C, 1, 1] for one value per channel; v_th a scalar mantissa.
    """

    shape: Shape = ()
    i_decay: int = 4096
    v_decay: int = 0
    v_th: int = 1
    bias_mant: Array = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    bias_exp: int = 6
    reset_interval: int | None = None
    reset_offset: int = 0
    state_bits: int = 24
    state_shift: int = 6
    is_neuron: ClassVar[bool] = True

    def output_shape(self, source: Shape) -> Shape:
        if source != self.shape:
            raise _fail(self, f"has {self.shape} neurons, its input has shape {source}")
        return self.shape


@dataclass(frozen=True, eq=False)
class Vote(Node):
    """Read-out on the host: the mean of consecutive groups of `group` neurons, one number per class and timestep.

    Input (n_classes * group,), output (n_classes,). Logits after t timesteps are the SUM of its first t outputs.
    """

    n_classes: int = 1
    group: int = 1

    def output_shape(self, source: Shape) -> Shape:
        if source != (self.n_classes * self.group,):
            raise _fail(self, f"expects {self.n_classes} groups of {self.group}, got shape {source}")
        return (self.n_classes,)
