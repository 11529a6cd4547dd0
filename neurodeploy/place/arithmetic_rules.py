"""Rules about numbers: what a neuron, a synapse and a message of the target can hold. See `rules.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neurodeploy.errors import Violation
from neurodeploy.ir.nodes import Conv2d, CubaLif, Lif, Linear
from neurodeploy.place.case import Case, spaced


def reset_kind(case: Case) -> list[Violation]:
    """Hard or soft reset, as the chip's neuron does it."""
    wanted = case.profile.arithmetic.reset
    return [
        Violation(
            rule="reset_kind", where=layer.name, what=f"{layer.name} has a {layer.node.reset} reset",
            limit=f"Neurons of {case.profile.name} have a {wanted} reset", remedy=f"Train with reset={wanted!r}",
        )
        for layer in case.network.layers
        if isinstance(layer.node, Lif) and layer.node.reset != wanted
    ]


def weights(case: Case) -> list[Violation]:
    """Integer weights within the range, on the grid."""
    arith = case.profile.arithmetic
    found = []
    for node in case.network.graph.nodes:
        if not isinstance(node, Conv2d | Linear) or node.weight.dtype.kind != "i" or node.weight.size == 0:
            continue
        low, high = int(node.weight.min()), int(node.weight.max())
        if low < arith.weight_min or high > arith.weight_max:
            found.append(Violation(
                rule="weights", where=node.name, what=f"weights from {low} to {high}",
                limit=f"{case.profile.name} holds {arith.weight_min} to {arith.weight_max}",
                remedy="Quantize the float network for this target, or scale weights and threshold down",
            ))
        n_off = int(np.count_nonzero(node.weight % arith.weight_step))
        if n_off:
            found.append(Violation(
                rule="weights", where=node.name, what=f"{spaced(n_off)} of {spaced(node.weight.size)} weights lie off the grid",
                limit=f"{case.profile.name} holds multiples of {arith.weight_step}",
                remedy=f"Round them to multiples of {arith.weight_step}",
            ))
    return found


def _cuba(case: Case) -> Iterator[CubaLif]:
    return (layer.node for layer in case.network.layers if isinstance(layer.node, CubaLif))


def biases(case: Case) -> list[Violation]:
    """Bias mantissa and exponent, those the host writes included."""
    arith, found = case.profile.arithmetic, []
    limit = f"{case.profile.name} holds +-{spaced(arith.bias_max)} with exponent {arith.bias_exp}"
    for node in _cuba(case):
        largest = int(np.abs(node.bias_mant).max(initial=0))
        if largest > arith.bias_max:
            found.append(Violation(
                rule="biases", where=node.name, what=f"bias mantissa {spaced(largest)}", limit=limit,
                remedy="Scale weights, bias and threshold of the layer down together",
            ))
        if node.bias_exp != arith.bias_exp:
            found.append(Violation(
                rule="biases", where=node.name, what=f"bias exponent {node.bias_exp}", limit=limit,
                remedy=f"Rewrite the mantissa for exponent {arith.bias_exp}",
            ))
    for source in case.network.graph.inputs:
        if source.kind == "bias" and source.max_value > arith.bias_max:
            found.append(Violation(
                rule="biases", where=source.name, what=f"the host writes biases up to {spaced(source.max_value)}", limit=limit,
                remedy="Lower the input's value_scale and the thresholds behind it",
            ))
    return found


def thresholds(case: Case) -> list[Violation]:
    """Threshold mantissa, unsigned."""
    top = case.profile.arithmetic.v_th_max
    return [
        Violation(
            rule="thresholds", where=node.name, what=f"threshold mantissa {node.v_th}",
            limit=f"{case.profile.name} holds 0 to {spaced(top)}",
            remedy="Scale weights, bias and threshold of the layer together",
        )
        for node in _cuba(case)
        if not 0 <= node.v_th <= top
    ]


def state_formats(case: Case) -> list[Violation]:
    """Decays within their fraction; state width and shift as the chip has them."""
    arith, found = case.profile.arithmetic, []
    for node in _cuba(case):
        for name, value in (("i_decay", node.i_decay), ("v_decay", node.v_decay)):
            if not 0 <= value <= arith.decay_one:
                found.append(Violation(
                    rule="state_formats", where=node.name, what=f"{name} {value}",
                    limit=f"{case.profile.name} holds 0 to {arith.decay_one}", remedy=f"Give a fraction of {arith.decay_one}",
                ))
        if (node.state_bits, node.state_shift) != (arith.state_bits, arith.state_shift):
            found.append(Violation(
                rule="state_formats", where=node.name,
                what=f"a state of {node.state_bits} bits shifted by {node.state_shift}",
                limit=f"{case.profile.name} has {arith.state_bits} bits shifted by {arith.state_shift}",
                remedy="Quantize the float network for this target",
            ))
    return found


def input_messages(case: Case) -> list[Violation]:
    """A graded input's largest message."""
    top = 2**case.profile.arithmetic.message_bits - 1
    return [
        Violation(
            rule="input_messages", where=source.name, what=f"graded messages up to {spaced(source.max_value)}",
            limit=f"{case.profile.name} sends {case.profile.arithmetic.message_bits} bits, at most {top}",
            remedy="Lower the input's value_scale",
        )
        for source in case.network.graph.inputs
        if source.kind == "graded" and source.max_value > top
    ]
