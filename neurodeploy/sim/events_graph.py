"""An IntGraph of Iaf neurons as the cores that run it."""

from __future__ import annotations

import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.event_layers import CoreLayer, as_map, read_cores
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, Iaf
from neurodeploy.sim.events_network import EventLayer, EventNetwork


def from_graph(graph: IntGraph) -> tuple[EventNetwork, dict[str, Array]]:
    """The network, one core for each Iaf under its name (`ir.event_layers`), and the states before the first event.

    Zeros that fill a joined kernel are synops too. A floor of None is the lowest value of the state. A bias is kept, but
    added per tick of the slow clock and not per timestep; the Vote and `multi_spike` have no meaning here. Raises
    NeurodeployError for what such cores cannot do.
    """
    cores = read_cores(graph)
    neurons = [layer.neuron for layer in cores.layers if isinstance(layer.neuron, Iaf)]
    bits = {n.state_bits for n in neurons}
    if len(bits) != 1:
        raise NeurodeployError(f"states of {sorted(bits)} bits", limit="One width for all cores", code="not_event_driven")
    layers = tuple(_layer(layer, layer.neuron) for layer in cores.layers if isinstance(layer.neuron, Iaf))
    network = EventNetwork(as_map(cores.entry.shape), cores.entry_destinations, layers, bits.pop())
    states = {n.name: np.broadcast_to(n.v_init, n.shape).reshape(as_map(n.shape)).astype(np.int64) for n in neurons}
    return network, states


def _layer(core: CoreLayer, neuron: Iaf) -> EventLayer:
    low = -(1 << (neuron.state_bits - 1))
    return EventLayer(
        core.name, core.weight, core.in_shape, neuron.v_th, low if neuron.v_min is None else neuron.v_min, core.stride,
        core.padding, neuron.reset, None if core.bias is None else core.bias.astype(np.int64), core.destinations,
    )
