"""Static range analysis: from the actual weights, what can no input ever do, and what can some input do.

The bounds hold for every input the chip accepts, not only for data seen: each source contributes its largest message
through each weight. A current or an accumulator that could wrap is a violation, never a silent value; a membrane that
can reach its clip is allowed (the clip is part of the neuron's meaning) and reported. What sources can send is in
`ir/intervals.py`: a spiking neuron 0 or 1, whatever loop it is in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neurodeploy.errors import Violation
from neurodeploy.fixedpoint import DECAY_BITS, shift_signed
from neurodeploy.hw.profile import Arithmetic
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.intervals import Intervals, largest, synaptic_sums, with_zero
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Delta, Iaf, Input, Linear, Node, Sigma
from neurodeploy.ir.reference import SIGMA_DELTA_BITS
from neurodeploy.quantize.formats import weight_range


@dataclass(frozen=True)
class LayerRange:
    """Bounds of one neuron layer over every possible input; currents in units of the synaptic sum, v_mem in state units.

    A bound of -1 is none: the value grows for as long as it is driven, or no bound is known; the drive a_min..a_max is
    None where none is known. For sigma-delta neurons v_mem is the larger of sigma and activation, and there is no
    current. An Iaf has none either; its v_mem is that of the clocked simulation before it fires, with which the chip's
    registers (v_mem_limit) are only compared: for what single events can do see `event_ranges`. `message_bound` is the
    largest magnitude of what a neuron sends.
    """

    layer: str
    a_min: int | None
    a_max: int | None
    i_syn_bound: int
    i_syn_limit: int
    v_mem_bound: int
    v_mem_limit: int
    clip_reachable: bool
    message_bound: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return asdict(self)


def _accumulated(first: int, decay: int, steps: int | None, start: int = 0) -> int:
    """Largest x[t], t >= 1, of x[t] = decay(x[t-1]) + first from x[0] = start within `steps` steps (None: forever).

    -1 where it is unbounded. All values are magnitudes; `start` does not outlast a reset, so it counts in full.
    """
    one = 2**DECAY_BITS
    if first < 0:
        return -1
    after: int = ((start * (one - decay)) >> DECAY_BITS) + first
    if decay >= one or first == 0:
        return after
    if steps is None:
        # At a fixed point ceil(x * decay / one) = first; from above it x only falls.
        return -1 if decay == 0 else max(after, -(-first * one // decay))
    if decay == 0:
        return start + first * steps
    x = start
    for _ in range(steps):
        before = x
        x = ((x * (one - decay)) >> DECAY_BITS) + first
        if x <= before:  # it has settled, or falls from its start
            break
    return max(x, after)


def _worst(first: int, decay: int | Array, steps: int | None, start: int = 0) -> int:
    """`_accumulated` of the neuron with the decay that lets it grow most; -1 where any grows without bound."""
    found = [_accumulated(first, int(d), steps, start) for d in np.unique(decay)]
    return -1 if -1 in found else max(found)


def analyse(graph: IntGraph, arithmetic: Arithmetic | None = None) -> tuple[tuple[LayerRange, ...], tuple[Violation, ...]]:
    """Ranges of every neuron layer, and a violation for each accumulator, current or state that some input could overrun.

    What is not known is no violation: a sigma-delta layer whose messages are rounded may drift for ever, or not. With the
    target's arithmetic a violation that graded input causes says how many input bits would fit.
    """
    values = Intervals(graph)
    ranges, violations = [], []
    for node in graph.neurons:
        if isinstance(node, CubaLif):
            found, broken = _spiking(graph, node, values, arithmetic)
        elif isinstance(node, Iaf):
            found, broken = _iaf(node, values), []
        else:
            assert isinstance(node, Delta | Sigma)  # IntGraph.check admits no other neuron
            found, broken = _sigma_delta(node, values)
        ranges.append(found)
        violations += broken
    return tuple(ranges), tuple(violations)


def _spiking(
    graph: IntGraph, node: CubaLif, values: Intervals, arithmetic: Arithmetic | None
) -> tuple[LayerRange, list[Violation]]:
    half = 2 ** (node.state_bits - 1)
    violations = []
    for source, _ in graph.sources(node.name):
        sums = synaptic_sums(source, values.arriving(source.name)) if isinstance(source, Conv2d) else None
        if sums is not None and isinstance(source, Conv2d):
            top = 2 ** ((source.sum_bits or node.state_bits) - 1)
            if sums[1].max() >= top or sums[0].min() < -top:
                reach = int(max(sums[1].max(), -sums[0].min()))
                violations.append(_violation(graph, source, "accumulator", reach, top - 1, arithmetic))
    drive = values.drive(node.name)
    if drive is None:
        return LayerRange(node.name, None, None, -1, half - 1, -1, half - 1, clip_reachable=True), violations
    a_min, a_max = drive
    start = int(np.abs(node.i_init).max(initial=0))
    falls, rises = (
        _worst(max(a, 0) << node.state_shift, node.i_decay, node.reset_interval, start) for a in (-a_min, a_max)
    )
    i_syn = -1 if min(falls, rises) < 0 else max(falls, rises)
    # wrap_once keeps +2^(bits-1) and turns -2^(bits-1) around: the symmetric bound is one less.
    if i_syn < 0 or i_syn > half - 1:
        violations.append(_violation(graph, node, "current", i_syn, half - 1, arithmetic))
    v_mem = _membrane(node, falls, rises)
    reachable = v_mem < 0 or v_mem > half - 1
    return LayerRange(node.name, a_min, a_max, i_syn, half - 1, v_mem, half - 1, reachable), violations


def _membrane(node: CubaLif, falls: int, rises: int) -> int:
    """Largest magnitude of the membrane before it is clipped and reset, for currents -falls..rises; -1 where unbounded."""
    if min(falls, rises) < 0:
        return -1
    bias = shift_signed(node.bias_mant, node.bias_exp)
    up, down = rises + int(bias.max(initial=0)), falls - int(bias.min(initial=0))
    start_up, start_down = int(node.v_init.max(initial=0)), -int(node.v_init.min(initial=0))
    found = []
    for v_decay, v_th in _pairs(node):
        # A membrane above the threshold does not last: it is reset in the step in which it gets there.
        kept = (max(v_th, 0) << node.state_shift) * (2**DECAY_BITS - v_decay) >> DECAY_BITS
        first = (start_up * (2**DECAY_BITS - v_decay) >> DECAY_BITS) + up
        above = _accumulated(up, v_decay, node.reset_interval)
        above = kept + up if above < 0 else min(above, kept + up)
        found += [max(above, first), _accumulated(down, v_decay, node.reset_interval, start_down)]
    return -1 if -1 in found else max(found)


def _pairs(node: CubaLif) -> set[tuple[int, int]]:
    """(v_decay, v_th) of the neurons, each once."""
    both = np.broadcast_arrays(node.v_decay, node.v_th)
    return set(zip(*(a.reshape(-1).tolist() for a in both), strict=True))


def _iaf(node: Iaf, values: Intervals) -> LayerRange:
    limit = 2 ** (node.state_bits - 1) - 1
    drive, sent = values.drive(node.name), largest(values.output(node.name))
    if drive is None:
        return LayerRange(node.name, None, None, 0, limit, -1, limit, clip_reachable=True, message_bound=sent)
    down, up = drive[0] + int(node.bias.min()), drive[1] + int(node.bias.max())
    lowest, highest = int(node.v_init.min()), int(node.v_init.max())
    # One spike a timestep takes away v_th at most, so a larger drive piles up.
    piles_up = not node.multi_spike and node.reset == "soft" and up > node.v_th
    sinks = node.v_min is None and down < 0
    reach = -1 if piles_up or sinks else max(
        max(highest, node.v_th - 1) + max(up, 0), -(min(lowest, node.v_min or 0) + min(down, 0))
    )
    return LayerRange(
        node.name, *drive, 0, limit, reach, limit, clip_reachable=reach < 0 or reach > limit, message_bound=sent
    )


def _sigma_delta(node: Delta | Sigma, values: Intervals) -> tuple[LayerRange, list[Violation]]:
    limit = 2 ** (SIGMA_DELTA_BITS - 1) - 1
    a_min, a_max = values.arriving(node.name) or (None, None)
    states = [] if type(node) is Delta else [with_zero(values.arriving_total(node.name))]
    if isinstance(node, Delta):
        states.append(values.activation(node))
    reach = -1 if None in states else max(largest(s) for s in states)
    found = LayerRange(
        node.name, a_min, a_max, i_syn_bound=0, i_syn_limit=limit, v_mem_bound=reach, v_mem_limit=limit,
        clip_reachable=False, message_bound=largest(values.output(node.name)),
    )
    if reach <= limit:
        return found, []
    return found, [Violation(
        "range", node.name, f"its state can reach {reach} for some input", f"It holds {limit}, and nothing is known beyond",
        "Use smaller weights, a smaller fan-in, or smaller spike_exp and state_exp",
    )]


def _violation(
    graph: IntGraph, node: Node, what: str, value: int, limit: int, arithmetic: Arithmetic | None
) -> Violation:
    graded = [n for n in graph.inputs if n.kind == "graded" and n.max_value > 1]
    remedy = "Use smaller weights, a smaller fan-in, or a decay that forgets faster"
    if graded and largest_message_reaches(graph, graded[0], node):
        remedy = f"Use fewer input levels first: {_fewer_bits(graph, graded[0], node, value / limit, arithmetic)}"
    size = "grow without bound" if value < 0 else f"reach {value}"
    return Violation("range", node.name, f"its {what} can {size} for some input", f"It wraps beyond {limit}", remedy)


def _fewer_bits(graph: IntGraph, entry: Input, node: Node, excess: float, arithmetic: Arithmetic | None) -> str:
    """Words for the input bits at which `node`, now beyond its limit by the factor `excess`, would fit."""
    bits = entry.max_value.bit_length()
    if arithmetic is not None and excess > 0:
        # With fewer levels weights are scaled up again, at most until the largest fills its format.
        synapses = [node] if node.is_synapse else [n for n, _ in graph.sources(node.name)]
        largest = max((int(np.abs(s.weight).max(initial=0)) for s in synapses if isinstance(s, Conv2d | Linear)), default=0)
        grown = excess * max(1.0, weight_range(arithmetic)[1] / max(largest, 1))
        fitting = [b for b in range(1, bits) if grown * (2**b - 1) <= entry.max_value]
        if fitting:
            return f"input_bits = {fitting[-1]} would fit"
    return f"input_bits below {bits}, and a smaller fan-in"


def largest_message_reaches(graph: IntGraph, source: Input, node: Node) -> bool:
    """True when `source` feeds `node` with no neuron layer in between."""
    front = {source.name}
    while front:
        reached = {e.dst for name in front for e in graph.outgoing(name)}
        if node.name in reached:
            return True
        front = {name for name in reached if not graph[name].is_neuron}
    return False
