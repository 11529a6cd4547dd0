"""`neurodeploy targets`: the hardware profiles, every number with its unit, band, status and source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Debug, Json, Settings, one_target, overrides
from neurodeploy.hw.profile import Profile, Quantity, names, read, weakest
from neurodeploy.hw.profile import target as load_target


def targets(ctx: typer.Context, json: Json = False, debug: Debug = False) -> Outcome | None:
    """The chips neurodeploy knows: what limits them, what an event costs, and where each number comes from.

    Without a sub-command: the list. The status of a number is measured, published, estimated or assumed,
    from most to least trustworthy.

    Examples:
      neurodeploy targets
      neurodeploy targets show loihi2
      neurodeploy targets check my_chip.toml
    """
    return None if ctx.invoked_subcommand else _list()


def list_targets(json: Json = False, debug: Debug = False) -> Outcome:
    """List the targets: name, status of their energy constants, size.

    Examples:
      neurodeploy targets list --json
    """
    return _list()


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="TARGET", help="A target's name or alias.")],
    settings: Settings = None,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Show every number of a target with its unit, band, status and source.

    Examples:
      neurodeploy targets show loihi2
      neurodeploy targets show loihi2 --set profile.energy.synapse.value=20
    """
    frame: Frame = ctx.obj
    # Here everything is the profile's: the key that the other commands take, and the one that this table shows.
    changes = {key.removeprefix("profile."): value for key, value in overrides(settings).items()}
    profile = load_target(one_target(frame, name), changes)
    data = {"profile": profile.model_dump(mode="json"), "digest": profile.digest}
    return Outcome(data, lambda console: _show(console, profile))


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A profile in TOML.")],
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Check a profile of your own: its keys, units, sources, bands and counts.

    Examples:
      neurodeploy targets check my_chip.toml
    """
    profile = read(file)
    data = {"profile": profile.name, "file": file, "digest": profile.digest, **_summary(profile)}
    return Outcome(data, lambda console: tables.show(console, data))


def _list() -> Outcome:
    profiles = [load_target(name) for name in names()]
    entries = [_summary(p) for p in profiles]

    def print_list(console: Console) -> None:
        columns = ("name", "aliases", "title", "energy_status", "n_cores", "systems")
        tables.table(console, "Targets", entries, columns)
        for entry in entries:
            if entry["disclaimer"]:
                console.print(f"{entry['name']}: {entry['disclaimer']}", markup=False, soft_wrap=True)

    return Outcome({"targets": entries}, print_list)


def _summary(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "title": profile.title,
        "aliases": list(profile.aliases),
        "energy_status": weakest([q.status for q in profile.energy.values()]),
        "n_cores": profile.capacity.cores_per_chip.count,
        "systems": dict(profile.systems),
        "disclaimer": profile.disclaimer,
    }


def _show(console: Console, profile: Profile) -> None:
    single: dict[str, Any] = {"name": profile.name, "title": profile.title, "aliases": list(profile.aliases)}
    tables.show(console, {**single, "disclaimer": profile.disclaimer, "digest": profile.digest})
    for name in type(profile).model_fields:
        part = getattr(profile, name)
        if isinstance(part, BaseModel | dict) and part != {}:
            tables.table(console, name, _rows(part), ("number", "value", "low", "high", "unit", "status", "source"))


def _rows(part: BaseModel | dict[str, Any]) -> list[dict[str, Any]]:
    """One row a number; in a table whose numbers share one source and status, each row repeats them."""
    entries = part if isinstance(part, dict) else {name: getattr(part, name) for name in type(part).model_fields}
    shared = {k: entries[k] for k in ("status", "source") if isinstance(entries.get(k), str)}
    rows: list[dict[str, Any]] = []
    for name, value in entries.items():
        if isinstance(value, Quantity):
            rows.append({"number": name, **value.model_dump()})
        elif name not in shared:
            rows.append({"number": name, "value": value, **shared})
    return rows
