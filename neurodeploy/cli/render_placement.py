"""How full the cores are, what decided their number, and what optimising the placement gained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, count, percent, si

_NAMES = {
    "neurons": "neurons", "synapse_words": "words", "axons_in": "axons in", "axons_out": "axons out", "neuron_groups": "groups",
}
_FIGURES = (
    ("latency", "latency_s", "s"), ("energy", "energy_j", "J"), ("dynamic energy", "energy_dynamic_j", "J"),
    ("energy x latency", "edp_js", "Js"), ("messages", "messages", ""), ("hops", "hops", ""), ("cores", "n_cores", ""),
    ("chips", "n_chips", ""),
)


def show_utilisation(console: Console, found: Mapping[str, Any]) -> None:
    """Print one row a layer: what limits it, and how much of each resource its fullest core uses."""
    rows = [
        [
            layer["layer"], _cores(layer), _NAMES[layer["limiting"]],
            *(percent(layer["resources"][name]["share"]) for name in _NAMES),
            MISSING if layer["n_packets_per_spike"] is None else f"{layer['n_packets_per_spike']:.3g}",
        ]
        for layer in found["layers"]
    ]
    columns = ["layer", "cores", "limited by", *_NAMES.values(), "packets"]
    limited = ", ".join(f"{_NAMES[name]} {count(n)}" for name, n in found["cores_by_resource"].items())
    note = (
        "Limited by: the resource that decides how many cores a layer needs; for a single core, the fullest one. Shares: of "
        f"its fullest core. packets: cores that a spike reaches. In all "
        f"{count(found['n_cores'])} of {count(found['n_cores_limit'])} cores ({limited}); "
        f"{percent(found['neurons_share'])} of the neurons of the cores in use are taken."
    )
    tables.grid(console, "Utilisation", columns, rows, note=note, left_also=(2,))


def show_optimised(console: Console, found: Mapping[str, Any]) -> None:
    """Print each figure of the plain and the optimised placement."""
    before, after = found["before"], found["after"]
    rows = []
    for title, key, unit in _FIGURES:
        a, b = before[key], after[key]
        change = f"{100 * (b / a - 1):+.1f} %" if a else MISSING
        rows.append([title, *(si(v, unit) if unit else count(v) for v in (a, b)), change])
    rate = found.get("rate")
    events = "counted on validation images" if rate is None else f"assumed: {rate:g} a neuron and timestep"
    events = events if found.get("input") is None else f"counted on {found['input']}"
    note = f"Schedule {after['schedule']}. Spikes {events}. {count(found['n_tried'])} placements tried."
    for extra in found["notes"]:
        note += f" {extra[:1].upper()}{extra[1:]}."
    columns = ["per inference", "plain", "optimised", "change"]
    tables.grid(console, f"Placement for {found['objective']}", columns, rows, note=note)


def _cores(layer: Mapping[str, Any]) -> str:
    """How many it has, and how many it needs where those are fewer."""
    has, needs = layer["n_cores"], layer["n_cores_needed"]
    if has is None:
        return MISSING
    return count(has) if has == needs else f"{count(has)} (needs {count(needs)})"
