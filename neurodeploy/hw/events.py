"""Which entries the energy, time and power tables of a profile may have, and which of them exclude each other.

What each entry is multiplied with stands in `cost/events.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from neurodeploy.hw.quantity import Quantity, Status, Strict

Zeros = Literal["stored", "culled"]
SYNAPSE = "synapse"


class Synapses(Strict):
    """Which unit of a core handles the synapses of a node of each kind, and what becomes of weights that are zero.

    A unit `u` takes the entries `synapse_u` of the energy and time tables; without this table there is one unit, and its
    entry is `synapse`. `zeros`: weights of zero are "stored" and processed like any other, or "culled" before loading.
    """

    linear: str
    conv2d: str
    zeros: Zeros
    source: str
    status: Status


# Entries that the cost model knows; besides them `synapse_<kind of memory>`.
_EVENTS = frozenset({
    SYNAPSE, "update_active", "update_inactive", "soma_access", "soma_update", "soma_spike", "spike", "axon_out", "hop_ew",
    "hop_ns",
})  # fmt: skip
_ENTRIES: dict[str, frozenset[str]] = {
    "energy": _EVENTS, "time": _EVENTS | {"axon_in", "step_floor"}, "power": frozenset({"static", "management"}),
}
# What two forms of a table would charge twice.
_EITHER_OR: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (frozenset({"update_active", "update_inactive"}), frozenset({"soma_access", "soma_update", "soma_spike"})),
    (frozenset({"spike"}), frozenset({"axon_out", "soma_spike"})),
)

Table = Mapping[str, Quantity]


def check_entries(energy: Table, time: Table, power: Table, synapses: Synapses | None) -> None:
    """Raise ValueError for an entry that nothing counts, for entries that charge one event twice, and for kinds of synapse
    memory that no layer uses."""
    for where, table in (("energy", energy), ("time", time), ("power", power)):
        known = _ENTRIES[where]
        for name in table:
            if name not in known and not (where != "power" and name.startswith(f"{SYNAPSE}_")):
                raise ValueError(f"{where}.{name} is no event that anything counts; known: {', '.join(sorted(known))}")
    for where, table in (("energy", energy), ("time", time)):
        for one, other in _EITHER_OR:
            if one & table.keys() and other & table.keys():
                both = ", ".join(sorted((one | other) & table.keys()))
                raise ValueError(f"{where} has {both}: they charge the same event twice, give one form")
        units = sorted(name for name in table if name.startswith(f"{SYNAPSE}_"))
        if units and synapses is None:
            raise ValueError(f"{where} has {', '.join(units)}, but no [synapses] says which layers use them")
        if SYNAPSE in table and synapses is not None:
            raise ValueError(f"{where} has {SYNAPSE} and the profile [synapses]: give one entry a unit")


def check_sync(sync: Table) -> None:
    """Raise ValueError unless a table of synchronisation times is empty, or by numbers of tiles from 1 on."""
    if sync and not all(key.isascii() and key.isdecimal() and key[0] != "0" for key in sync):
        raise ValueError(f"sync has keys {', '.join(sync)}, expected numbers of tiles")
    if sync and "1" not in sync:
        raise ValueError("sync has no entry for 1 tile")
