"""Energy and time of unit loads: what one spike per source element, one neuron of a class, or one step costs.

Counts are priced by `events.Prices`, the same object that prices counted traces, so that no constant and no formula is
written twice; all of its prices are linear in the counts.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from neurodeploy.cost.counts import Counts, LayerCounts, Traffic
from neurodeploy.cost.events import TERMS, Prices, Term
from neurodeploy.cost.mapping import Mapping
from neurodeploy.cost.timing import around_steps, check_times
from neurodeploy.cost.unit_loads import UnitLayer, UnitLink
from neurodeploy.hw.profile import Profile
from neurodeploy.place.reach import Floats

LEVELS = range(3)  # low, nominal, high


@dataclass(frozen=True, eq=False)
class Price:
    """Energy [n_rows, n_terms, 3] in joule and busy time [3, n_cores, n_rows] in seconds of rows of counts."""

    energy_j: Floats
    send_s: Floats
    receive_s: Floats

    @cached_property
    def sends_s(self) -> Floats:
        """[3, n_rows x n_cores]: sending time, row after row."""
        return np.ascontiguousarray(self.send_s.transpose(0, 2, 1)).reshape(len(LEVELS), -1)


@dataclass(frozen=True, eq=False)
class LinkPrice:
    """One spike of every source element: energy [n_terms, 3] at its target's cores and at its own, busy time [3, n_cores]."""

    received_j: Floats
    sent_j: Floats
    receive_s: Floats
    send_s: Floats


class UnitPrices:
    """Prices of unit loads on one target. `kinds`: synapse node -> "linear" or "conv2d"; `units` as in `events.Prices`.

    Raises UsageError for a profile without the times that a latency rests on.
    """

    def __init__(self, profile: Profile, kinds: MappingOf[str, str], units: MappingOf[str, str] | None = None) -> None:
        self.profile, self._kinds = profile, dict(kinds)
        self._around: dict[int, tuple[Floats, Floats]] = {}
        self.prices = Prices(profile, _stub(profile, kinds), units)
        check_times(self.prices)
        self.terms: tuple[Term, ...] = TERMS
        self.available = tuple(self.prices.has(term) for term in TERMS)
        # [neurons or inputs, east-west or north-south, n_terms, 3]: energy of one hop.
        self.hop_j = np.array([
            [
                self._price(is_input, 1, n_hops_ew=np.array([[ew]]), n_hops_ns=np.array([[1.0 - ew]])).energy_j[0]
                for ew in (1.0, 0.0)
            ]
            for is_input in (False, True)
        ])

    def around_steps(self, n_tiles: int) -> tuple[Floats, Floats]:
        """`timing.around_steps` as arrays [3, 1], kept by number of tiles."""
        if n_tiles not in self._around:
            floors, syncs = around_steps(self.profile, n_tiles)
            self._around[n_tiles] = np.array(floors)[:, None], np.array(syncs)[:, None]
        return self._around[n_tiles]

    def link(self, unit: UnitLink, synapse: str, from_input: bool) -> LinkPrice:
        """Price of a link but its hops, which depend on where its cores are: `hop_j`."""
        received = self._price(
            False, len(unit.synops), synapse=synapse, n_synops=unit.synops[None], n_packets_in=unit.packets_in[None]
        )
        sent = self._price(from_input, len(unit.packets_out), n_packets_out=unit.packets_out[None])
        return LinkPrice(
            received_j=received.energy_j[0], sent_j=sent.energy_j[0], receive_s=received.receive_s[..., 0],
            send_s=sent.send_s[..., 0],
        )

    def layer(self, unit: UnitLayer) -> Price:
        """Rows: each neuron firing once; each class updated once more than not at all; a step in which nothing happens."""
        n = len(unit.fan_in)
        shape = (n + 2, len(unit.n_neurons))
        spikes, active, inactive = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        spikes[0] = unit.n_neurons
        active[1:-1] = unit.n_of_class.T
        inactive[1:-1] = -unit.n_of_class.T
        active[-1], inactive[-1] = unit.n_biased, unit.n_neurons - unit.n_biased
        return self._price(False, shape[1], n_spikes=spikes, n_updates_active=active, n_updates_inactive=inactive)

    def _price(self, is_input: bool, n_cores: int, synapse: str | None = None, **counts: Floats) -> Price:
        n_rows = len(next(iter(counts.values())))
        none = np.zeros((n_rows, n_cores))
        every = {key: counts.get(key, none) for key in _KEYS}
        layer = LayerCounts(
            name="unit", is_input=is_input, n_neurons=0, columns=None,
            kinds={} if synapse is None else {synapse: self._kinds[synapse]},
            synops={} if synapse is None else {synapse: every["n_synops"]}, **every,
        )
        energy = np.zeros((n_rows, len(TERMS), len(LEVELS)))
        for i, term in enumerate(TERMS):
            if self.available[i] and term.applies(layer):
                for count, quantity in self.prices.energy(term, layer):
                    energy[:, i] += count.sum(axis=-1)[:, None] * np.array(quantity.si)
        busy = []
        for side in (self.prices.send, self.prices.receive):
            seconds = np.zeros((len(LEVELS), n_cores, n_rows))
            for count, quantity in side(layer):
                seconds += count.T * np.array(quantity.si)[:, None, None]
            busy.append(seconds)
        return Price(energy, *busy)


_KEYS = (
    "n_updates_active", "n_updates_inactive", "n_spikes", "n_synops", "n_packets_in", "n_packets_out", "n_hops_ew", "n_hops_ns",
)


def _stub(profile: Profile, kinds: MappingOf[str, str]) -> Counts:
    """Counts of nothing that name the synapse nodes, for `Prices`."""
    none = np.zeros((0, 0, 0))
    return Counts(
        n_timesteps=0, n_steps=0, batch=0, exact=False, latencies=None, n_neurons={}, activity={},
        traffic=tuple(Traffic("", name, kind, "", none, none, none, none, none) for name, kind in kinds.items()),
        mapping=Mapping((), {}, {}), zeros=profile.zeros,
    )
