"""`neurodeploy worker`: one more process that evaluates architectures of a running search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Debug, DryRun, Json, NoSettings, no_overrides


def worker(
    ctx: typer.Context,
    run: Annotated[Path, typer.Option("--run", exists=True, file_okay=False, help="The folder of the search's run.")],
    settings: NoSettings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Help a running search: evaluate its architectures on the same storage until none is left.

    May run on another machine that sees the folder, or, where the search's trials are in a database (`search --storage`),
    a copy of its run.json, supernet.ckpt and references.json. The search's result does not depend on the number of workers.

    Examples:
      neurodeploy worker --run runs/first
    """
    frame: Frame = ctx.obj
    no_overrides(settings, "the run")
    if dry_run:
        asked = {"run": run}
        return Outcome(asked, lambda console: tables.show(console, asked))

    from neurodeploy import commands

    with frame.progress() as progress:
        result = commands.worker(run, progress=progress)
    data = result.to_dict()
    return Outcome(data, lambda console: tables.show(console, data))
