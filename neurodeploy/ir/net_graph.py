"""The layers of a `.net` file as the IntGraph that lava-dl's netx 0.6.0 builds of them on lava-nc 0.10.0.

Blocks are layers with neurons: `0.conv` -> `0.neuron` -> `1.dense` -> ...; a flatten is `1.flatten`, the loop of a
recurrent layer `1.rec`. Each synapse takes a timestep, so block k starts each sample at reset_offset + 1 + k, as netx
has it. Where netx would compute something else than the file says, the reader says so or refuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.net_entries import Notes
from neurodeploy.ir.net_layers import NetLayer
from neurodeploy.ir.netx_dense import pack
from neurodeploy.ir.nodes import (
    Array,
    BatchNorm,
    Conv2d,
    CubaLif,
    Delta,
    Flatten,
    Input,
    Linear,
    Node,
    Shape,
    Sigma,
    SigmaDelta,
)

MAX_NEURONS = 2**24  # of one layer; a chip of this family has 2^20
STATE_EXP = 6  # netx fixes it for sigma-delta neurons, and 6 for the exponent of biases
SDNN_BITS = 16  # of the messages of sigma-delta neurons
INPUT_BIAS = 2**12 - 1  # bias_mant has 13 bits on the chip
_DELTA_BITS = 24


@dataclass(frozen=True)
class Options:
    """Arguments of netx's Network beside the file; input_shape (C, H, W)."""

    reset_interval: int | None = None
    reset_offset: int = 0
    message_bits: int = 0
    signed_messages: bool = False
    num_layers: int | None = None
    skip_layers: int = 0
    input_shape: Shape | None = None
    spike_exp: int = 6


@dataclass
class _Chain:
    """The network so far: where the next layer connects, and what it receives."""

    options: Options
    notes: Notes
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    host: Graph | None = None
    n_blocks: int = 0
    bits: int = 0  # of the messages that arrive, 0: one bit
    shape: Shape | None = None
    flatten: int | None = None  # index of the flatten layer that waits for a dense one

    def put(self, node: Node, delay: int = 0) -> None:
        if self.nodes:
            self.edges.append(Edge(self.nodes[-1].name, node.name, delay))
        self.nodes.append(node)

    def refuse(self, index: int, entry: str, what: str, limit: str = "", remedy: str = "", code: str | None = None) -> Any:
        self.notes.refuse(f"layer/{index}/{entry}".rstrip("/"), what, limit, remedy, code)

    def warn(self, index: int, entry: str, what: str, code: str, remedy: str = "") -> None:
        self.notes.warn(f"layer/{index}/{entry}".rstrip("/"), what, code, remedy)


def nodes_of(
    layers: tuple[NetLayer, ...], options: Options, notes: Notes
) -> tuple[tuple[Node, ...], tuple[Edge, ...], Graph | None]:
    """(nodes, edges, what the host makes of an image) of the network. Raises UnsafeFile naming the layer."""
    chain = _Chain(options, notes, bits=options.message_bits, shape=options.input_shape)
    for index, layer in enumerate(layers):
        if index < options.skip_layers:
            _skip(chain, index, layer)
        else:
            _ADD[layer.kind](chain, index, layer)
    if chain.n_blocks == 0:
        notes.refuse("layer", "no layer has neurons")
    if chain.flatten is not None:
        chain.refuse(chain.flatten, "", "a flatten without a dense layer behind it", "netx ignores it", "Delete the layer")
    if options.reset_interval and any(layer.neuron == "SDNN" for layer in layers[options.skip_layers :]):
        notes.warn("layer", "netx never resets sigma-delta neurons", "reset_ignored")
    return tuple(chain.nodes), tuple(chain.edges), chain.host


def _skip(chain: _Chain, index: int, layer: NetLayer) -> None:
    if layer.kind == "flatten":
        chain.flatten = index
    else:
        chain.shape = layer.shape
        chain.flatten = None
        if layer.neuron is not None:
            chain.bits = SDNN_BITS if layer.neuron == "SDNN" else 0


def _entry(chain: _Chain, shape: Shape) -> None:
    """The input node of a network that is driven by messages at its first synapse."""
    top = max(1, 2**chain.bits - 1)
    graded: dict[str, Any] = {"signed": chain.options.signed_messages, "value_scale": float(top)} if chain.bits else {}
    chain.put(Input("input", shape=shape, kind="graded" if chain.bits else "spikes", max_value=top, **graded))
    chain.shape = shape


def _input(chain: _Chain, index: int, layer: NetLayer) -> None:
    if chain.nodes or chain.flatten is not None:
        chain.refuse(index, "", "an input layer that is not the first", "netx leaves it unconnected", code="unsupported")
    if layer.neuron is None:
        chain.shape = layer.shape
        return
    if layer.neuron == "SDNN":
        # The values arrive at a_in with six bits of fraction (lava-dl's PilotNet tutorial); the state holds 24 bits.
        top = 2 ** (_DELTA_BITS - 1 - chain.options.spike_exp - STATE_EXP) - 1
        chain.put(Input("input", shape=layer.shape, kind="graded", signed=True, max_value=max(1, top), value_scale=64.0))
    else:
        chain.put(Input("input", shape=layer.shape, kind="bias", max_value=INPUT_BIAS))
        if layer.weight is not None or layer.bias is not None:
            chain.host = transform(layer)
    _put_neurons(chain, index, layer, is_input=True)


def transform(layer: NetLayer) -> Graph:
    """bias_mant = 2 * weight * image - weight + bias, for images in 0..1: what lava-dl's tutorials feed."""
    weight, bias = (int(v[0]) if v is not None else default for v, default in ((layer.weight, 64), (layer.bias, 0)))
    n = layer.shape[0]
    scale = BatchNorm("transform", mean=np.zeros(n), var=np.ones(n), gamma=np.full(n, 2.0 * weight),
                      beta=np.full(n, float(bias - weight)), eps=0.0)
    return Graph((Input("image", shape=layer.shape), scale), (Edge("image", "transform"),), 1)


def _conv(chain: _Chain, index: int, layer: NetLayer) -> None:
    weight = layer.weight
    assert weight is not None and layer.stride and layer.padding and layer.dilation and layer.groups
    if chain.flatten is not None:
        chain.refuse(index, "", "a convolution behind a flatten", code="unsupported")
    if chain.shape is None:
        chain.refuse(index, "", "the shape of its input is not in the file", remedy="Give input_shape (C, H, W)")
    if not chain.nodes:
        _entry(chain, tuple(chain.shape or ()))
    sums = int(np.abs(weight).reshape(len(weight), -1).sum(axis=1).max())
    if sums >= 2**31:
        chain.refuse(index, "weight", f"weights that add up to {sums}", "At most 2^31 - 1")
    # Beyond 24 bits lava-nc's accumulator wraps; one-bit messages cannot reach that with ordinary weights.
    sum_bits = None if chain.bits == 0 and sums < 2**23 else 24
    node = Conv2d(
        f"{chain.n_blocks}.conv", weight=weight, stride=layer.stride, padding=layer.padding, dilation=layer.dilation,
        groups=layer.groups, sum_bits=sum_bits,
    )
    assert chain.shape is not None
    try:
        if len(weight) % layer.groups:
            raise NeurodeployError(f"{len(weight)} output channels in {layer.groups} groups")
        computed = node.output_shape(chain.shape)
    except NeurodeployError as err:
        chain.refuse(index, "weight", err.what)
    if computed != layer.shape:
        chain.refuse(index, "shape", f"shape {layer.shape}", f"Its convolution of {chain.shape} gives {computed}")
    chain.put(node, delay=1)
    _put_neurons(chain, index, layer)


def _dense(chain: _Chain, index: int, layer: NetLayer) -> None:
    assert layer.weight is not None
    n_in = layer.weight.shape[1]
    if chain.shape is not None and math.prod(chain.shape) != n_in:
        chain.refuse(index, "weight", f"weights for {n_in} inputs", f"The layer before has shape {chain.shape}")
    if not chain.nodes:
        # Without a flatten, netx takes what arrives as it is: flat.
        _entry(chain, chain.shape if chain.shape is not None and chain.flatten is not None else (n_in,))
    assert chain.shape is not None
    if len(chain.shape) == 3:
        if chain.flatten is None:
            chain.refuse(index, "", f"a dense layer on a map of shape {chain.shape}", "netx stops at it", "Flatten it before")
        chain.put(Flatten(f"{chain.n_blocks}.flatten"))
    elif chain.flatten is not None and chain.n_blocks:
        chain.refuse(chain.flatten, "", "a flatten of what is flat", "netx stops at it", "Delete the layer")
    chain.flatten = None
    before = chain.nodes[-1].name
    weights = (layer.weight,) if layer.weight_rec is None else (layer.weight, layer.weight_rec)
    acting = _acting(chain, index, weights, has_delays=layer.delay is not None)
    delays = [None] * len(weights) if layer.delay is None else _delays(chain, index, layer)
    k = chain.n_blocks
    chain.put(Linear(f"{k}.dense", weight=acting[0][0], weight_exp=acting[0][1], delays=delays[0]), delay=1)
    assert chain.edges[-1].src == before
    bits = chain.bits
    _put_neurons(chain, index, layer)
    if len(weights) == 2:
        graded_as_bits = layer.neuron == "SDNN" and bits == 0
        if graded_as_bits:
            chain.warn(
                index, "weight_rec", "its graded messages come back as one bit: netx gives the loop the input's message bits",
                "graded_loop", "Feed the layer with graded messages (message_bits)",
            )
        loop = Linear(f"{k}.rec", weight=acting[1][0], weight_exp=acting[1][1], delays=delays[1], binary=graded_as_bits)
        neuron = chain.nodes.pop()
        chain.nodes += [loop, neuron]
        chain.edges += [Edge(loop.name, neuron.name), Edge(neuron.name, loop.name, 1)]


def _acting(chain: _Chain, index: int, weights: tuple[Array, ...], *, has_delays: bool) -> list[tuple[Array, int]]:
    """(weight, weight_exp) of each matrix as netx makes lava-nc use it."""
    try:
        packed = pack(*weights)
    except NeurodeployError:
        chain.refuse(
            index, "weight", "all weights are zero", "netx stops there (OverflowError)", "Delete the layer, or train it",
            code="unsupported",
        )
    low, high = min(int(w.min()) for w in weights), max(int(w.max()) for w in weights)
    if packed.is_lost or not any(mine.any() for mine in packed.weights):
        why, remedy = (
            ("it shifts a matrix of one sign that goes beyond 255 out of range", "Scale weights, threshold and bias down")
            if packed.is_lost or low >= 0 or high < 0
            else ("it counts nine bits where odd weights beyond 127 meet zeros or another sign, and matrices of one sign have "
                  "eight", "Make the layer's weights even")
        )
        chain.refuse(index, "weight", f"weights that span {low}..{high}", f"netx makes all of them zero: {why}", remedy,
                     code="unsupported")
    if has_delays and len(weights) == 2 and packed.shift:
        chain.refuse(
            index, "delay", "delays in a recurrent layer", f"netx multiplies its weights by {2**packed.shift}",
            "Remove the delays", code="unsupported",
        )
    acting = [packed.acting(i) for i in range(len(weights))]
    for name, w, mine, (_, exp) in zip(("weight", "weight_rec"), weights, packed.weights, acting, strict=False):
        changed = int(np.count_nonzero(mine != w << packed.shift))
        if w.any() and not mine.any():
            chain.warn(
                index, name, "netx makes all of its weights zero: it counts their bits together with those of the other "
                "matrix, which has other signs", "weights_zeroed", "Use even weights in both matrices",
            )
        elif changed:
            shifted = f", and cuts {-exp} bits off each sum" if exp else ""
            chain.warn(
                index, name, f"{changed} of {w.size} weights ({w.min()}..{w.max()}) act otherwise than they are stored: netx "
                f"clips them and drops low bits{shifted}", "weights_altered",
                "Keep the weights of a layer in -256..254, those of one sign in -254..254",
            )
    return acting


def _delays(chain: _Chain, index: int, layer: NetLayer) -> list[Array | None]:
    """Delays of each weight as netx spreads them: one for all, one per output neuron, or one per input."""
    assert layer.weight is not None and layer.delay is not None
    n_out, n_in = layer.weight.shape
    delay = layer.delay
    per_output = delay.ndim == 1 and delay.size == n_out
    if delay.ndim == 0:
        spread = np.full((n_out, n_in), int(delay))
    elif per_output:
        spread = np.repeat(delay.reshape(-1, 1), n_in, axis=1)
    elif delay.ndim == 1 and delay.size == n_in:
        spread = np.repeat(delay.reshape(1, -1), n_out, axis=0)
    elif delay.shape == (n_out, n_in):
        spread = delay
    else:
        chain.refuse(index, "delay", f"delays of shape {delay.shape}", f"Expected ({n_out},), ({n_in},) or ({n_out}, {n_in})")
    if layer.weight_rec is not None and n_in != n_out and delay.any():
        chain.refuse(index, "delay", "delays in a recurrent layer", "netx stops at it unless it has as many inputs as neurons",
                     "Remove the delays", code="unsupported")
    if per_output and delay.any() and (chain.options.reset_interval or (layer.bias is not None and layer.bias.any())):
        chain.warn(
            index, "delay", "lava-dl trains these delays on the output spikes, netx puts them on the inputs; with a bias or a "
            "reset that is not the same", "delay_moved",
        )
    found: Array | None = np.ascontiguousarray(spread, dtype=np.int64) if delay.any() else None
    return [found] * (1 if layer.weight_rec is None else 2)


def _flatten(chain: _Chain, index: int, layer: NetLayer) -> None:
    chain.flatten = index


_ADD: dict[str, Callable[[_Chain, int, NetLayer], None]] = {
    "input": _input, "conv": _conv, "dense": _dense, "dense_rec": _dense,
    "flatten": _flatten,
}


# ---------------------------------------------------------------------- neurons


def _put_neurons(chain: _Chain, index: int, layer: NetLayer, *, is_input: bool = False) -> None:
    if math.prod(layer.shape) > MAX_NEURONS:
        chain.refuse(index, "shape", f"{math.prod(layer.shape)} neurons", f"At most {MAX_NEURONS} in a layer")
    name = f"{chain.n_blocks}.neuron"
    if layer.neuron == "CUBA":
        chain.put(_cuba(chain, index, layer, name, is_input))
        chain.bits = 0
    else:
        chain.put(_sigma_delta(chain, index, layer, name, is_input))
        chain.bits = SDNN_BITS
    chain.shape = layer.shape
    chain.n_blocks += 1


def _cuba(chain: _Chain, index: int, layer: NetLayer, name: str, is_input: bool) -> CubaLif:
    assert layer.i_decay is not None and layer.v_decay is not None and layer.v_th is not None
    # An input is written to the bias, so the current of its neurons stays 0 whatever its decay. The IR hands it over
    # as a current without memory, which reaches the membrane in the same way.
    i_decay = 4096 if is_input else _spread(chain, index, "neuron/iDecay", layer.i_decay, layer.shape)
    bias = None if is_input else layer.bias
    if bias is not None and (bias.min() < -(2**15) or bias.max() >= 2**15):
        chain.refuse(index, "bias", f"biases of {bias.min()}..{bias.max()}", "-32768..32767; lava-nc wraps them to 16 bits",
                     "Scale the layer down")
    reset: dict[str, Any] = {}
    if chain.options.reset_interval:
        reset = {"reset_interval": chain.options.reset_interval,
                 "reset_offset": chain.options.reset_offset + 1 + chain.n_blocks}
    return CubaLif(
        name, shape=layer.shape, i_decay=i_decay, v_decay=_spread(chain, index, "neuron/vDecay", layer.v_decay, layer.shape),
        v_th=_spread(chain, index, "neuron/vThMant", layer.v_th, layer.shape), bias_mant=_bias(chain, index, bias, layer.shape),
        **reset,
    )


def _sigma_delta(chain: _Chain, index: int, layer: NetLayer, name: str, is_input: bool) -> Node:
    if layer.sigma_output:
        if layer.bias is not None:
            chain.refuse(index, "bias", "a bias in a sigma layer", "netx stops at it", "Delete the entry", code="unsupported")
        return Sigma(name, shape=layer.shape)
    v_th = layer.v_th
    exponents: dict[str, Any] = {"spike_exp": chain.options.spike_exp, "state_exp": STATE_EXP}
    assert isinstance(v_th, int)
    most = 2 ** (31 - chain.options.spike_exp - STATE_EXP)
    if not 0 <= v_th < most:
        chain.refuse(index, "neuron/vThMant", f"a threshold of {v_th}", f"0..{most - 1}: it is kept in 32 bits")
    if is_input:
        return Delta(name, shape=layer.shape, v_th=v_th, **exponents)
    if layer.bias is not None and int(np.abs(layer.bias).max()) >= most:
        chain.refuse(index, "bias", "biases beyond what 32 bits hold", f"Below {most}")
    return SigmaDelta(name, shape=layer.shape, v_th=v_th, bias_mant=_bias(chain, index, layer.bias, layer.shape), **exponents)


def _spread(chain: _Chain, index: int, entry: str, value: int | Array, shape: Shape) -> int | Array:
    """A constant of the file, channels last, in the order of the graph, channels first."""
    if isinstance(value, int):
        return value
    try:
        np.broadcast_to(value, shape[::-1])
    except ValueError:
        chain.refuse(index, entry, f"values of shape {value.shape}", f"They do not broadcast to {shape[::-1]}, (x, y, channel)")
    return np.ascontiguousarray(value.reshape((1,) * (len(shape) - value.ndim) + value.shape).transpose())


def _bias(chain: _Chain, index: int, bias: Array | None, shape: Shape) -> Array:
    """As netx spreads a bias: one a neuron in the order (x, y, channel), or one a channel."""
    if bias is None:
        return np.zeros(1, dtype=np.int64)
    if bias.shape == shape[::-1]:
        return np.ascontiguousarray(bias.transpose())
    if len(shape) == 1 and bias.size == 1:
        return bias.reshape(1)
    if len(shape) == 3 and bias.shape == (shape[0],):
        return bias.reshape(-1, 1, 1)
    chain.refuse(index, "bias", f"biases of shape {bias.shape}", f"Expected ({shape[0]},) or {shape[::-1]}, (x, y, channel)")
    raise AssertionError
