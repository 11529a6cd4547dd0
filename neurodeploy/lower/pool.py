"""Max-pool of spikes as an exact OR layer: the maximum of 0s and 1s is 1 where any of them is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, CurrentLif, Lif, Linear, MaxPool2d, Node, Shape, SumPool2d


def memoryless(name: str, shape: Shape) -> Lif:
    """Neurons that fire in a timestep whenever one unit weight or more arrives, and keep nothing."""
    return Lif(name=name, shape=shape, inv_tau=1.0, decay_input=False, v_th=0.5, fire=">=")


def gate(name: str, shape: Shape, start: int) -> Lif:
    """Relays that pass no spike before timestep `start`: they then have had `start` of them at most, of weight 1, and 1 is
    room for weights that are rounded up. They never leak and restart at zero at `start`, after which they keep nothing."""
    return Lif(name=name, shape=shape, inv_tau=0.0, decay_input=False, v_th=0.5, fire=">=", v_init=-2.0 * start)


def depthwise_ones(name: str, channels: int, kernel: tuple[int, int]) -> Conv2d:
    """One unit-weight kernel per channel, stride = kernel."""
    return Conv2d(name=name, weight=np.ones((channels, 1, *kernel)), stride=kernel, groups=channels)


def one_to_one(name: str, shape: Shape) -> Conv2d | Linear:
    """A unit weight from each neuron to its counterpart, for maps and vectors."""
    return depthwise_ones(name, shape[0], (1, 1)) if len(shape) == 3 else Linear(name=name, weight=np.eye(shape[0]))


def is_or(neuron: Lif, synapses: Iterable[Conv2d | Linear]) -> bool:
    """True for the OR, relay and gate layers of this module: any one spike through a weight of 1 fires, and nothing is kept."""
    weights = [s.weight for s in synapses]
    forgets = neuron.inv_tau == 1.0 or neuron.v_init is not None
    return (
        not isinstance(neuron, CurrentLif) and forgets and not neuron.decay_input and 0 < neuron.v_th < 1.0
        and all(((w == 0) | (w == 1)).all() and w.any() for w in weights)
    )


def pools_to_or(graph: Graph) -> Graph:
    """Each max-pool that reads spikes becomes a depthwise convolution of ones and a layer of memoryless neurons.

    The neurons keep the pool's name, so that recorded activity keeps its names. Raises UsageError for a pool of
    real values or counts: the maximum of these is not the OR of spikes; and for a sum pool that no synapse took in.
    """
    nodes: list[Node] = []
    edges: list[Edge] = []
    pools = {n.name for n in graph.nodes if isinstance(n, MaxPool2d)}
    for node in graph.nodes:
        if isinstance(node, SumPool2d):
            raise UsageError(
                "a sum pool sends several spikes in one timestep", where=node.name, code="cannot_lower",
                limit="Neurons of the target send one",
                remedy="Put a convolution, a linear layer or neurons right behind it",
            )
        if not isinstance(node, MaxPool2d):
            nodes.append(node)
            continue
        sources = list(graph.sources(node.name))
        if len(sources) != 1 or not (sources[0][0].is_neuron or sources[0][0].name in pools):
            raise UsageError(
                "a max-pool of real values cannot become an OR of spikes", where=node.name, code="cannot_lower",
                remedy="Move the pool behind the spiking neurons, or use a strided convolution",
            )
        if getattr(sources[0][0], "multi_spike", False):
            raise UsageError(
                "a max-pool of neurons that send several spikes in one timestep", where=node.name, code="cannot_lower",
                limit="An OR of spikes is the maximum of 0 and 1",
                remedy="Use a sum pool, or let the neurons send one (--set nir.multi_spike=false)",
            )
        shape = graph.shapes[node.name]
        synapse = depthwise_ones(f"{node.name}.or", shape[0], node.kernel)
        nodes += [synapse, memoryless(node.name, shape)]
        edges.append(Edge(synapse.name, node.name))
    for edge in graph.edges:
        edges.append(Edge(edge.src, f"{edge.dst}.or", edge.delay) if edge.dst in pools else edge)
    return replace(graph, nodes=tuple(nodes), edges=tuple(edges))
