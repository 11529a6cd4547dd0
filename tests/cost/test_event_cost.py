"""Energy and latency on event-driven chips: synops from spike counts, terms, bands, limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neurodeploy.cost.event_activity import (
    EventActivity,
    activity_of,
    depth_of,
    expected_activity,
    synops_of,
    wiring,
)
from neurodeploy.cost.event_band import Candidate, front_flips
from neurodeploy.cost.event_cost import core_limit, event_cost
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.hw.profile import any_target
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Iaf, Input, Lif, Linear, MaxPool2d, Node, SumPool2d
from neurodeploy.place.core_plan import CorePlan, CoreUse
from neurodeploy.sim import events
from neurodeploy.sim.event_runs import run_streams
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.events_network import INPUT, Destination, EventLayer, EventNetwork
from neurodeploy.sim.events_stream import from_raster

import speck_events


def speck(**overrides: float) -> EventProfile:
    found = any_target("speck2f", {key.replace("__", "."): value for key, value in overrides.items()})
    assert isinstance(found, EventProfile)
    return found


def plan_of(names: list[str], cores: list[int] | None = None, bias_words: int = 0) -> CorePlan:
    uses = zip(names, cores or range(len(names)), strict=True)
    return CorePlan("speck2f", tuple(CoreUse(core, name, 1, 2, 1, 2, bias_words, 2) for name, core in uses))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_synops_follow_exactly_from_spike_counts(data):
    """Random networks: strides, paddings, pools, odd maps, dropped spikes, several sources, joined and added channels."""
    network = data.draw(speck_events.networks())
    stream = data.draw(speck_events.streams(network, at_most=60))
    trace = events.simulate(network, stream, tick_interval=data.draw(st.sampled_from([None, 2])))
    arriving = np.zeros(network.input_shape)
    np.add.at(arriving, tuple(stream[:, 1:].T), 1)
    assert synops_of(network, {INPUT: arriving, **trace.counts}) == trace.n_synops


def residual(neuron: type[Iaf] | type[Lif]) -> Graph:
    """A strided convolution; a 3x3 one beside an identity 1x1 one (concatenated); an odd map pooled; a linear layer."""
    rng = np.random.default_rng(3)
    real = neuron is Lif

    def weights(*shape: int) -> Array:
        found = rng.integers(-5, 12, shape)
        return found.astype(np.float64) if real else found

    def neurons(name: str, shape: tuple[int, ...], v_th: int) -> Node:
        return Lif(name, shape=shape, v_th=float(v_th), reset="soft", multi_spike=True) if real else Iaf(name, shape, v_th)

    identity = np.eye(3).reshape(3, 3, 1, 1)
    nodes: tuple[Node, ...] = (
        Input("x", (2, 14, 14), "graded", max_value=255), Conv2d("c0", weights(3, 2, 3, 3), stride=(2, 2), padding=(1, 1)),
        neurons("n0", (3, 7, 7), 12), Conv2d("c1", weights(3, 3, 3, 3), padding=(1, 1)),
        Conv2d("skip", 12 * identity if real else (12 * identity).astype(np.int64)), neurons("n1", (3, 7, 7), 12),
        SumPool2d("p", (2, 2)), Flatten("f"), Linear("fc", weights(10, 27)), neurons("n2", (10,), 20),
    )  # fmt: skip
    pairs = [("x", "c0"), ("c0", "n0"), ("n0", "c1"), ("c1", "n1"), ("n0", "skip"), ("skip", "n1"), ("n1", "p"), ("p", "f"),
             ("f", "fc"), ("fc", "n2")]  # fmt: skip
    edges = tuple(Edge(a, b) for a, b in pairs)
    return Graph(nodes, edges, 1) if real else IntGraph(nodes, edges, 1)


def test_the_real_network_has_the_synops_of_the_integer_one():
    """Mean counts of several samples, under names of the graph, from graphs of either kind: the simulator's own synops."""
    net = residual(Iaf)
    network, _ = from_graph(net)  # type: ignore[arg-type]
    rasters = np.random.default_rng(4).integers(0, 2, (4, 20, 2, 14, 14))
    traces = [events.simulate(network, from_raster(x)) for x in rasters]
    counts = {name: np.mean([t.counts[name] for t in traces], axis=0).reshape(net.shapes[name]) for name in network.index}
    counts["x"] = rasters.sum(axis=1).mean(axis=0)
    assert all(total.sum() for total in counts.values()) and any(t.n_dropped["n1"] for t in traces)
    wanted = {name: np.mean([t.n_synops[name] for t in traces]) for name in network.index}
    for graph in (net, residual(Lif)):
        found = expected_activity(graph, counts, 0.3, exact=True, n_samples=4)
        assert found.n_synops == wanted and found.depth == 3 and found.n_neurons == {"n0": 147, "n1": 147, "n2": 10}
        assert found.n_events_in == counts["x"].sum() and found.spikes == sum(counts[n].sum() for n in network.index)
    runs = run_streams(net, [from_raster(x) for x in rasters], duration_us=300_000)  # type: ignore[arg-type]
    counted = activity_of(net, runs)  # type: ignore[arg-type]
    assert counted == replace(found, peak_synops_per_s=counted.peak_synops_per_s) and counted.peak_synops_per_s is not None
    assert all(peak > counted.n_synops[name] / 0.3 for name, peak in counted.peak_synops_per_s.items())
    assert EventActivity.from_dict(counted.to_dict()) == counted and activity_of(net, runs, 0.1).duration_s == 0.1  # type: ignore[arg-type]


def test_synops_by_hand():
    """A 2x2 kernel of stride 2 with padding 1 on a 3x3 map, 5 channels: outputs at -1, 1 (3 is not reached), 1 or 2 rows.

    Positions along an axis: o = 0 covers -1, 0; o = 1 covers 1, 2. So every address meets one position: 5 synops an event.
    A 3x3 kernel of stride 1 with padding 1 meets 2, 3, 2 positions along an axis of 3.
    """
    nodes = (Input("x", (1, 3, 3), "spikes"), Conv2d("c", np.ones((5, 1, 2, 2), np.int64), stride=(2, 2), padding=(1, 1)),
             Iaf("n", (5, 2, 2), 2))  # fmt: skip
    graph = IntGraph(nodes, (Edge("x", "c"), Edge("c", "n")), 1)
    counts = {"x": np.arange(9.0).reshape(1, 3, 3), "n": np.zeros((5, 2, 2))}
    assert expected_activity(graph, counts, 1.0).n_synops == {"n": 36.0 * 5}
    dense = IntGraph((nodes[0], Conv2d("c", np.ones((5, 1, 3, 3), np.int64), padding=(1, 1)), Iaf("n", (5, 3, 3), 2)),
                     graph.edges, 1)  # fmt: skip
    wanted = 5 * (4 * (0 + 2 + 6 + 8) + 6 * (1 + 3 + 5 + 7) + 9 * 4)
    assert expected_activity(dense, {**counts, "n": np.zeros((5, 3, 3))}, 1.0).n_synops == {"n": wanted}


def test_depth_is_the_longest_path():
    """b, given first, gets the input both at once and by way of a; c is a second output beside it."""
    assert depth_of(wiring(residual(Lif))) == 3
    weight = np.ones((1, 1, 1, 1), dtype=np.int64)
    a = EventLayer("a", weight, (1, 2, 2), 1, 0, destinations=(Destination("b"),))
    b, c = (EventLayer(name, weight, (1, 2, 2), 1, 0) for name in "bc")
    network = EventNetwork((1, 2, 2), (Destination("b"), Destination("a"), Destination("c")), (b, a, c))
    assert depth_of(network) == 2


def activity(**changes: object) -> EventActivity:
    base = EventActivity(
        n_events_in=1000.0, n_spikes={"a": 300.0, "b": 20.0}, n_synops={"a": 9000.0, "b": 1000.0}, n_neurons={"a": 64, "b": 10},
        depth=2, duration_s=0.5, exact=True, n_samples=3,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_terms_by_hand():
    """10,000 synops at 10, 30, 100 pJ: 0.1, 0.3, 1.0 uJ; 0.41871 mW for 0.5 s: 209.355 uJ; 2 cores of 0.373 us."""
    cost = event_cost(activity(), plan_of(["a", "b"], [0, 5]), speck())
    synapse, static = cost.breakdown_j["synapse"], cost.breakdown_j["static"]
    assert synapse is not None and static is not None and set(cost.breakdown_j) == {"synapse", "static"}
    assert [synapse.low, synapse.nominal, synapse.high] == pytest.approx([1e-7, 3e-7, 1e-6], rel=1e-12)
    assert [static.low, static.nominal, static.high] == pytest.approx([209.355e-6] * 3, rel=1e-12)
    assert cost.energy_j.high == pytest.approx(210.355e-6, rel=1e-12) and cost.energy_dynamic_j == synapse
    assert cost.latency_s is not None and cost.decision_s is not None and cost.edp_js is not None
    assert cost.latency_s.nominal == pytest.approx(0.746e-6) and cost.decision_s.nominal == pytest.approx(0.500000746)
    assert cost.edp_js.nominal == pytest.approx(209.655e-6 * 0.500000746, rel=1e-12)
    assert cost.power_w.nominal == pytest.approx(0.41931e-3, rel=1e-12)
    assert cost.status == "estimated" and cost.breakdown_status == {"synapse": "estimated", "static": "measured"}
    assert set(cost.provenance) == {"energy.synop", "power.ram", "power.logic", "time.core"}
    listed = " | ".join(cost.excluded)
    assert "vddd, vdda" in listed and "0.69 mW" in listed and "rail io" in listed and "synops_per_core" in listed


def test_the_camera_and_the_time_between_samples():
    cost = event_cost(activity(), plan_of(["a", "b"]), speck(), interval_s=2.0, sensor=True)
    sensor, static = cost.breakdown_j["sensor"], cost.breakdown_j["static"]
    assert sensor is not None and sensor.nominal == pytest.approx(2 * 689.75e-6)
    assert static is not None and static.nominal == pytest.approx(2 * 418.71e-6) and cost.interval_given
    assert "the camera" not in " | ".join(cost.excluded) and {"power.vddd", "power.vdda"} <= set(cost.provenance)
    with pytest.raises(UsageError, match=r"interval_s is 0\.4.*At least the 0\.5 s"):
        event_cost(activity(), plan_of(["a", "b"]), speck(), interval_s=0.4)


def test_the_latency_of_nine_cores_is_the_published_one():
    names = [f"l{i}" for i in range(9)]
    deep = EventActivity(1.0, dict.fromkeys(names, 1.0), dict.fromkeys(names, 1.0), dict.fromkeys(names, 1), 9, 1e-3, True)
    cost = event_cost(deep, plan_of(names), speck())
    assert cost.latency_s is not None and cost.latency_s.nominal == pytest.approx(3.36e-6, rel=2e-3)


def test_json_form():
    found = event_cost(activity(peak_synops_per_s={"a": 50000.0, "b": 1000.0}), plan_of(["a", "b"], [4, 1]), speck()).to_dict()
    assert {
        "n_cores", "energy_j", "breakdown_j", "latency_s", "edp_js", "counts", "layers", "cores", "status", "excluded",
        "provenance", "decision_s", "power_w", "interval_s", "exact_counts",
    } <= set(found)  # fmt: skip
    assert found["counts"] == {"synops": 10000.0, "neuron_updates": None, "spikes": 320.0, "messages": None, "hops": None,
                               "events_in": 1000.0}  # fmt: skip
    entry, a, b = found["layers"]
    assert entry["is_input"] and entry["counts"] == {"n_spikes": 1000.0, "n_synops": 0.0}
    assert (a["core"], a["synops_per_s"], a["peak_synops_per_s"], b["core"]) == (4, 18000.0, 50000.0, 1)
    assert a["energy_dynamic_j"]["nominal"] == pytest.approx(9000 * 30e-12)
    assert [(c["index"], c["synops_per_s"], c["share"], c["busiest"]) for c in found["cores"]] == [
        (4, 50000.0, 0.9, True), (1, 2000.0, 0.1, False),
    ]  # fmt: skip
    assert found["limiting"] == {"core": 4, "node": "a", "synops_per_s": 50000.0, "share": 0.9}


def test_cores_over_a_limit():
    """The mean rate counts, and the peak where it is known; the limit comes from the caller, the rate or the time."""
    plan = plan_of(["a", "b"], [4, 1])

    def over(found: EventActivity, limit: float) -> list[int]:
        return [c.index for c in event_cost(found, plan, speck(), limit=limit).cores if c.over_limit]

    assert over(activity(), 17999.0) == [4] and over(activity(), 18000.0) == []
    assert over(activity(peak_synops_per_s={"a": 1.0, "b": 18500.0}), 18000.0) == [1]
    assert core_limit(speck()) is None and {c.over_limit for c in event_cost(activity(), plan, speck()).cores} == {None}
    flagged = event_cost(activity(), plan, speck(), limit=10000.0)
    assert [c.over_limit for c in flagged.cores] == [True, False] and "synops_per_core" not in " | ".join(flagged.excluded)
    quantity = {"value": 2e4, "unit": "synop/s", "status": "assumed", "source": "here"}
    known = EventProfile.model_validate({**speck().model_dump(), "rates": {"synops_per_core": quantity}})
    assert core_limit(known) == 2e4 and core_limit(known, 5.0) == 5.0
    slow = {"value": 100.0, "unit": "ns", "status": "assumed", "source": "here"}
    timed = EventProfile.model_validate({**speck().model_dump(), "time": {**speck().model_dump()["time"], "synop": slow}})
    assert core_limit(timed) == pytest.approx(1e7)
    with pytest.raises(UsageError, match="positive"):
        event_cost(activity(), plan, speck(), limit=0.0)


def test_the_busiest_of_equal_cores_is_the_first_of_the_plan():
    """Not one that the hashes of names pick anew in every process."""
    names = [f"n{i}" for i in range(9)]
    silent = EventActivity(0.0, dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0), dict.fromkeys(names, 1), 9, 1.0, True)
    cost = event_cost(silent, plan_of(names), speck())
    assert [c.node for c in cost.cores if c.busiest] == ["n0"] and {c.share for c in cost.cores} == {0.0}
    assert cost.to_dict()["limiting"] == {"core": 0, "node": "n0", "synops_per_s": 0.0, "share": 0.0}


def test_what_a_profile_lacks_is_not_zero():
    plain = speck().model_dump()
    bare = EventProfile.model_validate({**plain, "energy": {}, "time": {}, "static_rails": (), "sensor_rails": ()})
    cost = event_cost(activity(), plan_of(["a", "b"], bias_words=3), bare, sensor=True)
    assert cost.breakdown_j == {"synapse": None, "static": None, "sensor": None}
    assert cost.latency_s is None and cost.edp_js is None and cost.to_dict()["latency_s"] is None
    listed = " | ".join(cost.excluded)
    for entry in ("energy.synop", "static_rails", "sensor_rails", "time.core", "slow clock"):
        assert entry in listed


def test_rates_make_a_measured_profile_estimated():
    quantity = {"value": 20.0, "unit": "pJ", "status": "measured", "source": "here"}
    time = {"core": {"value": 0.4, "unit": "us", "status": "measured", "source": "here"}}
    measured = EventProfile.model_validate({**speck().model_dump(), "energy": {"synop": quantity}, "time": time})
    assert event_cost(activity(), plan_of(["a", "b"]), measured).status == "measured"
    guessed = event_cost(activity(exact=False), plan_of(["a", "b"]), measured)
    assert guessed.status == "estimated" and guessed.breakdown_status == {"synapse": "estimated", "static": "measured"}


def test_bad_input():
    for changes, what in (
        ({"n_synops": {"a": 1.0}}, "n_synops has layers"), ({"n_spikes": {"a": -1.0, "b": 0.0}}, "negative"),
        ({"duration_s": 0.0}, "positive number of seconds"), ({"depth": 0}, "at least one core"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=what):
            activity(**changes)
    with pytest.raises(UsageError, match="Place the network that was run"):
        event_cost(activity(), plan_of(["a"]), speck())
    with pytest.raises(UsageError, match="no event activity"):
        EventActivity.from_dict({"n_events_in": 1})
    graph = residual(Lif)
    counts = {n.name: np.zeros(graph.shapes[n.name]) for n in (*graph.inputs, *graph.neurons)}
    with pytest.raises(UsageError, match="no counts of n0, n1"):
        expected_activity(graph, {k: v for k, v in counts.items() if k not in ("n0", "n1")}, 1.0)
    with pytest.raises(UsageError, match="n2: counts of shape"):
        expected_activity(graph, {**counts, "n2": np.zeros(11)}, 1.0)
    pooled = replace(graph, nodes=tuple(MaxPool2d("p", (2, 2)) if n.name == "p" else n for n in graph.nodes))
    with pytest.raises(NeurodeployError, match="MaxPool2d"):
        wiring(pooled)


def test_fronts_that_turn_inside_the_band():
    """Static 0.41871 mW. a: 10^6 synops, 0.1 s; b: 0.5 * 10^6, 0.15 s: equal at 0.05 s * 0.41871 mW / 0.5e6 = 41.871 pJ."""
    a, b = Candidate("a", 0.97, 1e6, 0.1), Candidate("b", 0.96, 5e5, 0.15)
    c = Candidate("c", 0.99, 9e6, 0.3)
    found = front_flips([b, c, a], speck())
    assert found.flips and [(p.below, p.above, p.beaten) for p in found.pairs] == [("a", "b", "b")]
    assert found.pairs[0].e_at_flip_pj == pytest.approx(41.871) and "below 41.9 pJ" in found.sentence()
    assert found.ranking_low == ("a", "b", "c") and found.ranking_high == ("b", "a", "c")
    assert found.to_dict()["pairs"][0]["e_at_flip_pj"] == found.pairs[0].e_at_flip_pj
    calibrated = speck(energy__synop__value=50.0, energy__synop__low=45.0, energy__synop__high=55.0)
    assert not front_flips([a, b, c], calibrated).flips


def test_samples_of_one_length_keep_their_order():
    front = [Candidate(str(i), 0.9 + i / 100, 1e5 * 2**i, 0.3) for i in range(4)]
    found = front_flips(front, speck())
    assert not found.flips and found.ranking_low == found.ranking_high == ("0", "1", "2", "3")
    assert "the same for every energy in 10 to 100 pJ" in found.sentence()
    assert not front_flips([front[0], replace(front[0], name="twin")], speck()).flips
    with pytest.raises(UsageError, match=r"no energy\.synop"):
        front_flips(front, EventProfile.model_validate({**speck().model_dump(), "energy": {}}))
    with pytest.raises(UsageError, match="Numbers from 0"):
        Candidate("x", 0.5, float("nan"), 0.3)
