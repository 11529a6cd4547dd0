"""Rules about neurons: what their constants and states can hold on the target. See `rules.py`, `synapse_rules.py`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neurodeploy.errors import Violation
from neurodeploy.ir.nodes import Array, CubaLif, Delta, Lif, Sigma, SigmaDelta
from neurodeploy.ir.reference import is_integer_node
from neurodeploy.place.case import Case, spaced
from neurodeploy.quantize.passing import BEHAVIOURS


def neuron_kind(case: Case) -> list[Violation]:
    """Neurons that compute as the chip's do: no integers of another chip, no floor, one spike a timestep."""
    arith, found = case.profile.arithmetic, []
    known = BEHAVIOURS[arith.neuron]

    def add(where: str, what: str, limit: str, remedy: str) -> None:
        found.append(Violation(rule="neuron_kind", where=where, what=f"{where} {what}", limit=limit, remedy=remedy))

    for node in (layer.node for layer in case.network.layers):
        if is_integer_node(node) and not isinstance(node, known):
            add(
                node.name, f"is an {type(node).__name__}, the arithmetic of another chip",
                f"{case.profile.name} computes with {arith.neuron}: {', '.join(t.__name__ for t in known)}",
                "Give the trained network; integer networks are never requantized",
            )
        if isinstance(node, Lif) and node.multi_spike:
            add(
                node.name, "sends several spikes a timestep", f"Neurons of {case.profile.name} send one",
                "Train with one spike a timestep",
            )
        if isinstance(node, Lif) and node.v_min is not None:
            add(
                node.name, f"has a floor of {node.v_min}", f"Neurons of {case.profile.name} have none",
                "Train without a floor",
            )
    return found


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


def _cuba(case: Case) -> Iterator[CubaLif]:
    return (layer.node for layer in case.network.layers if isinstance(layer.node, CubaLif))


def _span(value: int | Array) -> tuple[int, int]:
    """(smallest, largest) of a constant, one for the layer or one a neuron."""
    return int(np.min(value)), int(np.max(value))


def _said(low: int, high: int) -> str:
    return spaced(low) if low == high else f"{spaced(low)} to {spaced(high)}"


def biases(case: Case) -> list[Violation]:
    """Bias mantissa and exponent, those the host writes included."""
    arith, found = case.profile.arithmetic, []
    low_exp, high_exp = arith.bias_exps
    bottom, top = -arith.bias_max - 1, arith.bias_max
    limit = f"{case.profile.name} holds {spaced(bottom)} to {spaced(top)} with exponents {_said(low_exp, high_exp)}"
    for node in _cuba(case):
        low, high = _span(node.bias_mant)
        if low < bottom or high > top:
            found.append(Violation(
                rule="biases", where=node.name, what=f"bias mantissas {_said(low, high)}", limit=limit,
                remedy="Scale weights, bias and threshold of the layer down together, or use a larger exponent",
            ))
        low, high = _span(node.bias_exp)
        if low < low_exp or high > high_exp:
            nearest = low_exp if low < low_exp else high_exp
            found.append(Violation(
                rule="biases", where=node.name, what=f"bias exponents {_said(low, high)}", limit=limit,
                remedy=f"Rewrite the mantissa for exponent {nearest}: shifted by the difference it means the same",
            ))
    for source in case.network.graph.inputs:
        if source.kind == "bias" and source.max_value > top:
            found.append(Violation(
                rule="biases", where=source.name, what=f"the host writes biases up to {spaced(source.max_value)}", limit=limit,
                remedy="Lower the input's value_scale and the thresholds behind it",
            ))
    return found


def thresholds(case: Case) -> list[Violation]:
    """Threshold mantissa, unsigned, of every neuron.

    Not of a read-out without threshold, as netx builds it for logits: nothing hears it, no membrane can pass what stands
    for its threshold, and the membrane keeps nothing, it only shows the current.
    """
    top, found = case.profile.arithmetic.v_th_max, []
    for node in _cuba(case):
        low, high = _span(node.v_th)
        silent = low << node.state_shift >= 2 ** (node.state_bits - 1) - 1
        keeps_nothing = _span(node.v_decay)[0] == case.profile.arithmetic.decay_one
        if silent and keeps_nothing and not case.network.graph.outgoing(node.name):
            continue
        if low < 0 or high > top:
            remedy = "Scale weights, bias and threshold of the layer together"
            if silent:
                shown = spaced(top << node.state_shift)
                remedy = f"For a layer that never fires use {top}, which a membrane beyond {shown} would pass"
            found.append(Violation(
                rule="thresholds", where=node.name, what=f"threshold mantissas {_said(low, high)}",
                limit=f"{case.profile.name} holds 0 to {spaced(top)}", remedy=remedy,
            ))
    return found


def state_formats(case: Case) -> list[Violation]:
    """Decays of every neuron within their fraction; state width and shift as the chip has them."""
    arith, found = case.profile.arithmetic, []
    for node in _cuba(case):
        for name, value in (("i_decay", node.i_decay), ("v_decay", node.v_decay)):
            low, high = _span(value)
            if low < 0 or high > arith.decay_one:
                found.append(Violation(
                    rule="state_formats", where=node.name, what=f"{name} {_said(low, high)}",
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


def initial_states(case: Case) -> list[Violation]:
    """States before the first timestep within the width of the state registers.

    That is all that is known: Lava's processes take initial u and v on every target; lava-dl's `.net` has no field for
    them, and no public document says what a chip's loader makes of them.
    """
    top = 2 ** (case.profile.arithmetic.state_bits - 1) - 1
    found = []
    for node in _cuba(case):
        for name, value in (("i_init", node.i_init), ("v_init", node.v_init)):
            low, high = _span(value)
            if low < -top or high > top:
                found.append(Violation(
                    rule="initial_states", where=node.name, what=f"{name} {_said(low, high)}",
                    limit=f"A state of {case.profile.name} holds -{spaced(top)} to {spaced(top)}",
                    remedy="Start the layer at zero, or drive it there with its bias",
                ))
    return found


def sigma_delta(case: Case) -> list[Violation]:
    """Neurons that send graded messages: only on a chip that has them, with exponents and scaled constants it holds."""
    arith, found = case.profile.arithmetic, []
    top = arith.sigma_delta_exp_max
    half = 2 ** (arith.state_bits - 1)

    def add(where: str, what: str, limit: str, remedy: str) -> None:
        found.append(Violation(rule="sigma_delta", where=where, what=what, limit=limit, remedy=remedy))

    for layer in case.network.layers:
        node = layer.node
        if not isinstance(node, Delta | Sigma):
            continue
        if top is None:
            add(node.name, f"{type(node).__name__} neurons", f"{case.profile.name} has none", "Use spiking neurons")
        elif isinstance(node, Delta):
            for name, exponent in (("spike_exp", node.spike_exp), ("state_exp", node.state_exp)):
                if exponent > top:
                    limit = f"{case.profile.name} holds 0 to {top}"
                    add(node.name, f"{name} {exponent}", limit, "Scale the weights behind it up")
            constants = {"v_th": node.v_th, **({"bias_mant": node.bias_mant} if isinstance(node, SigmaDelta) else {})}
            for name, value in constants.items():
                low, high = (v << (node.spike_exp + node.state_exp) for v in _span(value))
                if max(-low, high) >= half or (name == "v_th" and low < 0):
                    add(
                        node.name, f"{name} {_said(low, high)} after scaling by its exponents",
                        f"{case.profile.name} holds {arith.state_bits} bits, v_th without a sign", "Use smaller exponents",
                    )
    return found
