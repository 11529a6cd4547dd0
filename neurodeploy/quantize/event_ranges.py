"""What single events can do to the neurons of DYNAP-CNN, whatever the input: a static bound from weights and thresholds.

On the chip every event is one addition, which saturates at the width of the state, followed by at most one spike and the
floor. While no weight exceeds the threshold, a neuron that stood below its threshold stands below it again after every
update: one spike takes off what the addition brought. Then one spike an update is all that the threshold asks for, nothing
is left over for a later event, and only numbers as large as the register itself could saturate. A larger weight leaves
the rest behind, event by event, as far as the register goes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Conv2d, Iaf, Linear, Node


@dataclass(frozen=True)
class EventRange:
    """One layer of Iaf neurons under single events; all values in units of its weights.

    add_min, add_max: the smallest and largest of its weights and biases, and 0. v_low, v_high: bounds of v after any
    update, those of the register where nothing smaller is known. below_threshold: v < v_th after every update, so that
    no event leaves a spike to a later one. saturates: from those bounds an addition could leave the register.
    """

    layer: str
    v_th: int
    add_min: int
    add_max: int
    v_low: int
    v_high: int
    below_threshold: bool
    saturates: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return asdict(self)


def event_ranges(graph: IntGraph) -> tuple[EventRange, ...]:
    """The ranges of every Iaf layer of a graph, in topological order.

    A layer that something other than a synapse feeds takes its additions from `bias` and synapses alone: the chip has no
    such layer.
    """
    return tuple(_range(graph, node) for node in graph.neurons if isinstance(node, Iaf))


def _range(graph: IntGraph, node: Iaf) -> EventRange:
    adds = [0, int(node.bias.min()), int(node.bias.max())]
    for source, _ in graph.sources(node.name):
        adds += _extremes(source)
    low, high = min(adds), max(adds)
    bottom, top = -(2 ** (node.state_bits - 1)), 2 ** (node.state_bits - 1) - 1
    start_low, start_high = int(node.v_init.min()), int(node.v_init.max())
    # A reset to zero forgets the rest as well.
    stays_below = start_high < node.v_th <= top and (high <= node.v_th or node.reset == "hard")
    v_high = node.v_th - 1 if stays_below else top
    floor = bottom if node.v_min is None else max(node.v_min, bottom)
    v_low = min(floor, start_low) if low < 0 or start_low < 0 else 0
    return EventRange(
        node.name, node.v_th, low, high, v_low, v_high, stays_below, v_high + high > top or v_low + low < bottom,
    )


def _extremes(source: Node) -> list[int]:
    if isinstance(source, Conv2d | Linear):
        exponent = source.weight_exp if isinstance(source, Linear) else 0
        ends = np.array([source.weight.min(initial=0), source.weight.max(initial=0)], dtype=object)
        return [int(w) << exponent if exponent >= 0 else int(w) >> -exponent for w in ends]
    return []
