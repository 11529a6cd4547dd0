"""`neurodeploy export`: a model on a target, evaluated and written as a bundle."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.data.chip_input import chip_input
from neurodeploy.errors import NeurodeployWarning
from neurodeploy.export.bundle import Bundle, check_out
from neurodeploy.export.write import export as write
from neurodeploy.hw.profile import target as profile_of
from neurodeploy.jobs.bundles import write_bundle
from neurodeploy.jobs.evaluate import evaluate
from neurodeploy.jobs.opened import open_model
from neurodeploy.jobs.search import split_overrides
from neurodeploy.progress import SILENT, Progress


@dataclass(frozen=True)
class ExportResult:
    """The bundle, its main artifact, how each layer was quantized, where each went, and accuracy where data was known."""

    bundle: Path
    artifact: Path
    quantization: dict[str, Any]
    placement: dict[str, Any]
    accuracy: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**vars(self), "bundle": str(self.bundle), "artifact": str(self.artifact)}


def export(
    model: Path, target: str, *, out: Path | None = None, data: str | None = None,
    overrides: dict[str, Any] | None = None, progress: Progress = SILENT,
) -> ExportResult:
    """Lower, quantize (calibrated on validation data), place and write; an integer network is never requantized.

    Without a dataset, scales come from the weights alone (warning `uncalibrated`), golden inputs are random and accuracy
    is None.
    """
    opened = open_model(model)
    of_model, of_profile = split_overrides(overrides or {})
    settings, profile = opened.settings(of_model), profile_of(target, of_profile)
    dataset = opened.dataset(data)
    if out is None:
        out = Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-export-{opened.path.stem}-{profile.name}"
    check_out(out)  # before the work, not after it
    deployment = opened.deployed(profile, settings, dataset, progress)
    net = deployment.net
    accuracy: dict[str, Any] | None = None
    bundle: Bundle
    if dataset is None:
        warnings.warn(
            NeurodeployWarning("no dataset: scales come from the weights alone, accuracy is unknown", code="uncalibrated",
                               where=str(model), remedy="Give one with --data"), stacklevel=2,
        )
        shape = (net.host.inputs[0] if net.host is not None else net.inputs[0]).shape
        images = np.random.default_rng(settings.seed).random((8, *shape))
        bundle = write(net, deployment.plan, profile, out, golden_inputs=chip_input(net, images),
                       metadata={"data": None, "seed": settings.seed}, lowered=deployment.lowered)
    else:
        final = evaluate(
            deployment.lowered, net, deployment.plan, profile, deployment.policy, *dataset.split("test"), progress
        )
        accuracy = {**final.accuracy, "agreement": final.agreement}
        source = opened.source(data)
        assert source is not None  # a dataset was found by it
        bundle = write_bundle(deployment, profile, dataset, source, final, out, seed=settings.seed)
    artifact = bundle.path / (bundle.manifest.get("artifact") or "graph.npz")
    return ExportResult(bundle.path, artifact, dict(net.quantization), deployment.plan.to_dict(), accuracy)
