"""Small bundles for event-driven chips, written without a job: only what the exporter needs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from neurodeploy.export.bundle import write_manifest
from neurodeploy.export.golden_events import GoldenEvents, record_events
from neurodeploy.export.speck import write_artifacts
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.hw.profile import any_target
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Flatten, Input, SumPool2d, Vote
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.dynapcnn_config import ChipConfig
from neurodeploy.place.event_cores import configuration, place
from numpy.typing import NDArray
from tests.event_nets import chain, conv, integers, lif, linear


def profile(name: str = "speck2f") -> EventProfile:
    found = any_target(name)
    assert isinstance(found, EventProfile)
    return found


def classifier(n_classes: int = 10) -> Graph:
    """Two convolutions with a pool behind each, and a linear layer."""
    return chain(
        Input("input", (2, 8, 8)), conv("c1", 2, 4), lif("n1", 4, 8, 8), SumPool2d("p1", (2, 2)), conv("c2", 4, 6),
        lif("n2", 6, 4, 4), SumPool2d("p2", (2, 2)), Flatten("flat"), linear("fc", 24, n_classes), lif("n3", n_classes),
        Vote("vote", n_classes, 1), encoding="events",
    )  # fmt: skip


def uneven() -> Graph:
    """Nothing is the same along y and x but the kernels: maps, stride, padding."""
    return chain(
        Input("input", (2, 12, 8)), conv("c1", 2, 4), lif("n1", 4, 12, 8), SumPool2d("p1", (2, 2)),
        conv("c2", 4, 6, stride=(2, 1), padding=(1, 0)), lif("n2", 6, 3, 2), conv("c3", 6, 5, padding=(0, 1)),
        lif("n3", 5, 1, 2), encoding="events",
    )  # fmt: skip


def streams(shape: tuple[int, ...], n_samples: int = 3, n_events: int = 200, seed: int = 0) -> list[NDArray[np.int64]]:
    """Random events over a tenth of a second."""
    rng = np.random.default_rng(seed)
    columns = lambda: [rng.integers(0, size, n_events) for size in shape]  # noqa: E731
    return [np.stack([np.sort(rng.integers(0, 100_000, n_events)), *columns()], axis=1) for _ in range(n_samples)]


@dataclass(frozen=True)
class Written:
    """A bundle and what went into it."""

    path: Path
    net: IntGraph
    plan: CorePlan
    config: ChipConfig
    golden: GoldenEvents
    fields: dict[str, Any]


def deployed(graph: Graph, target: str = "speck2f", scale: float = 40.0) -> tuple[IntGraph, CorePlan, ChipConfig]:
    """(integers, placement, configuration) of a trained graph."""
    chip = profile(target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random weights are above the threshold
        net = integers(lower_to_events(graph, chip), scale)
        plan = place(net, chip)
    return net, plan, configuration(net, plan, chip)


def write(graph: Graph, folder: Path, target: str = "speck2f", *, padded: bool = False) -> Written:
    """A bundle with a manifest of its files and the artifacts' fields."""
    net, plan, config = deployed(graph, target)
    golden = record_events(net, streams(net.inputs[0].shape))
    folder.mkdir(parents=True)
    fields = write_artifacts(net, plan, profile(target), config, folder, golden=golden, padded=padded)
    write_manifest(folder, {"target": target, **fields})
    return Written(folder, net, plan, config, golden, fields)
