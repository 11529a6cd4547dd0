"""Any map of neurons to cores, against loops over every synapse; forms of event tables; rates of inferences that are given."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import product
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
from neurodeploy.cost.counts import Activity, Counts, Traffic, count
from neurodeploy.cost.mapping import read_mapping
from neurodeploy.cost.model import cost
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Linear, Node, SigmaDelta
from neurodeploy.place import Placement, place
from neurodeploy.place.assignment import Assignment
from neurodeploy.sim.trace import Trace

LOIHI1, LOIHI2 = target("loihi1"), target("loihi2")
SENT = ("n_packets_out", "n_hops_ew", "n_hops_ns")


def network(seed: int = 0) -> IntGraph:
    """x (2, 5, 6) -> grouped, strided, dilated, padded conv -> linear with a skip -> recurrent sigma-delta; zeros, delays."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-6, 14, shape) * 2 * (rng.random(shape) < 0.6)

    conv = Conv2d("conv", weight=weights(4, 1, 3, 2), stride=(2, 1), padding=(1, 1), dilation=(1, 2), groups=2)
    shape = conv.output_shape((2, 5, 6))
    n = int(np.prod(shape))
    nodes: tuple[Node, ...] = (
        Input("x", shape=(2, 5, 6), kind="spikes"), conv, CubaLif("a", shape=shape), Flatten("flat"),
        Linear("fc", weight=weights(7, n), delays=rng.integers(0, 3, (7, n))), Flatten("flat.x"),
        Linear("skip", weight=weights(7, 60)),
        CubaLif("b", shape=(7,)), Linear("out", weight=weights(5, 7)), SigmaDelta("c", shape=(5,)),
        Linear("again", weight=weights(5, 5)),
    )
    edges = (
        Edge("x", "conv", 1), Edge("conv", "a"), Edge("a", "flat"), Edge("flat", "fc", 1), Edge("fc", "b"), Edge("x", "flat.x"),
        Edge("flat.x", "skip", 2), Edge("skip", "b"), Edge("b", "out", 1), Edge("out", "c"), Edge("c", "again", 1),
        Edge("again", "c"),
    )
    return IntGraph(nodes=nodes, edges=edges, n_timesteps=3)


def synapses(graph: IntGraph) -> list[tuple[str, int, str, int, str, int]]:
    """Every synapse as (source, element, layer, neuron, synapse node, weight)."""
    conv, (_, h, w), out = graph["conv"], graph.shapes["x"], graph.shapes["a"]
    assert isinstance(conv, Conv2d)
    found = []
    for o, y, x in product(*map(range, out)):
        for ky, kx in product(range(3), range(2)):
            sy, sx = 2 * y - 1 + ky, x - 1 + 2 * kx
            if 0 <= sy < h and 0 <= sx < w:
                i = o // 2
                source, neuron = (i * h + sy) * w + sx, (o * out[1] + y) * out[2] + x
                found.append(("x", source, "a", neuron, "conv", conv.weight[o, 0, ky, kx]))
    for name, source, dest in (("fc", "a", "b"), ("skip", "x", "b"), ("out", "b", "c"), ("again", "c", "c")):
        weight = graph[name].weight  # type: ignore[attr-defined]
        found += [(source, i, dest, o, name, weight[o, i]) for o, i in np.ndindex(weight.shape)]
    return found


def trace_of(graph: IntGraph, seed: int = 1, n_steps: int = 4, batch: int = 2) -> Trace:
    rng = np.random.default_rng(seed)
    names = ["x", *(n.name for n in graph.neurons)]
    spikes = {n: (rng.random((n_steps, batch, *graph.shapes[n])) < 0.4).astype(np.int32) for n in names}
    spikes["c"] *= rng.integers(-5, 6, spikes["c"].shape, dtype=np.int32)  # graded, of either sign: one message each
    updated = {n: rng.random((n_steps, batch, *graph.shapes[n])) < 0.6 for n in names[1:]}
    return Trace(graph, n_steps, spikes, updated, np.zeros((0, batch, 0)))


def random_map(graph: IntGraph, seed: int, with_input: bool) -> Assignment:
    rng = np.random.default_rng(seed)
    cores = rng.choice(128, 6, replace=False)
    names = [n.name for n in graph.neurons] + (["x"] if with_input else [])
    return Assignment.of(graph, LOIHI1, {n: rng.choice(cores, graph.shapes[n]) for n in names})


def brute_force(trace: Trace, plan: Assignment, culled: bool) -> dict[str, np.ndarray]:
    """Per core number: synops and packets in; per core number of the sender (or -1): packets out and hops."""
    T, B = trace.n_steps, trace.batch
    keys = ("n_synops", "n_packets_in", *SENT, "n_updates_active", "n_updates_inactive", "n_spikes")
    total = {key: np.zeros((T, B, 129), dtype=np.int64) for key in keys}  # column 128: senders without a core
    core = {name: cores.reshape(-1) for name, cores in plan.cores.items()}
    core.setdefault("x", np.full(60, 128))
    fired = {name: raster.reshape(T, B, -1) != 0 for name, raster in trace.spikes.items()}

    def position(k: int) -> tuple[int, int]:
        return (0, 0) if k == 128 else divmod(k // 4, 4)

    reached = set()
    for source, s, dest, d, node, weight in synapses(trace.graph):
        if weight or not culled:
            total["n_synops"][:, :, core[dest][d]] += fired[source][:, :, s]
            reached.add((source, s, dest, int(core[dest][d]), node))
    for source, s, _, k, _ in reached:
        j = core[source][s]
        (sx, sy), (tx, ty) = position(int(j)), position(k)
        total["n_packets_in"][:, :, k] += fired[source][:, :, s]
        total["n_packets_out"][:, :, j] += fired[source][:, :, s]
        total["n_hops_ew"][:, :, j] += fired[source][:, :, s] * abs(sx - tx)
        total["n_hops_ns"][:, :, j] += fired[source][:, :, s] * abs(sy - ty)
    for name, raster in fired.items():
        for n, k in enumerate(core[name]):
            total["n_spikes"][:, :, k] += raster[:, :, n]
            if name != "x":
                active = trace.updated[name].reshape(T, B, -1)[:, :, n]
                total["n_updates_active"][:, :, k] += active
                total["n_updates_inactive"][:, :, k] += ~active
    return total


@pytest.mark.parametrize("zeros", ["stored", "culled"])
@pytest.mark.parametrize("with_input", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_counts_of_any_map_equal_loops_over_every_synapse(zeros: Any, with_input: bool, seed: int) -> None:
    graph = network(seed)
    plan, trace = random_map(graph, seed, with_input), trace_of(graph, seed)
    counts, expected = count(trace, plan, zeros), brute_force(trace, plan, zeros == "culled")
    numbers = np.array([core.index for core in counts.mapping.cores])
    assert set(numbers) == set(plan.sites)
    for key, wanted in expected.items():
        found = np.zeros_like(wanted)
        for layer in counts.layers.values():
            found[:, :, [128] if layer.columns is None else numbers[layer.columns]] += getattr(layer, key)
        assert np.array_equal(found, wanted), key
        assert wanted.sum() > 0, key
    assert counts.layers["x"].n_updates.sum() == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_placement_by_blocks_counts_the_same_neuron_by_neuron(seed: int) -> None:
    graph, trace = network(seed), trace_of(network(seed))
    crowded = {"capacity.neurons_per_core.value": 13, "capacity.cores_per_tile.value": 2, "capacity.mesh_height.value": 4}
    plan = placed(graph, target("loihi2", crowded | {"capacity.cores_per_chip.value": 64}))
    trace = replace(trace, graph=graph)
    profile = target("loihi2", crowded | {"capacity.cores_per_chip.value": 64})
    where = {name: np.array([c.index for c in plan.cores_of(name)])[plan.core_map(name)] for name, _ in plan.shapes}
    same = Assignment.of(graph, profile, where)
    blocks, single = count(trace, plan), count(trace, same)
    for name, layer in blocks.layers.items():
        other = single.layers[name]
        for f in fields(layer):
            if isinstance(value := getattr(layer, f.name), np.ndarray):
                assert np.array_equal(value, getattr(other, f.name)), (name, f.name)
    assert plan.n_cores > len(plan.shapes) and blocks.layers["a"].n_hops_ns.sum() > 0
    assert cost(blocks, plan, profile).breakdown_j == cost(single, same, profile).breakdown_j
    # Left out of a placement by blocks, weights of zero are left out of its neurons' map too.
    assert total(count(trace, plan, "culled")) == total(count(trace, same, "culled")) < total(blocks)


def placed(graph: IntGraph, profile: Any) -> Placement:
    """A placement of the graph's shapes; its sigma-delta layer and recurrence are not what this is about."""
    plain = tuple(CubaLif("c", shape=(5,)) if n.name == "c" else n for n in graph.nodes)
    return place(replace(graph, nodes=plain), profile)


def total(counts: Counts) -> int:
    return sum(int(t.n_synops.sum()) for t in counts.traffic)


def test_a_recurrent_graded_delayed_network_is_costed_alone() -> None:
    """And refused in a pipeline. A spike into a delayed synapse costs when it is sent."""
    graph = network()
    plan, trace = random_map(graph, 0, True), trace_of(network())
    counts = count(replace(trace, graph=graph), plan)
    assert counts.latencies is None and counts.n_steps == 4
    for profile in (LOIHI1, LOIHI2):
        found = cost(counts, plan, profile)
        assert found.energy_dynamic_j.nominal > 0 and len(found.latency_steps_s) == 4
        with pytest.raises(NeurodeployError, match="pipeline"):
            cost(counts, plan, profile, "pipelined")
    fired = np.count_nonzero(trace.spikes["a"], axis=(2, 3, 4))
    assert np.array_equal(next(t for t in counts.traffic if t.synapse == "fc").n_synops.sum(axis=2), 7 * fired)


# Two layers share core 5; the input sits on core 4, in the same tile; the second layer's other neuron on core 9.
def small() -> tuple[IntGraph, Assignment, Trace]:
    nodes = (
        Input("x", shape=(2,), kind="spikes"), Linear("fc1", weight=np.array([[2, 0], [2, 2]])), CubaLif("n1", shape=(2,)),
        Linear("fc2", weight=np.array([[2, 2], [0, 2]])), CubaLif("n2", shape=(2,)),
    )
    edges = (Edge("x", "fc1", 1), Edge("fc1", "n1"), Edge("n1", "fc2", 1), Edge("fc2", "n2"))
    graph = IntGraph(nodes=nodes, edges=edges, n_timesteps=2)
    plan = Assignment.of(graph, LOIHI1, {"x": np.array([4, 4]), "n1": np.array([5, 5]), "n2": np.array([5, 9])})

    def bits(*steps: str) -> np.ndarray:
        return np.array([[[int(b) for b in step]] for step in steps], dtype=np.int32)

    trace = Trace(
        graph, 3, {"x": bits("11", "00", "00"), "n1": bits("00", "11", "00"), "n2": bits("00", "00", "10")},
        {"n1": bits("00", "11", "01") > 0, "n2": bits("00", "00", "11") > 0}, np.zeros((0, 1, 0)),
    )
    return graph, plan, trace


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-12)  # a dozen float64 products and sums in another order


def test_loihi1_by_hand() -> None:
    """Core 4 (tile 1), 5 (tile 1), 9 (tile 2); tiles 1 and 2 are one hop north-south apart (x = 0, y = 1 and 2).

    Step 0: x sends 2 packets to core 5 (2 x 2 synops). Step 1: n1 sends 2 to core 5 (1 neuron each) and 2 to core 9.
    """
    _, plan, trace = small()
    found = cost(count(trace, plan), plan, LOIHI1)
    pico = {name: band.nominal * 1e12 for name, band in found.breakdown_j.items() if band is not None}
    assert pico["synapse"] == close((4 + 4) * 35.5)
    assert pico["soma"] == close(3 * 4 * 51.2 + 5 * 21.6 + 3 * 69.3)
    assert pico["spike"] == close(4 * 111.0) and pico["input"] == close(2 * 111.0) and pico["hop"] == close(2 * 4.2)
    # Two tiles: 1.0 us a step. Core 5 holds three neurons of two layers.
    # Step 0: core 5 sends 3 x 6.0, receives 2 x 16 + 4 x 3.8; core 4 only sends 2 x 5.1.
    # Step 1: core 5 sends 3 x 6 + 2 x 3.7 + 2 x 30 + 4 x 5.1. Step 2: 3 x 6 + 2 x 3.7 + 30.
    busy = [2 * 16 + 4 * 3.8, 18 + 7.4 + 60 + 20.4, 18 + 7.4 + 30]
    assert [s * 1e9 for s in found.latency_steps_s] == [close(1000 + b) for b in busy]
    assert [(c.index, c.node, c.n_neurons, c.busiest) for c in found.cores] == [
        (4, "x", 2, False), (5, "n1 + n2", 3, True), (9, "n2", 1, False)
    ]
    assert found.limiting.core == 5 and found.limiting.side == "send" and found.limiting.share_of_steps == close(2 / 3)
    assert [layer.n_cores for layer in found.layers] == [1, 1, 2]
    assert found.provenance["sync.2"]["value"] == 1.0 and "time.hop_ew" not in found.provenance
    by_core = sum(c.energy_dynamic_j.nominal for c in found.cores)
    assert by_core == close(found.energy_dynamic_j.nominal)  # the input's packets belong to core 4
    json.dumps(found.to_dict())


def test_zeros_and_units_are_choices() -> None:
    _, plan, trace = small()
    culled = target("loihi1", {"synapses.zeros": "culled"})
    counts = count(trace, plan, "culled")
    assert [int(t.n_synops.sum()) for t in counts.traffic] == [3, 3]
    assert [int(t.n_packets_out.sum()) for t in counts.traffic] == [2, 3]  # n1's first neuron no longer reaches core 9
    found = cost(counts, plan, culled, units={"fc2": "sparse"})
    assert found.breakdown_j["synapse"].nominal == close((3 * 35.5 + 3 * 33.6) * 1e-12)  # type: ignore[union-attr]
    assert {"energy.synapse_dense", "energy.synapse_sparse", "time.synapse_sparse"} <= set(found.provenance)
    assert "energy.synapse_conv" not in found.provenance
    with pytest.raises(UsageError, match="weights of zero culled"):
        cost(counts, plan, LOIHI1)
    with pytest.raises(UsageError, match="weights of zero stored"):
        cost(count(trace, plan), plan, culled)
    with pytest.raises(UsageError, match="no synapses fc3"):
        cost(counts, plan, culled, units={"fc3": "sparse"})
    with pytest.raises(UsageError, match="no synapse_wet") as caught:
        cost(counts, plan, culled, units={"fc2": "wet"})
    assert "synapse_sparse" in caught.value.limit
    with pytest.raises(UsageError, match="one unit"):
        cost(count(trace, plan), plan, LOIHI2, units={"fc2": "sparse"})
    sparse = target("loihi1", {"synapses.linear": "sparse"})
    assert cost(count(trace, plan), plan, sparse).breakdown_j["synapse"].nominal == close(8 * 33.6e-12)  # type: ignore[union-attr]


def test_status_says_what_was_assumed() -> None:
    """The memory of a layer is a rule of ours unless it is named; a map given neuron by neuron rests on no partition."""
    _, plan, trace = small()
    counts = count(trace, plan)
    ruled, named = cost(counts, plan, LOIHI1), cost(counts, plan, LOIHI1, units={"fc1": "dense", "fc2": "dense"})
    assert (ruled.breakdown_status["synapse"], named.breakdown_status["synapse"]) == ("assumed", "published")
    assert named.breakdown_status["soma"] == "published" and named.breakdown_status["management"] == "estimated"
    assert (ruled.status, named.status) == ("assumed", "estimated")


def test_a_given_rate_of_inferences_sets_what_static_power_costs() -> None:
    _, plan, trace = small()
    counts = count(trace, plan)
    free, timed = cost(counts, plan, LOIHI1), cost(counts, plan, LOIHI1, interval_s=1 / 296)
    assert timed.energy_dynamic_j == free.energy_dynamic_j and timed.latency_s == free.latency_s
    for term, watt in (("static", 0.0297), ("management", 0.070)):
        assert timed.breakdown_j[term].nominal == close(watt / 296)  # type: ignore[union-attr]
    assert timed.interval_s.low == timed.interval_s.nominal == timed.interval_s.high == 1 / 296
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UsageError, match="interval_s"):
            cost(counts, plan, LOIHI1, interval_s=wrong)


def test_the_python_api_takes_maps_units_and_rates() -> None:
    _, plan, trace = small()
    found = nd.cost(trace, plan, LOIHI1, schedule="single", units={"fc1": "sparse", "fc2": "sparse"}, interval_s=0.01)
    assert found.breakdown_j["synapse"].nominal == close(8 * 33.6e-12)  # type: ignore[union-attr]
    assert found.breakdown_j["static"].nominal == close(29.7e-5)  # type: ignore[union-attr]


def test_an_absent_part_makes_the_term_unavailable() -> None:
    _, plan, trace = small()
    energy = {name: q for name, q in LOIHI1.energy.items() if name not in ("soma_update", "synapse_dense")}
    found = cost(count(trace, plan), plan, LOIHI1.model_copy(update={"energy": energy}))
    assert found.breakdown_j["soma"] is None and found.breakdown_j["synapse"] is None
    assert "soma: not available, loihi1 has no energy.soma_update" in found.excluded
    assert "synapse: not available, loihi1 has no energy.synapse_dense" in found.excluded
    time = {name: q for name, q in LOIHI1.time.items() if name != "soma_spike"}
    with pytest.raises(UsageError, match="no time for soma_spike"):
        cost(count(trace, plan), plan, LOIHI1.model_copy(update={"time": time}))
    with pytest.raises(UsageError, match="no time for step_floor"):
        cost(count(trace, plan), plan, LOIHI1.model_copy(update={"sync": {}}))


BAD_MAPS: list[tuple[dict[str, Any], str]] = [
    ({"n1": np.zeros(2, int)}, r"no cores for \['n2'\]"),
    ({"n1": np.zeros(2, int), "n2": np.zeros(2, int), "fc1": np.zeros(2, int)}, r"cores for \['fc1'\]"),
    ({"n1": np.zeros(3, int), "n2": np.zeros(2, int)}, "a map of 3 values"),
    ({"n1": np.zeros(2), "n2": np.zeros(2, int)}, "of type float64"),
    ({"n1": np.array([0, 128]), "n2": np.zeros(2, int)}, "cores 0 to 128"),
    ({"n1": np.array([-1, 0]), "n2": np.zeros(2, int)}, "cores -1 to 0"),
]


@pytest.mark.parametrize(("cores", "message"), BAD_MAPS)
def test_maps_that_are_none(cores: dict[str, Any], message: str) -> None:
    graph, _, _ = small()
    with pytest.raises(NeurodeployError, match=message):
        Assignment.of(graph, LOIHI1, cores)


def test_an_assignment_of_another_network_is_refused() -> None:
    _, plan, _ = small()
    with pytest.raises(NeurodeployError, match="the placement holds"):
        count(trace_of(network()), plan)


@pytest.mark.parametrize("broken", [
    {}, {"cores": 3}, {"cores": {"n": {"shape": [2], "cores": [1]}}}, {"cores": {"n": {"shape": [1], "cores": ["a"]}}},
    {"sites": [[5, 0, 1, 0, 1]]}, {"sites": [[1, 2]]}, {"cores": {"n": {"shape": [1], "cores": [10**40]}}},
])
def test_a_damaged_assignment_is_refused(broken: dict[str, Any]) -> None:
    good = small()[1].to_dict()
    assert Assignment.from_dict(json.loads(json.dumps(good))).to_dict() == good
    with pytest.raises(UnsafeFile):
        Assignment.from_dict({**good, **broken} if broken else {})


def test_blocks_of_two_layers_may_share_a_core_and_blocks_of_one_may_not() -> None:
    graph, _, trace = small()
    plan = place(graph, LOIHI1)
    first, second = plan.cores
    shared = replace(plan, cores=(first, replace(second, index=first.index, tile=first.tile, x=first.x, y=first.y)))
    mapping = read_mapping(shared)
    assert [(c.nodes, c.n_neurons) for c in mapping.cores] == [(("n1", "n2"), 4)]
    found = cost(count(trace, shared), shared, LOIHI1)
    # All four neurons on one core: 4 x 6.0, 2 updated and fired, one packet a spike; 1 tile: 0.6 us.
    assert found.latency_steps_s[1] * 1e9 == close(600 + 4 * 6.0 + 2 * 3.7 + 2 * 30 + 2 * 5.1)
    halves = (replace(first, channels=(0, 1), n_neurons=1), replace(first, channels=(1, 2), n_neurons=1))
    with pytest.raises(NeurodeployError, match="several blocks of one layer"):
        count(trace, replace(plan, cores=(*halves, second)))


def test_counts_know_their_fields() -> None:
    """`combine` and `schedule` rebuild these by name: a field that they miss would be lost."""
    assert {f.name for f in fields(Activity)} == {"n_updates_active", "n_updates_inactive", "n_spikes"}
    assert {f.name for f in fields(Traffic)} == {
        "source", "synapse", "kind", "target", "n_synops", "n_packets_in", "n_packets_out", "n_hops_ew", "n_hops_ns"
    }
