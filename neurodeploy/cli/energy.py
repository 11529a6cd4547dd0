"""`neurodeploy energy`: what a network costs on each chip, with the band and the status of every figure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from neurodeploy.cli import tables
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
    resolved_profiles,
    several_targets,
)

COLUMNS = ("target", "fits", "n_cores", "energy_j", "latency_s", "edp_js", "status")


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
        Literal["single", "pipelined"], typer.Option("--schedule", help="One input at a time, or inputs following each other.")
    ] = "single",
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
      neurodeploy energy model.safetensors --target loihi2 --set energy.synapse.value=20
    """
    frame: Frame = ctx.obj
    names = several_targets(frame, target)
    changes = overrides(settings)
    if dry_run:
        return resolved_profiles(names, changes)

    from neurodeploy import commands

    with frame.progress() as progress:
        report = commands.energy(
            model, names, data=data, rate=rate, schedule=schedule, overrides=changes, progress=progress
        )
    found = report.to_dict()
    return Outcome(found, lambda console: _show(console, found))


def _show(console: Console, data: dict[str, Any]) -> None:
    targets: dict[str, dict[str, Any]] = data["targets"]
    tables.table(console, "Energy of one inference", [{"target": k, **v} for k, v in targets.items()], COLUMNS)
    for name, entry in targets.items():
        tables.show(console, {f"{name}: {key}": entry[key] for key in ("breakdown_j", "counts", "excluded") if key in entry})
    if data.get("proxies"):
        tables.show(console, {"proxies": data["proxies"]})
