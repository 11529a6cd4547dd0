"""A comparison for a person: what each target answers, what an inference costs there, who is best and how certain that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, band, count, percent, si

_RESPECTS = {
    "accuracy": "most accurate", "energy_j": "cheapest", "energy_dynamic_j": "least dynamic energy",
    "latency_s": "first to decide", "edp_js": "least energy x time", "early_exit_energy_j": "cheapest with early exit",
}  # fmt: skip
_LONGEST = 30  # characters of what a figure rests on, where several targets share a table


def show_comparison(console: Console, data: Mapping[str, Any]) -> None:
    """Print a comparison, the contract's object."""
    console.print()
    rows: list[dict[str, Any]] = data["rows"]
    able, refused = [row for row in rows if row["fits"]], [row for row in rows if not row["fits"]]
    if able:
        _show_answers(console, able)
        _show_costs(console, able)
        _show_early_exit(console, [row for row in able if row["early_exit"] is not None])
    if refused:
        tables.facts(console, "Cannot take the network", [(row["target"], _refusal(row)) for row in refused])
    _show_best(console, data["best"], able)
    _show_trust(console, able)


def _show_answers(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    cells = []
    for row in rows:
        accuracy = row["accuracy"] or {}
        interval = accuracy.get("interval")
        cells.append([
            row["target"], row["title"], count(row["n_cores"]), percent(accuracy.get("simulator")),
            MISSING if interval is None else f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f} %",
            percent(accuracy.get("float")), _basis(row),
        ])  # fmt: skip
    columns = ["target", "", "cores", "accuracy", "95 %", "before", "on"]
    note = "accuracy: on each target's simulator. before: in real numbers, before quantization."
    tables.grid(console, "Answers", columns, cells, left=2, left_also=(6,), note=note)


def _basis(row: Mapping[str, Any]) -> str:
    """What was run."""
    if row["data"] is not None:
        found = f"{count(row['accuracy']['n'])} of {row['data']['name']}"
    elif row["input"] is not None:
        found = f"{count(row['input']['n_samples'])} of {row['input']['file']}"
    elif row["rate"] is None:
        return "no data: its shapes alone"
    else:
        return f"a rate of {row['rate']:g}, assumed"
    return found if len(found) <= _LONGEST else f"...{found[-_LONGEST:]}"


def _show_costs(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    cells = [
        [
            row["target"], band(row["energy_j"], "J"), band(row["energy_dynamic_j"], "J"),
            si(_decided(row), "s"), si(row["interval_s"], "s"), si(row["edp_js"], "Js"), row["status"] or MISSING,
        ]
        for row in rows
    ]  # fmt: skip
    note = "nominal (low to high). every: time to the next, as long as static power runs. EDP: energy x time until decided."
    if any(row["decision_s"] is not None for row in rows):
        note += " On an event-driven chip that is the sample's own duration and the way of its last event."
    columns = ["target", "energy", "of it dynamic", "decided", "every", "EDP", "status"]
    tables.grid(console, "One inference", columns, cells, note=note)


def _decided(row: Mapping[str, Any]) -> float | None:
    """Seconds until the answer, those of the sample itself among them."""
    found: float | None = row["latency_s"] if row["decision_s"] is None else row["decision_s"]
    return found


def _show_early_exit(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    cells = []
    for row in rows:
        found = row["early_exit"]
        events = found.get("mean_events")
        after = f"{found['mean_timesteps']:.2f} timesteps" if events is None else f"{count(events)} events"
        saved = percent(found["energy_saved"])
        full, early = band(found["energy_full_j"], "J"), band(found["energy_j"], "J")
        cells.append([row["target"], percent(found["accuracy"]), after, early, full, saved])
    columns = ["target", "accuracy", "stops after", "energy", "instead of", "saved"]
    tables.grid(console, "Early exit, one sample alone", columns, cells)


def _refusal(row: Mapping[str, Any]) -> str:
    more, reason = row["n_violations"] - 1, str(row["reason"])
    return reason if more < 1 else f"{reason} And {more} more limit{'s' if more > 1 else ''} broken: `neurodeploy check`."


def _show_best(console: Console, best: Mapping[str, Mapping[str, Any] | None], able: Sequence[Mapping[str, Any]]) -> None:
    facts = [(name, verdict(found)) for key, name in _RESPECTS.items() if (found := best[key]) is not None]
    if facts:
        paces = {row["interval_s"] for row in able}
        note = "Each runs at its own pace, and pays static power for that long: --interval compares them at the same."
        tables.facts(console, "Which is best", facts, note=note if len(paces) > 1 else "")
    elif len(able) == 1:
        tables.say(console, f"Only {able[0]['target']} takes the network: there is nothing to choose between.")
        console.print()


def verdict(found: Mapping[str, Any]) -> str:
    """Who is best in one respect, and whether the bands leave that certain.

    >>> verdict({"target": "a", "equal": [], "overlapping": [], "certain": True})
    'a, certain: no band overlaps'
    >>> verdict({"target": "a", "equal": ["b"], "overlapping": ["b", "c"], "certain": False})
    'a and b alike by nominal figures, not certain: the band of c overlaps'
    """
    names = [found["target"], *found["equal"]]
    head = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} alike by nominal figures"
    others = [name for name in found["overlapping"] if name not in found["equal"]]
    if others:
        bands = "the band of {} overlaps" if len(others) == 1 else "the bands of {} overlap"
        return f"{head}, not certain: {bands.format(', '.join(others))}"
    return head if found["equal"] else f"{head}, certain: no band overlaps"


def _show_trust(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """The disclaimers, those of several targets once, and what no figure counts."""
    said: dict[str, list[str]] = {}
    for row in rows:
        if row["disclaimer"]:
            said.setdefault(row["disclaimer"], []).append(row["target"])
    if said:
        facts = [(", ".join(names), text) for text, names in said.items()]
        note = "What no figure counts is listed by `neurodeploy energy`."
        tables.facts(console, "How far to trust this", facts, note=note)
