"""One recording as a picture: where events fall while it lasts, and when."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurodeploy.data.camera import ON, Stream
from neurodeploy.data.event_checks import check_stream
from neurodeploy.errors import UsageError
from neurodeploy.ir import archive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")
_OFF_COLOUR, _ON_COLOUR = "#2166ac", "#b2182b"
_TIME_BINS = 64
_MAX_POINTS = 50_000  # in the x-t picture; more hide each other and swell an .svg
_DPI = 120


def check_plot_path(path: Path) -> None:
    """Raise UsageError for a picture in a format that cannot be drawn."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"cannot draw a {path.suffix or 'file without a suffix'}", where=str(path),
                         limit=f"Known: {', '.join(FORMATS)}", remedy=f"Name it {path.with_suffix('.png').name}")


def plot_events(
    stream: Stream, sensor: tuple[int, int, int], duration_us: int, path: Path, *, n_frames: int = 3, title: str = ""
) -> None:
    """Draw a stream to a `.png` or `.svg`: ON minus OFF counts of `n_frames` equal parts of the recording (for a simulated
    camera of three saccades, one each), x over time, and events a millisecond. Equal streams give equal files.

    Channel 1 counts as ON, every other one as OFF. Raises UsageError for another format, and for events outside of sensor or
    duration.
    """
    check_plot_path(path)
    check_stream(stream, sensor, duration_us, title or "plot")
    # Figure alone, without pyplot: no window system is looked for and no state of the process is changed.
    from matplotlib.figure import Figure

    t, c, y, x = stream.T
    on, ms = c == ON, t / 1000
    figure = Figure(figsize=(2.6 * n_frames, 6.2), layout="constrained")
    grid = figure.add_gridspec(3, n_frames, height_ratios=(1.25, 1, 0.6))
    figure.suptitle(title or f"{len(stream)} events")
    frames = np.zeros((n_frames, *sensor[1:]))
    np.add.at(frames, (t * n_frames // duration_us, y, x), np.where(on, 1, -1))
    largest = max(1.0, float(np.abs(frames).max()))
    axes = [figure.add_subplot(grid[0, k]) for k in range(n_frames)]
    for k, (axis, frame) in enumerate(zip(axes, frames, strict=True)):
        image = axis.imshow(frame, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
        axis.set_title(f"{k * duration_us / n_frames / 1000:g} to {(k + 1) * duration_us / n_frames / 1000:g} ms", fontsize=9)
        axis.tick_params(labelsize=7)
    figure.colorbar(image, ax=axes, shrink=0.8).set_label("ON minus OFF events", fontsize=8)

    axis = figure.add_subplot(grid[1, :])
    shown = slice(None, None, max(1, math.ceil(len(stream) / _MAX_POINTS)))
    for kind, colour, label in ((~on, _OFF_COLOUR, "OFF"), (on, _ON_COLOUR, "ON")):
        axis.plot(ms[kind][shown], x[kind][shown], ".", color=colour, markersize=2, label=label)
    axis.set(xlim=(0, duration_us / 1000), ylim=(-0.5, sensor[2] - 0.5), ylabel="x in pixels")
    axis.legend(loc="upper right", fontsize=7, markerscale=3)

    axis = figure.add_subplot(grid[2, :])
    edges = np.linspace(0, duration_us / 1000, _TIME_BINS + 1)
    for kind, colour in ((~on, _OFF_COLOUR), (on, _ON_COLOUR)):
        rate = np.histogram(ms[kind], edges)[0] / (edges[1] - edges[0])
        axis.stairs(rate, edges, color=colour)
    axis.set(xlim=(0, duration_us / 1000), xlabel="time in ms", ylabel="events / ms")

    write_figure(figure, path)


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a `.png` or `.svg`; equal figures give equal files."""
    from matplotlib import rc_context

    content = io.BytesIO()
    kind_of_file = path.suffix.lower()[1:]
    with rc_context({"svg.hashsalt": "neurodeploy"}):  # else an .svg has random names inside
        figure.savefig(content, format=kind_of_file, dpi=_DPI, metadata={"Date": None} if kind_of_file == "svg" else {})
    archive.write(path, content.getvalue())
