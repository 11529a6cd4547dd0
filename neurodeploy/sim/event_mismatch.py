"""How far the event-driven run of an integer network is from the trained one: the judge of quantization.

    mismatch of a layer = sum |spikes of each neuron, event-driven - trained| / sum of the trained ones

over calibration samples, spikes counted over a whole sample. The trained network is clocked and real-valued; what it does not
have (order inside a bin, one spike an update, rounding) is part of the mismatch, and a scale that undoes some of it wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.sim import events
from neurodeploy.sim.events_graph import from_graph


class Mismatch:
    """Call with (network up to a layer, the layer's name). `wanted`: spikes per sample of every neuron layer, [N, *shape]."""

    def __init__(self, streams: Sequence[Array], wanted: Mapping[str, NDArray[np.float64]]) -> None:
        self.streams, self.wanted = list(streams), dict(wanted)

    def __call__(self, net: IntGraph, layer: str) -> float:
        network, states = from_graph(net)
        traces = events.simulate_batch(network, self.streams, record=(), v_init=states)
        wanted = self.wanted[layer]
        found = np.stack([trace.counts[layer] for trace in traces]).reshape(wanted.shape)
        return float(np.abs(found - wanted).sum() / max(1.0, float(wanted.sum())))
