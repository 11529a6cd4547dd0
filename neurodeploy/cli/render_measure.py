"""What `targets measure` found, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, band, relative


def show_measured(console: Console, data: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Print the entries beside those of the packaged profile, and the network beside what the model says of it."""
    tables.facts(console, f"{data['device']}, driver {data['driver']}", [("extends", data["base"])])
    rows = []
    for name, entry in data["entries"].items():
        table, key = name.split(".")
        known = base[table].get(key)
        rows.append([name, _band(entry), entry["unit"], MISSING if known is None else _band(known),
                     MISSING if known is None else known["status"]])  # fmt: skip
    note = f"Median of the windows (lowest to highest). Not measured: {'; '.join(data['not_measured'])}."
    tables.grid(console, "Measured", ["entry", "measured", "unit", data["base"], "status there"], rows, note=note)
    networks = [
        [str(n["batch"]), what, band(n[key], unit), *(_said(n[model][key], n[key], unit) for model in ("packaged", "measured"))]
        for n in data["networks"]
        for what, key, unit in (("time of the batch", "latency_s", "s"), ("energy a sample", "energy_j", "J"))
    ]
    if networks:
        columns = ["batch", "", "measured", f"model with {data['base']}", "model with these constants"]
        note = "Measured times contain what the host's program does; predictions do not."
        tables.grid(console, "The network, unrolled, fp32", columns, networks, note=note)
    if data["profile"] is not None:
        tables.lines(console, "Written", [str(data["profile"])])
    tables.lines(console, "To use it in a command", [" ".join(f"--set {s}" for s in data["settings"])])


def _said(predicted: Mapping[str, float], found: Mapping[str, float], unit: str) -> str:
    return f"{band(predicted, unit)}, {relative(predicted['nominal'], found['nominal'])}"


def _band(entry: Mapping[str, Any]) -> str:
    low, high = entry["low"], entry["high"]
    return f"{entry['value']:.4g}" + ("" if low is None else f" ({low:.4g} to {high:.4g})")
