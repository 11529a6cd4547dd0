"""The shapes that results are printed in: facts, tables, notes; and plain data where no renderer knows better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neurodeploy.cli import figures

WIDTH = 100  # columns that a result needs at most
_SI_UNITS = {"j": "J", "s": "s", "js": "Js", "w": "W", "hz": "Hz"}
_LONG = 60  # characters of a list shown in one cell


def grid(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, note: str = "", left: int = 1,
    left_also: Sequence[int] = (), marked: int | None = None, width: int = WIDTH,
) -> None:
    """Print rows of text under a bold title; the first `left` columns, those of `left_also` and "status" are aligned left.

    marked: the row printed bold. Where the console is too narrow cells are broken, never cut: a cut number is a wrong one.
    """
    drawn = Table(
        title=Text(title) if title else None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
        show_edge=False, padding=(0, 1, 0, 0), header_style="dim",
    )
    for i, name in enumerate(columns):
        words = i < left or i in left_also or name == "status"
        drawn.add_column(Text(name), justify="left" if words else "right", overflow="fold")
    for i, row in enumerate(rows):
        drawn.add_row(*(Text(cell) for cell in row), style="bold" if i == marked else "")
    console.print(drawn, width=min(width, console.width))
    if note:
        say(console, note, style="dim")
    console.print()


def facts(console: Console, title: str, rows: Sequence[tuple[str, ...]], *, note: str = "") -> None:
    """Print names with their values, and what each value rests on where a third cell is given."""
    if title:
        console.print(Text(title, style="bold"))
    drawn = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    drawn.add_column(style="dim", no_wrap=True)
    for _ in range(max((len(row) for row in rows), default=2) - 1):
        drawn.add_column(overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn, width=min(WIDTH, console.width))
    if note:
        say(console, note, style="dim")
    console.print()


def say(console: Console, text: str, *, style: str = "") -> None:
    """Print a paragraph, broken at the width of a result."""
    console.print(Text(text, style=style), width=min(WIDTH, console.width))


def lines(console: Console, title: str, entries: Sequence[str]) -> None:
    """Print lines that can be copied whole (paths, commands) under a title."""
    console.print(Text(title, style="bold"))
    for entry in entries:
        console.print(Text(f"  {entry}"), soft_wrap=True)
    console.print()


def settings(console: Console, resolved: Mapping[str, Any]) -> None:
    """Print settings by the keys that `--set` takes: a recipe's as they are, a profile's under `profile.`."""
    rows = list(_flat(resolved, ""))
    names = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        console.print(Text(f"{name:<{names}}  {value}"), soft_wrap=True)


def by_key(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved recipe, profile and arguments as `settings` takes them: the recipe's keys stand for themselves."""
    return {**resolved.get("recipe", {}), **{k: v for k, v in resolved.items() if k != "recipe"}}


def show(console: Console, data: Mapping[str, Any]) -> None:
    """Print plain data: single values first, then each list of entries as a table."""
    single = [(name, text(name, value)) for name, value in data.items() if not _is_table(value)]
    if single:
        facts(console, "", single)
    for name, value in data.items():
        if _is_table(value):
            entries = [{"": key, **entry} for key, entry in value.items()] if isinstance(value, Mapping) else value
            table(console, name, entries)


def table(console: Console, title: str, entries: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Print entries as rows, as wide as the console; columns default to the keys that occur, in their order."""
    names = list(columns) or list(dict.fromkeys(k for entry in entries for k in entry))
    rows = [[text(name, entry.get(name)) for name in names] for entry in entries]
    grid(console, title, names, rows, left=len(names), width=console.width)


def text(name: str, value: Any) -> str:
    """One value as text; the unit is what the name ends with (`energy_j`), accuracies are fractions shown in percent.

    >>> text("energy_j", {"low": 1e-6, "nominal": 2.5e-6, "high": 4e-6})
    '2.5 uJ (1 to 4)'
    >>> text("accuracy", 0.9725), text("n_cores", 12), text("bundle", None)
    ('97.25 %', '12', '-')
    """
    if value is None:
        return figures.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(name, value)
    if isinstance(value, Mapping):
        if set(value) == {"low", "nominal", "high"}:
            return figures.band(value, _unit(name) or "")
        return ", ".join(f"{k} {text(str(k), v)}" for k, v in value.items())
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value)
    joined = ", ".join(text(name, v) for v in value)
    return joined if len(joined) <= _LONG else f"{len(value)} entries (--json shows them)"


def _unit(name: str) -> str | None:
    return _SI_UNITS.get(name.rsplit("_", 1)[-1]) if "_" in name else None


def _number(name: str, value: float) -> str:
    if "accuracy" in name and 0 <= value <= 1:
        return figures.percent(value)
    unit = _unit(name)
    if unit is not None:
        return figures.si(value, unit)
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:.4g}"


def _is_table(value: Any) -> bool:
    """A non-empty list of entries, or a table of entries by name."""
    entries = list(value.values()) if isinstance(value, Mapping) else value
    return isinstance(entries, list | tuple) and bool(entries) and all(isinstance(e, Mapping) for e in entries)


def _flat(data: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    """(key of --set, value) of every leaf; a quantity is one line with its unit, band and status."""
    rows: list[tuple[str, str]] = []
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and {"value", "unit", "status"} <= set(value):
            low, high = value.get("low"), value.get("high")
            limits = f" ({low:g} to {high:g})" if low is not None and high is not None else ""
            rows.append((f"{name}.value", f"{value['value']:g} {value['unit']}{limits}, {value['status']}"))
        elif isinstance(value, Mapping) and value:
            rows += _flat(value, f"{name}.")
        else:
            rows.append((name, text(str(key), value)))
    return rows
