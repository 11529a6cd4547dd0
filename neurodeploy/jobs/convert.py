"""`neurodeploy convert`: a network of ReLU or QCFS as one of integrate-and-fire neurons; its accuracy before and after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir import write_nir
from neurodeploy.ir.nodes import Qcfs
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.opened import open_with
from neurodeploy.lower.ann import LastLayer, Start, activations
from neurodeploy.lower.ann import convert as convert_graph
from neurodeploy.lower.fold import fold_batch_norm
from neurodeploy.progress import SILENT, Progress

_SUFFIXES = (".npz", ".nir")
_CALIBRATION = 1000  # images


@dataclass(frozen=True)
class ConvertResult:
    """`model`: the file; accuracies on `n` test images, 0..1; `agreement`: share of equal answers; `accuracy_per_step` after
    1..T timesteps; `rates`: spikes per neuron and timestep, `scales`: what a rate of 1 stands for, of each layer of neurons;
    `activation`: of the network given, ReLU or QCFS; `start`: of the membranes, half a threshold or zero."""

    model: Path
    n_timesteps: int
    accuracy_ann: float
    accuracy_snn: float
    accuracy_per_step: list[float]
    agreement: float
    n: int
    data: str
    scales: dict[str, float]
    rates: dict[str, float]
    activation: str
    start: str

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**vars(self), "model": str(self.model)}


def convert(
    model: Path, n_timesteps: int, *, data: str | None = None, out: Path | None = None, percentile: float = 99.9,
    shift: bool = True, floor: float | None = None, start: Start | None = None, readout: LastLayer = "spikes",
    overrides: dict[str, Any] | None = None, progress: Progress = SILENT,
) -> ConvertResult:
    """Convert the network in `model` (`lower.ann`), calibrated on validation images, and compare both on the test split.

    out: `.npz` or `.nir`; default a new `.npz` under runs/. Raises UsageError for a network without ReLU or QCFS, without a
    dataset, or a path that cannot be written.
    """
    out = out or Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-convert-{model.stem}.npz"
    if out.suffix not in _SUFFIXES or out.is_dir():
        raise UsageError(f"{out.name} is no file that a network is written to", where=str(out),
                         limit=f"Known: {', '.join(_SUFFIXES)}", remedy="Name one with --out")
    opened, changes = open_with(model, None, overrides)
    if changes:
        raise UsageError(f"nothing to set: {', '.join(changes)}", where="--set", limit="convert has options of its own")
    dataset, source = opened.dataset(data), opened.source(data)
    if dataset is None or source is None:
        raise UsageError("nothing says which images calibrate the network", where=str(model), code="missing_data",
                         remedy="Name a dataset with --data")
    images = dataset.split("validation")[0][:_CALIBRATION]
    progress.start("conversion", 3)
    found = convert_graph(
        opened.graph, images, n_timesteps, percentile=percentile, shift=shift, floor=floor, start=start, readout=readout
    )
    note = {"name": source, "n_levels": dataset.n_levels}
    graph = Graph(found.graph.nodes, found.graph.edges, n_timesteps, {**found.graph.metadata, "data": note})
    progress.advance("conversion")
    x, y = dataset.split("test")
    ann = fold_batch_norm(opened.graph)
    reference = predictions(_run(ann, x, 1)[0])[-1]
    progress.advance("conversion")
    votes, rates = _run(graph, x, n_timesteps)
    answers = predictions(votes)
    progress.done("conversion")
    if out.suffix == ".npz":
        serialize.save(graph, out)
    else:
        write_nir(graph, out)
    return ConvertResult(
        out, n_timesteps, float((reference == y).mean()), float((answers[-1] == y).mean()),
        [float(share) for share in (answers == y).mean(axis=1)], float((answers[-1] == reference).mean()), len(y), dataset.name,
        found.scales, rates, "QCFS" if any(isinstance(n, Qcfs) for n in ann.nodes) else "ReLU", found.start,
    )


def _run(graph: Graph, images: NDArray[Any], n_timesteps: int) -> tuple[NDArray[np.float32], dict[str, float]]:
    """(outputs of the last node [T, N, classes], spikes per neuron and timestep of each layer)."""
    votes = []
    spikes = {n.name: 0.0 for n in graph.neurons}
    for outputs in activations(graph, images, n_timesteps):
        votes.append(outputs[graph.output.name])
        for name in spikes:
            spikes[name] += float(outputs[name].mean(axis=(0, *range(2, outputs[name].ndim))).sum())
    return np.concatenate(votes, axis=1), {name: total / len(images) for name, total in spikes.items()}
