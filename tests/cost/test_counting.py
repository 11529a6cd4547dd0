"""Counting against loops over every synapse, and rates against traces."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.cost.counts import Counts, count, from_rates, mean_rates
from neurodeploy.cost.model import cost
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Linear, Node
from neurodeploy.place import Placement, place
from neurodeploy.sim.clocked import simulate
from neurodeploy.sim.trace import Trace

# Cores so small that every layer takes several, on a mesh small enough for hops in both directions.
CROWDED = {
    "capacity.neurons_per_core.value": 24, "capacity.cores_per_tile.value": 2, "capacity.mesh_height.value": 3,
    "capacity.mesh_width.value": 40, "capacity.cores_per_chip.value": 240,
}
LINEAR = ("n_spikes", "n_synops", "n_packets_in", "n_packets_out", "n_hops_ew", "n_hops_ns")


def network(groups: int, stride: int, padding: int, dilation: int, kernel: tuple[int, int], seed: int) -> IntGraph:
    """x (2g, 5, 6) graded -> conv -> conv with a skip beside it -> linear, some weights zero."""
    rng = np.random.default_rng(seed)
    how = {"stride": (stride, 1), "padding": (padding, 1), "dilation": (1, dilation)}

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-6, 14, shape) * 2 * (rng.random(shape) < 0.8)

    a = Conv2d("a", weight=weights(3 * groups, 2, *kernel), groups=groups, **how)
    x = Input("x", shape=(2 * groups, 5, 6), kind="graded", max_value=3)
    shape = a.output_shape(x.shape)
    b = Conv2d("b", weight=weights(4, 3 * groups, 3, 3), padding=(1, 1))
    skip = Conv2d("skip", weight=weights(4, 3 * groups, 1, 1))
    n_flat = 4 * shape[1] * shape[2]
    fc = Linear("fc", weight=weights(5, n_flat))

    def neuron(name: str, shape: tuple[int, ...], v_th: int) -> CubaLif:
        return CubaLif(name, shape=shape, v_th=v_th, v_decay=1024)

    nodes: tuple[Node, ...] = (
        x, a, neuron("a.n", shape, 30), b, skip, neuron("b.n", (4, *shape[1:]), 60), Flatten("flat"), fc,
        neuron("fc.n", (5,), 90),
    )
    edges = (
        Edge("x", "a", 1), Edge("a", "a.n"), Edge("a.n", "b", 1), Edge("a.n", "skip", 1), Edge("b", "b.n"),
        Edge("skip", "b.n"), Edge("b.n", "flat"), Edge("flat", "fc", 1), Edge("fc", "fc.n"),
    )
    return IntGraph(nodes=nodes, edges=edges, n_timesteps=3)


def synapses(graph: IntGraph) -> list[tuple[str, int, str, int, str]]:
    """Every synapse as (source, flat source element, target layer, flat target neuron, synapse node): loops only."""
    found = []
    for name, source, dest in (("a", "x", "a.n"), ("b", "a.n", "b.n"), ("skip", "a.n", "b.n")):
        conv, (_, h, w), out = graph[name], graph.shapes[source], graph.shapes[dest]
        per = conv.weight.shape[1]
        for o, y, x in product(*map(range, out)):
            for i, ky, kx in product(*map(range, conv.weight.shape[1:])):
                sy = y * conv.stride[0] - conv.padding[0] + ky * conv.dilation[0]
                sx = x * conv.stride[1] - conv.padding[1] + kx * conv.dilation[1]
                if 0 <= sy < h and 0 <= sx < w:
                    c = o // (out[0] // conv.groups) * per + i
                    found.append((source, (c * h + sy) * w + sx, dest, (o * out[1] + y) * out[2] + x, name))
    n_in, n_out = graph["fc"].weight.shape[1], graph["fc"].weight.shape[0]
    found += [("b.n", i, "fc.n", o, "fc") for i in range(n_in) for o in range(n_out)]
    return found


def brute_force(trace: Trace, plan: Placement) -> dict[str, dict[str, np.ndarray]]:
    graph, T, B = trace.graph, trace.n_steps, trace.spikes["x"].shape[1]
    n_cores = {"x": 1} | {name: len(plan.cores_of(name)) for name, _ in plan.shapes}
    out = {name: {key: np.zeros((T, B, n), dtype=int) for key in LINEAR} for name, n in n_cores.items()}
    core_of = {name: plan.core_map(name).reshape(-1) for name, _ in plan.shapes}
    core_of["x"] = np.zeros(np.prod(graph.shapes["x"]), dtype=int)
    fired = {name: trace.spikes[name].reshape(T, B, -1) != 0 for name in n_cores}
    for name, raster in fired.items():
        for t, b, n in zip(*np.nonzero(raster), strict=True):
            out[name]["n_spikes"][t, b, core_of[name][n]] += 1
    reached: set[tuple[str, int, str, int, str]] = set()
    for source, s, dest, d, synapse in synapses(graph):
        k = core_of[dest][d]
        out[dest]["n_synops"][:, :, k] += fired[source][:, :, s]
        reached.add((source, s, dest, int(k), synapse))
    for source, s, dest, k, _ in reached:
        spikes, j = fired[source][:, :, s], core_of[source][s]
        here = (0, 0) if source == "x" else (plan.cores_of(source)[j].x, plan.cores_of(source)[j].y)
        there = plan.cores_of(dest)[k]
        out[dest]["n_packets_in"][:, :, k] += spikes
        out[source]["n_packets_out"][:, :, j] += spikes
        out[source]["n_hops_ew"][:, :, j] += spikes * abs(there.x - here[0])
        out[source]["n_hops_ns"][:, :, j] += spikes * abs(there.y - here[1])
    return out


@settings(max_examples=25, deadline=None)
@given(
    groups=st.sampled_from([1, 2]), stride=st.sampled_from([1, 2]), padding=st.integers(0, 2), dilation=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), seed=st.integers(0, 1000),
)
def test_counts_equal_loops_over_every_synapse(
    groups: int, stride: int, padding: int, dilation: int, kernel: tuple[int, int], seed: int
) -> None:
    graph = network(groups, stride, padding, dilation, kernel, seed)
    plan = place(graph, target("loihi2", CROWDED))
    rng = np.random.default_rng(seed)
    shapes = dict(plan.shapes) | {"x": graph.shapes["x"]}
    spikes = {name: (rng.random((4, 2, *shape)) < 0.3).astype(np.int32) for name, shape in shapes.items()}
    spikes["x"] *= 3  # graded: a message of any value is one message
    updated = {name: rng.random((4, 2, *shape)) < 0.6 for name, shape in plan.shapes}
    trace = Trace(graph, 4, spikes, updated, np.zeros((0, 2, 0)))
    counts, expected = count(trace, plan), brute_force(trace, plan)
    for name, layer in counts.layers.items():
        for key in LINEAR:
            assert (getattr(layer, key) == expected[name][key]).all(), (name, key)
        assert layer.n_spikes.sum() > 0
    for name, _ in plan.shapes:
        layer = counts.layers[name]
        mapped = [c.n_neurons for c in plan.cores_of(name)]
        assert (layer.n_updates_active + layer.n_updates_inactive == mapped).all()
        assert layer.n_updates_active.sum() == updated[name].sum()
    assert counts.layers["a.n"].n_hops_ew.sum() + counts.layers["a.n"].n_hops_ns.sum() > 0


def simulated(batch: int, rate: float = 0.4, seed: int = 1) -> tuple[IntGraph, Placement, Trace]:
    graph = network(1, 1, 1, 1, (3, 3), seed)
    x = np.random.default_rng(seed).binomial(1, rate, (graph.n_timesteps, batch, *graph.inputs[0].shape))
    return graph, place(graph, target("loihi2", CROWDED)), simulate(graph, x)


def compare(exact: Counts, estimate: Counts) -> None:
    for name, layer in exact.layers.items():
        for key in LINEAR:
            mean = getattr(layer, key).mean(axis=1, keepdims=True)
            # Sums of means against means of sums: another order of float64 additions.
            np.testing.assert_allclose(getattr(estimate.layers[name], key), mean, rtol=1e-9, atol=1e-9, err_msg=f"{name} {key}")


@pytest.mark.parametrize("batch", [1, 16])
def test_rates_give_the_exact_linear_counts(batch: int) -> None:
    graph, plan, trace = simulated(batch)
    assert all(n > 0 for n in trace.n_spikes.values())
    exact, estimate = count(trace, plan), from_rates(graph, plan, mean_rates(trace))
    compare(exact, estimate)
    assert exact.exact and not estimate.exact and estimate.batch == 1 and estimate.n_steps == graph.n_chip_steps


def biased(kind: str) -> IntGraph:
    """`network` with biases that fire without input, each layer restarting at its latency; x as messages or as biases."""
    graph = network(1, 1, 1, 1, (3, 3), 3)
    rng = np.random.default_rng(3)
    started = {
        n.name: replace(
            n, bias_mant=rng.integers(0, 40, (n.shape[0], 1, 1) if len(n.shape) == 3 else n.shape), reset_interval=3,
            reset_offset=graph.latencies[n.name] + 1,
        )
        for n in graph.neurons
    }
    nodes = tuple(started.get(n.name, n) for n in graph.nodes)
    if kind != "bias":
        return replace(graph, nodes=nodes)
    x, entry = Input("x", shape=(2, 5, 6), kind="bias", max_value=30), CubaLif(
        "x.n", shape=(2, 5, 6), v_th=20, reset_interval=3, reset_offset=1
    )
    edges = tuple(replace(e, src="x.n") if e.src == "x" else e for e in graph.edges)
    return replace(graph, nodes=(x, entry, *nodes[1:]), edges=(Edge("x", "x.n"), *edges))


@pytest.mark.parametrize("kind", ["graded", "bias"])
def test_rates_cover_what_biases_do_outside_of_each_window(kind: str) -> None:
    """Without it the synops of these networks would be several tens of percent too few."""
    graph = biased(kind)
    rng = np.random.default_rng(0)
    shape = (8, *graph.inputs[0].shape)
    x = rng.integers(0, 4 if kind == "graded" else 31, (3, *shape)) if kind == "graded" else np.tile(
        rng.integers(0, 31, shape), (3, 1, 1, 1, 1)
    )
    plan, trace = place(graph, target("loihi2", CROWDED)), simulate(graph, x)
    rates = mean_rates(trace)
    outside = sum(trace.spikes[n.name].sum() / 8 - rates[n.name].sum() for n in graph.neurons)
    assert outside > 20 and all(n > 0 for n in trace.n_spikes.values())
    compare(count(trace, plan), from_rates(graph, plan, rates))


@pytest.mark.parametrize("rate", [0.002, 0.02, 0.2])
def test_energy_from_rates_is_within_5_percent(rate: float) -> None:
    """The goal of the design (energy.md, 7). Both the mean energy and its soma term, where the estimate enters."""
    graph, plan, trace = simulated(200, rate)
    profile = target("loihi2", CROWDED)
    exact, estimate = (cost(c, plan, profile) for c in (count(trace, plan), from_rates(graph, plan, mean_rates(trace))))
    assert trace.n_spikes["x"] > 0
    for term in ("soma", "synapse", "spike"):
        assert estimate.breakdown_j[term].nominal == pytest.approx(exact.breakdown_j[term].nominal, rel=0.05)
    assert estimate.energy_dynamic_j.nominal == pytest.approx(exact.energy_dynamic_j.nominal, rel=0.05)


def one_neuron(**how: object) -> tuple[IntGraph, Placement]:
    nodes = (
        Input("x", shape=(2,), kind="spikes"), Linear("fc", weight=np.array([[2, 2]])),
        CubaLif("n", shape=(1,), v_th=99, **how),
    )
    graph = IntGraph(nodes=nodes, edges=(Edge("x", "fc", 1), Edge("fc", "n")), n_timesteps=2)
    return graph, place(graph, target("loihi2"))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        # Two inputs at 0.5 in step 0: an event in step 1 with 0.75. The state is then kept, so step 2 updates with 0.75.
        ({}, [0, 0.75, 0.75]),
        # A neuron that forgets holds what arrived for one more step (v_mem is not zero before it).
        ({"v_decay": 4096}, [0, 0.75, 0.75]),
        ({"bias_mant": np.array([1])}, [1, 1, 1]),
        # Cleared before the dynamics of every step; what step 1 left still makes step 2 do the clearing.
        ({"reset_interval": 1}, [0, 0.75, 0.75]),
    ],
)
def test_update_probability_by_hand(how: dict, expected: list[float]) -> None:
    graph, plan = one_neuron(**how)
    rates = {"x": np.array([[0.5, 0.5], [0, 0]]), "n": np.zeros((2, 1))}
    layer = from_rates(graph, plan, rates).layers["n"]
    assert layer.n_updates_active[:, 0, 0].tolist() == pytest.approx(expected, rel=1e-12)
    assert (layer.n_updates_active + layer.n_updates_inactive == 1).all()


def test_a_neuron_that_forgets_is_quiet_two_steps_later() -> None:
    graph, _ = one_neuron(v_decay=4096)
    graph = IntGraph(nodes=graph.nodes, edges=graph.edges, n_timesteps=4)
    plan = place(graph, target("loihi2"))
    rates = {"x": np.array([[0.5, 0.5], [0, 0], [0, 0], [0, 0]]), "n": np.zeros((4, 1))}
    assert from_rates(graph, plan, rates).layers["n"].n_updates_active[:, 0, 0].tolist() == pytest.approx(
        [0, 0.75, 0.75, 0, 0], rel=1e-12
    )


def test_rates_must_be_complete_and_probable() -> None:
    graph, plan = one_neuron()
    good = {"x": np.zeros((2, 2)), "n": np.zeros((2, 1))}
    with pytest.raises(UsageError, match=r"n: its firing rates are missing"):
        from_rates(graph, plan, {"x": good["x"]})
    with pytest.raises(UsageError, match="shape"):
        from_rates(graph, plan, good | {"x": np.zeros((3, 2))})
    with pytest.raises(UsageError, match="probability"):
        from_rates(graph, plan, good | {"x": np.full((2, 2), 1.5)})
    with pytest.raises(UsageError, match="probability"):
        from_rates(graph, plan, good | {"x": np.full((2, 2), np.nan)})


def test_a_relay_takes_the_rates_of_what_it_repeats() -> None:
    graph, _ = one_neuron()
    nodes = (*graph.nodes, Linear("r", weight=np.array([[64]])), CubaLif("n.relay1", shape=(1,), v_th=63))
    edges = (*graph.edges, Edge("n", "r", 1), Edge("r", "n.relay1"))
    relayed = IntGraph(nodes=nodes, edges=edges, n_timesteps=2, metadata={"relays": {"n.relay1": "n"}})
    plan = place(relayed, target("loihi2"))
    rates = {"x": np.zeros((2, 2)), "n": np.array([[0.25], [0.5]])}
    assert from_rates(relayed, plan, rates).layers["n.relay1"].n_spikes[:, 0, 0].tolist() == [0, 0, 0.25, 0.5]


def test_rates_of_an_unbalanced_network_are_refused() -> None:
    graph, _ = one_neuron()
    nodes = (*graph.nodes, Linear("late", weight=np.array([[2, 2]])))
    late = IntGraph(nodes=nodes, edges=(*graph.edges, Edge("x", "late", 2), Edge("late", "n")), n_timesteps=2)
    with pytest.raises(NeurodeployError, match="paths differ"):
        from_rates(late, place(late, target("loihi2")), {"x": np.zeros((2, 2)), "n": np.zeros((2, 1))})
