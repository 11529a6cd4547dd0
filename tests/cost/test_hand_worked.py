"""Two small layers with every count, joule and second worked by hand.

x (4) -> fc1 -> n1 (3 neurons: 1 on core 0, 2 on core 1) -> fc2 -> n2 (2 neurons on core 2), one core a tile, tiles at
(0, 0), (0, 1), (0, 2); T = 2, so the chip takes 4 steps.

step            0        1        2        3
x             1100     0001     0000     0000
n1 spikes      000      101      010      000
n1 updated     000      111      111      001
n2 spikes       00       00       10       11
n2 updated      00       00       11       11
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from neurodeploy.cost.band import Band
from neurodeploy.cost.counts import Counts, count
from neurodeploy.cost.model import cost
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.hw.profile import Profile, target
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import CubaLif, Input, Lif, Linear
from neurodeploy.place import Placement, place
from neurodeploy.sim.trace import Trace

from small_nets import chain, linear

SMALL = {
    "capacity.neurons_per_core.value": 2, "capacity.cores_per_tile.value": 1, "capacity.cores_per_chip.value": 32,
}
NO_FLOOR = {"time.step_floor.value": 0.0, "time.step_floor.low": 0.0, "time.step_floor.high": 0.0}


def bits(*steps: str) -> np.ndarray:
    """[T', 1, N] from one string of 0 and 1 a step."""
    return np.array([[[int(b) for b in step]] for step in steps], dtype=np.int32)


def example(overrides: dict | None = None) -> tuple[Counts, Placement, Profile]:
    profile = target("loihi2", SMALL | (overrides or {}))
    graph = chain(Input("x", shape=(4,), kind="spikes"), linear("fc1", 4, 3), linear("fc2", 3, 2), n_timesteps=2)
    nodes = tuple(
        CubaLif(n.name, shape=n.shape) if isinstance(n, Lif)
        else Linear(n.name, weight=n.weight.astype(np.int64) * 2) if isinstance(n, Linear) else n
        for n in graph.nodes
    )
    graph = IntGraph(nodes=nodes, edges=graph.edges, n_timesteps=2)
    plan = place(graph, profile)
    trace = Trace(
        graph=graph, n_steps=4,
        spikes={
            "x": bits("1100", "0001", "0000", "0000"), "fc1.n": bits("000", "101", "010", "000"),
            "fc2.n": bits("00", "00", "10", "11"),
        },
        updated={
            "fc1.n": bits("000", "111", "111", "001") > 0, "fc2.n": bits("00", "00", "11", "11") > 0,
        },
        votes=np.zeros((2, 1, 0)),
    )
    return count(trace, plan), plan, profile


def test_the_placement_is_the_one_in_the_picture() -> None:
    _, plan, _ = example()
    assert [(c.node, c.channels, (c.x, c.y)) for c in plan.cores] == [
        ("fc1.n", (0, 1), (0, 0)), ("fc1.n", (1, 3), (0, 1)), ("fc2.n", (0, 2), (0, 2)),
    ]


def test_every_count() -> None:
    counts, _, _ = example()
    x, n1, n2 = counts.layers["x"], counts.layers["fc1.n"], counts.layers["fc2.n"]

    def table(a: np.ndarray) -> list:
        return a[:, 0].tolist()

    # Each input spike meets 1 synapse into core 0 and 2 into core 1, in its own step; one packet to each core,
    # one hop south to core 1.
    assert table(n1.n_synops) == [[2, 4], [1, 2], [0, 0], [0, 0]]
    assert table(n1.n_packets_in) == [[2, 2], [1, 1], [0, 0], [0, 0]]
    assert table(x.n_packets_out) == [[4], [2], [0], [0]]
    assert table(x.n_hops_ns) == [[2], [1], [0], [0]]
    assert x.is_input and not x.n_updates_active.any() and not x.n_synops.any()
    # n1's spikes go to the one core of n2: 2 hops from core 0, 1 from core 1.
    assert table(n2.n_synops) == [[0], [4], [2], [0]]
    assert table(n1.n_packets_out) == [[0, 0], [1, 1], [0, 1], [0, 0]]
    assert table(n1.n_hops_ns) == [[0, 0], [2, 1], [0, 1], [0, 0]]
    assert table(n2.n_packets_in) == [[0], [2], [1], [0]]
    assert not n2.n_packets_out.any() and not n1.n_hops_ew.any()
    assert table(n1.n_updates_active) == [[0, 0], [1, 2], [1, 2], [0, 1]]
    assert table(n1.n_updates_inactive) == [[1, 2], [0, 0], [0, 0], [1, 1]]
    assert table(n1.n_spikes) == [[0, 0], [1, 1], [0, 1], [0, 0]]
    assert table(n2.n_updates_active) == [[0], [0], [2], [2]]
    assert counts.exact and n1.n_synops.dtype == np.int64


# Nominal joule by hand: 15 synops, 11 active and 9 inactive updates, 3 packets of neurons, 7 hops north-south, 6 input packets.
DYNAMIC_PJ = {"synapse": 15 * 15.3, "soma": 11 * 53 + 9 * 34, "spike": 3 * 117, "hop": 7 * 2.6, "input": 6 * 117}
LOW_PJ = {"synapse": 15 * 7, "soma": 11 * 24 + 9 * 16, "spike": 3 * 54, "hop": 7 * 1.2, "input": 6 * 54}
HIGH_PJ = {"synapse": 15 * 24, "soma": 11 * 81 + 9 * 52, "spike": 3 * 180, "hop": 7 * 4, "input": 6 * 180}


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-12)  # a dozen float64 products and sums in another order


def test_every_joule() -> None:
    counts, plan, profile = example()
    found = cost(counts, plan, profile)
    for term, pj in DYNAMIC_PJ.items():
        assert found.breakdown_j[term] == Band(close(LOW_PJ[term] * 1e-12), close(pj * 1e-12), close(HIGH_PJ[term] * 1e-12))
    assert found.energy_dynamic_j.nominal == close(2189.7e-12)
    # Every step is shorter than the floor of 0.2 us (0.2-0.6): 4 steps of 0.25 W (0.12-0.28).
    assert found.latency_s == Band(close(0.8e-6), close(0.8e-6), close(2.4e-6))
    assert found.breakdown_j["static"] == Band(close(0.12 * 0.8e-6), close(0.25 * 0.8e-6), close(0.28 * 2.4e-6))
    assert found.breakdown_j["management"] is None
    assert any("power.management" in e for e in found.excluded)
    assert found.energy_j.nominal == close(2189.7e-12 + 0.2e-6)
    assert found.edp_js.nominal == close((2189.7e-12 + 0.2e-6) * 0.8e-6)
    assert found.limiting.side == "floor" and found.limiting.share_of_steps == 1.0
    assert found.counts == {
        "synops": 15, "neuron_updates": 20, "neuron_updates_active": 11, "spikes": 6, "messages": 9, "messages_input": 6,
        "hops": 7, "host_writes": 0,
    }


def test_every_second() -> None:
    """Without a floor: steps of 5.4 (two inactive neurons), 11.9 (core 1: two active, one packet), 11.9, 8.4 ns."""
    counts, plan, profile = example(NO_FLOOR)
    found = cost(counts, plan, profile)
    assert [s * 1e9 for s in found.latency_steps_s] == [close(t) for t in (5.4, 11.9, 11.9, 8.4)]
    assert found.latency_s.nominal == close(37.6e-9)
    # High: updates 8.4 / 5.4, packets 7.0 ns: 10.8, 23.8, 23.8, 16.8. Low equals nominal in this profile.
    assert found.latency_s == Band(close(37.6e-9), close(37.6e-9), close(75.2e-9))
    assert found.limiting.core in (1, 2) and found.limiting.side == "send" and found.limiting.share_of_steps > 0
    assert [c.busiest for c in found.cores] == [False, True, False]
    # core 1: 5.4 + 11.9 + 11.9 + (4.2 + 2.7); it receives 4 + 2 synops
    assert found.cores[1].send_s == close(36.1e-9) and found.cores[1].receive_s == close(6 * 0.7e-9)
    # core 1: 6 synops, 5 active and 3 inactive updates, 2 packets, 2 hops
    assert found.cores[1].energy_dynamic_j.nominal == close((6 * 15.3 + 5 * 53 + 3 * 34 + 2 * 117 + 2 * 2.6) * 1e-12)


def test_pipelined() -> None:
    """Windows: x steps 0-1, n1 1-2, n2 2-3. All events lie inside; n1's third update and its idle steps do not.

    Step 0 mod 2 joins x at 0, n1 at 2, n2 at 2; core 1 takes 8.4 + 3.5 = 11.9 ns, and again in step 1 mod 2.
    """
    counts, plan, profile = example(NO_FLOOR)
    found = cost(counts, plan, profile, "pipelined")
    assert found.interval_s.nominal == close(23.8e-9)
    assert found.latency_s.nominal == close(47.6e-9)  # 4 steps of 11.9 ns
    assert found.energy_dynamic_j.nominal == close((229.5 + 10 * 53 + 351 + 18.2 + 702) * 1e-12)
    assert found.breakdown_j["static"].nominal == close(0.25 * 23.8e-9)
    assert found.counts["neuron_updates"] == 10 and found.counts["synops"] == 15


def test_sums_equal_totals() -> None:
    counts, plan, profile = example()
    found = cost(counts, plan, profile)
    for term in DYNAMIC_PJ:
        parts = [layer.breakdown_j[term].nominal for layer in found.layers if term in layer.breakdown_j]
        assert math.fsum(parts) == found.breakdown_j[term].nominal
    by_core = math.fsum(c.energy_dynamic_j.nominal for c in found.cores)
    inputs = math.fsum(layer.energy_dynamic_j.nominal for layer in found.layers if layer.is_input)
    assert by_core + inputs == close(found.energy_dynamic_j.nominal)
    assert all(layer.counts["n_spikes"] >= 0 for layer in found.layers)
    assert found.layers[1].spike_rate == 3 / (3 * 2)


def test_band_is_monotone_and_json_is_plain() -> None:
    counts, plan, profile = example()
    found = cost(counts, plan, profile)
    bands = [found.energy_j, found.energy_dynamic_j, found.latency_s, found.edp_js, *filter(None, found.breakdown_j.values())]
    assert all(b.low <= b.nominal <= b.high for b in bands)
    data = json.loads(json.dumps(found.to_dict()))
    contract = "energy_j breakdown_j latency_s edp_js counts layers cores status excluded provenance"
    assert all(data[name] is not None for name in contract.split())
    assert data["status"] == "estimated"
    assert data["provenance"]["energy.synapse"]["source"] == profile.energy["synapse"].source
    assert set(data["provenance"]) >= {"energy.update_active", "energy.hop_ns", "time.step_floor", "power.static"}


def test_an_absent_entry_is_not_available() -> None:
    counts, plan, profile = example()
    energy = {name: q for name, q in profile.energy.items() if name != "hop_ns"}
    found = cost(counts, plan, profile.model_copy(update={"energy": energy}))
    assert found.breakdown_j["hop"] is None and found.to_dict()["breakdown_j"]["hop"] is None
    assert "hop: not available, loihi2 has no energy.hop_ns" in found.excluded
    assert found.energy_dynamic_j.nominal == close((2189.7 - 18.2) * 1e-12)
    assert all(layer.breakdown_j["hop"] is None for layer in found.layers)


def test_each_term_has_the_weakest_status_behind_it() -> None:
    counts, plan, profile = example()
    found = cost(counts, plan, profile).breakdown_status
    assert found == {**dict.fromkeys(("synapse", "soma", "spike", "hop", "input", "static"), "estimated"), "management": None}
    guess = profile.energy["hop_ns"].model_copy(update={"status": "assumed"})
    changed = cost(counts, plan, profile.model_copy(update={"energy": profile.energy | {"hop_ns": guess}}))
    assert {term for term, status in changed.breakdown_status.items() if status == "assumed"} == {"hop"}
    assert changed.status == "assumed"


def test_management_is_a_term_where_the_profile_has_it() -> None:
    counts, plan, profile = example()
    power = profile.power | {"management": profile.power["static"]}
    found = cost(counts, plan, profile.model_copy(update={"power": power}))
    assert found.breakdown_j["management"] == found.breakdown_j["static"]
    assert not any("management" in e for e in found.excluded)


def test_missing_times_and_schedules_are_named() -> None:
    counts, plan, profile = example()
    time = {name: q for name, q in profile.time.items() if name != "spike"}
    with pytest.raises(UsageError, match="no time for spike"):
        cost(counts, plan, profile.model_copy(update={"time": time}))
    with pytest.raises(UsageError, match="unknown schedule"):
        cost(counts, plan, profile, "batched")  # type: ignore[arg-type]


def test_a_short_trace_has_no_pipeline() -> None:
    _, plan, profile = example()
    graph = counts_graph()
    trace = Trace(
        graph=graph, n_steps=1, spikes={"x": bits("1")[:, :, :1], "n": bits("0")}, updated={"n": bits("0") > 0},
        votes=np.zeros((0, 1, 0)),
    )
    short = count(trace, place(graph, profile))
    with pytest.raises(UsageError, match="needs all 3"):
        cost(short, place(graph, profile), profile, "pipelined")
    with pytest.raises(NeurodeployError, match="placement"):
        count(trace, plan)


def counts_graph() -> IntGraph:
    nodes = (Input("x", shape=(1,), kind="spikes"), Linear("fc", weight=np.array([[2]])), CubaLif("n", shape=(1,)))
    return IntGraph(nodes=nodes, edges=(Edge("x", "fc", 1), Edge("fc", "n")), n_timesteps=2)


def test_host_written_biases_are_counted_apart() -> None:
    nodes = (Input("x", shape=(3,), kind="bias", max_value=9), CubaLif("n", shape=(3,)))
    graph = IntGraph(nodes=nodes, edges=(Edge("x", "n"),), n_timesteps=1)
    profile = target("loihi2")
    plan = place(graph, profile)
    spikes, on = {"x": np.array([[[5, 0, 3]]]), "n": bits("101")}, {"n": bits("101") > 0}
    found = cost(count(Trace(graph, 1, spikes, on, np.zeros((1, 1, 0))), plan), plan, profile)
    assert found.counts["host_writes"] == 3 and found.counts["messages"] == 0
    assert [layer.name for layer in found.layers] == ["n"]
    assert any("3 bias values" in e for e in found.excluded)
