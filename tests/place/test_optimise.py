"""The optimiser against optima found by trying everything; never worse, deterministic, within every limit."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.cost.assumed import expected_at
from neurodeploy.cost.objective import messages_of, objective_of, optimise_for
from neurodeploy.errors import DoesNotFit, NeurodeployError, NeurodeployWarning, UsageError
from neurodeploy.hw.profile import Profile, target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Input
from neurodeploy.pipeline import optimise_placement
from neurodeploy.pipeline import place as place_for
from neurodeploy.place import Placement, derive, place
from neurodeploy.place.assign import assign
from neurodeploy.place.layers import read_network
from neurodeploy.place.optimise import GOALS, Goal, Score, optimise
from neurodeploy.place.partition import even_parts, fits, grid_cut
from neurodeploy.sim.clocked import simulate

from small_nets import chain, conv, int_chain, linear

LOIHI2 = target("loihi2")


def chip(n_cores: int, **more: float) -> Profile:
    return target("loihi2", {"capacity.cores_per_chip.value": n_cores, **more})


def busiest(plan: Placement) -> Score:
    """A step lasts as long as the core with the most neurons needs; energy is the number of cores."""
    loads = np.array([core.n_neurons for core in plan.cores], dtype=float)
    top = float(loads.max())
    at = {core.node: 1.0 for core in plan.cores if core.n_neurons == top}
    smooth = float((loads**16).sum() ** (1 / 16))
    return Score(value=top, smooth=smooth, energy=float(plan.n_cores), limits=at, figures={"value": top})


def unbalanced() -> Graph:
    return chain(Input("x", shape=(5,), kind="spikes"), linear("a", 5, 60), linear("b", 60, 20))


def messages(graph: Graph) -> dict[str, np.ndarray]:
    return {n.name: np.ones(graph.shapes[n.name]) for n in (*graph.neurons, *graph.inputs)}


@pytest.mark.parametrize("n_cores", [2, 3, 4, 8, 11])
def test_an_unbalanced_network_gets_its_optimum(n_cores: int) -> None:
    """60 and 20 neurons on n cores: the best is the least max(ceil(60 / i), ceil(20 / j)) with i + j <= n."""
    graph = unbalanced()
    best = min(max(-(-60 // i), -(-20 // j)) for i in range(1, n_cores) for j in range(1, n_cores) if i + j <= n_cores)
    found = optimise(graph, chip(n_cores), busiest, messages(graph))
    assert found.before == {"value": 60.0} and found.after == {"value": float(best)}
    assert found.plan.n_cores <= n_cores and found.start == place(graph, chip(n_cores))
    assert derive(graph, chip(n_cores), found.plan) == found.plan
    if n_cores == 8:  # 6 and 2 cores of ten neurons
        assert [len(found.plan.cores_of(name)) for name in ("a.n", "b.n")] == [6, 2]


def test_latency_of_a_convolution_against_every_grid() -> None:
    """All grids of two layers on six cores, costed in full: no other is more than the hundredth faster that trimming gives."""
    graph = chain(Input("x", shape=(2, 6, 6), kind="graded"), conv("a", 2, 6, padding=(1, 1)), conv("b", 6, 4))
    profile = chip(6, **{"time.step_floor.value": 0.0, "time.step_floor.low": 0.0})
    events = expected_at(graph, 0.4)
    score = objective_of(graph, profile, "latency", events, "single")
    network = read_network(graph)

    def grids(k: int) -> list:
        layer = network.layers[k]
        parts = [p for p in product(range(1, 7), repeat=3) if np.prod(p) <= 5]
        cuts = [
            grid_cut(layer, tuple(even_parts(size, n) for size, n in zip(layer.map, p, strict=True)), profile)  # type: ignore[arg-type]
            for p in parts if all(n <= size for n, size in zip(p, layer.map, strict=True))
        ]
        return [cut for cut in cuts if fits(cut, profile)]

    best = min(
        score(assign(network, [a, b], profile)).value for a in grids(0) for b in grids(1) if a.n_cores + b.n_cores <= 6
    )
    found = optimise_for(graph, profile, "latency", events, schedule="single")
    assert found.after["latency_s"] <= 1.01 * best < found.before["latency_s"]


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_never_worse_within_limits_and_deterministic(data: st.DataObject) -> None:
    pick = lambda *values: data.draw(st.sampled_from(values))  # noqa: E731
    graph = _network(pick(3, 8), pick(5, 8), pick(6, 20))
    profile = chip(pick(16, 40), **{
        "capacity.neurons_per_core.value": pick(65, 4096), "capacity.axons_out_per_core.value": pick(100, 16000),
        "capacity.synapse_words_per_core.value": pick(1500, 16000), "power.static.value": 0.25,
    })
    goal: Goal = pick(*GOALS)
    events, seed = expected_at(graph, pick(0.02, 0.3)), pick(0, 1)
    score = objective_of(graph, profile, goal, events, "pipelined")
    found = optimise(graph, profile, score, messages_of(events), budget=25, seed=seed)
    assert score(found.plan).value <= score(place(graph, profile)).value == score(found.start).value
    assert found.plan.n_chips <= found.start.n_chips and found.plan.n_cores <= profile.capacity.cores_per_chip.count
    assert derive(graph, profile, found.plan) == found.plan
    for name, shape in found.plan.shapes:
        assert found.plan.core_map(name).min() >= 0 and found.plan.core_map(name).shape == shape
    again = optimise(graph, profile, score, messages_of(events), budget=25, seed=seed)
    assert again.plan == found.plan and again.n_tried == found.n_tried <= 26
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def _network(channels: int, height: int, n_out: int) -> Graph:
    graph = chain(
        Input("x", shape=(2, height, 7), kind="graded"), conv("a", 2, channels, padding=(1, 1)),
        conv("b", channels, channels, padding=(1, 1)), linear("d", channels * height * 7, n_out),
    )
    skip = conv("skip", channels, channels, 1)  # a shortcut into b
    return replace(graph, nodes=(*graph.nodes, skip), edges=(*graph.edges, Edge("a.n", "skip", 1), Edge("skip", "b.n")))


def test_no_other_chip_is_taken_unless_it_is_offered() -> None:
    graph = unbalanced()
    small = chip(3)
    assert optimise(graph, small, busiest, messages(graph)).plan.n_chips == 1
    wide = optimise(graph, small, busiest, messages(graph), n_chips=8)
    assert wide.after["value"] < 30 and 1 < wide.plan.n_chips <= 8


def test_more_energy_for_less_latency_is_said() -> None:
    """Without static power a shorter step saves nothing, and every further core costs packets."""
    graph = chain(Input("x", shape=(20,), kind="spikes"), linear("a", 20, 200), linear("b", 200, 200))
    free = target("loihi2", {"power.static.value": 0.0, "power.static.low": 0.0})
    with pytest.warns(NeurodeployWarning, match="more energy"):
        fast = optimise_placement(graph, free, "latency", 0.3)
    assert fast.after["latency_s"] < fast.before["latency_s"] and fast.after["energy_j"] > fast.before["energy_j"]
    thrifty = optimise_placement(graph, free, "energy", 0.3)
    assert thrifty.after["energy_j"] <= thrifty.before["energy_j"]


def test_the_budget_is_kept_and_said() -> None:
    graph = unbalanced()
    found = optimise(graph, chip(11), busiest, messages(graph), budget=3)
    assert found.n_tried <= 4 and found.notes == ("stopped at the budget of 3 evaluations",)


def test_sites_lower_hops_where_latency_stays() -> None:
    """Three layers on full tiles; what they say to each other decides where they lie."""
    graph = chain(Input("x", shape=(6,), kind="spikes"), linear("a", 6, 60), linear("b", 60, 60), linear("c", 60, 30))
    profile = chip(40, **{"capacity.neurons_per_core.value": 5})
    found = optimise_for(graph, profile, "energy", expected_at(graph, 0.5))
    assert found.after["hops"] < found.before["hops"] and found.after["energy_j"] < found.before["energy_j"]


def test_place_takes_a_trace() -> None:
    graph = int_chain(weight=2)
    trace = simulate(graph, np.ones((4, 2, 3), dtype=np.int64))
    assert trace.spikes["fc.n"].any()
    plan = place_for(graph, "loihi2", optimise="latency", events=trace)
    assert derive(graph, LOIHI2, plan) == plan


def test_what_is_missing_is_named() -> None:
    graph = unbalanced()
    with pytest.raises(UsageError, match="how often"):
        place_for(graph, "loihi2", optimise="latency")
    with pytest.raises(UsageError, match="messages are missing"):
        optimise(graph, LOIHI2, busiest, {})
    with pytest.raises(DoesNotFit):
        optimise(graph, chip(1), busiest, messages(graph))


@pytest.mark.parametrize("damage", ["words", "site", "twice", "range", "network"])
def test_derive_finds_what_is_wrong(damage: str) -> None:
    graph = unbalanced()
    plan = optimise(graph, chip(8), busiest, messages(graph)).plan
    first, *rest = plan.cores
    if damage == "words":
        bad = replace(plan, cores=(replace(first, n_words=1), *rest))
        assert derive(graph, chip(8), bad) == plan != bad
        return
    if damage == "site":
        bad = replace(plan, cores=(replace(first, x=5), *rest))
        assert derive(graph, chip(8), bad) == plan != bad
        return
    if damage == "network":
        with pytest.raises(NeurodeployError, match="the network has"):
            derive(_network(3, 5, 6), chip(8), plan)
        return
    change = {"twice": {"index": rest[0].index}, "range": {"index": 8}}[damage]
    with pytest.raises(DoesNotFit, match="two blocks on one core"):
        derive(graph, chip(8), replace(plan, cores=(replace(first, **change), *rest)))


def test_derive_finds_overfull_cores() -> None:
    graph = unbalanced()
    plan = place(graph, LOIHI2)
    with pytest.raises(DoesNotFit, match="60 neurons"):
        derive(graph, target("loihi2", {"capacity.neurons_per_core.value": 30}), plan)
