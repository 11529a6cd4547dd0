"""Are the values inside nodes usable? Asked of every graph that comes from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.fixedpoint import DECAY_BITS
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import (
    Activation,
    Array,
    BatchNorm,
    Conv2d,
    CubaLif,
    CurrentLif,
    Delta,
    Flatten,
    Iaf,
    Input,
    Li,
    Lif,
    Linear,
    MaxPool2d,
    Node,
    Qcfs,
    Relu,
    Sigma,
    SigmaDelta,
    SumPool2d,
    Vote,
)
from neurodeploy.ir.reference import is_integer_node

MAX_ELEMENTS = 2**28  # values of one map; larger ones are mistakes or attacks (ImageNet's largest map has 2^23)
MAX_STEPS = 2**20
MAX_DELAY = 2**12  # timesteps inside a synapse; chips have tens
MAX_EXPONENT = 15
_MANTISSA = (1 - 2**31, 2**31 - 1)


def check_graph(graph: Graph) -> None:
    """Raise NeurodeployError for the first node with unusable values: shapes, ranges, array ranks, non-finite numbers."""
    if graph.n_timesteps > MAX_STEPS:
        raise NeurodeployError(f"n_timesteps is {graph.n_timesteps}", limit=f"At most {MAX_STEPS}", code="bad_graph")
    for node in graph.nodes:
        check_node(node)
    for node in graph.nodes:
        shape = graph.shapes[node.name]
        _need(node, int(np.prod(shape, dtype=object)) <= MAX_ELEMENTS, f"has output shape {shape}, beyond any network")
        if isinstance(node, BatchNorm):
            _need(node, shape[:1] == node.mean.shape, f"has {node.mean.size} channels, its input has shape {shape}")


def check_node(node: Node) -> None:
    """Raise NeurodeployError where a node's own values make no sense."""
    for name, value in vars(node).items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            _need(node, bool(np.isfinite(value).all()), f"{name} holds values that are not finite")
        if isinstance(value, float):
            _need(node, bool(np.isfinite(value)), f"{name} is {value}")
    rule = _RULES.get(type(node))
    if rule is None:
        raise NeurodeployError(f"unknown node type {type(node).__name__}", where=node.name, code="bad_node")
    rule(node)


def _need(node: Node, condition: bool, what: str) -> None:
    if not condition:
        raise NeurodeployError(what, where=node.name, code="bad_node")


def _shape(node: Input | Lif | Li | CubaLif | Delta | Sigma | Iaf) -> None:
    _need(node, all(n >= 1 for n in node.shape), f"has shape {node.shape}")
    _need(node, int(np.prod(node.shape, dtype=object)) <= MAX_ELEMENTS, f"has shape {node.shape}, beyond any network")


def _bias(node: Conv2d | Linear, bias: Array | None) -> None:
    outputs = node.weight.shape[:1]
    _need(node, bias is None or bias.shape == outputs, f"has a bias that is not of shape {outputs}")


def _integer_weight(node: Conv2d | Linear) -> None:
    whole = node.weight.dtype.kind == "i"
    _need(node, whole or not is_integer_node(node), f"computes on integers with weights of type {node.weight.dtype}")


def _input(node: Input) -> None:
    _shape(node)
    _need(node, node.max_value >= 1, f"max_value is {node.max_value}")
    _need(node, node.value_scale > 0, f"value_scale is {node.value_scale}")


def _conv2d(node: Conv2d) -> None:
    shape = node.weight.shape
    _need(node, len(shape) == 4 and min(shape) >= 1, f"has a weight of shape {shape}, expected [O, I/groups, kH, kW]")
    _need(node, node.groups >= 1 and shape[0] % node.groups == 0, f"{shape[0]} outputs in {node.groups} groups")
    _need(node, min(node.stride) >= 1 and min(node.dilation) >= 1, "stride and dilation are at least 1")
    _need(node, min(node.padding) >= 0 and max(node.padding) <= 2**15, f"padding is {node.padding}")
    _need(node, node.sum_bits is None or 2 <= node.sum_bits <= 32, f"sum_bits is {node.sum_bits}")
    _integer_weight(node)
    _bias(node, node.bias)


def _linear(node: Linear) -> None:
    shape = node.weight.shape
    _need(node, len(shape) == 2 and min(shape) >= 1, f"has a weight of shape {shape}, expected [O, I]")
    _need(node, abs(node.weight_exp) < 32, f"weight_exp is {node.weight_exp}")
    if node.delays is not None:
        whole = node.delays.dtype.kind == "i"
        _need(node, whole and node.delays.shape == shape, f"has no integer delay for each of {shape} weights")
        low, high = int(node.delays.min()), int(node.delays.max())
        _need(node, low >= 0 and high <= MAX_DELAY, f"delays span {low}..{high}, beyond 0..{MAX_DELAY}")
    _integer_weight(node)
    _bias(node, node.bias)


def _batch_norm(node: BatchNorm) -> None:
    sizes = {p.shape for p in (node.mean, node.var, node.gamma, node.beta)}
    _need(node, len(sizes) == 1 and node.mean.ndim == 1, f"has parameters of shapes {sorted(sizes)}")
    _need(node, bool((node.var + node.eps > 0).all()), "has a variance that is not positive")


def _pool(node: MaxPool2d | SumPool2d) -> None:
    _need(node, min(node.kernel) >= 1, f"kernel is {node.kernel}")


def _reset(node: Lif | Li | CubaLif) -> None:
    _need(node, node.reset_interval is None or node.reset_interval >= 1, f"reset_interval is {node.reset_interval}")


def _lif(node: Lif) -> None:
    _shape(node)
    _reset(node)
    _need(node, 0 <= node.inv_tau <= 1, f"inv_tau is {node.inv_tau}, not in 0..1")
    _need(node, node.v_min is None or node.v_min <= node.v_reset, f"its floor {node.v_min} is above v_reset {node.v_reset}")
    _need(node, node.v_init is None or node.reset_interval is not None, "starts elsewhere than at v_reset and never restarts")
    if node.multi_spike:
        _need(node, node.v_th > 0, f"sends several spikes a timestep at a threshold of {node.v_th}")
        _need(node, node.fire == ">=", "sends several spikes a timestep and fires above its threshold only, not at it")


def _current_lif(node: CurrentLif) -> None:
    _lif(node)
    _need(node, 0 <= node.inv_tau_syn <= 1, f"inv_tau_syn is {node.inv_tau_syn}, not in 0..1")


def _li(node: Li) -> None:
    _shape(node)
    _reset(node)
    for name in ("inv_tau", "gain", "v_leak"):
        value = np.asarray(getattr(node, name))
        _need(node, value.dtype.kind == "f", f"{name} has type {value.dtype}, expected real numbers")
        _broadcasts(node, name, value)
    rate = np.asarray(node.inv_tau)
    low, high = float(rate.min()), float(rate.max())
    _need(node, low >= 0 and high <= 1, f"inv_tau spans {low:g}..{high:g}, beyond 0..1")


def _broadcasts(node: Li | CubaLif | Delta | Iaf, name: str, value: Array) -> None:
    try:
        fits = np.broadcast_shapes(value.shape, node.shape) == node.shape
    except ValueError:
        fits = False
    _need(node, fits, f"{name} of shape {value.shape} does not broadcast to {node.shape}")


def _integers(node: CubaLif | Delta | Iaf, name: str, low: int, high: int) -> None:
    """Field `name` of a neuron: integers low..high, one a layer or an array that broadcasts to its shape."""
    value = np.asarray(getattr(node, name))
    _need(node, value.dtype.kind == "i", f"{name} has type {value.dtype}, expected integers")
    smallest, largest = int(value.min(initial=high)), int(value.max(initial=low))
    _need(node, low <= smallest and largest <= high, f"{name} spans {smallest}..{largest}, beyond {low}..{high}")
    _broadcasts(node, name, value)


def _cuba_lif(node: CubaLif) -> None:
    _shape(node)
    _reset(node)
    _need(node, 2 <= node.state_bits <= 32 and 0 <= node.state_shift < 32, "state_bits or state_shift is out of range")
    for name in ("i_decay", "v_decay"):
        _integers(node, name, 0, 2**DECAY_BITS)
    for name in ("v_th", "bias_mant", "i_init", "v_init"):
        _integers(node, name, *_MANTISSA)
    _integers(node, "bias_exp", -31, 31)


def _delta(node: Delta) -> None:
    _shape(node)
    # The two exponents shift a mantissa together, which must stay within 64 bits.
    for name in ("spike_exp", "state_exp"):
        value = getattr(node, name)
        _need(node, 0 <= value <= MAX_EXPONENT, f"{name} is {value}, not in 0..{MAX_EXPONENT}")
    _integers(node, "v_th", *_MANTISSA)
    if isinstance(node, SigmaDelta):
        _integers(node, "bias_mant", *_MANTISSA)
        _need(node, node.activation in get_args(Activation), f"activation is {node.activation!r}")


def _iaf(node: Iaf) -> None:
    _shape(node)
    top = _MANTISSA[1]
    _need(node, 1 <= node.v_th <= top, f"v_th is {node.v_th}, not in 1..{top}")
    _need(node, node.v_min is None or -top <= node.v_min <= 0, f"v_min is {node.v_min}, not in {-top}..0")
    _need(node, 2 <= node.state_bits <= 32, f"state_bits is {node.state_bits}")
    for name in ("bias", "v_init"):
        _integers(node, name, *_MANTISSA)


def _qcfs(node: Qcfs) -> None:
    _need(node, np.isfinite(node.lam) and node.lam > 0, f"lam is {node.lam}, not above 0")
    _need(node, node.levels is None or 1 <= node.levels <= MAX_STEPS, f"levels is {node.levels}, not in 1..{MAX_STEPS}")


def _vote(node: Vote) -> None:
    _need(node, node.n_classes >= 1 and node.group >= 1, f"has {node.n_classes} classes in groups of {node.group}")


_RULES: dict[type[Node], Callable[[Any], None]] = {
    Input: _input, Conv2d: _conv2d, Linear: _linear, BatchNorm: _batch_norm, MaxPool2d: _pool, SumPool2d: _pool,
    Relu: lambda node: None, Qcfs: _qcfs, Flatten: lambda node: None, Lif: _lif, CurrentLif: _current_lif, Li: _li,
    CubaLif: _cuba_lif, Delta: _delta, SigmaDelta: _delta, Sigma: _shape, Iaf: _iaf, Vote: _vote,
}
