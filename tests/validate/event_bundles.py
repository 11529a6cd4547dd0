"""Bundles of event-driven chips for the validation: written by hand, with data that they answer by definition."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.export.bundle import write_manifest
from neurodeploy.export.write_events import export_events
from neurodeploy.ir.graph import Graph
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.sim.event_runs import run_streams
from tests.export.speck_bundles import deployed, profile, streams

DURATION = 100_000


def exported(
    graph: Graph, folder: Path, *, padded: bool = False, target: str = "speck2f", plan: CorePlan | None = None,
    **metadata: Any,
) -> Path:
    """A whole bundle of a trained graph with three golden samples of random events; the folder."""
    net, own, _ = deployed(graph, target)
    chip = profile(target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lowered = lower_to_events(graph, chip)
    return export_events(
        net, own if plan is None else plan, chip, folder, golden_streams=streams(net.inputs[0].shape),
        metadata={"data": None, "seed": 0, "accuracy": None, **metadata}, lowered=lowered, padded=padded,
    ).path


def recordings(graph: Graph, n: int = 12, target: str = "speck2f", n_events: int = 60) -> EventDataset:
    """Random streams whose labels are the answers of the integer network itself; the last third is the test split."""
    net, _, _ = deployed(graph, target)
    found = tuple(streams(net.inputs[0].shape, n, n_events, seed=7))
    labels = run_streams(net, found, duration_us=DURATION).predictions
    index = np.split(np.arange(n), [n // 3, 2 * n // 3])
    splits = dict(zip(("train", "validation", "test"), index, strict=True))
    sensor = net.inputs[0].shape
    assert len(sensor) == 3
    return EventDataset("random", found, labels, 10, (sensor[0], sensor[1], sensor[2]), DURATION, splits)


def re_sign(folder: Path, change: Callable[[dict[str, Any]], object] = lambda m: None) -> None:
    """Write the manifest anew over the files as they are: a change that hides itself."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    write_manifest(folder, {k: v for k, v in manifest.items() if k not in ("files", "sha256", "format", "schema_version")})
