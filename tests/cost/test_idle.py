"""What layers do without input: as the reference has it, for every node type; and rates of neurons with constants each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.cost.estimate import chip_rates, update_probability
from neurodeploy.cost.idle import idle_spikes, run_rates
from neurodeploy.errors import NeurodeployError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import CubaLif, Linear, SigmaDelta
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower import lower
from neurodeploy.place.layers import read_network

from deployable import autosnn
from random_graphs import float_graphs, int_graphs
from small_nets import int_chain

SEEN = {"spikes": 0}


def reference(graph: Graph, dtype: type) -> dict[str, np.ndarray]:
    silence = np.zeros((graph.n_timesteps, 1, *graph.inputs[0].shape), dtype=dtype)
    outputs = evaluate(graph, silence, graph.n_chip_steps)
    return {n.name: (outputs[n.name][:, 0] != 0).astype(np.float64) for n in graph.neurons}


def equal(graph: Graph, dtype: type) -> None:
    try:
        expected = reference(graph, dtype)
    except NeurodeployError:  # a sigma-delta state that leaves its bits
        with pytest.raises(NeurodeployError):
            idle_spikes(graph)
        return
    found = idle_spikes(graph)
    if not found:  # a network that nothing can make fire
        assert not any(raster.any() for raster in expected.values())
    for name, raster in found.items():
        assert np.array_equal(raster, expected[name]), name
    SEEN["spikes"] += sum(int(raster.sum()) for raster in found.values())


@settings(max_examples=60, deadline=None)
@given(graph=int_graphs(every=True))
def test_integer_graphs_idle_as_the_reference(graph: IntGraph) -> None:
    if graph.is_acyclic:
        equal(graph, np.int64)


@settings(max_examples=40, deadline=None)
@given(graph=float_graphs())
def test_real_graphs_idle_as_the_reference(graph: Graph) -> None:
    if graph.is_acyclic:
        equal(graph, np.float64)


def test_lowered_networks_idle_as_the_reference_and_some_fire() -> None:
    for arch in (("SCB_k3", "SRB_k3", "skip_connect", "SRB_k5", "SCB_k5"), ("skip_connect",) * 5):
        equal(lower(autosnn(arch), target("loihi2")), np.float64)
    fires = int_chain(bias_mant=np.array([3, 0]), v_th=1)
    equal(fires, np.int64)
    assert idle_spikes(fires)["fc.n"][:, 0].all() and not idle_spikes(fires)["fc.n"][:, 1].any()
    starts = int_chain(v_init=np.array([10000, 0]))
    equal(starts, np.int64)
    assert idle_spikes(starts)["fc.n"][0].tolist() == [1, 0]
    assert idle_spikes(int_chain()) == {}
    assert SEEN["spikes"] > 0


def test_rates_of_a_run() -> None:
    graph = int_chain(n_timesteps=3, bias_mant=np.array([3, 0]), v_th=1, reset_interval=3, reset_offset=2)
    found = run_rates(graph, {"x": 0.5, "fc.n": np.array([0.1, 0.2, 0.3])})
    assert found["x"].tolist() == [0.5, 0.5, 0.5, 0.0]
    assert found["fc.n"].tolist() == [0.5, 0.1, 0.2, 0.3]  # one of two fires in the step before its window


def update(graph: IntGraph, rates: dict[str, np.ndarray]) -> np.ndarray:
    network = read_network(graph)
    chip = chip_rates(network, rates, idle=False)
    return update_probability(network, rates, chip)["fc.n"][:, 0]


@given(seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_neurons_of_a_layer_may_differ(seed: int) -> None:
    """A layer of two kinds of neurons is estimated as two layers of one kind each."""
    rng = np.random.default_rng(seed)
    rates = {"x": rng.random((4, 3)), "fc.n": rng.random((4, 2)) * 0.5}
    kinds = [{"v_decay": int(rng.choice([0, 4096])), "i_decay": int(rng.choice([100, 4096]))} for _ in range(2)]
    both = int_chain(**{key: np.array([k[key] for k in kinds]) for key in ("v_decay", "i_decay")})
    found = update(both, rates)
    for i, kind in enumerate(kinds):
        assert np.array_equal(found[:, i], update(int_chain(**kind), rates)[:, i])
    exponents = int_chain(bias_mant=np.array([1, 1]), bias_exp=np.array([-3, 2]))  # 1 >> 3 is no bias
    found = update(exponents, rates)
    assert (found[:, 1] == 1).all() and np.array_equal(found[:, 0], update(int_chain(), rates)[:, 0])


def test_a_state_that_is_set_counts_as_touched() -> None:
    rates = {"x": np.zeros((4, 3)), "fc.n": np.zeros((4, 2))}
    found = update(int_chain(v_init=np.array([5, 0])), rates)
    assert found[:, 0].tolist() == [1.0] * 5 and not found[:, 1].any()
    forgets = update(int_chain(v_init=np.array([5, 0]), v_decay=4096), rates)
    assert forgets[:, 0].tolist() == [1, 0, 0, 0, 0]
    current = update(int_chain(i_init=np.array([0, 9]), i_decay=50, v_decay=4096), rates)
    assert current[:, 1].all() and not current[:, 0].any()


def test_delays_in_synapses_shift_events() -> None:
    graph = int_chain(v_decay=4096)
    delays = np.array([[0, 0, 2], [1, 1, 1]])
    nodes = tuple(replace(n, delays=delays) if isinstance(n, Linear) else n for n in graph.nodes)
    rates = {"x": np.zeros((4, 3)), "fc.n": np.zeros((4, 2))}
    rates["x"][0] = [0.0, 0.5, 0.5]
    found = update(replace(graph, nodes=nodes), rates)
    # Neuron 0 hears x1 after 1 step and x2 after 3; neuron 1 hears both after 2. An event leaves a current for a step more.
    assert found[:, 0].tolist() == [0, 0.5, 0.5, 0.5, 0.5] and found[:, 1].tolist() == [0, 0, 0.75, 0.75, 0]


def test_sigma_delta_neurons_are_refused_by_name() -> None:
    graph = int_chain()
    graph = replace(graph, nodes=tuple(SigmaDelta("fc.n", shape=(2,)) if isinstance(n, CubaLif) else n for n in graph.nodes))
    with pytest.raises(NeurodeployError, match="SigmaDelta") as caught:
        update(graph, {"x": np.zeros((4, 3)), "fc.n": np.zeros((4, 2))})
    assert caught.value.error_code == "no_rates"
