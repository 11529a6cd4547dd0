"""What an export answers, on any kind of target."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.errors import NeurodeployWarning
from neurodeploy.export.bundle import Bundle
from neurodeploy.jobs.deploy import PlacementSource


@dataclass(frozen=True)
class ExportResult:
    """The bundle, its main artifact, how each layer was quantized, where each went (and who placed it), and accuracy where data
    was known. Of event-driven chips with data also `gap` (clocked and event-driven simulation side by side, a table for each
    number of bins) and `early_exit`. On a GPU nothing is quantized or placed: both are None."""

    bundle: Path
    artifact: Path
    quantization: dict[str, Any] | None
    placement: dict[str, Any] | None
    accuracy: dict[str, Any] | None
    optimised: dict[str, Any] | None = None
    placement_source: PlacementSource | None = "placed"
    gap: list[dict[str, Any]] | None = None
    early_exit: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**vars(self), "bundle": str(self.bundle), "artifact": str(self.artifact)}


def warn_silent(bundle: Bundle, model: str, remedy: str) -> None:
    """Warn where no neuron fires on the golden inputs of a bundle."""
    if not any(bundle.manifest["golden"]["n_spikes"].values()):
        warnings.warn(NeurodeployWarning(
            "no neuron fires on the golden inputs: they prove nothing, and `validate` refuses the bundle", code="silent_golden",
            where=model, remedy=remedy,
        ), stacklevel=3)
