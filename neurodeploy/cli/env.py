"""`neurodeploy env`: side environments, where vendors' own tools live."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Debug, DryRun, Json, NoSettings, no_overrides

Name = Annotated[str, typer.Argument(metavar="NAME", help="A side environment: loihi2.")]


def env(ctx: typer.Context, json: Json = False, debug: Debug = False) -> Outcome | None:
    """Side environments: vendors' own tools, each with the Python and the versions that it needs.

    Nothing here needs them: networks are searched, simulated and exported without. They give a second opinion:
    `neurodeploy validate BUNDLE --oracle lava` lets Intel's Lava compute a bundle's spikes too. They lie in
    $NEURODEPLOY_CACHE, else in the user's cache folder. Without a sub-command: the list.

    Examples:
      neurodeploy env create loihi2
      neurodeploy env add loihi2 --python /opt/lava/bin/python
      neurodeploy env list
      neurodeploy env remove loihi2
    """
    return None if ctx.invoked_subcommand else _list()


def list_envs(json: Json = False, debug: Debug = False) -> Outcome:
    """List the side environments: their interpreter, and the versions in them.

    Examples:
      neurodeploy env list --json
    """
    return _list()


def create(
    ctx: typer.Context, name: Name, settings: NoSettings = None, dry_run: DryRun = False, json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Make a side environment: a virtual environment with pinned packages, about half a minute and 500 MB for loihi2.

    loihi2 holds Lava, which needs Python 3.10. It is looked for on PATH and in pyenv's and uv's folders by running what
    is found; $NEURODEPLOY_PYTHON310 names one. A second call keeps what is there, and one after a kill starts clean.
    Exit code 5 when no such Python is found, 7 when the installation fails.

    Examples:
      neurodeploy env create loihi2
      NEURODEPLOY_PYTHON310=~/python3.10/bin/python neurodeploy env create loihi2
    """
    frame: Frame = ctx.obj
    no_overrides(settings, "the lock file")
    from neurodeploy.jobs import env as job

    if dry_run:
        plan = job.env_plan(name)
        return Outcome(plan, lambda console: tables.show(console, plan))
    with frame.progress() as progress:
        found = job.env_create(name, progress=progress).to_dict()
    return Outcome(found, lambda console: _show(console, found))


def add(
    name: Name,
    python: Annotated[Path, typer.Option("--python", metavar="PATH", help="An interpreter that has the vendor's packages.")],
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Use an interpreter of your own instead of one that is made here; it is run, and its versions are recorded.

    It comes before an environment that was created. `env remove` forgets it and leaves its files alone.

    Examples:
      neurodeploy env add loihi2 --python /opt/lava/bin/python
    """
    from neurodeploy.jobs import env as job

    found = job.env_add(name, python).to_dict()
    return Outcome(found, lambda console: _show(console, found))


def remove(name: Name, json: Json = False, debug: Debug = False) -> Outcome:
    """Delete what was created for a name, and forget an interpreter that was added.

    Examples:
      neurodeploy env remove loihi2
    """
    from neurodeploy.jobs import env as job

    found = job.env_remove(name).to_dict()
    return Outcome(found, lambda console: _show(console, found))


def _list() -> Outcome:
    from neurodeploy.jobs import env as job

    found = job.env_list().to_dict()
    return Outcome(found, lambda console: _show(console, found))


def _show(console: Console, data: Mapping[str, Any]) -> None:
    rows = []
    for e in data["envs"]:
        packages = ", ".join(f"{k} {v}" for k, v in sorted(e["versions"].items()))
        rows.append([e["name"], e["kind"], e["python_version"], packages, e["python"]])
    if rows:
        columns = ["name", "kind", "Python", "packages", "interpreter"]
        tables.grid(console, "Side environments", columns, rows, left=5, note="The first of a name is used.",
                    width=console.width)
    missing = [name for name in data["known"] if name not in {e["name"] for e in data["envs"]}]
    if missing:
        commands = [f"neurodeploy env create {name}    # {data['known'][name]}" for name in missing]
        tables.lines(console, "Not here yet", commands)
