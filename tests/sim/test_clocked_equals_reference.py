from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Input
from neurodeploy.sim import clocked, reference
from neurodeploy.sim.trace import first_difference

from random_graphs import inputs_for, int_graphs

SEEN: Counter[str] = Counter()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def check_random_graphs(data: st.DataObject) -> None:
    graph = data.draw(int_graphs())
    x = data.draw(inputs_for(graph))
    n_steps = data.draw(st.none() | st.integers(1, 12))
    slow = reference.simulate(graph, x, n_steps, record_state=True)
    fast = clocked.simulate(graph, x, n_steps, record_state=True)
    assert first_difference(slow, fast) is None
    assert slow.votes.dtype == fast.votes.dtype == np.float64
    for name, raster in slow.spikes.items():
        assert raster.dtype == fast.spikes[name].dtype == np.int32
        assert raster.shape == (slow.n_steps, x.shape[1], *graph.shapes[name])
    fired = sum(n for name, n in slow.n_spikes.items() if graph[name].is_neuron)
    idle = sum(int((~flags).sum()) for flags in slow.updated.values())
    SEEN.update(graphs=1, spiking=fired > 0, idle=idle > 0, recurrent=not graph.is_acyclic, voting=bool(slow.votes.sum() > 0))


def test_equal_on_random_graphs() -> None:
    SEEN.clear()
    check_random_graphs()
    # Two silent networks are equal whatever they compute: most of the set must spike, and every feature must occur.
    assert SEEN["graphs"] >= 100
    assert SEEN["spiking"] > SEEN["graphs"] / 2
    for feature in ("idle", "recurrent", "voting"):
        assert SEEN[feature] > 5, SEEN


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_dropping_samples_leaves_the_others_alone(data: st.DataObject) -> None:
    graph = data.draw(int_graphs())
    x = data.draw(inputs_for(graph))
    batch = x.shape[1]
    n_steps = x.shape[0] + 3
    whole = reference.simulate(graph, x, n_steps)
    network = clocked.Clocked(graph, batch)
    alive = np.arange(batch)
    for t in range(n_steps):
        spikes = network.step(x[t, alive] if t < x.shape[0] else None)
        for name, values in spikes.items():
            assert np.array_equal(values, whole.spikes[name][t, alive])
        for name, flags in network.updated.items():
            assert np.array_equal(flags, whole.updated[name][t, alive])
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(alive), max_size=len(alive))), dtype=bool)
        network.keep(mask)
        alive = alive[mask]
        assert network.batch == len(alive) == len(network.votes)
        if not len(alive):
            break


def test_low_precision_products_are_avoided() -> None:
    """With TF32 or bfloat16 allowed in torch, the simulator stays exact by using float64."""
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def check(data: st.DataObject) -> None:
        graph: IntGraph = data.draw(int_graphs())
        x = data.draw(inputs_for(graph))
        assert first_difference(reference.simulate(graph, x), clocked.simulate(graph, x)) is None

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        check()
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("batch", [1, 17])
def test_batch_size_does_not_matter(batch: int) -> None:
    rng = np.random.default_rng(batch)
    weight = rng.integers(-127, 127, (32, 8, 3, 3)) * 2
    graph = IntGraph(
        (Input("in", shape=(8, 8, 8), kind="spikes"), Conv2d("c", weight=weight, padding=(1, 1)),
         CubaLif("n", shape=(32, 8, 8), v_decay=1000, v_th=300)), (Edge("in", "c", 1), Edge("c", "n")), 4, target="loihi2",
    )
    x = rng.integers(0, 2, (4, batch, 8, 8, 8))
    slow, fast = reference.simulate(graph, x, record_state=True), clocked.simulate(graph, x, record_state=True)
    assert first_difference(slow, fast) is None
    assert 0 < slow.n_spikes["n"] < slow.spikes["n"].size
