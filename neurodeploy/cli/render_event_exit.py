"""Early exit on an event-driven chip, for a person: events and time until the decision, and what that saves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.exit_rows import oracle, rule, with_policy
from neurodeploy.cli.figures import band, count, percent, points, si

_BAR = 24  # characters of the largest bar of the histogram
_N_BARS = 16  # at most; more windows are counted together


def show_event_exit(console: Console, found: Mapping[str, Any]) -> None:
    """Print accuracy, events, time and energy until the decision beside those of whole samples, and a histogram."""
    full, policy = found["full"], found["policy"]
    unit = _unit(policy["by"])
    name, decides = rule(policy if "method" in policy else policy["confidence"])
    said = f", {found['status']}"
    rows = [
        (name, f"{decides}; the vote is read every {count(policy['step'])} {unit}"),
        ("accuracy", f"{percent(found['accuracy'])} of {found['n']}, simulated; {percent(full['accuracy'])} of whole samples "
                     f"({points(found['accuracy'] - full['accuracy'])} points)"),
        ("events to the decision", f"{count(found['mean_events'])} of {count(full['mean_events'])} on average, simulated"),
        ("time to the decision", f"{si(found['mean_time_s'], 's')} of {si(full['mean_time_s'], 's')} on average, simulated"),
        *([("synops", f"{percent(found['synops_share'])} of those of whole samples, simulated")]
          if found["synops_share"] is not None else []),
        ("energy, one sample", f"{band(found['energy_j'], 'J')} instead of {band(found['energy_full_j'], 'J')}{said}"),
        ("  of it dynamic",
         f"{band(found['energy_dynamic_j'], 'J')} instead of {band(found['energy_dynamic_full_j'], 'J')}{said}"),
        ("energy saved", percent(found["energy_saved"])),
        *with_policy(found),
        oracle(found),
    ]  # fmt: skip
    tables.facts(console, "Early exit", rows)
    columns = [unit, "samples that stop", "", "accuracy of all, stopped here"]
    tables.grid(console, "", columns, _histogram(found), left_also=(2,), note=event_verdict(found))


def event_verdict(found: Mapping[str, Any]) -> str:
    """One sentence on what stopping early is worth here."""
    spared = 1 - found["mean_events"] / found["full"]["mean_events"] if found["full"]["mean_events"] else 0.0
    if spared <= 0:
        return (
            "No sample stops early: every rule that does so costs more accuracy on validation than the recipe allows. "
            "Early exit saves nothing here."
        )
    return (
        f"Stopping early spares {100 * spared:.0f} % of the events and {100 * found['energy_saved']:.0f} % of the energy. "
        "Static power counts only until the decision: the next sample follows at once, or the chip is switched off."
    )


def _histogram(found: Mapping[str, Any]) -> list[list[str]]:
    """At most `_N_BARS` rows up to the last window in which a sample stops."""
    n_in = found["histogram"]
    n_windows = max((k for k, n in enumerate(n_in, start=1) if n), default=1)
    size = -(-n_windows // _N_BARS)
    bars = [(first, min(first + size, n_windows)) for first in range(0, n_windows, size)]
    sums = [sum(n_in[first:end]) for first, end in bars]
    step, largest = found["policy"]["step"], max([*sums, 1])
    return [
        [f"{count(first * step + 1)} to {count(end * step)}", f"{n} ({100 * n / found['n']:.1f} %)",
         "█" * round(_BAR * n / largest), percent(found["fixed"][end - 1]["accuracy"])]
        for (first, end), n in zip(bars, sums, strict=True)
    ]  # fmt: skip


def _unit(by: str) -> str:
    return "events" if by == "event" else "us"
