"""Accuracy on an event-driven chip, for a person: event by event, beside the clocked network and sinabs' integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import percent, points, share_of


def show_event_accuracy(
    console: Console, title: str, accuracy: Mapping[str, Any], agreement: Mapping[str, Any] | None, *, note: str = ""
) -> None:
    """Print the accuracy of the integers event by event, which is the one that counts, and what it stands beside."""
    rows = [
        ["accuracy, event by event", percent(accuracy["simulator"]),
         share_of(accuracy["n_right"], accuracy["n"], accuracy["interval"]), "simulated"],
    ]  # fmt: skip
    if accuracy.get("sinabs_rule") is not None:
        rows.append(["  the same by sinabs' rule", percent(accuracy["sinabs_rule"]),
                     "sinabs' integers, event by event", "simulated"])
    if accuracy.get("float") is not None:
        rows.append(["accuracy before, clocked", percent(accuracy["float"]), "real numbers, events in bins", "computed"])
    if agreement is not None:
        rows.append(["same answer as before", percent(agreement["share"]),
                     share_of(agreement["n_same"], agreement["n"], agreement["interval"]), "simulated"])
    paired = accuracy.get("simulator_minus_float")
    if paired is not None:
        rows.append(["change by integers and order", f"{points(paired['difference'])} points",
                     f"{points(paired['low'])} to {points(paired['high'])}; {paired['only_first_right']} gained, "
                     f"{paired['only_second_right']} lost", "simulated"])
    if accuracy.get("n_silent"):
        rows.append(["samples without an output spike", str(accuracy["n_silent"]), f"of {accuracy['n']}", "simulated"])
    tables.grid(console, title, ["", "result", "of", "status"], rows, note=note, marked=0, left_also=(2,))
