"""Proxies of a network in real numbers that no lowering has touched, from the values that ran through it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.proxies import Arrival, proxies_from
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.place.layers import SynapseGroup, as_map


def proxies_of_values(graph: Graph, values: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Proxies of one inference (`cost.proxies`); values[node]: what each node put out for some samples, [T, B, *shape].

    What reaches a synapse is counted as it arrives there, behind pools and sums.
    """
    arrivals = []
    for node in graph.nodes:
        if not isinstance(node, Conv2d | Linear):
            continue
        edges = graph.incoming(node.name)
        reached = values[edges[0].src]
        for edge in edges[1:]:
            reached = reached + values[edge.src]
        source = as_map(graph.shapes[edges[0].src])
        group = SynapseGroup(node, edges[0].src, source, node.name, as_map(graph.shapes[node.name]), 0)
        arriving = (reached != 0).sum(axis=0).mean(axis=0).reshape(source)
        arrivals.append(Arrival(group, arriving, bool(np.isin(reached, (-1, 0, 1)).all())))
    spikes = {n.name: values[n.name] for n in graph.neurons}
    n_spikes = sum(float(v.sum()) / v.shape[1] for v in spikes.values())
    n_neurons = sum(math.prod(graph.shapes[name]) for name in spikes)
    return proxies_from(arrivals, n_neurons, n_spikes, graph.n_timesteps)
