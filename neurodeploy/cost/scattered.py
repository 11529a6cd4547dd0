"""Unit loads of a network on a placement of any kind, from its wiring: neurons anywhere, weights of zero left out or not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.geometry import NetworkShape
from neurodeploy.cost.mapping import Plan
from neurodeploy.cost.unit_loads import LayerCut, UnitLayer, UnitLink, scattered, unit_layer
from neurodeploy.cost.wiring import Link, TableLink, Wiring
from neurodeploy.ir.nodes import Linear
from neurodeploy.ir.reference import conv2d
from neurodeploy.place.layers import SynapseGroup
from neurodeploy.place.placement import Placement
from neurodeploy.place.reach import Floats


def links_of(wiring: Wiring) -> Iterator[tuple[Link | TableLink, UnitLink, Floats]]:
    """Every link with what one spike of each source element causes, and its hops [2] in all."""
    for link in wiring.links:
        every = np.ones((1, 1, *link.group.source_map))
        synops, packets_in, packets_out, hops = link.deliver(every)
        unit = UnitLink(synops[0, 0], packets_in[0, 0], packets_out[0, 0])
        yield link, unit, hops[0, 0].sum(axis=0)


def units_of(wiring: Wiring, shape: NetworkShape, plan: Plan) -> tuple[UnitLayer, ...]:
    """The neurons of each layer by core and fan-in."""
    found = []
    for layer, geometry in zip(wiring.network.layers, shape.layers, strict=True):
        if isinstance(plan, Placement) and wiring.zeros == "stored":
            found.append(unit_layer(LayerCut(geometry, plan.grid(layer.name))))
            continue
        own = plan.core_map(layer.name).reshape(-1) if isinstance(plan, Placement) else wiring.mapping.own[layer.name]
        links: list[tuple[int, int]] = []
        fans: list[Floats] = []
        for g, group in enumerate(layer.groups):
            for delay, fan in _fan_in(group, culled=wiring.zeros == "culled"):
                links.append((g, group.delay + delay))
                fans.append(fan.astype(np.float64))
        fan_in = np.stack(fans) if fans else np.zeros((0, layer.n_neurons))
        found.append(scattered(fan_in, geometry.bias_mask.reshape(-1), own, tuple(links)))
    return tuple(found)


def _fan_in(group: SynapseGroup, *, culled: bool) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """(delay in the synapses, [N] how many of them each target neuron has) for each such delay."""
    node = group.synapse
    counts = (node.weight != 0 if culled else np.ones(node.weight.shape, dtype=bool)).astype(np.int64)
    if not isinstance(node, Linear):
        every = np.ones((1, *group.source_map), dtype=np.int64)
        yield 0, conv2d(every, counts, node.stride, node.padding, node.dilation, node.groups).reshape(-1)
    elif node.delays is None:
        yield 0, counts.sum(axis=1)
    else:
        for delay in np.unique(node.delays):
            yield int(delay), np.where(node.delays == delay, counts, 0).sum(axis=1)
