"""What a network costs at given layer rates: the totals at once, layers and counts when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from neurodeploy.cost.band import Band, total
from neurodeploy.cost.model import POWER_TERMS
from neurodeploy.cost.rated import Rated, Sums
from neurodeploy.cost.result import LayerCost
from neurodeploy.cost.schedule import Schedule
from neurodeploy.place.reach import Floats


@dataclass(frozen=True, eq=False)
class RateCost:
    """Mean cost of one inference, estimated from layer rates. Fields as in `result.Cost`; energies in joule, times in second.

    `interval_s` is the time between samples; static and management power run for that long.
    """

    rated: Rated
    schedule: Schedule
    sums: Sums
    exact_counts: bool = False

    @property
    def target(self) -> str:
        return self.rated.prices.profile.name

    @property
    def n_cores(self) -> int:
        return self.rated.n_cores

    @property
    def n_chips(self) -> int:
        return self.rated.n_chips

    @cached_property
    def interval_s(self) -> Band:
        """Time of all steps: until the last output, or until the next sample enters a pipeline."""
        return Band(*self.sums.steps_s.sum(axis=1).tolist())

    @property
    def latency_s(self) -> Band:
        """From the first input to the last output of one sample."""
        shape = self.rated.shape
        steps = shape.n_steps / shape.n_timesteps if self.schedule == "pipelined" else 1.0
        return self.interval_s.scaled(steps)

    @property
    def latency_steps_s(self) -> tuple[float, ...]:
        """Nominal time of each step."""
        return tuple(self.sums.steps_s[1].tolist())

    @cached_property
    def breakdown_j(self) -> dict[str, Band | None]:
        """Each term, or None where the profile does not have it."""
        prices = self.rated.prices
        energy = np.tensordot(self.sums.basis, self.rated.energy_j, axes=1).tolist()
        found: dict[str, Band | None] = {
            term.name: Band(*row) if known else None
            for term, row, known in zip(prices.terms, energy, prices.available, strict=True)
        }
        for name, entry in POWER_TERMS.items():
            power = prices.profile.power.get(entry)
            found[name] = Band(*power.si).times(self.interval_s).scaled(self.n_chips) if power is not None else None
        return found

    @cached_property
    def energy_j(self) -> Band:
        """All terms that are available."""
        return total(self.breakdown_j.values())

    @cached_property
    def energy_dynamic_j(self) -> Band:
        """Those of events, without static and management power."""
        return total(band for name, band in self.breakdown_j.items() if name not in POWER_TERMS)

    @property
    def edp_js(self) -> Band:
        """Energy-delay product."""
        return self.energy_j.times(self.latency_s)

    @cached_property
    def layers(self) -> tuple[LayerCost, ...]:
        """Energy and counts of every input that sends and every layer, in mapping order."""
        return tuple(self._layer(node) for node in range(self.rated.n_nodes))

    @cached_property
    def counts(self) -> dict[str, float]:
        """Counts of the network per sample, under the names of `result.Cost.counts`; host writes are not known here."""
        neurons = [layer.counts for layer in self.layers if not layer.is_input]
        every = [layer.counts for layer in self.layers]
        active = sum(n["n_updates_active"] for n in neurons)
        return {
            "synops": sum(n["n_synops"] for n in neurons),
            "neuron_updates": active + sum(n["n_updates_inactive"] for n in neurons),
            "neuron_updates_active": active,
            "spikes": sum(n["n_spikes"] for n in neurons),
            "messages": sum(n["n_packets_out"] for n in every),
            "messages_input": sum(layer.counts["n_packets_out"] for layer in self.layers if layer.is_input),
            "hops": sum(n["n_hops_ew"] + n["n_hops_ns"] for n in every),
        }

    def _layer(self, node: int) -> LayerCost:
        rated, shape = self.rated, self.rated.shape
        i = node - shape.n_inputs
        is_input = i < 0
        spikes = float(self.sums.basis[node])
        energy = self._layer_energy(node)
        breakdown: dict[str, Band | None] = {
            term.name: Band(*energy[k].tolist()) if rated.prices.available[k] else None
            for k, term in enumerate(rated.prices.terms)
            if term.of == "all" or is_input == (term.of == "inputs")
        }
        counts = self._layer_counts(node)
        n_neurons = 0 if is_input else shape.layers[i].n_neurons
        columns = rated.columns[node]
        return LayerCost(
            name=shape.names[node], is_input=is_input, n_neurons=n_neurons,
            n_cores=0 if columns is None else len(columns),
            spike_rate=None if is_input else spikes / shape.n_timesteps,
            energy_dynamic_j=total(breakdown.values()), breakdown_j=breakdown, counts=counts,
        )

    def _layer_energy(self, node: int) -> Floats:
        """[n_terms, 3]"""
        rated, basis, i = self.rated, self.sums.basis, node - self.rated.shape.n_inputs
        energy = np.zeros(rated.energy_j.shape[1:])
        for use, sent in zip(rated.uses, rated.sent_j, strict=True):
            if use.source == node:
                energy += basis[node] * sent
            if use.layer == i:
                energy += basis[use.source] * use.price.received_j
        if i >= 0:
            price, (a, b) = rated.unit_prices[i], rated.first_class[i : i + 2]
            energy += basis[node] * price.energy_j[0] + basis[-1] * price.energy_j[-1]
            energy += np.tensordot(basis[a:b], price.energy_j[1:-1], axes=1)
        return energy

    def _layer_counts(self, node: int) -> dict[str, float]:
        rated, basis, i = self.rated, self.sums.basis, node - self.rated.shape.n_inputs
        found = dict.fromkeys((
            "n_synops", "n_updates_active", "n_updates_inactive", "n_spikes", "n_packets_in", "n_packets_out", "n_hops_ew",
            "n_hops_ns",
        ), 0.0)
        for use, hops in zip(rated.uses, rated.hops, strict=True):
            if use.source == node:
                found["n_packets_out"] += float(basis[node] * use.unit.packets_out.sum())
                found["n_hops_ew"] += float(basis[node] * hops[0])
                found["n_hops_ns"] += float(basis[node] * hops[1])
            if use.layer == i:
                found["n_synops"] += float(basis[use.source] * use.unit.synops.sum())
                found["n_packets_in"] += float(basis[use.source] * use.unit.packets_in.sum())
        if i < 0:
            c, h, w = rated.shape.input_maps[node]
            found["n_spikes"] = float(basis[node] * c * h * w)
            return found
        unit, (a, b) = rated.units[i], rated.first_class[i : i + 2]
        n = float(unit.n_neurons.sum())
        found["n_spikes"] = float(basis[node] * n)
        active = float(basis[-1] * unit.n_biased.sum() + basis[a:b] @ unit.n_of_class.sum(axis=0))
        found["n_updates_active"], found["n_updates_inactive"] = active, float(basis[-1]) * n - active
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the names of `result.Cost.to_dict`."""
        return {
            "target": self.target, "schedule": self.schedule, "n_cores": self.n_cores, "n_chips": self.n_chips,
            "energy_j": self.energy_j.to_dict(), "energy_dynamic_j": self.energy_dynamic_j.to_dict(),
            "breakdown_j": {name: None if band is None else band.to_dict() for name, band in self.breakdown_j.items()},
            "latency_s": self.latency_s.nominal, "latency_band_s": self.latency_s.to_dict(),
            "interval_s": self.interval_s.nominal, "edp_js": self.edp_js.nominal, "edp_band_js": self.edp_js.to_dict(),
            "latency_steps_s": list(self.latency_steps_s), "counts": dict(self.counts),
            "layers": [layer.to_dict() for layer in self.layers], "exact_counts": self.exact_counts,
        }
