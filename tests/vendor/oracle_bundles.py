"""Bundles for vendors' tools: of hand-written integer networks, without a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neurodeploy.export import export
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import IntGraph
from neurodeploy.place import place
from numpy.typing import NDArray

PROFILE = target("loihi2")


def write(graph: IntGraph, x: NDArray[Any], out: Path) -> Path:
    """Export a graph for Loihi 2 with the golden inputs x [T, B, *shape]; the bundle's folder."""
    metadata = {"data": None, "seed": 0, "accuracy": None}
    return export(graph, place(graph, PROFILE), PROFILE, out, golden_inputs=x, metadata=metadata).path
