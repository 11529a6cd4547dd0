"""`neurodeploy check`: does the network fit the chip, and if not, everything that is in the way."""

from __future__ import annotations

from typing import Annotated, Any, Literal

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
    asks_all,
    net_options,
    overrides,
    resolved,
    several_targets,
)
from neurodeploy.cli.render_deploy import show_check


def check(
    ctx: typer.Context,
    model: Model,
    target: Targets,
    suggest: Annotated[bool, typer.Option("--suggest", help="Find the smallest change of the network that fits.")] = False,
    optimise: Annotated[
        Literal["latency", "energy", "edp"] | None,
        typer.Option("--optimise", help="Look for a placement that takes less of this; both figures are shown."),
    ] = None,
    data: Data = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.0, max=1.0, help="Optimise for this many spikes a neuron and timestep; no data is run."),
    ] = None,
    chip_input: ChipInput = None,
    layout: LayoutOption = "torch",
    reset_interval: ResetInterval = None,
    reset_offset: ResetOffset = None,
    message_bits: MessageBits = None,
    arch: Arch = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Does the network fit the chip? Names every violated limit at once: used, limit, remedy.

    Of each layer it tells how full its cores are, and which resource decided how many it takes. A bundle keeps the
    placement that it was exported with, as long as the target and the settings are the same. On an event-driven chip
    (speck2f, speck2e, dynapcnn) a layer takes a core of its own, and each of the core's memories is shown. On a GPU the memory
    is the limit, for `--set gpu.batch=N` samples at once.

    Exit code 3 when it does not fit, 2 when the only trouble is a target that it cannot be brought onto; the data is
    complete all the same. With `--target all`, chips that compute in another way are told, and no fault.

    Examples:
      neurodeploy check model.safetensors --target loihi2
      neurodeploy check model.safetensors --target all --json
      neurodeploy check model.safetensors --target speck2f
      neurodeploy check model.safetensors --target loihi2 --suggest
      neurodeploy check weights.pt --arch net.toml --target loihi2
      neurodeploy check net.net --target loihi1,loihi2 --reset-interval 16
      neurodeploy check exports/digits-loihi2 --target loihi2 --optimise latency
      neurodeploy check net.net --target loihi1 --optimise energy --input in.npz
    """
    frame: Frame = ctx.obj
    names = several_targets(frame, target)
    changes, net = overrides(settings, arch), net_options(reset_interval, reset_offset, message_bits)
    if dry_run:
        return resolved(model, names, changes, net)

    from neurodeploy import commands

    asked: dict[str, Any] = {"optimise": optimise, "data": data, "rate": rate, "given": chip_input}
    given = {name: value for name, value in asked.items() if value is not None}
    if chip_input is not None:
        given["layout"] = layout
    if asks_all(target):
        given["skip_foreign"] = True
    result = commands.check(model, names, suggest=suggest, net=net, overrides=changes, **given)
    found = result.to_dict()
    return Outcome(found, lambda console: show_check(console, found), result.errors, shown=True)
