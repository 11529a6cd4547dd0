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
from neurodeploy.ir.nodes import Flatten, Input, Linear, Vote
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.place.core_plan import CorePlan
from tests.event_nets import chain, lif
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


def sides() -> Graph:
    """Which half of the sensor sends more events: an event excites the class of its half and inhibits the other one."""
    left = np.broadcast_to(np.arange(4) < 2, (2, 4, 4)).reshape(-1)
    fc = Linear("fc", np.where(np.stack([left, ~left]), 0.9, -0.9))
    return chain(Input("input", (2, 4, 4)), Flatten("flat"), fc, lif("out", 2), Vote("vote", 2, 1), encoding="events")


def recordings(n: int = 60, n_events: int = 40, seed: int = 0) -> EventDataset:
    """Random events, more of them in one half of the sensor, which is the label; a third of the samples in each split."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    found = []
    for label in y:
        x = rng.integers(0, 2, n_events) + 2 * (rng.random(n_events) < (0.4, 0.6)[label])
        columns = [np.sort(rng.integers(0, DURATION, n_events)), rng.integers(0, 2, n_events), rng.integers(0, 4, n_events), x]
        found.append(np.stack(columns, axis=1).astype(np.int64))
    splits = dict(zip(("train", "validation", "test"), np.split(np.arange(n), [n // 3, 2 * n // 3]), strict=True))
    return EventDataset("sides", tuple(found), y.astype(np.int64), 2, (2, 4, 4), DURATION, splits)


def re_sign(folder: Path, change: Callable[[dict[str, Any]], object] = lambda m: None) -> None:
    """Write the manifest anew over the files as they are: a change that hides itself."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    write_manifest(folder, {k: v for k, v in manifest.items() if k not in ("files", "sha256", "format", "schema_version")})
