"""`neurodeploy search`: an architecture search with the chip's cost inside the fitness, down to a validated bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Debug, DryRun, Json, Seed, Settings, Target, one_target, overrides
from neurodeploy.errors import Interrupted

COLUMNS = ("genome", "accuracy", "spikes", "synops", "energy_j", "latency_s", "n_cores", "fits", "fitness")


def search(
    ctx: typer.Context,
    target: Target = "loihi2",
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", metavar="RECIPE", help="A packaged recipe's name or a TOML file.")
    ] = "digits",
    method: Annotated[str | None, typer.Option("--method", help="Search method. Default: the recipe's.")] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Architectures to evaluate. Default: the recipe's.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="New folder of the run. Default: one under runs/.")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", exists=True, help="Continue the run in this folder.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that evaluate. The result is the same.")] = 1,
    seed: Seed = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Search an architecture for a chip and deploy the best.

    Evaluates architectures with the chip's cost in their fitness; then trains, quantizes, places, exports and
    validates the best, and reports the front of accuracy against energy. Ctrl-C ends the running trial and
    prints the command that resumes.

    Examples:
      neurodeploy search --target loihi2
      neurodeploy search --target loihi2 --budget 20 --workers 2 --out runs/first
      neurodeploy search --resume runs/first
      neurodeploy search --set evolution.budget=20 --dry-run
    """
    frame: Frame = ctx.obj
    name = one_target(frame, target)
    changes = overrides(settings)
    from neurodeploy import commands

    if dry_run:
        flags = {"method": method, "budget": budget, "out": out, "resume": resume, "workers": workers, "seed": seed}
        given = {k: v for k, v in flags.items() if v is not None}
        resolved = {**commands.resolve_recipe(recipe, name, changes), "arguments": given}
        return Outcome(resolved, lambda console: tables.show(console, resolved))
    try:
        with frame.progress() as progress:
            result = commands.search(
                recipe, name, method=method, budget=budget, out=out, resume=resume, workers=workers, seed=seed,
                overrides=changes, progress=progress,
            )
    except KeyboardInterrupt as error:
        folder = resume or out
        remedy = f"Resume with `neurodeploy search --resume {folder or 'RUN'}`"
        raise Interrupted("interrupted", remedy=remedy if folder else f"{remedy}, RUN being its folder under runs/") from error
    data = result.to_dict()
    return Outcome(data, lambda console: _show(console, data))


def _show(console: Console, data: dict[str, Any]) -> None:
    if data.get("pareto"):
        tables.table(console, "Pareto front", data["pareto"], COLUMNS)
    tables.show(console, {k: v for k, v in data.items() if k != "pareto"})
