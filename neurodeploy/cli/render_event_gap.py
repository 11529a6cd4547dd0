"""The gap between clocked and event-driven simulation, for a person: rows are layers, columns numbers of bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, percent, points, si


def show_gap(console: Console, reports: Sequence[Mapping[str, Any]]) -> None:
    """Print, for each layer and number of bins, the share of its event-driven spikes by which the clocked run differs."""
    if not reports:
        return
    rows = [
        [name, str(over), *(cell for report in reports for cell in _cells(report["layers"][i]))]
        for i, (name, over) in enumerate((layer["name"], layer["n_over_threshold"]) for layer in reports[0]["layers"])
    ]
    rows.append(["same answer", "", *(cell for report in reports for cell in (percent(report["agreement"]), ""))])
    columns = ["layer", "w > v_th", *(cell for report in reports for cell in (f"{report['n_bins']} bins", "own"))]
    sizes = ", ".join(si(report["bin_us"] * 1e-6, "s") for report in reports)
    binary = " Several events of a pixel in one bin count once." if reports[0]["binary"] else ""
    note = (
        f"{reports[0]['n_samples']} samples, bins of {sizes}.{binary} + : event by event the layer sends more spikes than "
        "clocked, in percent of them. own: what the layer adds itself, on the events that it received. w > v_th: "
        "weights above the threshold. The event-driven result is the one that counts."
    )
    tables.grid(console, "Clocked simulation against event-driven, by layer", columns, rows, note=note, marked=len(rows) - 1)


def _cells(layer: Mapping[str, Any]) -> tuple[str, str]:
    return _relative(layer["total"]), _relative(layer["own"])


def _relative(found: Mapping[str, Any]) -> str:
    """Signed percent; a layer that is silent event by event has none."""
    return MISSING if found["relative"] is None else f"{points(found['relative'])} %"
