"""Costs of cores that step through time say nothing of event-driven neurons, and say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from neurodeploy.cost.assumed import expected_at
from neurodeploy.cost.counts import count, from_rates
from neurodeploy.errors import DoesNotFit, NeurodeployError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import CubaLif, Iaf, Input, Lif, Linear, Node
from neurodeploy.place import place
from neurodeploy.sim import reference

RATES: dict[str, Any] = {"x": np.full((3, 2), 0.5), "n": np.full((3, 1), 0.5)}


def of(neuron: Node) -> IntGraph:
    nodes = (Input("x", shape=(2,), kind="spikes"), Linear("s", weight=np.array([[2, 4]])), neuron)
    return IntGraph(nodes, (Edge("x", "s", 1), Edge("s", "n")), 3)


def test_iaf() -> None:
    plan = place(of(CubaLif("n", shape=(1,))), target("loihi2"))
    graph = of(Iaf("n", shape=(1,), v_th=4))
    for chip in ("loihi1", "loihi2"):
        with pytest.raises(DoesNotFit, match="n is an Iaf, the arithmetic of another chip"):
            place(graph, target(chip))
    trace = reference.simulate(graph, np.ones((3, 1, 2), dtype=np.int64))
    assert trace.n_spikes["n"] == 4  # 6 a timestep
    for call in (lambda: count(trace, plan), lambda: from_rates(graph, plan, RATES), lambda: expected_at(graph, 0.5)):
        with pytest.raises(NeurodeployError) as caught:
            call()
        assert caught.value.where == "n" and "Iaf" in str(caught.value)


def test_several_spikes_a_timestep() -> None:
    nodes = (Input("x", shape=(2,), kind="spikes"), Linear("s", weight=np.ones((1, 2))), Lif("n", shape=(1,), multi_spike=True))
    graph = Graph(nodes, (Edge("x", "s", 1), Edge("s", "n")), 3)
    plan = place(of(CubaLif("n", shape=(1,))), target("loihi2"))
    with pytest.raises(NeurodeployError, match="one spike a timestep") as caught:
        from_rates(graph, plan, RATES)
    assert caught.value.where == "n"
