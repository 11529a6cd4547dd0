"""One event-driven target of an energy report, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, count, si
from neurodeploy.cli.render_cost import show_trust
from neurodeploy.cli.render_event_accuracy import show_event_accuracy
from neurodeploy.cli.render_event_cost import show_event_layers, show_event_totals
from neurodeploy.cli.render_event_exit import show_event_exit
from neurodeploy.cli.render_event_gap import show_gap

_BINS = {"argument": "given", "file": "as trained", "default": "the file names none, --timesteps does"}


def is_event_cost(entry: Mapping[str, Any]) -> bool:
    """Whether an entry is the cost of a sample on an event-driven chip."""
    return "decision_s" in entry


def show_event_target(console: Console, name: str, entry: Mapping[str, Any]) -> None:
    """Print accuracy, cost, layers, gap and early exit on one target."""
    title, data, accuracy = f"{name}: {count(entry['n_cores'])} cores", entry.get("data"), entry.get("accuracy")
    simulated = None
    if data is not None and accuracy is not None:
        simulated = (
            f"run event by event on a simulator of the chip's integer arithmetic, {accuracy['n']} samples of the "
            f"{data['split']} split of {data['name']}"
        )
        agreement = entry.get("agreement", accuracy.get("agreement"))
        note = f"The {data['split']} split of {data['name']}; 95 % intervals, the change paired."
        show_event_accuracy(console, title, accuracy, agreement, note=note)
    elif entry.get("input") is not None:
        used = entry["input"]
        n = f"{count(used['n_samples'])} sample{'s' if used['n_samples'] != 1 else ''}"
        simulated = f"run event by event on a simulator of the chip's integer arithmetic, {n} of {used['file']}"
        known = "as the file says" if used["duration_from"] == "file" else "to the end of the last event"
        tables.facts(console, title, [
            ("accuracy", MISSING),
            ("activity", f"{n} of {used['file']}, {count(used['n_events'])} events, every one counted"),
            ("duration", f"{si(used['duration_us'] * 1e-6, 's')} a sample, {known}"),
        ])  # fmt: skip
    else:
        bins = f"{count(entry['n_timesteps'])} bins ({_BINS[entry['n_timesteps_from']]})"
        assumed = f"assumed: {entry['rate']:g} events of each pixel and neuron in each of {bins}; no data was run"
        tables.facts(console, title, [("accuracy", MISSING), ("activity", assumed)])
    show_event_totals(console, entry)
    show_event_layers(console, entry)
    if entry.get("gap"):
        show_gap(console, entry["gap"])
    if entry.get("early_exit") is not None:
        show_event_exit(console, entry["early_exit"])
    show_trust(console, entry, entry.get("disclaimer"), simulated=simulated)
