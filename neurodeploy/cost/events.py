"""Which count is multiplied with which entry of a profile's energy and time tables.

Chips are documented in different forms: a neuron update as two prices (active, inactive) or as a price of looking at it
plus what an update and a spike add; a packet with or without the spike in it. A profile has the entries of one form; that
form is charged. Entries that charge the same event twice are refused with the profile (`hw.profile`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neurodeploy.cost.counts import Array, Counts, LayerCounts
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import SYNAPSE, Profile, Quantity, Status

Form = dict[str, str]  # count of a layer -> entry of a table
Of = Literal["neurons", "inputs", "all"]
Charge = tuple[Array, Quantity]

_SOMA: tuple[Form, ...] = (
    {"n_updates_active": "update_active", "n_updates_inactive": "update_inactive"},
    {"n_updates": "soma_access", "n_updates_active": "soma_update", "n_spikes": "soma_spike"},
)
_PACKET: tuple[Form, ...] = ({"n_packets_out": "spike"}, {"n_packets_out": "axon_out"})
_HOP: tuple[Form, ...] = ({"n_hops_ew": "hop_ew", "n_hops_ns": "hop_ns"},)
_RECEIVED: tuple[Form, ...] = ({}, {"n_packets_in": "axon_in"})
FLOOR = "step_floor"


@dataclass(frozen=True)
class Term:
    """A term of the dynamic energy, of neuron layers or of inputs: one of several forms, or the synapses (None)."""

    name: str
    forms: tuple[Form, ...] | None
    of: Of

    def applies(self, layer: LayerCounts) -> bool:
        """True where the layer carries this term."""
        return self.of == "all" or layer.is_input == (self.of == "inputs")


TERMS = (
    Term("synapse", None, of="neurons"),
    Term("soma", _SOMA, of="neurons"),
    Term("spike", _PACKET, of="neurons"),
    Term("hop", _HOP, of="all"),
    Term("input", _PACKET, of="inputs"),
)


def chosen(forms: tuple[Form, ...], table: Mapping[str, Quantity]) -> Form:
    """The form of which most entries are in the table, the first of several; some may be missing."""
    return max(forms, key=lambda form: sum(entry in table for entry in form.values()))


class Prices:
    """What a profile charges for the counts of one network.

    `units` names the unit of single synapse nodes; others follow the profile's `[synapses]`. Raises UsageError for a node
    that the counts do not have, a unit without entries, and counts that treat weights of zero otherwise than the profile.
    """

    def __init__(self, profile: Profile, counts: Counts, units: Mapping[str, str] | None = None) -> None:
        if counts.zeros != profile.zeros:
            raise UsageError(
                f"the counts have weights of zero {counts.zeros}", limit=f"{profile.name}: {profile.zeros} (synapses.zeros)",
                remedy="Count with zeros = profile.zeros, or override synapses.zeros of the profile",
            )
        self.profile = profile
        self._entries = {t.synapse: _entry(t.synapse, t.kind, profile, units or {}) for t in counts.traffic}
        unknown = sorted(set(units or {}) - set(self._entries))
        if unknown:
            raise UsageError(f"no synapses {', '.join(unknown)}", where="units", limit=f"Known: {', '.join(self._entries)}")
        known = profile.energy.keys() | profile.time.keys()
        absent = sorted(set(units or {}) & {name for name, entry in self._entries.items() if entry not in known})
        if absent:
            raise UsageError(
                f"{profile.name} has no {self._entries[absent[0]]}", where=absent[0],
                limit=f"Known: {', '.join(sorted(e for e in known if e.startswith(SYNAPSE)))}",
            )
        self.n_tiles = counts.mapping.n_tiles
        rule = profile.synapses is not None and not set(self._entries) <= set(units or {})
        # How far to trust which unit each synapse node uses: the profile's rule, or what was said.
        self.status: Status = profile.synapses.status if rule and profile.synapses is not None else "measured"

    def entries(self, term: Term) -> list[str]:
        """Entries of the energy table that a term rests on, in the table or not."""
        if term.forms is None:
            return list(dict.fromkeys(self._entries.values())) or self._synapse_entries()
        return list(chosen(term.forms, self.profile.energy).values())

    def has(self, term: Term) -> bool:
        """True where the profile has every entry of a term."""
        return all(entry in self.profile.energy for entry in self.entries(term))

    def energy(self, term: Term, layer: LayerCounts) -> list[Charge]:
        """(count, energy of one) of each part of a term; the profile has the term."""
        if term.forms is None:
            return self._synops(layer, self.profile.energy)
        return _charges(chosen(term.forms, self.profile.energy), layer, self.profile.energy)

    def send(self, layer: LayerCounts) -> list[Charge]:
        """(count, time of one) of what occupies a core on its sending side; an input only sends packets."""
        table = self.profile.time
        soma = [] if layer.is_input else _charges(chosen(_SOMA, table), layer, table)
        return soma + _charges(chosen(_PACKET, table), layer, table)

    def receive(self, layer: LayerCounts) -> list[Charge]:
        """(count, time of one) of what occupies a core on its receiving side."""
        table = self.profile.time
        return self._synops(layer, table) + _charges(chosen(_RECEIVED, table), layer, table)

    def times(self) -> list[str]:
        """Entries of the time table that a latency rests on, in the table or not."""
        table = self.profile.time
        found = [*chosen(_SOMA, table).values(), *chosen(_PACKET, table).values()]
        found += [*(dict.fromkeys(self._entries.values()) or self._synapse_entries()), *chosen(_RECEIVED, table).values()]
        return [*found, FLOOR] if FLOOR in table or not self.profile.sync else found

    def _synapse_entries(self) -> list[str]:
        """The entry of a network without any synapses: that of a linear layer."""
        return [_entry("", "linear", self.profile, {})]

    def _synops(self, layer: LayerCounts, table: Mapping[str, Quantity]) -> list[Charge]:
        found: dict[str, Array] = {}
        for name, synops in layer.synops.items():
            entry = self._entries[name]
            found[entry] = found.get(entry, np.zeros_like(synops)) + synops
        if not found:
            return [(layer.n_synops, table[self._synapse_entries()[0]])]
        return [(synops, table[entry]) for entry, synops in found.items()]


def _entry(synapse: str, kind: str, profile: Profile, units: Mapping[str, str]) -> str:
    """The entry of a synapse node's events in the energy and time tables."""
    if profile.synapses is None:
        if synapse in units:
            raise UsageError(f"{profile.name} has one unit for all synapses", where=synapse, remedy="Name no units")
        return SYNAPSE
    unit = units.get(synapse) or {"linear": profile.synapses.linear, "conv2d": profile.synapses.conv2d}[kind]
    return f"{SYNAPSE}_{unit}"


def _charges(form: Form, layer: LayerCounts, table: Mapping[str, Quantity]) -> list[Charge]:
    return [(getattr(layer, key), table[entry]) for key, entry in form.items()]
