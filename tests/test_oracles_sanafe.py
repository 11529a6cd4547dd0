"""Counts, energy and simple latency of SANA-FE's Loihi 1 on every row of the fixtures, told from their metadata alone."""

from __future__ import annotations

import numpy as np
import pytest
from neurodeploy.cost.combine import until
from neurodeploy.cost.counts import Counts, count, from_rates
from neurodeploy.cost.layer_rates import LayerRates
from neurodeploy.cost.model import cost
from neurodeploy.cost.rate_cost import RateCost
from neurodeploy.cost.result import Cost
from neurodeploy.place.assignment import Assignment

from oracles import require
from sanafe_rows import PROFILE, Row, load, rows

NAMES = [name for name, _, _ in rows()]
EXACT = 1e-9  # the goal; both sides add some thousand float64 products, in another order


def test_there_are_rows_and_some_spike() -> None:
    require(NAMES, "sanafe", "sanafe")
    fires = {name: load(name).told["counts"]["soma_fires"] for name in NAMES}
    assert sum(fires.values()) > 0, "a silent folder proves nothing"
    simulated = {name: sum(load(name).trace.n_spikes[layer] for layer in load(name).layers[1:]) for name in NAMES}
    assert simulated == fires


def counted(name: str) -> tuple[Row, Counts, Cost]:
    row = load(name)
    counts = count(row.trace, row.plan, "culled")
    return row, counts, cost(counts, row.plan, PROFILE, units=row.units)


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_equal(name: str) -> None:
    row, counts, _ = counted(name)
    told, layers = row.told["counts"], counts.layers
    assert [int(layers[n].n_spikes.sum()) for n in row.layers] == told["neuron_spikes_per_layer"]
    hidden = [layers[n] for n in row.layers[1:]]
    assert [int(layer.n_synops.sum()) for layer in hidden] == told["synaptic_events_per_layer"]
    assert sum(int(layer.n_synops.sum()) for layer in hidden) == told["synaptic_events"]
    for key, of in (("packets", "n_packets_out"), ("hops_ew", "n_hops_ew"), ("hops_ns", "n_hops_ns")):
        assert sum(int(getattr(layer, of).sum()) for layer in layers.values()) == told[key]
        for source, by in told["packets_hops_by_source_layer"].items():
            assert int(getattr(layers[source], of).sum()) == by[key], (source, key)
    for source, by in told["packets_hops_by_source_layer"].items():
        assert sum(int(t.n_synops.sum()) for t in counts.traffic if t.source == source) == by["synaptic_events"]
    assert sum(int(layer.n_updates.sum()) for layer in hidden) == told["soma_accesses"]
    assert sum(int(layer.n_updates_active.sum()) for layer in hidden) == told["soma_updates"]
    assert sum(int(layer.n_spikes.sum()) for layer in hidden) == told["soma_fires"]
    assert int(layers[row.layers[0]].n_spikes.sum()) == told["input_fires"]
    for key, of in (("packets_out_per_core", "n_packets_out"), ("packets_in_per_core", "n_packets_in")):
        assert per_core(counts, of) == {int(k): n for k, n in told[key].items() if n}
    assert len(counts.mapping.cores) == row.told["inputs"]["cores_used"]
    assert counts.mapping.n_tiles == row.told["inputs"]["tiles_used"]


def per_core(counts: Counts, of: str) -> dict[int, int]:
    """Core number -> sum of a count, where it is not zero."""
    total = np.zeros(len(counts.mapping.cores), dtype=np.int64)
    for layer in counts.layers.values():
        assert layer.columns is not None
        total[layer.columns] += getattr(layer, of).sum(axis=(0, 1))
    return {core.index: int(n) for core, n in zip(counts.mapping.cores, total, strict=True) if n}


@pytest.mark.parametrize("name", NAMES)
def test_counts_of_every_step_are_equal(name: str) -> None:
    row, counts, _ = counted(name)
    told, layers = row.told["per_step"], counts.layers.values()

    def steps(*of: str) -> list[int]:
        return sum(getattr(layer, key).sum(axis=(1, 2)) for layer in layers for key in of).tolist()

    inputs = counts.layers[row.layers[0]].n_spikes.sum(axis=(1, 2))
    assert steps("n_spikes") == told["fired"]
    # SANA-FE counts an input that fires as updated, at no energy.
    assert (np.array(steps("n_updates_active")) + inputs).tolist() == told["updated"]
    assert steps("n_synops") == told["synaptic_events"]
    assert steps("n_packets_out") == told["packets"]
    assert steps("n_hops_ew", "n_hops_ns") == told["hops"]


@pytest.mark.parametrize("name", NAMES)
def test_energy_is_equal(name: str) -> None:
    row, _, found = counted(name)
    told, terms = row.told["energy_J"], {k: v.nominal for k, v in found.breakdown_j.items() if v is not None}
    assert terms["synapse"] == pytest.approx(told["synapse"], rel=EXACT)
    assert terms["soma"] == pytest.approx(told["soma"], rel=EXACT)
    assert terms["spike"] + terms["hop"] + terms["input"] == pytest.approx(told["network"], rel=EXACT)
    assert told["dendrite"] == 0
    assert found.energy_dynamic_j.nominal == pytest.approx(told["total"], rel=EXACT)
    assert terms["static"] > 0 and terms["management"] > 0  # SANA-FE has neither
    assert found.energy_dynamic_j.low == pytest.approx(0.88 * told["total"], rel=EXACT)  # the published 12 %
    assert found.energy_dynamic_j.high == pytest.approx(1.12 * told["total"], rel=EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_simple_latency_is_equal(name: str) -> None:
    row, _, found = counted(name)
    simple = row.told["latency_s"]["simple_total"]
    assert found.latency_s.nominal == pytest.approx(simple, rel=EXACT)
    assert sum(found.latency_steps_s) == pytest.approx(simple, rel=EXACT)
    assert found.latency_s.low == pytest.approx(0.75 * simple, rel=EXACT)  # the published 25 %
    assert found.latency_s.high == pytest.approx(1.25 * simple, rel=EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_a_map_survives_its_file(name: str) -> None:
    row, _, found = counted(name)
    again = Assignment.from_dict(row.plan.to_dict())
    assert cost(count(row.trace, again, "culled"), again, PROFILE, units=row.units).to_dict() == found.to_dict()


def from_layer_rates(row: Row) -> RateCost:
    """Cost from one rate a layer, the network's structure and the map; no spike is looked at."""
    placed = LayerRates(PROFILE, units=row.units).on(row.graph, row.plan, n_steps=row.told["T"])
    rates = dict(zip(row.layers, row.told["counts"]["spike_rate_per_layer"], strict=True))
    return placed.cost_of_run(placed.spread(rates))


def test_energy_from_layer_rates_and_placement_only() -> None:
    """The goal: the median row within 5 %. The largest error is printed too; latency has no goal of its own."""
    require(NAMES, "sanafe", "sanafe")
    errors = []
    for name in NAMES:
        row = load(name)
        found = from_layer_rates(row)
        assert not found.exact_counts
        energy = found.energy_dynamic_j.nominal / row.told["energy_J"]["total"] - 1
        latency = found.latency_s.nominal / row.told["latency_s"]["simple_total"] - 1
        print(f"{name:28s} energy {energy:+8.2%}  simple latency {latency:+8.2%}")
        errors.append(abs(energy))
    print(f"{'median':28s} energy {np.median(errors):8.2%}, worst {max(errors):.2%}")
    assert np.median(errors) <= 0.05


def element_rates(row: Row) -> Cost:
    """The same through `from_rates`, which takes a rate for each element and timestep.

    A layer at latency L can fire in T - L of the row's T steps, and the row ends after T: so its rate in its own window is
    T / (T - L) times its mean, and the estimate stops after T steps as well.
    """
    T, graph = row.told["T"], row.graph
    rates = {
        name: np.full((T, *graph.shapes[name]), min(1.0, rate * T / (T - graph.latencies[name])))
        for name, rate in zip(row.layers, row.told["counts"]["spike_rate_per_layer"], strict=True)
    }
    counts = until(from_rates(graph, row.plan, rates, "culled"), np.array([T]))
    return cost(counts, row.plan, PROFILE, units=row.units)


@pytest.mark.parametrize("name", NAMES)
def test_both_ways_from_rates_agree(name: str) -> None:
    """Two implementations of one estimate, on maps of any kind: terms and times, within round-off."""
    one, two = from_layer_rates(load(name)), element_rates(load(name))
    for term, band in two.breakdown_j.items():
        found = one.breakdown_j[term]
        assert band is not None and found is not None
        assert found.nominal == pytest.approx(band.nominal, rel=1e-9, abs=1e-24), term
    assert one.latency_s.nominal == pytest.approx(two.latency_s.nominal, rel=1e-9)
