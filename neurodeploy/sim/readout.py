"""Which class each output neuron of an event-driven network votes for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Flatten, SumPool2d, Vote
from neurodeploy.sim.events_trace import Spikes


@dataclass(frozen=True, eq=False)
class Readout:
    """The last layer of neurons and its classes.

    classes [neurons of the layer, flattened]: the class of each, -1 where a pool drops its spikes. group: neurons per class
    whose mean the Vote forms; 1 without a Vote, where each channel (or entry) of the output is a class.
    """

    layer: str
    classes: NDArray[np.int64]
    n_classes: int
    group: int

    def of(self, spikes: Spikes) -> Spikes:
        """The votes among a layer's spikes: their `neuron` is the class."""
        found = self.classes[spikes.neuron]
        votes = found >= 0
        return Spikes((self.n_classes, 1, 1), spikes.t[votes], spikes.cause[votes], found[votes])


def readout(net: IntGraph) -> Readout:
    """The read-out of a network; pools and flattenings may stand before it.

    Raises NeurodeployError where anything else does, or the output has several sources.
    """
    node = net.output
    shape = net.shapes[node.name]
    n_classes, group = (node.n_classes, node.group) if isinstance(node, Vote) else (shape[0], 1)
    classes = np.arange(n_classes).repeat(group if isinstance(node, Vote) else int(np.prod(shape[1:])))
    while not node.is_neuron:
        sources = [source for source, _ in net.sources(node.name)]
        if len(sources) != 1 or not isinstance(node, Vote | Flatten | SumPool2d):
            raise NeurodeployError(
                f"{type(node).__name__} with {len(sources)} sources between the last neurons and the output", where=node.name,
                limit="One layer of neurons, pools, flattenings and a Vote", code="not_event_driven",
            )
        before = net.shapes[sources[0].name]
        if isinstance(node, SumPool2d):
            pooled = classes.reshape(net.shapes[node.name]).repeat(node.kernel[0], axis=1).repeat(node.kernel[1], axis=2)
            classes = np.full(before, -1, dtype=np.int64)
            classes[:, : pooled.shape[1], : pooled.shape[2]] = pooled
        node = sources[0]
    return Readout(node.name, classes.reshape(-1).astype(np.int64), n_classes, group)
