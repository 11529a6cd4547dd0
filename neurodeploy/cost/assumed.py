"""A firing rate that somebody assumes, the same for every neuron and input: what follows for any network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.counts import Expected, expected
from neurodeploy.cost.estimate import update_probability
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import Zeros
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import CubaLif, Lif
from neurodeploy.place.layers import read_network


def uniform_rates(graph: Graph, rate: float) -> dict[str, NDArray[np.float64]]:
    """Rates [T, *shape] of every neuron layer and input, all the same."""
    nodes = [*graph.neurons, *graph.inputs]
    return {n.name: np.full((graph.n_timesteps, *graph.shapes[n.name]), rate) for n in nodes}


def expected_at(graph: Graph, rate: float, zeros: Zeros = "stored") -> Expected:
    """Messages and updates where every neuron and input fires with probability `rate` in each of T timesteps, starting
    at its latency. Recurrent graphs and paths of different length are no obstacle: the rate is the same everywhere.

    Raises UsageError for a rate beyond 0..1 and for neurons that a rate says nothing about (sigma-delta, Iaf).
    """
    if not 0 <= rate <= 1:
        raise UsageError(f"rate is {rate}", limit="Spikes per neuron and timestep lie in 0 to 1")
    other = next((n for n in graph.neurons if not isinstance(n, Lif | CubaLif)), None)
    if other is not None:
        raise UsageError(
            f"a firing rate says nothing about a layer of type {type(other).__name__}, which sends values", where=other.name,
            code="no_rate", remedy="Give the chip input with --input: its events are counted",
        )
    rates: dict[str, Any] = uniform_rates(graph, rate)
    if graph.is_acyclic and graph.is_balanced:
        return expected(graph, rates, zeros)
    messages = {name: np.zeros((graph.n_chip_steps, 1, *graph.shapes[name])) for name in rates}
    for name, raster in messages.items():
        raster[graph.latencies[name] : graph.latencies[name] + graph.n_timesteps] = rate
    return Expected(messages, update_probability(read_network(graph), rates, messages, zeros))


def messages_at(found: Expected) -> dict[str, NDArray[np.float64]]:
    """Mean number of messages [*shape] of every sender in one inference, as `proxies.proxies_of` takes them."""
    return {name: np.asarray(raster.sum(axis=(0, 1))) for name, raster in found.messages.items()}
