"""`neurodeploy doctor`: what works on this machine, and the one command that mends each gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Debug, Json


def doctor(ctx: typer.Context, json: Json = False, debug: Debug = False) -> Outcome:
    """Try what neurodeploy uses on this machine: torch, GPU, compiled kernels, cache, vendors' environments.

    Nothing is changed. A `gap` is something that does not work yet, with the one command that mends it; the exit code
    is 0 all the same, since most work needs none of them.

    Examples:
      neurodeploy doctor
      neurodeploy doctor --json
    """
    frame: Frame = ctx.obj
    from neurodeploy.jobs import doctor as job

    with frame.progress() as progress:
        found = job.doctor(progress=progress).to_dict()
    return Outcome(found, lambda console: _show(console, found))


def _show(console: Console, data: Mapping[str, Any]) -> None:
    console.print()
    rows = [[c["name"], c["status"], c["what"]] for c in data["checks"]]
    tables.grid(console, "This machine", ["check", "", "found"], rows, left=3)
    mending = [f"{c['remedy']}    # {c['name']}" for c in data["checks"] if c["status"] == "gap" and c["remedy"]]
    if mending:
        tables.lines(console, "To mend the gaps", mending)
