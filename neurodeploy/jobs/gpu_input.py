"""What a user gives a network in real numbers: an array over timesteps, images, or streams of events."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neurodeploy.data.event_dataset import rasterize
from neurodeploy.data.event_input import holds_events, read_streams
from neurodeploy.data.one_array import MAX_VALUES, read_array
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.sim.gpu_input import Float32


def read_values(path: Path, graph: Graph) -> Float32:
    """x [T, B, *input shape] with the T of `graph`, from the one array of an `.npz` or a file of events.

    Arrays are [T, B, *shape], [T, *shape] of one sample, or without timesteps [B, *shape], whose values then stay; only an
    array of as many axes as [B, *shape] whose first is T is taken over time. Events are counted in T bins of a sample.
    Raises UsageError for another shape and values that are no finite numbers, UnsafeFile for a damaged file.
    """
    entry = graph.inputs[0]
    if holds_events(path):
        found = read_streams(path, entry.shape)
        c, h, w = entry.shape
        raster = rasterize(found.streams, (c, h, w), found.duration_us, graph.n_timesteps)
        return raster.swapaxes(0, 1).astype(np.float32)
    values = read_array(path)
    n_axes = values.ndim - len(entry.shape)
    inner = ", ".join(map(str, entry.shape))
    timed = n_axes == 2 or (n_axes == 1 and values.shape[0] == graph.n_timesteps)
    if n_axes not in (1, 2) or values.shape[n_axes:] != entry.shape or 0 in values.shape or (
        n_axes == 2 and values.shape[0] != graph.n_timesteps
    ):
        raise UsageError(
            f"the array has shape {values.shape}", where=str(path),
            limit=f"[{graph.n_timesteps}, B, {inner}], [{graph.n_timesteps}, {inner}], or [B, {inner}] where values stay",
            remedy="Reshape it; --timesteps sets the number of timesteps",
        )
    if values.size * (1 if timed else graph.n_timesteps) > MAX_VALUES:
        raise UsageError(f"{values.shape} over {graph.n_timesteps} timesteps", where=str(path),
                         limit=f"At most {MAX_VALUES} values", remedy="Give fewer samples at a time")
    x = values.astype(np.float32)
    if not np.isfinite(x).all():
        raise UsageError("the input holds values that are no finite float32 numbers", where=str(path), remedy="Correct them")
    if n_axes == 2:
        return x
    return x[:, np.newaxis] if timed else np.repeat(x[np.newaxis], graph.n_timesteps, axis=0)
