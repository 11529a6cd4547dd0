"""Static range analysis: from the actual weights, what can no input ever do, and what can some input do.

The bounds hold for every input the chip accepts, not only for data seen: each source contributes its largest message
through each weight. A current or an accumulator that could wrap is a violation, never a silent value; a membrane that
can reach its clip is allowed (the clip is part of the neuron's meaning) and reported.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import Violation
from neurodeploy.fixedpoint import DECAY_BITS, shift_signed
from neurodeploy.hw.profile import Arithmetic
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Input, Linear, Node
from neurodeploy.ir.reference import input_range
from neurodeploy.quantize.formats import sums, weight_range


@dataclass(frozen=True)
class LayerRange:
    """Bounds of one neuron layer over every possible input; currents in units of the synaptic sum, v_mem in state units.

    A bound of -1 is none: the value grows for as long as it is driven.
    """

    layer: str
    a_min: int
    a_max: int
    i_syn_bound: int
    i_syn_limit: int
    v_mem_bound: int
    v_mem_limit: int
    clip_reachable: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return asdict(self)


def _values(graph: IntGraph, name: str) -> tuple[int, int]:
    """(lowest, highest) value of any element that a node puts out, for every input and state."""
    node = graph[name]
    if isinstance(node, Input):
        low, high = input_range(node)
        return int(low), int(high)
    if node.is_neuron:
        return 0, 1
    low, high = _arriving(graph, name)
    if isinstance(node, Conv2d | Linear):
        lows, highs = _sums(node, low, high)
        return int(lows.min()), int(highs.max())
    return int(low), int(high)


def _arriving(graph: IntGraph, name: str) -> tuple[int, int]:
    """(lowest, highest) sum that the edges into a node can hand to one of its elements."""
    parts = [_values(graph, edge.src) for edge in graph.incoming(name)]
    return sum(p[0] for p in parts), sum(p[1] for p in parts)


def _sums(synapse: Conv2d | Linear, low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(lowest, highest) weighted sum per output channel, for inputs low..high; borders count as if none were padded."""
    negative, positive = sums([synapse])
    return positive * low + negative * high, positive * high + negative * low


def _accumulated(first: int, decay: int, steps: int | None) -> int:
    """Largest magnitude of x[t] = decay(x[t-1]) + first within `steps` steps (None: forever, -1 where unbounded)."""
    one = 2**DECAY_BITS
    if decay >= one or first == 0:
        return first
    if first < 0:
        return -1
    if steps is None:
        return -1 if decay == 0 else -(-first * one // decay)
    x = 0
    for _ in range(steps):
        x = ((x * (one - decay)) >> DECAY_BITS) + first
    return x


def analyse(graph: IntGraph, arithmetic: Arithmetic | None = None) -> tuple[tuple[LayerRange, ...], tuple[Violation, ...]]:
    """Ranges of every neuron layer, and a violation for each accumulator or current that some input could wrap.

    With the target's arithmetic a violation that graded input causes says how many input bits would fit.
    """
    ranges, violations = [], []
    for node in graph.neurons:
        assert isinstance(node, CubaLif)  # IntGraph.check admits no other neuron
        half = 2 ** (node.state_bits - 1)
        lowest: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
        highest = lowest
        for source, _ in graph.sources(node.name):
            if isinstance(source, Conv2d | Linear):
                low, high = _sums(source, *_arriving(graph, source.name))
                if isinstance(source, Conv2d) and (high.max() >= half or low.min() < -half):
                    reach = int(max(high.max(), -low.min()))
                    violations.append(_violation(graph, source, "accumulator", reach, half - 1, arithmetic))
            else:  # host-written values, or a direct connection
                low, high = (np.array([v]) for v in _values(graph, source.name))
            lowest, highest = lowest + low, highest + high
        a_min, a_max = int(lowest.min()), int(highest.max())
        falls, rises = (
            _accumulated(max(a, 0) << node.state_shift, node.i_decay, node.reset_interval) for a in (-a_min, a_max)
        )
        i_syn = -1 if min(falls, rises) < 0 else max(falls, rises)
        # wrap_once keeps +2^(bits-1) and turns -2^(bits-1) around: the symmetric bound is one less.
        if i_syn < 0 or i_syn > half - 1:
            violations.append(_violation(graph, node, "current", i_syn, half - 1, arithmetic))
        v_mem = _membrane(node, falls, rises)
        ranges.append(
            LayerRange(node.name, a_min, a_max, i_syn, half - 1, v_mem, half - 1, v_mem < 0 or v_mem > half - 1)
        )
    return tuple(ranges), tuple(violations)


def _membrane(node: CubaLif, falls: int, rises: int) -> int:
    """Largest magnitude of the membrane before it is clipped and reset, for currents -falls..rises; -1 where unbounded."""
    if min(falls, rises) < 0:
        return -1
    bias = shift_signed(node.bias_mant, node.bias_exp)
    up, down = rises + int(bias.max(initial=0)), falls - int(bias.min(initial=0))
    # A membrane above the threshold does not last: it is reset in the step in which it gets there.
    kept = ((node.v_th << node.state_shift) * (2**DECAY_BITS - node.v_decay)) >> DECAY_BITS
    above = _accumulated(up, node.v_decay, node.reset_interval)
    above = kept + up if above < 0 else min(above, kept + up)
    below = _accumulated(down, node.v_decay, node.reset_interval)
    return -1 if below < 0 else max(above, below)


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
