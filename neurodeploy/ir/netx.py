"""lava-dl's loader netx (0.6.0): which integer graphs it holds exactly, and the arguments it needs beside the file.

It shifts a dense matrix up so that it fills 8 bits and tells lava-nc's Dense the shift and the remaining bits; Dense
takes its own view of the signs, clips, drops low bits, and shifts the sums back. That is exact except at the ends of
one-sided ranges (netx/utils.py; lava-nc 0.10.0 utils/weightutils.py; compared on 19,000 random matrices).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Flatten, Input, Linear, Node, Vote

_BIAS_EXP = 6  # netx fixes it


def netx_reason(graph: IntGraph) -> str | None:
    """Why netx cannot hold the graph exactly, naming the node; None when it can."""
    for check in (_why_no_chain, _why_no_node, _why_no_reset):
        reason = check(graph)
        if reason is not None:
            return reason
    return None


def _why_no_chain(graph: IntGraph) -> str | None:
    if not graph.is_acyclic:
        return "the graph is recurrent; netx holds strict chains"
    if len(graph.inputs) != 1 or graph.inputs[0].kind == "analog":
        return "netx needs one input of spikes, graded messages or biases"
    for node in graph.nodes:
        if len(graph.incoming(node.name)) > 1 or len(graph.outgoing(node.name)) > 1:
            return f"{node.name} has several sources or destinations; netx holds strict chains"
        for edge in graph.incoming(node.name):
            if edge.delay != int(node.is_synapse):
                return f"{node.name} is fed with delay {edge.delay}; netx has one timestep per synapse and none elsewhere"
        if isinstance(node, Vote) and graph.outgoing(node.name):
            return f"{node.name} is not the last node"
    return None


def _why_no_node(graph: IntGraph) -> str | None:
    before: Node | None = None
    for node in graph.feedforward_order:
        if isinstance(node, CubaLif):
            if isinstance(before, Input):
                if before.kind != "bias" or node.i_decay != 4096 or np.any(node.bias_mant):
                    return (
                        f"{node.name} takes the input directly; netx writes it to bias_mant, which needs an input of "
                        "kind bias, a current without memory and no other bias"
                    )
            elif before is None or not before.is_synapse:
                return f"{node.name} does not follow a synapse"
            if (node.bias_exp, node.state_bits, node.state_shift) != (_BIAS_EXP, 24, 6):
                return f"{node.name} has a bias exponent or state width that netx does not know"
        elif isinstance(node, Conv2d | Linear):
            if isinstance(before, Input) and before.kind == "bias":
                return f"{node.name} is a synapse behind an input of kind bias"
            if not any(graph[e.dst].is_neuron for e in graph.outgoing(node.name)):
                return f"{node.name} is a synapse without neurons"
            if isinstance(node, Linear) and not survives_packing(node.weight):
                return f"{node.name} has weights that netx alters (all zero, or at the end of a one-sided range)"
        elif not isinstance(node, Input | Flatten | Vote):
            return f"{node.name} is a {type(node).__name__}; netx has no such layer"
        before = node
    return None


def _why_no_reset(graph: IntGraph) -> str | None:
    neurons = [n for n in graph.neurons if isinstance(n, CubaLif)]
    if not neurons:
        return "the graph has no neurons"
    first = neurons[0]
    for index, node in enumerate(neurons):
        if node.reset_interval != first.reset_interval:
            return f"{node.name} and {first.name} have different reset intervals; netx has one"
        if node.reset_interval and (node.reset_offset - first.reset_offset - index) % node.reset_interval:
            return (
                f"{node.name} resets at offset {node.reset_offset}; netx starts each layer one timestep after the one before"
            )
    return None


def netx_kwargs(graph: IntGraph) -> dict[str, Any]:
    """Arguments of `netx.hdf5.Network` beside the file name, so that it computes what the graph does."""
    first = next(n for n in graph.neurons if isinstance(n, CubaLif))
    source = graph.inputs[0]
    bits = source.max_value.bit_length() if source.kind == "graded" else 0
    kwargs: dict[str, Any] = {"input_message_bits": bits}
    if first.reset_interval:
        kwargs |= {"reset_interval": first.reset_interval, "reset_offset": (first.reset_offset - 1) % first.reset_interval}
    return kwargs


def pack_dense(weight: Array) -> tuple[Array, int]:
    """(weights that act on the spikes, right shift of their sums) for a non-zero int64 matrix [O, I]."""
    low, high = int(weight.min()), int(weight.max())
    mixed = low < 0 <= high  # netx counts "no positive weight, but a zero" as mixed; Dense counts it as inhibitory
    if (high > 254 and low < 0) or (low < -256 and high > 0):
        weight = np.clip(weight, -256, 254)
        low, high = int(weight.min()), int(weight.max())
    room_above = 127 / high if high else math.inf
    room = min(room_above, -128 / low) if mixed else -256 / low if high < 0 else 255 / high
    shift = math.floor(math.log2(room)) + int(mixed)
    n_zero_bits = next((n for n in range(8, 0, -1) if not np.any(weight % 2**n)), 0)
    n_bits = 8 - shift - (n_zero_bits - int(mixed))
    return _dense(_shift_left(weight, shift), n_bits), shift


def _dense(weight: Array, n_bits: int) -> Array:
    if weight.min() >= 0:
        return _drop(np.clip(weight, 0, 255), 8 - n_bits)
    if weight.max() <= 0:
        return -_drop(np.clip(-weight, 0, 255), 8 - n_bits)
    return _drop(np.clip(weight, -256, 255), 9 - n_bits)


def _drop(weight: Array, n_low_bits: int) -> Array:
    return _shift_left(weight >> max(n_low_bits, 0), n_low_bits)


def _shift_left(weight: Array, count: int) -> Array:
    """numpy's int32 shift as netx meets it: a negative count silently gives zeros."""
    return weight << count if count >= 0 else np.zeros_like(weight)


def survives_packing(weight: Array) -> bool:
    """True when a dense layer built by netx computes exactly `weight @ spikes`."""
    if not weight.any():
        return False  # netx divides by zero
    packed, shift = pack_dense(weight)
    return shift >= 0 and np.array_equal(packed, weight << shift)
