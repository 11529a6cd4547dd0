"""What a user gives a network in real numbers: an array over timesteps, images, or streams of events."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.event_dataset import rasterize
from neurodeploy.data.event_input import holds_events, read_streams
from neurodeploy.data.one_array import MAX_VALUES, read_array
from neurodeploy.data.spikes import Layout
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.sim.gpu_input import Float32


def read_values(path: Path, graph: Graph, layout: Layout = "torch") -> Float32:
    """x [T, B, *input shape] with the T of `graph`, from the one array of an `.npz` or a file of events.

    layout `torch`: [T, B, *shape], or [T, *shape] of one sample; `images`: [B, *shape] or [*shape] in 0..1, coded as the
    network was trained. Events are counted in T bins of a sample. Raises UsageError for another shape, layout, and values
    that are no finite numbers, UnsafeFile for a damaged file.
    """
    entry = graph.inputs[0]
    if holds_events(path):
        found = read_streams(path, entry.shape)
        c, h, w = entry.shape
        raster = rasterize(found.streams, (c, h, w), found.duration_us, graph.n_timesteps)
        return raster.swapaxes(0, 1).astype(np.float32)
    if layout not in ("torch", "images"):
        raise UsageError(f"--layout {layout}", where=str(path), limit="On a GPU the axes are torch or images")
    values = read_array(path)
    n_axes, inner, images = values.ndim - len(entry.shape), ", ".join(map(str, entry.shape)), layout == "images"
    fits = n_axes in ((0, 1) if images else (1, 2)) and values.shape[n_axes:] == entry.shape and 0 not in values.shape
    if not fits or (not images and values.shape[0] != graph.n_timesteps):
        steps = "" if images else f"{graph.n_timesteps}, "
        raise UsageError(
            f"the array has shape {values.shape}", where=str(path), limit=f"[{steps}B, {inner}] or [{steps}{inner}]",
            remedy="--layout images takes real numbers in 0..1 without time; --timesteps sets the number of timesteps",
        )
    if values.size * (graph.n_timesteps if images else 1) > MAX_VALUES:
        raise UsageError(f"{values.shape} over {graph.n_timesteps} timesteps", where=str(path),
                         limit=f"At most {MAX_VALUES} values", remedy="Give fewer samples at a time")
    with np.errstate(over="ignore"):  # refused below
        x = values.astype(np.float32)
    if not np.isfinite(x).all() or (images and (x.min() < 0 or x.max() > 1)):
        raise UsageError("the input holds values that are no finite float32" + " in 0..1" * images, where=str(path),
                         remedy="Correct or rescale them")
    if images:
        return chip_input(graph, x.reshape(-1, *entry.shape)).astype(np.float32)
    return x[:, np.newaxis] if n_axes == 1 else x
