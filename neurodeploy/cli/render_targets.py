"""A hardware profile for a person: every number with its unit, band, status and source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, runs
from neurodeploy.hw.profile import AnyProfile, Counts, Quantity

_COLUMNS = ("number", "value", "low", "high", "unit", "status", "source")


def show_profile(console: Console, profile: AnyProfile) -> None:
    """Print a profile: what it is called, a table for each of its parts, what the vendor admits."""
    parts = {name: getattr(profile, name) for name in type(profile).model_fields}
    single = {name: part for name, part in parts.items() if not isinstance(part, BaseModel | dict)}
    errata, texts = single.pop("errata", ()), {name: _text(value) for name, value in single.items() if value is not None}
    tables.facts(console, "", [*texts.items(), ("digest", profile.digest)])
    for name, part in parts.items():
        if isinstance(part, BaseModel | dict) and part != {}:
            tables.table(console, name, _rows(part), _COLUMNS)
    if errata:
        tables.lines(console, "errata", errata)


def _rows(part: BaseModel | dict[str, Any]) -> list[dict[str, Any]]:
    """One row a number; in a table whose numbers share one source and status, each row repeats them."""
    entries = part if isinstance(part, dict) else {name: getattr(part, name) for name in type(part).model_fields}
    shared = {k: entries[k] for k in ("status", "source") if isinstance(entries.get(k), str)}
    rows: list[dict[str, Any]] = []
    for name, value in entries.items():
        if isinstance(value, Counts):
            rows.append({"number": name, **value.model_dump(), "value": _counts(value.values)})
        elif isinstance(value, Quantity):
            numbers = {k: _number(v) for k, v in value.model_dump().items() if k in ("value", "low", "high")}
            rows.append({"number": name, **value.model_dump(), **numbers})
        elif name not in shared:
            rows.append({"number": name, "value": value, **shared})
    return rows


def _counts(values: Sequence[int]) -> str:
    """Values that a field may take, or one for each core: those repeat.

    >>> _counts([1, 2, 4]), _counts([9, 9, 7, 9]), _counts([])
    ('1, 2, 4', '9 (cores 0-1, 3), 7 (2)', 'none')
    """
    if len(set(values)) == len(values):
        return ", ".join(map(str, values)) or "none"
    cores: dict[int, list[int]] = {}
    for core, n in enumerate(values):
        cores.setdefault(n, []).append(core)
    return ", ".join(f"{n} ({'' if i else 'cores '}{runs(at)})" for i, (n, at) in enumerate(cores.items()))


def _number(value: float | None) -> str | None:
    """As the file has it: nothing is rounded away."""
    return None if value is None else f"{value:.0f}" if value.is_integer() and value < 1e15 else f"{value:.12g}"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) or MISSING if isinstance(value, tuple) else str(value)
