"""`neurodeploy energy`: what a network costs on each chip, with the band and the status of every figure."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import (
    Data,
    Debug,
    DryRun,
    Json,
    Model,
    Settings,
    Targets,
    overrides,
    resolved,
    several_targets,
)
from neurodeploy.cli.render_energy import show_energy


def energy(
    ctx: typer.Context,
    model: Model,
    target: Targets,
    data: Data = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.0, max=1.0, help="Assume this many spikes a neuron and timestep; no data is run."),
    ] = None,
    schedule: Annotated[
        Literal["single", "pipelined"], typer.Option("--schedule", help="One sample alone, or a new one every T timesteps.")
    ] = "pipelined",
    settings: Settings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Energy and latency of one inference on each chip, from the events its simulator counts.

    Each figure is a band (low to high) with the weakest status among the numbers behind it; a term that the
    profile does not know is listed as excluded, never counted as zero.

    Examples:
      neurodeploy energy model.safetensors --target loihi2
      neurodeploy energy model.safetensors --target all --rate 0.1 --json
      neurodeploy energy model.safetensors --target loihi2 --set profile.energy.synapse.value=20
    """
    frame: Frame = ctx.obj
    names = several_targets(frame, target)
    changes = overrides(settings)
    if dry_run:
        return resolved(model, names, changes)

    from neurodeploy import commands

    with frame.progress() as progress:
        report = commands.energy(
            model, names, data=data, rate=rate, schedule=schedule, overrides=changes, progress=progress
        )
    found = report.to_dict()
    return Outcome(found, lambda console: show_energy(console, found), report.errors)
