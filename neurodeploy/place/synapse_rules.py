"""Rules about synapses and messages: what a weight, a delay, a sum and a message of the target can hold. See `rules.py`."""

from __future__ import annotations

import numpy as np

from neurodeploy.errors import Violation
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.intervals import Intervals, largest
from neurodeploy.ir.nodes import Conv2d, CubaLif, Delta, Linear
from neurodeploy.place.case import Case, spaced


def weights(case: Case) -> list[Violation]:
    """Integer weights within the range, on the grid; or of one sign, where that frees the sign bit for their value."""
    arith = case.profile.arithmetic
    found = []
    for node in case.network.graph.nodes:
        if not isinstance(node, Conv2d | Linear) or node.weight.dtype.kind != "i" or node.weight.size == 0:
            continue
        low, high = int(node.weight.min()), int(node.weight.max())
        n_off = int(np.count_nonzero(node.weight % arith.weight_step))
        beyond = low < arith.weight_min or high > arith.weight_max
        top = arith.weight_one_sign_max
        one_sign = top is not None and (low >= 0 or high <= 0)
        if (one_sign and top is not None and max(-low, high) <= top) or not (beyond or n_off):
            continue
        held = f"{case.profile.name} holds {arith.weight_min} to {arith.weight_max}"
        if beyond:
            found.append(Violation(
                rule="weights", where=node.name, what=f"weights from {low} to {high}",
                limit=f"{held}, or magnitudes up to {top} of one sign" if one_sign else held,
                remedy="Quantize the float network for this target, or scale weights and threshold down",
            ))
        if n_off and not (one_sign and beyond):
            found.append(Violation(
                rule="weights", where=node.name,
                what=f"{spaced(n_off)} of {spaced(node.weight.size)} weights lie off the grid",
                limit=f"{case.profile.name} holds multiples of {arith.weight_step} where a layer has weights of both signs",
                remedy=f"Round them to multiples of {arith.weight_step}{_doubled(node, case)}",
            ))
    return found


def _doubled(node: Conv2d | Linear, case: Case) -> str:
    """The way out that changes nothing, where there is one: larger weights, and a smaller exponent for their sum."""
    arith = case.profile.arithmetic
    low, high = (int(v) * arith.weight_step for v in (node.weight.min(), node.weight.max()))
    lower = arith.weight_step == 2 and isinstance(node, Linear) and node.weight_exp - 1 >= arith.weight_exp_min
    fits = lower and low >= arith.weight_min and high <= arith.weight_max
    return ", or double them and lower weight_exp by one, which gives the same sums" if fits else ""


def weight_exponents(case: Case) -> list[Violation]:
    """The power of two that scales the sums of a synapse."""
    arith = case.profile.arithmetic
    low, high = arith.weight_exp_min, arith.weight_exp_max
    return [
        Violation(
            rule="weight_exponents", where=node.name, what=f"a weight exponent of {node.weight_exp}",
            limit=f"{case.profile.name} holds {low} to {high}",
            remedy="Scale the weights, or the constants of the neurons behind them, by the rest",
        )
        for node in case.network.graph.nodes
        if isinstance(node, Linear) and not low <= node.weight_exp <= high
    ]


def delays(case: Case) -> list[Violation]:
    """A synapse takes the chip's timesteps, and no more on top than its delay memory holds."""
    arith = case.profile.arithmetic
    found = []
    for group in case.network.groups:
        synapse = group.synapse
        inside = int(synapse.delays.max(initial=0)) if isinstance(synapse, Linear) and synapse.delays is not None else 0
        extra = group.delay - arith.synapse_latency + inside
        if group.delay < arith.synapse_latency:
            found.append(Violation(
                rule="delays", where=synapse.name, what=f"{group.source} reaches {group.target} after {group.delay} timesteps",
                limit=f"A synapse of {case.profile.name} takes {arith.synapse_latency}",
                remedy="Lower the graph for this target first",
            ))
        elif extra > arith.delay_max:
            found.append(Violation(
                rule="delays", where=synapse.name,
                what=f"{group.source} reaches {group.target} after {group.delay + inside} timesteps, a delay of {extra}",
                limit=f"{case.profile.name} delays a synapse by at most {arith.delay_max} timesteps",
                remedy=f"Put relay layers between them, one for each {arith.delay_max + arith.synapse_latency} timesteps",
            ))
    return found


def input_messages(case: Case) -> list[Violation]:
    """A graded input's largest message; half as large where it may have a sign."""
    found = []
    for source in case.network.graph.inputs:
        top = case.profile.arithmetic.payload_max >> source.signed
        if source.kind == "graded" and source.max_value > top:
            found.append(Violation(
                rule="input_messages", where=source.name,
                what=f"graded messages up to {spaced(source.max_value)}{' of both signs' if source.signed else ''}",
                limit=f"A message of {case.profile.name} holds at most {spaced(top)}",
                remedy="Lower the input's value_scale",
            ))
    return found


def graded_messages(case: Case) -> list[Violation]:
    """What Delta neurons send for some input. Layers that sum up what synapses bring are not judged by their worst input,
    which no activation comes near, and which nobody knows where sums of rounded messages may drift for ever.
    """
    graph, found = case.network.graph, []
    if not isinstance(graph, IntGraph):
        return []
    values, top = Intervals(graph), case.profile.arithmetic.payload_max >> 1
    for layer in case.network.layers:
        most = largest(values.output(layer.name)) if type(layer.node) is Delta else 0
        if most > top:
            found.append(Violation(
                rule="graded_messages", where=layer.name, what=f"messages up to {spaced(most)} for some input",
                limit=f"A message of {case.profile.name} holds at most {spaced(top)} of both signs",
                remedy="Use smaller input values or a smaller spike_exp",
            ))
    return found


def currents(case: Case) -> list[Violation]:
    """No input may send a current around twice: what a chip makes of that is unknown, and Lava leaves it out of range."""
    graph, found = case.network.graph, []
    if not isinstance(graph, IntGraph):
        return []
    values = Intervals(graph)
    for layer in case.network.layers:
        node = layer.node
        drive = values.drive(layer.name) if isinstance(node, CubaLif) else None
        if drive is None or not isinstance(node, CubaLif):
            continue
        # A current of up to half the range is added to; one wrap takes a whole range off.
        most, top = max(-drive[0], drive[1]), 2**node.state_bits >> node.state_shift
        if most > top:
            found.append(Violation(
                rule="currents", where=layer.name, what=f"{layer.name} can receive {spaced(most)} in a timestep",
                limit=f"Beyond {spaced(top)} its current leaves the {node.state_bits} bits of {case.profile.name} for good",
                remedy="Use smaller weights, a smaller fan-in, or smaller input messages",
            ))
    return found
