"""A result's plain data for a person: single values first, then one table for each list or table of entries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_UNITS = {"j": "J", "s": "s", "js": "Js", "w": "W", "hz": "Hz"}
_PREFIXES = {-5: "f", -4: "p", -3: "n", -2: "u", -1: "m", 0: "", 1: "k", 2: "M", 3: "G"}
_WHOLE = 1e12  # larger whole numbers are shown with an exponent
_LONG = 60  # characters of a list shown in one cell


def show(console: Console, data: Mapping[str, Any]) -> None:
    """Print a result: a two-column table of its single values, then each list of entries as a table."""
    single = {k: v for k, v in data.items() if not _is_table(v)}
    if single:
        facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        facts.add_column(style="bold")
        facts.add_column()
        for name, value in _flat(single):
            facts.add_row(escape(name), escape(text(name, value)))
        console.print(facts)
    for name, value in data.items():
        if _is_table(value):
            entries = [{"": key, **entry} for key, entry in value.items()] if isinstance(value, Mapping) else value
            table(console, name, entries)


def table(console: Console, title: str, entries: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Print entries as rows; columns default to the keys that occur, in their order."""
    names = list(columns) or list(dict.fromkeys(k for entry in entries for k in entry))
    drawn = Table(title=escape(title), title_justify="left", title_style="bold")
    for name in names:
        numbers = all(isinstance(e.get(name), int | float | None) for e in entries)
        drawn.add_column(escape(name), justify="right" if numbers else "left", overflow="fold")
    for entry in entries:
        drawn.add_row(*(escape(text(name, entry.get(name))) for name in names))
    console.print(drawn)


def text(name: str, value: Any) -> str:
    """One value as text; the unit is what the name ends with (`energy_j`), accuracies are fractions shown in percent.

    >>> text("energy_j", {"low": 1e-6, "nominal": 2.5e-6, "high": 4e-6})
    '2.5 uJ (1 uJ to 4 uJ)'
    >>> text("accuracy", 0.9725), text("n_cores", 12), text("bundle", None)
    ('97.25 %', '12', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(name, value)
    if isinstance(value, Mapping):
        if set(value) == {"low", "nominal", "high"}:
            low, nominal, high = (text(name, value[k]) for k in ("low", "nominal", "high"))
            return f"{nominal} ({low} to {high})"
        return ", ".join(f"{k} {text(str(k), v)}" for k, v in value.items())
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value)
    joined = ", ".join(text(name, v) for v in value)
    return joined if len(joined) <= _LONG else f"{len(value)} entries (--json shows them)"


def _number(name: str, value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if "accuracy" in name and 0 <= value <= 1:
        return f"{100 * value:.2f} %"
    unit = _UNITS.get(name.rsplit("_", 1)[-1]) if "_" in name else None
    if unit is None:
        return f"{value:.0f}" if float(value).is_integer() and abs(value) < _WHOLE else f"{value:.4g}"
    power = min(max(math.floor(math.log10(abs(value)) / 3), -5), 3) if value else 0
    return f"{value / 1000**power:.4g} {_PREFIXES[power]}{unit}"


def _is_table(value: Any) -> bool:
    """A non-empty list of entries, or a table of entries by name."""
    entries = list(value.values()) if isinstance(value, Mapping) else value
    return isinstance(entries, list | tuple) and bool(entries) and all(isinstance(e, Mapping) for e in entries)


def _flat(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in data.items():
        if isinstance(value, Mapping) and value and set(value) != {"low", "nominal", "high"}:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows
