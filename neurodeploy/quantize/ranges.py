"""Static range analysis: from the actual weights, what can no input ever do, and what can some input do.

The bounds hold for every input the chip accepts, not only for data seen: each source contributes its largest message
through each weight. A current or an accumulator that could wrap is a violation, never a silent value; a membrane that
can reach its clip is allowed (the clip is part of the neuron's meaning) and reported.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neurodeploy.errors import Violation
from neurodeploy.fixedpoint import DECAY_BITS
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Linear, Node


@dataclass(frozen=True)
class LayerRange:
    """Bounds of one neuron layer over every possible input; currents in units of the synaptic sum, v_mem in state units."""

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


def largest_message(graph: IntGraph, name: str) -> int:
    """Largest absolute value that a node hands to a synapse: 1 for spikes, the input's maximum for messages."""
    node = graph[name]
    while isinstance(node, Flatten):
        node = graph[graph.incoming(node.name)[0].src]
    return node.max_value if isinstance(node, Input) else 1


def _sums(weight: np.ndarray[Any, Any], message: int) -> tuple[int, int]:
    """(most negative, most positive) weighted sum of one synapse over its output neurons, for messages 0..message."""
    flat = weight.reshape(weight.shape[0], -1)
    return int(np.minimum(flat, 0).sum(1).min()) * message, int(np.maximum(flat, 0).sum(1).max()) * message


def _accumulated(first: int, decay: int, steps: int | None) -> int:
    """Largest magnitude of x[t] = decay(x[t-1]) + first within `steps` steps (None: forever, -1 where unbounded)."""
    one = 2**DECAY_BITS
    if decay >= one:
        return first
    if steps is None:
        return -1 if decay == 0 and first else -(-first * one // max(decay, 1))
    x = 0
    for _ in range(steps):
        x = ((x * (one - decay)) >> DECAY_BITS) + first
    return x


def analyse(graph: IntGraph) -> tuple[tuple[LayerRange, ...], tuple[Violation, ...]]:
    """Ranges of every neuron layer, and a violation for each accumulator or current that some input could wrap."""
    ranges, violations = [], []
    for node in graph.neurons:
        assert isinstance(node, CubaLif)  # IntGraph.check admits no other neuron
        a_min = a_max = 0
        half = 2 ** (node.state_bits - 1)
        for source, _ in graph.sources(node.name):
            if isinstance(source, Conv2d | Linear):
                low, high = _sums(source.weight, largest_message(graph, graph.incoming(source.name)[0].src))
                if isinstance(source, Conv2d) and (high >= half or low < -half):
                    violations.append(_violation(graph, source, "accumulator", max(high, -low), half - 1))
            else:  # host-written values, or a direct connection
                high = largest_message(graph, source.name)
                low = -high if isinstance(source, Input) and source.kind == "bias" else 0
            a_min, a_max = a_min + low, a_max + high
        drive = max(a_max, -a_min) << node.state_shift
        i_syn = _accumulated(drive, node.i_decay, node.reset_interval)
        # wrap_once keeps +2^(bits-1) and turns -2^(bits-1) around: the symmetric bound is one less.
        if i_syn < 0 or i_syn > half - 1:
            violations.append(_violation(graph, node, "current", i_syn, half - 1))
        v_mem, clips = _membrane(node, i_syn, half - 1)
        ranges.append(LayerRange(node.name, a_min, a_max, i_syn, half - 1, v_mem, half - 1, clips))
    return tuple(ranges), tuple(violations)


def _membrane(node: CubaLif, i_syn: int, limit: int) -> tuple[int, bool]:
    bias = int(np.abs(node.bias_mant).max(initial=0))
    bias = bias << node.bias_exp if node.bias_exp >= 0 else bias >> -node.bias_exp
    bound = -1 if i_syn < 0 else _accumulated(i_syn + bias, node.v_decay, node.reset_interval)
    return bound, bound < 0 or bound > limit


def _violation(graph: IntGraph, node: Node, what: str, value: int, limit: int) -> Violation:
    graded = [n for n in graph.inputs if n.kind == "graded" and n.max_value > 1]
    remedy = "Use smaller weights, a smaller fan-in, or a decay that forgets faster"
    if graded and largest_message_reaches(graph, graded[0], node):
        remedy = f"Use fewer input levels first (input_bits below {graded[0].max_value.bit_length()})"
    size = "grow without bound" if value < 0 else f"reach {value}"
    return Violation("range", node.name, f"its {what} can {size} for some input", f"It wraps beyond {limit}", remedy)


def largest_message_reaches(graph: IntGraph, source: Input, node: Node) -> bool:
    """True when `source` feeds `node` with no neuron layer in between."""
    front = {source.name}
    while front:
        reached = {e.dst for name in front for e in graph.outgoing(name)}
        if node.name in reached:
            return True
        front = {name for name in reached if not graph[name].is_neuron}
    return False
