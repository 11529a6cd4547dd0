"""Bundles of the hand-written graphs."""

from __future__ import annotations

from pathlib import Path

from neurodeploy.export import Bundle, export
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import IntGraph
from neurodeploy.place import place
from tests.ir.hand_graphs import inputs

PROFILE = target("loihi2")
METADATA = {"data": {"name": "digits", "split": "test"}, "seed": 3, "accuracy": {"float": 0.9}, "recipe": "digits"}


def write(graph: IntGraph, out: Path, batch: int = 2) -> Bundle:
    """Export a graph for Loihi 2 with `batch` golden samples."""
    return export(graph, place(graph, PROFILE), PROFILE, out, golden_inputs=inputs(graph, batch), metadata=METADATA)
