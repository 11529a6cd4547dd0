"""How long each timestep takes, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import count, si

_N_SHOWN = 12


def show_steps(console: Console, cost: Mapping[str, Any]) -> None:
    """Print the nominal length of the timesteps of one inference: all of them where they are few, else their spread."""
    steps: list[float] = cost["latency_steps_s"]
    if not steps:
        return
    longest = max(range(len(steps)), key=steps.__getitem__)
    rows = [
        ("timesteps", f"{count(len(steps))}, {si(sum(steps), 's')} together"),
        ("shortest, median, longest", f"{si(min(steps), 's')}, {si(median(steps), 's')}, {si(steps[longest], 's')}"),
    ]
    if max(steps) > min(steps):
        rows.append(("longest is", f"timestep {longest} (the first is 0)"))
    if len(steps) <= _N_SHOWN:
        rows.append(("each, us", ", ".join(f"{step * 1e6:.3g}" for step in steps)))
    tables.facts(console, f"Timesteps, {cost['schedule']}, mean of the samples", rows)
