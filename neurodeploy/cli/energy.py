"""`neurodeploy energy`: what a network costs on each chip, with the band and the status of every figure."""

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
    given: ChipInput = None,
    layout: LayoutOption = "torch",
    timesteps: Timesteps = None,
    schedule: Annotated[
        Literal["single", "pipelined"] | None,
        typer.Option("--schedule", help="One sample alone, or a new one every T timesteps. Default: pipelined where each "
                     "sample then gets what it gets alone, else single."),
    ] = None,
    interval: Annotated[
        float | None,
        typer.Option("--interval", metavar="SECONDS", help="Time from one inference to the next, as measured or as your "
                     "application has it: static and management power run that long. Default: the predicted time."),
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
    """Energy and latency of one inference on each chip, from the events its simulator counts.

    The events are those of the model's dataset (--data names another), or of the chip input in --input: counted exactly,
    layer by layer and core by core. --rate assumes a firing rate instead, and everything is then `assumed`.

    Each figure is a band (low to high) with the weakest status among the numbers behind it; a term that the
    profile does not know is listed as excluded, never counted as zero. Exit code 3 when the network does not fit one of
    the chips; the others are complete all the same. With `--target all`, chips that compute in another way are told, and no
    fault.

    On an event-driven chip (speck2f, speck2e, dynapcnn) an inference is one sample: each synaptic operation costs energy, and
    static power runs until the next sample, after --interval or at once. `neurodeploy calibrate` fits both to a board.

    On a GPU (h200, h100, a100, h100-server, orin, orin-nano; gpu = the one of this machine) the network runs as dense passes,
    so no events are needed: figures are those of one sample alone and of `--set gpu.batch=N` at once, early exit with a batch
    that waits or shrinks. `neurodeploy targets measure` fits a profile to this machine's GPU.

    Examples:
      neurodeploy energy model.safetensors --target loihi2
      neurodeploy energy model.safetensors --target loihi2,h200 --set gpu.batch=256
      neurodeploy energy exports/speck --target speck2f --interval 0.2
      neurodeploy energy net.net --target all --input in.npz --json
      neurodeploy energy net.net --target loihi1 --rate 0.1 --timesteps 16
      neurodeploy energy net.net --target loihi1 --input in.npz --interval 0.0034
      neurodeploy energy model.safetensors --target loihi2 --set profile.energy.synapse.value=20
    """
    frame: Frame = ctx.obj
    names = several_targets(frame, target)
    changes, net = overrides(settings, arch), net_options(reset_interval, reset_offset, message_bits)
    if dry_run:
        return resolved(model, names, changes, net)

    from neurodeploy import commands

    with frame.progress() as progress:
        report = commands.energy(
            model, names, data=data, rate=rate, given=given, layout=layout, n_timesteps=timesteps, schedule=schedule,
            interval_s=interval, net=net, overrides=changes, progress=progress,
            **({"skip_foreign": True} if asks_all(target) else {}),
        )
    found = report.to_dict()
    return Outcome(found, lambda console: show_energy(console, found), report.errors)
