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

    kind `analog`: real values (float graphs); `spikes`: 0 or 1; `graded`: integer messages 0..max_value (`signed`:
    from -max_value), one per non-zero element and timestep; `bias`: integers written once per sample by the host into
    the neurons that follow.
    `value_scale` turns an analog value into the integer one: integer = round(analog * value_scale).
    """

    shape: Shape = ()
    kind: InputKind = "analog"
    max_value: int = 1
    value_scale: float = 1.0
    signed: bool = False

    def output_shape(self, source: Shape) -> Shape:
        return self.shape


@dataclass(frozen=True, eq=False)
class Conv2d(Node):
    """y = cross-correlation(x, weight) + bias. weight [O, I/groups, kH, kW], bias [O] or None; pairs are (y, x).

    In an IntGraph weights are int64, bias is None (biases belong to the neuron), and
    y = wrap_modulo(cross-correlation(m, weight), sum_bits), with m = x, or [x != 0] where `binary`; no wrap where
    `sum_bits` is None. Source: lava-nc 0.10.0, Conv bit-accurate (24 bits; it converts the sum to int32 first, whose
    overflow is undefined there).
    """

    weight: Array = field(default_factory=lambda: np.zeros((1, 1, 1, 1)))
    bias: Array | None = None
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    binary: bool = False
    sum_bits: int | None = None
    is_synapse: ClassVar[bool] = True

    def output_shape(self, source: Shape) -> Shape:
        if len(source) != 3 or source[0] != self.weight.shape[1] * self.groups:
            raise _fail(self, f"expects {self.weight.shape[1] * self.groups} input channels, got shape {source}")
        if min(self.stride) < 1:
            raise _fail(self, f"stride is {self.stride}")
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
    """y = weight @ x + bias. weight [O, I], bias [O] or None (None in an IntGraph).

    In an IntGraph  y[t] = shift_signed(sum over d of (weight where delays == d) @ m[t - d], weight_exp), the shift
    applied to the sum of each d before they are added; m = x, or [x != 0] where `binary`; before the start m is 0.
    `delays` [O, I] integers >= 0, None for none: a delay inside the synapse, on top of the edge's, that needs no buffer
    at the source. weight holds what acts on the messages, after any clipping and cutting of low bits
    (`ir.netx.dense_weights`). Source: lava-nc 0.10.0, Dense and DelayDense bit-accurate.
    """

    weight: Array = field(default_factory=lambda: np.zeros((1, 1)))
    bias: Array | None = None
    binary: bool = False
    weight_exp: int = 0
    delays: Array | None = None
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


def _pooled_shape(node: Node, kernel: Pair, source: Shape) -> Shape:
    if len(source) != 3 or min(kernel) < 1 or source[1] < kernel[0] or source[2] < kernel[1]:
        raise _fail(node, f"a {kernel} pool does not fit shape {source}")
    return (source[0], source[1] // kernel[0], source[2] // kernel[1])


@dataclass(frozen=True, eq=False)
class MaxPool2d(Node):
    """Maximum over kernel windows, stride = kernel, no padding; an odd last row or column is dropped (floor)."""

    kernel: Pair = (2, 2)

    def output_shape(self, source: Shape) -> Shape:
        return _pooled_shape(self, self.kernel, source)


@dataclass(frozen=True, eq=False)
class SumPool2d(Node):
    """Sum over kernel windows, stride = kernel, no padding; an odd last row or column is dropped (floor).

    Source: sinabs 3.1.3, SumPool2d. On DYNAP-CNN it is the address (y, x) -> (y // kernel, x // kernel) of every spike.
    """

    kernel: Pair = (2, 2)

    def output_shape(self, source: Shape) -> Shape:
        return _pooled_shape(self, self.kernel, source)


@dataclass(frozen=True, eq=False)
class Relu(Node):
    """y = max(x, 0) in real numbers: the activation of a network that does not spike, which no chip runs. `nd.convert`
    makes neurons of it."""


@dataclass(frozen=True, eq=False)
class Qcfs(Node):
    """y = clip(floor(x / lam * levels + 1/2) / levels, 0, 1) * lam in real numbers, operations in this order; without levels
    y = clip(x, 0, lam). The activation of a network that was trained to become a spiking one, which no chip runs.

    Source: Bu et al., ICLR 2022 (arXiv 2303.04347), quantization clip-floor-shift; the order of SEENN's release.
    """

    lam: float = 1.0
    levels: int | None = None


@dataclass(frozen=True, eq=False)
class Flatten(Node):
    """(C, H, W) -> (C*H*W,) in C, H, W order (torch order)."""

    def output_shape(self, source: Shape) -> Shape:
        return (int(np.prod(source)),)


Fire = Literal[">=", ">"]
Reset = Literal["hard", "soft"]
Activation = Literal["relu", "unit"]


@dataclass(frozen=True, eq=False)
class Lif(Node):
    """Leaky (or not) integrate-and-fire in real arithmetic. State v_mem = v_init (None: v_reset) before the first timestep.

    decay_input=True  (PLIF as released):  v += (x - (v - v_reset)) * inv_tau
    decay_input=False:                     v = v + (x - (v - v_reset) * inv_tau)  (inv_tau = 0 is IF)
    s = [v fire v_th];  hard: v = v_reset where s;  soft: v -= v_th where s;  then v = max(v, v_min) unless that is None.
    multi_spike (fire `>=` only):  s = trunc(v / v_th) where v > 0, else 0;  hard: v = v_reset where s > 0;  soft: v -= s v_th.
    inv_tau, the fraction of the membrane lost per timestep, is a scalar; alpha_mem = 1 - inv_tau. Source: AutoSNN; several
    spikes a timestep and the floor v_min: sinabs 3.1.3 (IAF is inv_tau = 0, MultiSpike, MembraneSubtract).
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
    multi_spike: bool = False
    v_min: float | None = None
    v_init: float | None = None
    is_neuron: ClassVar[bool] = True

    def output_shape(self, source: Shape) -> Shape:
        if source != self.shape:
            raise _fail(self, f"has {self.shape} neurons, its input has shape {source}")
        return self.shape


@dataclass(frozen=True, eq=False)
class CurrentLif(Lif):
    """A Lif and the Li in front of it as one layer, which chips have whose neurons hold their current; lowering makes it.

    State i_syn = 0 before the first timestep and wherever v_mem is reset by reset_interval; a spike leaves it alone.
    i = i + (x - i * inv_tau_syn), then the Lif's step with i for x.  inv_tau_syn = 1 is the Lif.
    """

    inv_tau_syn: float = 1.0


@dataclass(frozen=True, eq=False)
class Li(Node):
    """Leaky integrator in real arithmetic: puts out its state and sends no spikes. In front of a Lif it is a synaptic current.

    State v_mem = v_leak before the first timestep.  v = v + (gain * x - (v - v_leak) * inv_tau);  y = v, after the update.
    inv_tau = 0 integrates without leak; gain, inv_tau (0..1) and v_leak are numbers, or arrays that broadcast to `shape`.
    v = v_leak before the dynamics of step t by reset_interval and reset_offset, as a Lif. Source: NIR's LI and the current of
    its CubaLIF by forward Euler, updated with the input of the same timestep; spikingjelly 2.0 CUBALIFNode, snntorch Synaptic.
    """

    shape: Shape = ()
    inv_tau: float | Array = 0.0
    gain: float | Array = 1.0
    v_leak: float | Array = 0.0
    reset_interval: int | None = None
    reset_offset: int = 0

    def output_shape(self, source: Shape) -> Shape:
        if source != self.shape:
            raise _fail(self, f"integrates shape {self.shape}, its input has shape {source}")
        return self.shape


@dataclass(frozen=True, eq=False)
class CubaLif(Node):
    """Loihi's fixed-point LIF (lava-nc 0.10.0, LIF / LIFReset bit-accurate). All integers, arrays broadcast to `shape`.

    State u = i_init, v = v_init before the first timestep.
    Before the dynamics of step t (0-based): u = v = 0 where reset_interval and (t+1) % interval == reset_offset % interval.
    u = wrap_once(decay_toward_zero(u, i_decay) + (a << state_shift), state_bits)
    v = clip_symmetric(decay_toward_zero(v, v_decay) + u + shift_signed(bias_mant, bias_exp), state_bits)
    s = v > (v_th << state_shift);  v = 0 where s.
    i_decay is the effective decay (lava's du + 1), 0..4096; v_decay 0..4096; a is the sum of the incoming edges.
    Decays, threshold and exponent are one integer a layer or an int64 array that broadcasts to `shape`, such as
    [C, 1, 1] for one value a channel; `bias_mant` and the initial states are such arrays. A layer without a threshold
    that any state could pass never fires.
    """

    shape: Shape = ()
    i_decay: int | Array = 4096
    v_decay: int | Array = 0
    v_th: int | Array = 1
    bias_mant: Array = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    bias_exp: int | Array = 6
    i_init: Array = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    v_init: Array = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
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
class _SigmaDeltaNode(Node):
    """Common to the neurons of sigma-delta networks, which send graded messages (signed integers) when something changed.

    Their states hold 32 bits with sign, as Lava's do; running a network beyond them raises NeurodeployError.
    """

    shape: Shape = ()
    is_neuron: ClassVar[bool] = True

    def output_shape(self, source: Shape) -> Shape:
        if source != self.shape:
            raise _fail(self, f"has {self.shape} neurons, its input has shape {source}")
        return self.shape


@dataclass(frozen=True, eq=False)
class Delta(_SigmaDeltaNode):
    """Sends what changed by at least the threshold (lava-nc 0.10.0, Delta fixed-point). All integers.

    With e = spike_exp + state_exp:
    act' = a << e;  d = act' - act + residue;  s = d where |d| >= (v_th << e), else 0;  residue = d - s;  act = act'.
    The message is s >> state_exp (floor). State act, residue is 0 at the start and is never reset.
    """

    v_th: int | Array = 0
    spike_exp: int = 0
    state_exp: int = 0


@dataclass(frozen=True, eq=False)
class SigmaDelta(Delta):
    """Sums messages, applies an activation, and sends what changed (lava-nc 0.10.0, SigmaDelta fixed-point).

    sigma += a;  act' = max(0, sigma + (bias << e)) for `relu`, sigma + (bias << e) for `unit`; then as Delta.
    """

    bias_mant: Array = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    activation: Activation = "relu"


@dataclass(frozen=True, eq=False)
class Sigma(_SigmaDeltaNode):
    """Sums messages: sigma += a, and sends sigma itself each timestep (lava-nc 0.10.0, Sigma fixed-point)."""


@dataclass(frozen=True, eq=False)
class Iaf(Node):
    """Integrate-and-fire without leak: DYNAP-CNN's neuron as sinabs 3.1.3 simulates it, clocked. All integers.

    State v = v_init before the first timestep; a is the sum of the incoming edges; `bias`, `v_init` broadcast to `shape`.
    v += a + bias;  multi_spike: n = v // v_th where v > 0, else 0;  otherwise n = [v >= v_th];
    soft: v -= n v_th;  hard: v = 0 where n > 0;  then v = max(v, v_min) unless that is None.
    The output is n, which may exceed 1: so many spikes in one timestep, the values that an input of kind graded sends too.

    This is what sinabs computes in float32, which holds integers exactly below 2^24: IAFSqueeze (lif_forward_single with
    alpha_mem = 1) with MultiSpike = (v > 0) * trunc(v / v_th) or SingleSpike = [v - v_th >= 0], MembraneSubtract or
    MembraneReset, and relu(v - v_min) + v_min last. It is not what the chip does. The chip has no timesteps: each event
    makes one addition a neuron, which saturates at `state_bits` (information only here; a run beyond 32 bits raises
    NeurodeployError), at most one spike, and one floor, and its bias comes with a slow clock.
    """

    shape: Shape = ()
    v_th: int = 1
    v_min: int | None = None
    bias: Array = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    reset: Reset = "soft"
    multi_spike: bool = True
    v_init: Array = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    state_bits: int = 16
    is_neuron: ClassVar[bool] = True

    def output_shape(self, source: Shape) -> Shape:
        if source != self.shape:
            raise _fail(self, f"has {self.shape} neurons, its input has shape {source}")
        return self.shape


INT_NEURONS = (CubaLif, Delta, SigmaDelta, Sigma, Iaf)  # what an IntGraph may hold; an Iaf only beside its like


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
