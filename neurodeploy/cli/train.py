"""`neurodeploy train`: one architecture of a recipe's space, trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Debug, DryRun, Json, Seed, Settings, overrides
from neurodeploy.cli.render_deploy import show_training


def train(
    ctx: typer.Context,
    recipe: Annotated[str, typer.Option("--recipe", "-r", metavar="RECIPE", help="A packaged recipe's name or a TOML file.")],
    arch: Annotated[
        str, typer.Option("--arch", "-a", metavar="ARCH", help="Blocks, as `search` prints a genome, or a name: AutoSNN.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="New folder of the run. Default: one under runs/.")] = None,
    seed: Seed = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Train one architecture on the recipe's dataset and write the model file.

    Examples:
      neurodeploy train --recipe digits --arch skip,SCB_k3,skip,skip,SCB_k3 --out runs/one
      neurodeploy train --recipe digits --arch skip,SCB_k3,skip,skip,SCB_k3 --set train.epochs=20
    """
    frame: Frame = ctx.obj
    changes = overrides(settings)
    from neurodeploy import commands

    if dry_run:
        resolved = commands.resolve_recipe(recipe, None, changes)
        return Outcome(resolved, lambda console: tables.settings(console, tables.by_key(resolved)))
    with frame.progress() as progress:
        result = commands.train(recipe, arch, out=out, seed=seed, overrides=changes, progress=progress)
    data = result.to_dict()
    return Outcome(data, lambda console: show_training(console, data))
