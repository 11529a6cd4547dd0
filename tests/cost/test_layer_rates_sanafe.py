"""Energy and simple latency of SANA-FE's rows from one rate a layer, the synapses and the map; no spike is looked at."""

from __future__ import annotations

import numpy as np
from neurodeploy.cost.layer_rates import LayerRates
from neurodeploy.cost.rate_cost import RateCost

from oracles import require
from sanafe_rows import PROFILE, Row, load, rows

NAMES = [name for name, _, _ in rows()]


def estimated(row: Row) -> RateCost:
    placed = LayerRates(PROFILE, units=row.units).on(row.graph, row.plan, n_steps=row.told["T"])
    means = dict(zip(row.layers, row.told["counts"]["spike_rate_per_layer"], strict=True))
    return placed.cost_of_run(placed.spread(means))


def test_energy_within_five_percent_on_the_median_row() -> None:
    """The goal. Spikes are spread evenly over a layer and its steps, so dense layers' synops and packets are exact."""
    require(NAMES, "sanafe", "sanafe")
    energy, latency = [], []
    for name in NAMES:
        row = load(name)
        found, told = estimated(row), row.told["counts"]
        energy.append(found.energy_dynamic_j.nominal / row.told["energy_J"]["total"] - 1)
        latency.append(found.latency_s.nominal / row.told["latency_s"]["simple_total"] - 1)
        print(f"{name:28s} energy {energy[-1]:+8.2%}  simple latency {latency[-1]:+8.2%}")
        # A layer's spikes come back as they were given, and every neuron is looked at in every step.
        assert abs(found.counts["spikes"] - told["soma_fires"]) <= 1e-9 * max(1, told["soma_fires"])
        assert abs(found.counts["neuron_updates"] - told["soma_accesses"]) <= 1e-9 * told["soma_accesses"]
        for layer, counts, events in zip(
            row.told["inputs"]["layers"][1:], found.layers[1:], told["synaptic_events_per_layer"], strict=True
        ):
            if layer["kind"] == "dense" and layer["synapses"] == np.prod([counts.n_neurons, _sources(row, layer["name"])]):
                assert abs(counts.counts["n_synops"] - events) <= 1e-9 * max(1, events), (name, layer["name"])
    print(f"median energy {np.median(np.abs(energy)):.2%}, worst {np.max(np.abs(energy)):.2%}")
    print(f"median latency {np.median(np.abs(latency)):.2%}, worst {np.max(np.abs(latency)):.2%}")
    assert np.median(np.abs(energy)) <= 0.05
    assert np.median(np.abs(latency)) <= 0.1  # the maximum of means is below the mean of maxima: about 1 % there


def test_a_rate_per_layer_and_step_gives_the_latency() -> None:
    """What is missing with one rate a layer is mostly its change over time: the first spikes reach deep layers late."""
    require(NAMES, "sanafe", "sanafe")
    one, every = [], []
    for name in NAMES:
        row = load(name)
        T, simple = row.told["T"], row.told["latency_s"]["simple_total"]
        placed = LayerRates(PROFILE, units=row.units).on(row.graph, row.plan, n_steps=T)
        steps = np.stack([row.trace.spikes[layer].reshape(T, -1).mean(axis=1) for layer in row.layers])
        every.append(abs(placed.cost_of_run(steps).latency_s.nominal / simple - 1))
        one.append(abs(estimated(row).latency_s.nominal / simple - 1))
    assert np.median(every) <= np.median(one) and np.median(every) <= 0.02


def test_a_silent_network_costs_its_idle_floor() -> None:
    """"Every neuron updates" would be 42 % too much there."""
    silent = [load(name) for name in NAMES if not any(load(name).told["counts"]["neuron_spikes_per_layer"])]
    require(silent, "silent sanafe", "sanafe")
    for row in silent:
        found = estimated(row)
        assert found.counts["neuron_updates_active"] == 0
        assert abs(found.energy_dynamic_j.nominal / row.told["energy_J"]["total"] - 1) <= 1e-9
        assert abs(found.latency_s.nominal / row.told["latency_s"]["simple_total"] - 1) <= 1e-9


def _sources(row: Row, name: str) -> int:
    return int(row.graph[f"{name}.synapses"].weight.shape[1])  # type: ignore[attr-defined]
