"""Cores of an event-driven chip, for a person: which layer is where, how full its memories are, which integers it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import count, percent

_MEMORIES = ("kernel", "neuron", "bias")
_RULES = {
    "mismatch": "The scale of each core that disturbs least",
    "sinabs": "sinabs' rule, to the last bit",
}
_FLAGS = ("silent", "saturated", "threshold_lost")


def show_core_plan(console: Console, plan: Mapping[str, Any], source: str | None = None) -> None:
    """Print one row a layer: its core, and the words that it takes of the core's memories. source: who placed it."""
    rows = []
    for use in plan["cores"]:
        cells = [str(use["core"]), use["node"]]
        for memory in _MEMORIES:
            used, most = use[f"{memory}_words"], use[f"{memory}_words_max"]
            cells += [f"{count(used)} of {count(most)}", percent(used / most if most else 0.0)]
        rows.append(cells)
    columns = ["core", "layer", *(cell for memory in _MEMORIES for cell in (f"{memory} words", "full"))]
    note = "Words round up to powers of two: kernels of 8 bits, states of 16. A layer takes a whole core."
    note = note if source is None else f"The placement is {source}. {note}"
    tables.grid(console, f"Cores of {plan['target']}", columns, rows, note=note, left=2)


def show_core_integers(console: Console, found: Mapping[str, Any]) -> None:
    """Print one row a core: its scale, its integers and what rounding did to them."""
    rows = [
        [
            e["layer"], f"{e['scale']:.6g}", f"{e['weight'][0]} to {e['weight'][1]}", str(e["v_th"]), str(e["v_min"]),
            e["decided_by"], f"{e['typical_levels']:.3g}", count(e["n_dead"]), count(e["n_clipped"]),
            count(e["n_over_threshold"]),
        ]
        for e in found["layers"]
    ]
    columns = ["layer", "scale", "weights", "v_th", "v_min", "set by", "levels", "lost", "clipped", "w > v_th"]
    note = f"{_RULES.get(found['rule'], found['rule'])}"
    if found["rule"] != "sinabs":
        run = "judged by running calibration data event by event" if found["calibrated"] else "from the weights alone: no data"
        note += f", {run}"
    note += (
        ". set by: what bounds the scale. levels: the typical weight in steps of the grid. lost: weights that became 0. "
        "w > v_th: weights above the threshold, whose second spike comes late."
    )
    tables.grid(console, "Quantization", columns, rows, note=note, left_also=(5,))
    for entry in found["layers"]:
        flags = [name.replace("_", " ") for name in _FLAGS if entry[name]]
        if flags:
            tables.say(console, f"{entry['layer']}: {', '.join(flags)}", style="bold red")
            console.print()
