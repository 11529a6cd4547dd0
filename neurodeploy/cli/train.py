"""`neurodeploy train`: one architecture of a recipe's space, or a network without spikes, trained."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import percent
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Debug, DryRun, Json, Seed, Settings, overrides
from neurodeploy.cli.render_deploy import show_training


def train(
    ctx: typer.Context,
    recipe: Annotated[str, typer.Option("--recipe", "-r", metavar="RECIPE", help="A packaged recipe's name or a TOML file.")],
    arch: Annotated[
        str | None, typer.Option("--arch", "-a", metavar="ARCH", help="Blocks or rows of a cell, as `search` prints them, "
                                 "or a name (AutoSNN, snasnet_cifar10). "
                                 "Without it RECIPE is of a network without spikes (digits_qcfs), for `convert`.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="New folder of the run. Default: one under runs/.")] = None,
    seed: Seed = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Train one architecture on the recipe's dataset and write the model file; or, without --arch, a network without spikes.

    Examples:
      neurodeploy train --recipe digits --arch skip,SCB_k3,skip,skip,SCB_k3 --out runs/one
      neurodeploy train --recipe digits --arch skip,SCB_k3,skip,skip,SCB_k3 --set train.epochs=20
      neurodeploy train --recipe digits_snasnet --arch "0303 0030 2002 0200"
      neurodeploy train --recipe digits_qcfs --out runs/qcfs
    """
    frame: Frame = ctx.obj
    changes = overrides(settings)
    from neurodeploy import commands

    if arch is None:
        return _without_spikes(frame, recipe, out, seed, changes, dry_run)
    if dry_run:
        resolved = commands.resolve_recipe(recipe, None, changes)
        return Outcome(resolved, lambda console: tables.settings(console, tables.by_key(resolved)))
    with frame.progress() as progress:
        result = commands.train(recipe, arch, out=out, seed=seed, overrides=changes, progress=progress)
    data = result.to_dict()
    return Outcome(data, lambda console: show_training(console, data))


def _without_spikes(
    frame: Frame, recipe: str, out: Path | None, seed: int | None, changes: dict[str, Any], dry_run: bool
) -> Outcome:
    from neurodeploy import commands

    if dry_run:
        resolved = commands.resolve_without_spikes(recipe, changes if seed is None else {**changes, "seed": seed})
        return Outcome(resolved, lambda console: tables.settings(console, tables.by_key(resolved)))
    with frame.progress() as progress:
        result = commands.train_without_spikes(recipe, out=out, seed=seed, overrides=changes, progress=progress)
    data = result.to_dict()

    def show(console: Console) -> None:
        console.print()
        tables.facts(console, "Trained", [
            ("model", str(data["model"])), ("accuracy, test split", percent(data["accuracy"])),
            ("accuracy, validation", percent(data["accuracy_validation"])),
            ("thresholds", ", ".join(f"{name} {lam:.3g}" for name, lam in data["thresholds"].items()) or "none: ReLU"),
        ])  # fmt: skip
        tables.lines(console, "Next", [f"neurodeploy convert {shlex.quote(str(data['model']))} --timesteps 4"])

    return Outcome(data, show)
