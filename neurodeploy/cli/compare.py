"""`neurodeploy compare`: which chip for this network."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import (
    Arch,
    ChipInput,
    Data,
    Debug,
    DryRun,
    Json,
    LayoutOption,
    MessageBits,
    Model,
    ResetInterval,
    ResetOffset,
    Settings,
    Targets,
    Timesteps,
    asks_all,
    net_options,
    overrides,
    resolved,
    several_targets,
)
from neurodeploy.cli.render_compare import show_comparison


def compare(
    ctx: typer.Context,
    model: Model,
    target: Targets,
    data: Data = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.0, max=1.0, help="Assume this many spikes a neuron and timestep; no data is run."),
    ] = None,
    given: ChipInput = None,
    layout: LayoutOption = "torch",
    timesteps: Timesteps = None,
    schedule: Annotated[
        Literal["single", "pipelined"] | None,
        typer.Option("--schedule", help="One sample alone, or a new one every T timesteps, as for `energy`."),
    ] = None,
    interval: Annotated[
        float | None,
        typer.Option("--interval", metavar="SECONDS", help="Time from one inference to the next, the same on every chip. "
                     "Default: each chip's own, as fast as it can."),
    ] = None,
    reset_interval: ResetInterval = None,
    reset_offset: ResetOffset = None,
    message_bits: MessageBits = None,
    arch: Arch = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Which chip for this network: accuracy, fit, energy, latency, energy x time and early exit side by side.

    Each chip's figures are those of `neurodeploy energy`: its own simulator runs the model's dataset (--data names another)
    or the chip input in --input, or --rate assumes how often neurons fire.

    A chip that cannot take the network is a row with the reason, and no error; the exit code is that of `energy` only
    where no chip takes it. `check` lists every limit that is broken, not only the first.

    Energies are bands (low to high). The cheapest chip is that with the lowest nominal figure; `certain` says whether it
    stays the cheapest wherever in the bands the true figures lie. Bands that share a source are taken as independent, so
    that "not certain" may be said too often, never too seldom. Chips with another idle time are compared at the same pace by
    --interval.

    Examples:
      neurodeploy compare model.safetensors --target loihi1 --target loihi2
      neurodeploy compare exports/digits-speck2f --target all
      neurodeploy compare net.net --target loihi1,loihi2 --input in.npz --json
      neurodeploy compare model.nir --target all --rate 0.1 --interval 0.05
    """
    frame: Frame = ctx.obj
    names = several_targets(frame, target)
    changes, net = overrides(settings, arch), net_options(reset_interval, reset_offset, message_bits)
    if dry_run:
        return resolved(model, names, changes, net)

    from neurodeploy import commands

    with frame.progress() as progress:
        found = commands.compare(
            model, names, data=data, rate=rate, given=given, layout=layout, n_timesteps=timesteps, schedule=schedule,
            interval_s=interval, net=net, overrides=changes, progress=progress,
            **({"skip_foreign": True} if asks_all(target) else {}),
        )
    report = found.to_dict()
    return Outcome(report, lambda console: show_comparison(console, report), found.errors)
