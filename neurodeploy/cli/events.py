"""`neurodeploy events`: streams of events from images and recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neurodeploy.cli import tables
from neurodeploy.cli.frame import Outcome
from neurodeploy.cli.options import Debug, DryRun, Json, overrides
from neurodeploy.cli.render_events import show_events


def events(
    source: Annotated[str, typer.Argument(metavar="SOURCE",
        help="digits-events, nmnist and others by name, a folder or an .npz event file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="OUT.NPZ",
        help="Write all samples as one event file; replaced if there.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="PLOT.PNG",
        help="Draw one sample, as .png or .svg; replaced if there.")] = None,
    index: Annotated[int, typer.Option("--index", min=0, metavar="N", help="The sample that --plot draws.")] = 0,
    bins: Annotated[int, typer.Option("--bins", min=1, max=4096, metavar="T",
        help="Time bins of a recording, for the share of bins with several events.")] = 32,
    per_class: Annotated[int | None, typer.Option("--per-class", min=1, metavar="N",
        help="Only the first N samples of each class, in each of Train and Test (of a file: in each split).")] = None,
    duration: Annotated[int | None, typer.Option("--duration", min=1, metavar="US",
        help="Leave out events from this time on, in us. Default: recordings are as long as the longest.")] = None,
    sort: Annotated[bool, typer.Option("--sort",
        help="Sort events by time, keeping the order of equal times. Default: times that decrease are an error.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the camera's noise and mismatch.")] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="CAMERA.KEY=VALUE",
        help="Change the simulated camera: camera.amplitude=2.5. --dry-run prints its settings. Repeatable.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Turn images into events with a simulated event camera, or read recorded events; show, convert and draw them.

    An event camera has no frames: each pixel sends an event when its brightness changes, ON for brighter (channel 1), OFF for
    darker (channel 0). Event-driven chips such as Speck take such events one by one. Images stand still, so the simulated
    camera moves them along three short saccades, as N-MNIST was recorded.

    SOURCE is digits-events (the packaged digits in front of the camera); a folder of PNG or JPEG images with one sub-folder a
    class; an .npz event file; or a folder of N-MNIST (.bin), CIFAR10-DVS (.aedat 2.0) or DVS128-Gesture (.aedat 3.1 with its
    lists of trials) as they were published; or nmnist, cifar10-dvs, dvs128-gesture, and for the camera cifar10 and other public
    images, which lie where NEURODEPLOY_DATA says.

    OUT.NPZ gets events [M, 4] with columns t in us, c, y, x, the samples one after the other (offsets tells where each
    begins), labels y, sensor (C, H, W), duration_us and the splits. Everything that takes events takes such a file.

    Exit code 2 for events outside of the sensor or running backwards in time (the file and the event are named), 6 for a
    damaged file.

    Examples:
      neurodeploy events digits-events --plot digit.png --index 3
      neurodeploy events photos/ --set camera.sensor="[34, 34]" --set camera.amplitude=4 --out photos.npz
      neurodeploy events N-MNIST/ --per-class 100 --duration 300000 --out nmnist.npz --json
    """
    changes = overrides(settings)
    from neurodeploy import commands

    if dry_run:
        from neurodeploy.jobs.events import camera_settings

        asked = {
            "source": source, "out": out, "plot": plot, "index": index, "bins": bins, "per_class": per_class,
            "duration_us": duration, "sort": sort, "seed": seed, "camera": camera_settings(changes).model_dump(),
        }
        return Outcome(asked, lambda console: tables.settings(console, asked))
    found = commands.events(
        source, out=out, plot=plot, index=index, n_bins=bins, per_class=per_class, duration_us=duration, sort=sort, seed=seed,
        overrides=changes,
    ).to_dict()
    return Outcome(found, lambda console: show_events(console, found))
