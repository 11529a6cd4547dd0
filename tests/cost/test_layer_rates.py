"""Cost from one rate a layer: by hand, against counts from rates and traces, on other placements, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from neurodeploy.cost.counts import from_rates, mean_rates
from neurodeploy.cost.geometry import shape_of
from neurodeploy.cost.idle import run_rates
from neurodeploy.cost.layer_rates import LayerRates
from neurodeploy.cost.model import cost
from neurodeploy.cost.rate_cost import RateCost
from neurodeploy.cost.result import Cost
from neurodeploy.errors import DoesNotFit, NeurodeployError, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Lif, Linear, Node, SigmaDelta
from neurodeploy.place import Placement, place
from neurodeploy.place.assignment import Assignment
from neurodeploy.sim.reference import simulate

from small_nets import biased, chain, conv, int_chain, linear

# One core a tile and few neurons a core: layers take several cores, packets travel.
SMALL = {"capacity.neurons_per_core.value": 2, "capacity.cores_per_tile.value": 1, "capacity.cores_per_chip.value": 32}
CROWDED = {
    "capacity.neurons_per_core.value": 24, "capacity.cores_per_tile.value": 2, "capacity.mesh_height.value": 3,
    "capacity.mesh_width.value": 40, "capacity.cores_per_chip.value": 240,
}
SUMS = 1e-12  # some hundred float64 products and sums in another order


def close(value: float) -> Any:
    return pytest.approx(value, rel=SUMS, abs=1e-300)


def two_layers(n_timesteps: int = 2) -> Graph:
    """x (4) -> fc1 -> n1 (3 neurons on 2 cores) -> fc2 -> n2 (2 neurons on a third core); memoryless neurons."""
    graph = chain(Input("x", shape=(4,), kind="spikes"), linear("fc1", 4, 3), linear("fc2", 3, 2), n_timesteps=n_timesteps)
    nodes = tuple(replace(n, inv_tau=1.0) if isinstance(n, Lif) else n for n in graph.nodes)
    return replace(graph, nodes=nodes)


def test_worked_by_hand() -> None:
    """x at 0.5, n1 at 0.2, n2 silent; two steps each in a run of four: x in 0-1, n1 in 1-2, n2 in 2-3.

    Per step of its window: x sends 2 spikes to 2 cores, 6 synops in n1; n1 sends 0.6 spikes to one core, 1.2 synops in n2.
    An event reaches a neuron of n1 with probability 1 - 0.5^4 = 0.9375, one of n2 with 1 - 0.8^3 = 0.488.
    Updated: an event now, or one in the step before: n1 .9375, 1 - .0625^2 = .99609375, then .9375 in the step behind.
    """
    profile = target("loihi2", SMALL)
    graph = two_layers()
    found = LayerRates(profile).place(shape_of(graph)).cost({"x": 0.5, "fc1.n": 0.2, "fc2.n": 0.0})
    x, n1, n2 = found.layers
    assert (x.name, n1.name, n2.name) == ("x", "fc1.n", "fc2.n") and x.is_input and not n1.is_input
    assert (found.n_cores, n1.n_cores, n2.n_cores, x.n_cores) == (3, 2, 1, 0)
    assert n1.counts["n_synops"] == close(2 * 6) and n2.counts["n_synops"] == close(2 * 1.2)
    assert x.counts["n_packets_out"] == close(2 * 4) and n1.counts["n_packets_out"] == close(2 * 0.6)
    assert x.counts["n_hops_ns"] == close(2 * 2)  # one hop to the second core, none to the first
    # n1: 1 neuron two hops from n2's core, 2 neurons one hop
    assert n1.counts["n_hops_ns"] == close(2 * 0.2 * (2 + 2)) and n1.counts["n_hops_ew"] == 0
    assert (x.counts["n_spikes"], n1.counts["n_spikes"], n2.counts["n_spikes"]) == (close(4), close(1.2), 0)
    # Input spikes of steps 0 and 1 arrive in 1 and 2, so n1 is updated in 1 and 2, and in 3 for what 2 left behind.
    active = 3 * (0.9375 + (1 - 0.0625**2) + 0.9375)
    assert n1.counts["n_updates_active"] == close(active)
    assert n1.counts["n_updates_inactive"] == close(3 * 4 - active)
    event = 1 - 0.8**3  # arrives in 2 and 3; the run ends before n2 would be looked at once more
    assert n2.counts["n_updates_active"] == close(2 * (event + 1 - (1 - event) ** 2))
    soma = (active + n2.counts["n_updates_active"]) * 53 + (5 * 4 - active - n2.counts["n_updates_active"]) * 34
    pj = {"synapse": 14.4 * 15.3, "soma": soma, "spike": 1.2 * 117, "hop": (4 + 1.6) * 2.6, "input": 8 * 117}
    for term, value in pj.items():
        assert found.breakdown_j[term].nominal == close(value * 1e-12), term  # type: ignore[union-attr]
    assert found.energy_dynamic_j.nominal == close(sum(pj.values()) * 1e-12)
    assert found.latency_s.nominal == close(4 * 0.2e-6)  # every step is shorter than the floor
    assert found.breakdown_j["static"].nominal == close(0.25 * 0.8e-6)  # type: ignore[union-attr]
    assert found.energy_j.low < found.energy_j.nominal < found.energy_j.high
    assert found.exact_counts is False


def residual(seed: int = 0) -> Graph:
    """x (2, 5, 6) -> strided, grouped, dilated and padded convolutions with a skip -> linear, neurons of every kind."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(1, 14, shape)  # zeros count as synapses here, so none are needed

    a = Conv2d("a", weight=weights(6, 1, 3, 2), groups=2, stride=(2, 1), padding=(1, 1), dilation=(1, 2))
    x = Input("x", shape=(2, 5, 6), kind="graded", max_value=3)
    shape = a.output_shape(x.shape)
    flat = 4 * shape[1] * shape[2]
    bias = np.zeros((6, 1, 1), dtype=np.int64)
    bias[2:4] = 5  # two channels of six are always updated
    delays = np.tile(np.arange(flat) % 3, (5, 1))  # each neuron has as many of each: a geometry keeps shares only
    nodes: tuple[Node, ...] = (
        x, a, CubaLif("a.n", shape=shape, v_decay=1024, bias_mant=bias, reset_interval=3, reset_offset=2),
        Conv2d("b", weight=weights(4, 6, 3, 3), padding=(1, 1)), Conv2d("skip", weight=weights(4, 6, 1, 1)),
        CubaLif("b.n", shape=(4, *shape[1:]), v_decay=4096, i_decay=100), Flatten("flat"),
        Linear("fc", weight=weights(5, flat), delays=delays),
        CubaLif("fc.n", shape=(5,), v_init=np.array([3])),
    )
    edges = (
        Edge("x", "a", 1), Edge("a", "a.n"), Edge("a.n", "b", 1), Edge("a.n", "skip", 1), Edge("b", "b.n"),
        Edge("skip", "b.n"), Edge("b.n", "flat"), Edge("flat", "fc", 1), Edge("fc", "fc.n"),
    )
    return IntGraph(nodes=nodes, edges=edges, n_timesteps=3)


RATES = {"x": 0.3, "a.n": 0.15, "b.n": 0.05, "fc.n": 0.4}


def uniform(graph: Graph, rates: dict[str, float]) -> dict[str, np.ndarray]:
    return {name: np.full((graph.n_timesteps, *graph.shapes[name]), rate) for name, rate in rates.items()}


def same(found: RateCost, expected: Cost, what: str, rel: float = SUMS) -> None:
    for key in ("synops", "neuron_updates", "neuron_updates_active", "spikes", "messages", "messages_input", "hops"):
        assert found.counts[key] == pytest.approx(expected.counts[key], rel=rel), f"{what}: {key}"
    for key in ("energy_j", "energy_dynamic_j", "latency_s", "interval_s", "edp_js"):
        for side in ("low", "nominal", "high"):
            assert getattr(getattr(found, key), side) == pytest.approx(getattr(getattr(expected, key), side), rel=rel), key
    for mine, other in zip(found.layers, expected.layers, strict=True):
        assert (mine.name, mine.is_input, mine.n_neurons, mine.n_cores) == (
            other.name, other.is_input, other.n_neurons, other.n_cores
        )
        for key, value in other.counts.items():
            assert mine.counts[key] == pytest.approx(value, rel=rel, abs=1e-9), f"{what}: {mine.name} {key}"
        assert mine.breakdown_j.keys() == other.breakdown_j.keys()
        assert mine.energy_dynamic_j.nominal == pytest.approx(other.energy_dynamic_j.nominal, rel=rel), mine.name
    assert list(found.latency_steps_s) == pytest.approx(list(expected.latency_steps_s), rel=rel)
    assert found.breakdown_j.keys() == expected.breakdown_j.keys()
    assert (found.n_cores, found.n_chips) == (expected.n_cores, expected.n_chips)


@pytest.mark.parametrize("chip", ["loihi1", "loihi2"])
@pytest.mark.parametrize("schedule", ["single", "pipelined"])
def test_equals_counts_from_uniform_rates(chip: str, schedule: Any) -> None:
    """Every count: the linear ones and, because all neurons of a class are alike, the updates too."""
    graph = residual()
    profile = target(chip, CROWDED | {"capacity.neuron_groups_per_core.value": 8})
    # No biases: those make layers fire outside of their windows, which a rate in model time does not say.
    nodes = tuple(
        replace(n, bias_mant=np.zeros(1, dtype=np.int64), v_init=np.zeros(1, dtype=np.int64)) if isinstance(n, CubaLif) else n
        for n in graph.nodes
    )
    graph = replace(graph, nodes=nodes)
    plan = place_unchecked(graph, profile)
    expected = cost(from_rates(graph, plan, uniform(graph, RATES)), plan, profile, schedule)
    model = LayerRates(profile)
    assert expected.counts["spikes"] > 1 and plan.n_cores > 5
    same(model.on(graph, plan).cost(RATES, schedule), expected, "on a placement")
    same(model.place(shape_of(graph)).cost(RATES, schedule), expected, "placed by geometry")


def place_unchecked(graph: Graph, profile: Any) -> Placement:
    """The default placement, whatever the rules of arithmetic say about the weights of a test."""
    from neurodeploy.place.assign import assign
    from neurodeploy.place.layers import read_network
    from neurodeploy.place.partition import cut_layer

    network = read_network(graph)
    cuts = [cut_layer(layer, profile) for layer in network.layers]
    return assign(network, [c for c in cuts if c is not None], profile)


def test_rates_of_a_whole_run_equal_those_counts_too() -> None:
    """With biases and initial states: each layer's mean over its neurons in every chip step, idle ones included."""
    graph, profile = residual(), target("loihi2", CROWDED)
    plan = place_unchecked(graph, profile)
    rng = np.random.default_rng(3)
    model = LayerRates(profile).on(graph, plan)
    chip = rng.random((len(model.names), graph.n_chip_steps)) * 0.4
    found = model.cost_of_run(chip)
    assert found.layers[1].counts["n_updates_active"] > 0
    # Neurons with a bias are updated in every step: two channels of six.
    n = math.prod(graph.shapes["a.n"])
    assert found.layers[1].counts["n_updates_active"] >= n / 3 * graph.n_chip_steps
    # The network's last layer starts with a state, so its first step updates every neuron of it.
    silent = model.cost_of_run(np.zeros_like(chip))
    assert silent.layers[3].counts["n_updates_active"] == close(5.0 * graph.n_chip_steps)  # and nothing ever resets it
    assert silent.counts["synops"] == 0 == silent.counts["messages"]


def test_what_biases_do_outside_of_windows() -> None:
    """`run_rates` has the idle spikes that `from_rates` simulates; a layer's mean is all that linear layers need."""
    graph = int_chain(n_timesteps=3, bias_mant=np.array([100, 100]), reset_interval=3, reset_offset=2)
    more = (Linear("fc2", weight=np.full((4, 2), 2)), CubaLif("fc2.n", shape=(4,), v_th=500))
    graph = replace(
        graph, nodes=(*graph.nodes, *more), edges=(*graph.edges, Edge("fc.n", "fc2", 1), Edge("fc2", "fc2.n")),
        metadata={},
    )
    profile = target("loihi2")
    plan = place_unchecked(graph, profile)
    rates = {"x": 0.5, "fc.n": 0.25, "fc2.n": 0.0}
    expected = cost(from_rates(graph, plan, uniform(graph, rates)), plan, profile)
    model = LayerRates(profile).on(graph, plan)
    found = model.cost(run_rates(graph, rates))  # type: ignore[arg-type]
    assert expected.counts["spikes"] > 0.25 * 2 * 3 + 0.5  # the layer fires alone before its window
    same(found, expected, "whole run")
    assert model.cost(rates).counts["spikes"] == close(0.25 * 2 * 3)


def test_time_resolved_rates_reach_the_right_steps() -> None:
    graph, profile = two_layers(3), target("loihi2", SMALL | NO_FLOOR)
    plan = place(graph, profile)
    rates = {"x": np.array([0.9, 0.1, 0.5]), "fc1.n": np.array([0.0, 0.6, 0.3]), "fc2.n": np.array([0.2, 0.0, 0.7])}
    full = {name: np.broadcast_to(r[:, None], (3, *graph.shapes[name])).copy() for name, r in rates.items()}
    for schedule in ("single", "pipelined"):
        expected = cost(from_rates(graph, plan, full), plan, profile, schedule)  # type: ignore[arg-type]
        found = LayerRates(profile).on(graph, plan).cost(rates, schedule)  # type: ignore[arg-type]
        same(found, expected, schedule)
        assert len(set(found.latency_steps_s)) == len(found.latency_steps_s)  # no two steps are alike


NO_FLOOR = {"time.step_floor.value": 0.0, "time.step_floor.low": 0.0, "time.step_floor.high": 0.0}


def test_input_written_as_biases() -> None:
    nodes, edges = biased("x", (2, 4, 4))
    graph = Graph(
        nodes=(*nodes, conv("c", 2, 3), replace(nodes[1], name="c.n", shape=(3, 2, 2))),
        edges=(*edges, Edge("x.n", "c", 1), Edge("c", "c.n")), n_timesteps=4,
    )
    profile = target("loihi2")
    plan = place(graph, profile)
    model = LayerRates(profile).on(graph, plan)
    assert model.names == ("x.n", "c.n")  # what the host writes is no message
    for share in (1.0, 0.25):
        rates = uniform(graph, {"x.n": 0.3, "c.n": 0.1}) | {"x": np.full((4, 2, 4, 4), share)}
        expected = cost(from_rates(graph, plan, rates), plan, profile, "pipelined")
        given = {"x.n": 0.3, "c.n": 0.1} | ({"x": share} if share < 1 else {})
        same(model.cost(given, "pipelined"), expected, f"{share} written")


def test_neuron_by_neuron_with_weights_left_out() -> None:
    """Layers that share cores, an input on cores, zero weights that are no synapses: equal to counts from uniform rates."""
    profile = target("loihi1", {"synapses.zeros": "culled"})
    graph = residual()
    rng = np.random.default_rng(5)

    def sparse(node: Node) -> Node:
        weight = getattr(node, "weight", None)
        return node if weight is None else replace(node, weight=weight * (rng.random(weight.shape) < 0.5))  # type: ignore[call-arg]

    nodes = tuple(
        replace(n, bias_mant=np.zeros(1, dtype=np.int64), v_init=np.zeros(1, dtype=np.int64)) if isinstance(n, CubaLif)
        else sparse(n)
        for n in graph.nodes
    )
    graph = replace(graph, nodes=nodes)
    maps = {name: rng.integers(0, 7, graph.shapes[name]) for name in ("x", "a.n", "b.n", "fc.n")}
    plan = Assignment.of(graph, profile, maps)
    units = {"fc": "sparse", "skip": "dense"}
    expected = cost(from_rates(graph, plan, uniform(graph, RATES), "culled"), plan, profile, units=units)
    found = LayerRates(profile, units=units).on(graph, plan).cost(RATES)
    assert expected.counts["hops"] > 0
    same(found, expected, "neuron by neuron")
    assert found.counts["synops"] < 0.8 * LayerRates(target("loihi1")).on(graph, plan).cost(RATES).counts["synops"]


def test_real_activity_is_near_its_layer_means() -> None:
    """One number a layer instead of a raster: linear layers exactly, the rest within what borders and clusters make."""
    rng = np.random.default_rng(1)
    nodes = (
        Input("x", shape=(40,), kind="spikes"), Linear("fc1", weight=rng.integers(-40, 60, (60, 40)) * 2),
        CubaLif("n1", shape=(60,), v_th=90, v_decay=400), Linear("fc2", weight=rng.integers(-40, 60, (20, 60)) * 2),
        CubaLif("n2", shape=(20,), v_th=150, v_decay=400),
    )
    edges = (Edge("x", "fc1", 1), Edge("fc1", "n1"), Edge("n1", "fc2", 1), Edge("fc2", "n2"))
    graph, profile = IntGraph(nodes=nodes, edges=edges, n_timesteps=8, target="loihi2"), target("loihi2", CROWDED)
    x = (rng.random((8, 16, 40)) < 0.2).astype(np.int64)
    trace = simulate(graph, x)
    assert min(trace.n_spikes.values()) > 0
    plan = place_unchecked(graph, profile)
    means = mean_rates(trace)
    exact = cost(from_rates(graph, plan, means), plan, profile, "pipelined")
    per_step = {name: r.mean(axis=tuple(range(1, r.ndim))) for name, r in means.items()}
    found = LayerRates(profile).on(graph, plan).cost(per_step, "pipelined")
    for key in ("synops", "messages", "spikes", "hops"):
        assert found.counts[key] == pytest.approx(exact.counts[key], rel=1e-6 if key != "hops" else 0.1)  # cores fire unequally
    assert found.energy_dynamic_j.nominal == pytest.approx(exact.energy_dynamic_j.nominal, rel=0.02)


def test_bounds() -> None:
    """Nothing fires: the floor, nobody updated. Everything fires: everybody updated. More spikes never cost less."""
    graph, profile = two_layers(4), target("loihi2", SMALL)
    model = LayerRates(profile).place(shape_of(graph))
    silent, full = model.cost(np.zeros(3)), model.cost(np.ones(3), "pipelined")
    assert silent.counts["neuron_updates_active"] == 0 and silent.breakdown_j["synapse"].nominal == 0  # type: ignore[union-attr]
    assert silent.energy_dynamic_j.nominal == close(silent.counts["neuron_updates"] * 34e-12)
    assert full.counts["neuron_updates_active"] == close(full.counts["neuron_updates"])
    last = 0.0
    for rate in np.linspace(0, 1, 9):
        found = model.cost(np.full(3, rate))
        assert found.energy_dynamic_j.nominal > last or rate == 0
        last = found.energy_dynamic_j.nominal


def test_caches_do_not_mix_geometries_or_profiles() -> None:
    """Networks that differ in one number each, costed in turn by one model, equal a model of their own."""
    def net(**how: Any) -> Graph:
        k, c = how.pop("k", 3), how.pop("c", 4)
        return chain(Input("x", shape=(2, 9, 9), kind="spikes"), conv("a", 2, c, k, **how), conv("b", c, 3), n_timesteps=3)

    graphs = [
        net(), net(stride=(2, 2)), net(padding=(1, 1)), net(dilation=(2, 2)), net(groups=2), net(k=5), net(c=6), net(),
    ]
    shapes = [shape_of(g) for g in graphs]
    assert shapes[0] == shapes[-1] and hash(shapes[0].layers[0]) == hash(shapes[-1].layers[0])
    assert len(set(shapes[:-1])) == len(graphs) - 1
    for overrides in (CROWDED, {}):
        profile = target("loihi2", overrides)
        shared = LayerRates(profile)
        energies = []
        for graph, shape in zip(graphs * 2, shapes * 2, strict=True):
            rates = dict.fromkeys(("x", "a.n", "b.n"), 0.2)
            plan = place(graph, profile)
            expected = cost(from_rates(graph, plan, uniform(graph, rates)), plan, profile)
            found = shared.place(shape).cost(rates)
            same(found, expected, "shared model")
            energies.append(found.energy_dynamic_j.nominal)
        assert len({round(e * 1e15) for e in energies}) == len(graphs) - 1


def test_refusals() -> None:
    profile = target("loihi2", SMALL)
    graph = two_layers()
    model = LayerRates(profile).place(shape_of(graph))
    with pytest.raises(UsageError, match="firing rates are missing"):
        model.cost({"x": 0.1, "fc1.n": 0.1})
    with pytest.raises(UsageError, match="shape"):
        model.cost({"x": np.zeros(7), "fc1.n": 0.1, "fc2.n": 0.1})
    with pytest.raises(UsageError, match="probability"):
        model.cost({"x": 1.2, "fc1.n": 0.1, "fc2.n": 0.1})
    with pytest.raises(UsageError, match="probability"):
        model.cost(np.array([0.1, math.nan, 0.1]))
    with pytest.raises(UsageError, match="schedule"):
        model.cost(np.zeros(3), "sometimes")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs all"):
        LayerRates(profile).on(graph, place(graph, profile), n_steps=2).cost(np.zeros(3), "pipelined")
    with pytest.raises(DoesNotFit, match="needs"):
        LayerRates(target("loihi2", SMALL | {"capacity.cores_per_chip.value": 2})).place(shape_of(graph))
    with pytest.raises(DoesNotFit, match="fits no core"):
        LayerRates(target("loihi2", {"capacity.axons_in_per_core.value": 3})).place(shape_of(graph))
    with pytest.raises(UsageError, match="which weights are zero"):
        LayerRates(target("loihi1", {"synapses.zeros": "culled"})).place(shape_of(graph))
    no_time = profile.model_copy(update={"time": {}})
    with pytest.raises(UsageError, match="no time for"):
        LayerRates(no_time)
    recurrent = int_chain()
    recurrent = replace(recurrent, nodes=(*recurrent.nodes, Linear("back", weight=np.eye(2, dtype=np.int64))),
                        edges=(*recurrent.edges, Edge("fc.n", "back", 1), Edge("back", "fc.n")))
    with pytest.raises(NeurodeployError, match="differ in length"):
        shape_of(recurrent)
    delta = int_chain()
    delta = replace(delta, nodes=(*delta.nodes[:2], SigmaDelta("fc.n", shape=(2,))))
    with pytest.raises(NeurodeployError, match="do not say when a SigmaDelta"):
        shape_of(delta)
