"""A model as GPUs take it: the network in real numbers, and its data as values over timesteps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import Dataset
from neurodeploy.data.event_dataset import EventDataset, rasterize
from neurodeploy.data.event_sources import load_events
from neurodeploy.errors import UsageError
from neurodeploy.export.write import NIR
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.nodes import Array
from neurodeploy.jobs.data import require_same
from neurodeploy.jobs.measure import check_length
from neurodeploy.jobs.opened import Opened, data_for
from neurodeploy.lower.gpu import lower_to_gpu

_VALUES = 2**24  # of the widest layer of a batch over all timesteps
_LARGEST = 256


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled data as a network in real numbers receives them: images coded as it was trained, events counted in its bins."""

    graph: Graph
    data: Dataset | EventDataset

    @property
    def name(self) -> str:
        """Name of the data."""
        return self.data.name

    def labels(self, split: str) -> NDArray[np.int64]:
        """Labels [N] of a split."""
        return self.data.split(split)[1]

    def batches(self, split: str) -> Iterator[NDArray[np.float32]]:
        """x [T, B, *input shape] of a split, some samples at a time."""
        widest = max(math.prod(shape) for shape in self.graph.shapes.values())
        size = min(_LARGEST, max(1, _VALUES // (self.graph.n_timesteps * widest)))
        for first in range(0, len(self.labels(split)), size):
            yield self.values(split, slice(first, first + size))

    def values(self, split: str, part: slice) -> NDArray[np.float32]:
        """x [T, B, *input shape] of the samples in `part` of a split."""
        if isinstance(self.data, Dataset):
            return chip_input(self.graph, self.data.split(split)[0][part]).astype(np.float32)
        streams: tuple[Array, ...] = self.data.split(split)[0][part]
        raster = rasterize(streams, self.data.sensor, self.data.duration_us, self.graph.n_timesteps)
        x = raster.swapaxes(0, 1).astype(np.float32)
        return x.reshape(*x.shape[:2], *self.graph.inputs[0].shape)


def lowered_for_gpu(opened: Opened, n_timesteps: int | None = None) -> Graph:
    """What a GPU would run: the network of the file, or for a bundle of a chip the one in real numbers that it was made from.

    n_timesteps: instead of the network's own. Raises UsageError for integers that come without their real-valued twin.
    """
    graph = opened.graph
    if isinstance(graph, IntGraph) and opened.bundle is not None and NIR in opened.bundle.manifest["files"]:
        graph = read_nir(opened.path / NIR)
    if isinstance(graph, IntGraph):
        raise UsageError(
            "holds the integers of a chip", where=str(opened.path), code="other_arithmetic",
            limit="A GPU runs networks in real numbers", remedy="Give the model that it was exported from",
        )
    lowered = lower_to_gpu(graph if n_timesteps is None else replace(graph, n_timesteps=n_timesteps))
    check_length(lowered)
    return lowered


def samples_for(opened: Opened, graph: Graph, data: str | None) -> Samples | None:
    """The data given, or those that the model names; None without either. Raises UsageError where they are not its kind."""
    source = opened.source(data)
    if source is None:
        return None
    if graph.metadata.get("encoding") != "events" and graph.metadata.get("input") != "events":
        return Samples(graph, data_for(graph, source, own=data is None))
    stored = graph.metadata.get("data") or {}
    found = load_events(source, duration_us=stored.get("duration_us") if data is None else None)
    require_same(found, tuple(graph.inputs[0].shape), math.prod(graph.shapes[graph.output.name]))
    return Samples(graph, found)


def refuse_cores(name: str, asked: dict[str, object]) -> None:
    """Raise UsageError naming what was asked for that only chips with cores or a pipeline have."""
    given = [option for option, value in asked.items() if value is not None]
    if given:
        raise UsageError(
            f"{' and '.join(given)} on a GPU", where=given[0], code="other_arithmetic",
            limit=f"{name} has no cores to place neurons on and runs sample after sample, or many at once (gpu.batch)",
            remedy="Leave it out",
        )
