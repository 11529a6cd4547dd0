"""Bundles for GPUs of small networks, and the means to change what lies in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.export.bundle import Bundle, write_manifest
from neurodeploy.export.gpu import export_gpu
from neurodeploy.hw.profile import GpuProfile, any_target
from neurodeploy.ir.graph import Graph
from tests.float_networks import values

POLICY = ConfidencePolicy(0.3)
METADATA = {"seed": 3, "data": {"name": "digits", "split": "test"}, "accuracy": {"float": 0.5}, "recipe": "digits"}


def profile() -> GpuProfile:
    found = any_target("h200")
    assert isinstance(found, GpuProfile)
    return found


def write(graph: Graph, out: Path, **changes: Any) -> Bundle:
    """A bundle of a real-valued network with four golden samples."""
    given = {"golden_inputs": values(graph, 4), "metadata": METADATA, "policy": POLICY, **changes}
    return export_gpu(graph, profile(), out, **given)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object] = lambda manifest: None) -> None:
    """Write a manifest anew after files were changed, as somebody would who wants to be believed."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    write_manifest(folder, {k: v for k, v in manifest.items() if k not in ("format", "schema_version", "files", "sha256")})
