"""`neurodeploy simulate`: a network on given spikes, every layer recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import (
    Arch,
    Data,
    Debug,
    DryRun,
    Json,
    LayoutOption,
    MessageBits,
    Network,
    ResetInterval,
    ResetOffset,
    Settings,
    net_options,
    one_target,
    overrides,
)
from neurodeploy.cli.render_simulate import show_simulation


def simulate(
    ctx: typer.Context,
    file: Network,
    given: Annotated[Path, typer.Option("--input", "-i", metavar="IN.NPZ",
        help="What enters the network: one array of integers.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.NPZ",
        help="Where the recording is written; replaced if there.")],
    target: Annotated[str | None, typer.Option("--target", "-t", metavar="TARGET",
        help="Also check that the network fits this chip; needed for a network in real numbers.")] = None,
    states: Annotated[bool, typer.Option("--states",
        help="Record v_mem and i_syn at the end of every timestep too.")] = False,
    reference: Annotated[bool, typer.Option("--reference",
        help="Use the slow simulator, which defines the arithmetic.")] = False,
    timesteps: Annotated[int | None, typer.Option("--timesteps", min=1, metavar="N",
        help="Chip timesteps to run. Default: until the output has seen the last of the input.")] = None,
    v_readout: Annotated[Literal["lava", "loihi2"], typer.Option("--v-readout",
        help="v_mem in the timestep of a spike: 0 as Lava's CPU models show it, or 128 as the chip does.")] = "lava",
    order: Annotated[Literal["depth", "breadth"] | None, typer.Option("--order",
        help="Of streams of events: an event's spikes go on to the end before the next event (depth, as the chip; the "
        "default), or each core finishes first (breadth). They differ only where paths meet.")] = None,
    layout: LayoutOption = "torch",
    reset_interval: ResetInterval = None,
    reset_offset: ResetOffset = None,
    message_bits: MessageBits = None,
    data: Data = None,
    arch: Arch = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Run a network on spikes of your own, exactly as the chip's integers do, and record every layer.

    FILE is a lava-dl .net, a bundle, a graph.npz or .nir of integers; a model in real numbers needs --target and its
    dataset. IN.NPZ holds one array called `input` (or the only one): [T, B, *shape] or [T, *shape] with maps as
    (C, H, W); --layout lava reads Lava's order instead, (W, H, C, T) or (N, T). Where the first layer is driven by
    biases, the array is the bias mantissa and may leave T out. --layout images reads real numbers in 0..1 where the file
    says how they enter. A network of an event-driven chip also takes streams of events: an .npz written by `neurodeploy
    events --out`, or with the arrays events [M, 4] (t in microseconds, c, y, x) and offsets [N + 1], or one table as .npy.

    On a GPU (--target h200, or a bundle for one) the network runs in real numbers, float32, on real-valued input.

    OUT.NPZ gets `spikes/<layer>`, with --states also `v_mem/<layer>` and `i_syn/<layer>`, in the order of the input and
    in chip time: one timestep per synapse from layer to layer; of streams of events the tables of spikes [n, 4] and
    `offsets/<layer>` of the samples.

    Exit code 3 when --target is given and the network does not fit it (the recording is written all the same), 6 when a
    file is unsafe or damaged.

    Examples:
      neurodeploy simulate net.net --input in.npz --out out.npz
      neurodeploy simulate net.net --input bias.npz --layout lava --timesteps 24 --reset-interval 16 --states --out out.npz
      neurodeploy simulate exports/mine --input exports/mine/golden.npz --out again.npz --json
      neurodeploy simulate exports/speck --input events.npz --out out.npz
    """
    frame: Frame = ctx.obj
    name = None if target is None else one_target(frame, target)
    changes = overrides(settings, arch)
    options: dict[str, Any] = {
        "target": name, "states": states, "use_reference": reference, "n_timesteps": timesteps, "v_readout": v_readout,
        "layout": layout, "net": net_options(reset_interval, reset_offset, message_bits), "data": data, "overrides": changes,
    }
    if order is not None:
        options["order"] = order
    if dry_run:
        asked = {"file": file, "input": given, "out": out, **options, "net": vars(options["net"])}
        return Outcome(asked, lambda console: tables.settings(console, asked))

    from neurodeploy import commands

    with frame.progress() as progress:
        result = commands.simulate(file, given, out, **options, progress=progress)
    found = result.to_dict()
    return Outcome(found, lambda console: show_simulation(console, found), result.errors)
