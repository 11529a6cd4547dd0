"""A bundle of an event-driven chip checked against the data that its manifest names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.datasets import Dataset
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.data.event_sources import load_events
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.export.bundle import MANIFEST
from neurodeploy.export.write import NIR
from neurodeploy.ir.event_layers import as_map
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.data import load_event_data, part_of, require_same
from neurodeploy.jobs.event_deploy import float_run
from neurodeploy.jobs.event_exit import event_exit_report, planned_steps
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim.readout import readout
from neurodeploy.validate import EventBundle, Verdict, validate_event_bundle


def validate_events(
    opened: EventBundle, data: EventDataset | Dataset | str | Path | None = None, *, trace: bool = False, max_drop: float = 0.5,
    progress: Progress = SILENT,
) -> Verdict:
    """The verdict over an opened bundle, on the split of the data that its manifest names, or on the test split of `data`."""
    split = "test" if data is not None else (opened.manifest.get("data") or {}).get("split") or "test"
    dataset = event_data(opened, data)
    return validate_event_bundle(
        opened, dataset, split=split, max_drop=max_drop, trace=trace, progress=progress,
        float_accuracy=None if dataset is None else _float_accuracy(opened, dataset, split),
        early_exit=lambda policy, runs, streams, labels: event_exit_report(
            opened.net, opened.plan, opened.profile, policy, runs, streams, labels,
            steps=None if dataset is None else planned_steps(policy, dataset, split),
        ),
    )


def event_data(opened: EventBundle, data: EventDataset | Dataset | str | Path | None = None) -> EventDataset | None:
    """The recordings given, or those that the manifest names, cut to its duration; None without either.

    Raises UsageError where their sensor or classes are not those of the network.
    """
    if isinstance(data, Dataset):
        raise UsageError("images", where=data.name, code="wrong_data", limit=f"{opened.profile.name} takes streams of events",
                         remedy="Give recordings, or a folder of images for the simulated camera")
    if not isinstance(data, EventDataset | None):
        data = load_events(data)
    if data is None:
        stored = opened.manifest.get("data") or {}
        name, duration = stored.get("name"), stored.get("duration_us")
        if name is None:
            return None
        if duration is not None and type(duration) is not int:
            raise UnsafeFile("data.duration_us is no number", where=str(opened.path / MANIFEST), remedy="Export again")
        data = load_event_data(part_of(stored, name), duration)
    require_same(data, as_map(opened.net.inputs[0].shape), readout(opened.net).n_classes)
    return data


def _float_accuracy(opened: EventBundle, data: EventDataset, split: str) -> float | None:
    """Accuracy of the real-valued network in `model.nir`; None without one, or where that holds the integer network."""
    if NIR not in opened.manifest["files"]:
        return None
    graph = read_nir(opened.path / NIR)
    if isinstance(graph, IntGraph):
        return None
    streams, labels = data.split(split)
    votes: NDArray[np.float64] = float_run(graph, streams, data).votes
    return float((predictions(votes.reshape(*votes.shape[:2], -1))[-1] == labels).mean())
