"""Lowered networks for tests of placement and cost: chains of synapse and neuron layers, delays as on a chip."""

from __future__ import annotations

from typing import Any

import numpy as np
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Lif, Linear, Node, Shape


def conv(name: str, c_in: int, c_out: int, k: int = 3, groups: int = 1, **how: Any) -> Conv2d:
    return Conv2d(name, weight=np.ones((c_out, c_in // groups, k, k)), groups=groups, **how)


def linear(name: str, n_in: int, n_out: int) -> Linear:
    return Linear(name, weight=np.ones((n_out, n_in)))


def chain(source: Input, *synapses: Node, n_timesteps: int = 4, delay: int = 1) -> Graph:
    """Input, then every synapse with a Lif layer `<name>.n` behind it; a Flatten where a Linear meets a map."""
    nodes: list[Node] = [source]
    edges: list[Edge] = []
    last, shape = source.name, source.shape
    for synapse in synapses:
        if isinstance(synapse, Linear) and len(shape) > 1:
            flatten = Flatten(f"{synapse.name}.flatten")
            nodes.append(flatten)
            edges.append(Edge(last, flatten.name))
            last, shape = flatten.name, flatten.output_shape(shape)
        shape = synapse.output_shape(shape)
        neuron = Lif(f"{synapse.name}.n", shape=shape)
        nodes += [synapse, neuron]
        edges += [Edge(last, synapse.name, delay), Edge(synapse.name, neuron.name)]
        last = neuron.name
    return Graph(nodes=tuple(nodes), edges=tuple(edges), n_timesteps=n_timesteps)


def biased(name: str, shape: Shape) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
    """An input written as biases into a neuron layer `<name>.n`."""
    return (
        (Input(name, shape=shape, kind="bias", max_value=100), Lif(f"{name}.n", shape=shape)),
        (Edge(name, f"{name}.n"),),
    )


def int_chain(n_timesteps: int = 4, weight: Any = 2, n_out: int = 2, **neuron: Any) -> IntGraph:
    """spikes (3,) -> Linear -> CubaLif (n_out,) in integers; `neuron` sets fields of the CubaLif."""
    nodes = (
        Input("x", shape=(3,), kind="spikes"),
        Linear("fc", weight=np.full((n_out, 3), weight, dtype=np.int64)),
        CubaLif("fc.n", **({"shape": (n_out,), "v_th": 3} | neuron)),
    )
    return IntGraph(nodes=nodes, edges=(Edge("x", "fc", 1), Edge("fc", "fc.n")), n_timesteps=n_timesteps, target="loihi2")
