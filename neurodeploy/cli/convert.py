"""`neurodeploy convert`: a network of ReLU or QCFS as a spiking one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import percent
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Arch, Data, Debug, Json, Model, NoSettings, no_overrides, overrides

_SHOWN = 8  # timesteps whose accuracies are shown


def convert(
    ctx: typer.Context,
    model: Model,
    timesteps: Annotated[int, typer.Option("--timesteps", min=1, metavar="T", help="Timesteps of one inference.")],
    arch: Arch = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="SNN.NPZ",
        help="The file, .npz or .nir. Default: a new .npz under runs/.")] = None,
    percentile: Annotated[float, typer.Option("--percentile", min=50.0, max=100.0,
        help="Of a layer's activations, the one that a spike in every timestep stands for.")] = 99.9,
    shift: Annotated[bool, typer.Option("--shift/--no-shift",
        help="Add currents (biases) that round rates and move the logits; event-driven chips have no biases.")] = True,
    floor: Annotated[float | None, typer.Option("--floor", metavar="THRESHOLDS",
        help="Let no membrane fall below minus so many thresholds; event-driven chips want one. Default: none.")] = None,
    start: Annotated[Literal["half", "zero"] | None, typer.Option("--start",
        help="Where membranes start: `half` a threshold rounds from the first timestep on; `zero` is what chips have. "
        "Default: half for QCFS without --floor, else zero.")] = None,
    readout: Annotated[Literal["spikes", "logits"], typer.Option("--readout",
        help="`logits` leaves the last layer without neurons, as QCFS's paper does: for GPUs; chips send spikes.")] = "spikes",
    settings: NoSettings = None,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """A trained network of ReLU or QCFS activations as one of integrate-and-fire neurons.

    ReLU: thresholds come from the activations on the dataset's validation images. QCFS (`qcfs levels=4`
    in --arch): they were learnt, for few timesteps. The test split says what the conversion costs.

    More timesteps round less. Batch norms are folded; average pools stay what they are, max-pools take the earliest spike.

    Chips whose neurons reset to zero (Loihi) change such a network; event-driven ones take it where it was trained without
    biases and batch norms, with --no-shift and --floor.

    Examples:
      neurodeploy convert ann.pt --timesteps 32 --data digits --arch "1x8x8 T=1 | conv2d | relu | flatten | linear | vote 10"
      neurodeploy convert ann.safetensors --arch ann.toml --timesteps 32 --data digits --out snn.npz
      neurodeploy convert ann.pt --arch ann.toml --timesteps 64 --data digits --no-shift --floor 8 --out speck.npz
      neurodeploy convert qcfs.pt --arch qcfs.toml --timesteps 4 --data digits --readout logits
    """
    no_overrides(settings, "A model file")
    frame: Frame = ctx.obj
    from neurodeploy import commands

    with frame.progress() as progress:
        found = commands.convert(
            model, timesteps, data=data, out=out, percentile=percentile, shift=shift, floor=floor, start=start,
            readout=readout, overrides=overrides(None, arch), progress=progress,
        ).to_dict()
    return Outcome(found, lambda console: _show(console, found))


def _show(console: Console, data: Mapping[str, Any]) -> None:
    n, each = data["n_timesteps"], -(-data["n_timesteps"] // _SHOWN)
    steps = [f"{t}: {percent(share)}" for t, share in enumerate(data["accuracy_per_step"], start=1) if (n - t) % each == 0]
    console.print()
    tables.facts(console, "Converted", [
        ("model", str(data["model"])), ("images", f"{data['n']} test images of {data['data']}"),
        (f"accuracy, {data['activation']}", percent(data["accuracy_ann"])),
        ("accuracy, spiking", f"{percent(data['accuracy_snn'])} after {n} timesteps, in real numbers"),
        ("the same answers", percent(data["agreement"])), ("after timesteps", ", ".join(steps)),
        ("spikes a timestep", ", ".join(f"{name} {percent(rate)}" for name, rate in data["rates"].items())),
    ])  # fmt: skip
    tables.lines(console, "Next", [f"neurodeploy compare {shlex.quote(str(data['model']))} --target all"])
