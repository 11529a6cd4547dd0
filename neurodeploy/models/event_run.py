"""A lowered network of an event-driven chip in real numbers, clocked: what its integers are measured by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.data.event_dataset import rasterize
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array
from neurodeploy.models.from_graph import TorchGraph

_BATCH, _BATCH_BYTES = 64, 2**26  # samples at a time; fewer where the values of one layer would take more


@dataclass(frozen=True, eq=False)
class FloatRun:
    """The clocked network in real numbers: votes [T, N, n_classes], spikes of a whole sample by layer, [N, *shape]."""

    votes: NDArray[np.float64]
    counts: dict[str, NDArray[np.float64]]


def run_in_bins(lowered: Graph, streams: Sequence[Array], sensor: tuple[int, int, int], duration_us: int) -> FloatRun:
    """The network in float64 on streams (t in us, c, y, x) counted in the bins that it was trained with."""
    module = TorchGraph(lowered, torch.float64)
    names = [n.name for n in lowered.neurons]
    votes, counts = [], []
    bytes_each = 8 * lowered.n_timesteps * max(math.prod(shape) for shape in lowered.shapes.values())
    batch = min(_BATCH, max(1, _BATCH_BYTES // bytes_each))
    with torch.inference_mode():
        for i in range(0, len(streams), batch):
            raster = rasterize(tuple(streams[i : i + batch]), sensor, duration_us, lowered.n_timesteps)
            x = torch.from_numpy(raster).transpose(0, 1).double()
            found = module(x.reshape(*x.shape[:2], *lowered.inputs[0].shape))
            votes.append(found[lowered.output.name].numpy())
            counts.append({name: found[name].sum(dim=0).numpy() for name in names})
    return FloatRun(np.concatenate(votes, axis=1), {name: np.concatenate([c[name] for c in counts]) for name in names})
