"""What a source of events holds, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import count, percent, si


def show_events(console: Console, data: Mapping[str, Any]) -> None:
    """Print the size of the data, of its recordings, and what was written."""
    channels, height, width = data["sensor"]
    events, n_bins, bin_s = data["events_per_sample"], data["n_bins"], data["duration_us"] * 1e-6 / data["n_bins"]
    console.print()
    rows: list[tuple[str, ...]] = [
        ("samples", f"{data['n_samples']}: " + ", ".join(f"{n} {part}" for part, n in data["splits"].items())),
        ("classes", str(data["n_classes"])),
        ("sensor", f"{channels} channels, height {height}, width {width}"),
        ("duration", si(data["duration_us"] * 1e-6, "s")),
        ("events a sample", f"{count(events['median'])} in the median, {count(events['min'])} to {count(events['max'])}"
         + (f"; {data['n_empty']} samples have none" if data["n_empty"] else "")),
        ("ON events", percent(data["on_share"])),
        ("bins with several", f"{percent(data['shared_bins'])} of those with events, {n_bins} bins of {si(bin_s, 's')}"),
    ]  # fmt: skip
    tables.facts(console, "Events", rows, note="bins with several: a bin is one pixel, channel and stretch of time.")
    if data["camera"] is not None:
        tables.facts(console, "Simulated camera", [(f"camera.{k}", tables.text(k, v)) for k, v in data["camera"].items()])
    written = [path for path in (data["out"], data["plot"]) if path]
    if written:
        tables.lines(console, "Written", written)
