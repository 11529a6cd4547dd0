"""Images to what enters a graph: analog values, or the integers that a chip receives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.encoders import encode
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.reference import evaluate


def chip_input(graph: Graph, images: NDArray[Any]) -> NDArray[Any]:
    """Input [T, B, *input shape] of a graph for images [B, C, H, W] with values in 0..1.

    analog: the images, repeated (or rate-coded where the graph was trained so); graded: rint(value_scale * image) every
    timestep; spikes: deterministic rate coding; bias: what `graph.host` makes of the image, times value_scale. An
    IntGraph receives int64, saturated to the input's range; a real graph float64, biases unrounded. Raises UsageError for a
    graph that takes counts of events.
    """
    entry = graph.inputs[0]
    if graph.metadata.get("input") == "counts":
        raise UsageError(
            "images for a network that takes counts of events", where=entry.name, code="wrong_data",
            remedy="If it was trained on images, say so: --set input.kind=graded",
        )
    if entry.kind == "spikes" or graph.metadata.get("encoding") == "rate":
        spikes = encode(images.astype(np.float64), "rate", graph.n_timesteps)
        return spikes.astype(np.int64) if isinstance(graph, IntGraph) else spikes
    values = images.astype(np.float64)
    if graph.host is not None:
        values = evaluate(graph.host, values[np.newaxis], n_steps=1)[graph.host.output.name][0]
    values = values * entry.value_scale
    if isinstance(graph, IntGraph):
        low = -entry.max_value if entry.kind == "bias" else 0
        values = np.clip(np.rint(values), low, entry.max_value).astype(np.int64)
    elif entry.kind == "graded":
        values = np.clip(np.rint(values), 0, entry.max_value)
    return np.repeat(values[np.newaxis], graph.n_timesteps, axis=0)
