"""`neurodeploy export`: a model, lowered, quantized, placed and written as a bundle that the chip's tools load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Data, Debug, DryRun, Json, Model, Settings, Target, one_target, overrides, resolved
from neurodeploy.cli.render_deploy import show_export


def export(
    ctx: typer.Context,
    model: Model,
    target: Target,
    out: Annotated[Path | None, typer.Option("--out", help="New folder of the bundle. Default: one under runs/.")] = None,
    data: Data = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Lower, quantize and place a model, and write a bundle: artifact, manifest, golden vectors, run script.

    The scales come from images of the calibration data; without any, from the weights alone (a warning says so).

    Examples:
      neurodeploy export model.safetensors --target loihi2
      neurodeploy export model.safetensors --target loihi2 --data digits --out exports/mine
      neurodeploy export model.safetensors --target loihi2 --set quantize.qat_epochs=0
    """
    frame: Frame = ctx.obj
    name = one_target(frame, target)
    changes = overrides(settings)
    if dry_run:
        return resolved(model, [name], changes)

    from neurodeploy import commands

    with frame.progress() as progress:
        result = commands.export(model, name, out=out, data=data, overrides=changes, progress=progress)
    written = result.to_dict()
    return Outcome(written, lambda console: show_export(console, written))
