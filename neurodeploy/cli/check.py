"""`neurodeploy check`: does the network fit the chip, and if not, everything that is in the way."""

from __future__ import annotations

from typing import Annotated

import typer

from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Debug, DryRun, Json, Model, Settings, Targets, overrides, resolved, several_targets
from neurodeploy.cli.render_deploy import show_check
from neurodeploy.errors import DoesNotFit


def check(
    ctx: typer.Context,
    model: Model,
    target: Targets,
    suggest: Annotated[bool, typer.Option("--suggest", help="Find the smallest change of the network that fits.")] = False,
    settings: Settings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Does the network fit the chip? Names every violated limit at once: used, limit, remedy.

    Exit code 3 when it does not fit; the data is complete all the same.

    Examples:
      neurodeploy check model.safetensors --target loihi2
      neurodeploy check model.safetensors --target all --json
      neurodeploy check model.safetensors --target loihi2 --suggest
    """
    frame: Frame = ctx.obj
    names = several_targets(frame, target)
    changes = overrides(settings)
    if dry_run:
        return resolved(model, names, changes)

    from neurodeploy import commands

    result = commands.check(model, names, suggest=suggest, overrides=changes)
    data = result.to_dict()
    errors = () if result.fits else (DoesNotFit(tuple(result.violations), target=", ".join(names)),)
    return Outcome(data, lambda console: show_check(console, data), errors, shown=True)
