"""`neurodeploy export`: a model, lowered, quantized, placed and written as a bundle that the chip's tools load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    Target,
    Timesteps,
    net_options,
    one_target,
    overrides,
    resolved,
)
from neurodeploy.cli.render_deploy import show_export


def export(
    ctx: typer.Context,
    model: Model,
    target: Target,
    out: Annotated[Path | None, typer.Option("--out", help="New folder of the bundle. Default: one under runs/.")] = None,
    data: Data = None,
    given: ChipInput = None,
    layout: LayoutOption = "torch",
    timesteps: Timesteps = None,
    reset_interval: ResetInterval = None,
    reset_offset: ResetOffset = None,
    message_bits: MessageBits = None,
    arch: Arch = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Lower, quantize and place a model, and write a bundle: artifact, manifest, golden vectors, run script.

    The scales come from images of the calibration data; without any, from the weights alone (a warning says so). A
    network of integers (.net, bundle, graph.npz) is written as it is, never requantized. The golden vectors play test
    images of the data, else the chip input in --input, else random input.

    For an event-driven chip (speck2f, speck2e, dynapcnn; speck = speck2f) the scales are judged by running recordings event by
    event, and the bundle holds the vendor's configuration (speck.json and arrays) with a script that loads it onto a board.
    Without recordings the golden events are those of --input (an event file), else random. `--set quantize.rule=sinabs` takes
    sinabs' scales; `--set place.readout=padded` spreads the output channels out, as the chip's readout block reads them.

    For a GPU nothing is quantized or placed: the bundle holds the network as ONNX (one timestep with its state, all timesteps,
    Scan), accuracy in float32, and a script that runs it with onnxruntime and stops early.

    Examples:
      neurodeploy export model.safetensors --target loihi2
      neurodeploy export model.safetensors --target loihi2 --data digits --out exports/mine
      neurodeploy export model.pt --target speck
      neurodeploy export model.safetensors --target gpu
      neurodeploy export model.pt --target speck2f --set place.readout=padded
      neurodeploy export net.net --target loihi1 --input in.npz --reset-interval 16
      neurodeploy export model.safetensors --target loihi2 --set quantize.qat_epochs=0
    """
    frame: Frame = ctx.obj
    name = one_target(frame, target)
    changes, net = overrides(settings, arch), net_options(reset_interval, reset_offset, message_bits)
    if dry_run:
        return resolved(model, [name], changes, net)

    from neurodeploy import commands

    with frame.progress() as progress:
        result = commands.export(
            model, name, out=out, data=data, given=given, layout=layout, n_timesteps=timesteps,
            net=net, overrides=changes, progress=progress,
        )
    written = result.to_dict()
    return Outcome(written, lambda console: show_export(console, written))
