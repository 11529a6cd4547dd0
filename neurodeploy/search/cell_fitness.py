"""What an untrained cell is worth on a target: its score, and what it would cost, in units of the score's spread.

    F = score + sigma (lambda ln(spikes / ref) + mu ln(energy / ref) + nu ln(latency / ref))        lambda, mu, nu <= 0

sigma is the standard deviation of the scores of the references, ref their mean figures. Without exponents F is the score, as in
the paper; with mu = -1, e times the energy weighs one deviation of the score. All figures are those of the untrained network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from neurodeploy.errors import Violation
from neurodeploy.search.pareto import Objectives

OBJECTIVES: Objectives = {"score": "max", "energy_j": "min", "latency_s": "min", "n_cores": "min"}


class CellFitnessSettings(BaseModel):
    """Weights of the costs beside the score (0 leaves a term out); `energy`: with static power times time, or dynamic alone."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    lambda_spikes: float = Field(default=0.0, le=0)
    mu_energy: float = Field(default=0.0, le=0)
    nu_latency: float = Field(default=0.0, le=0)
    energy: Literal["total", "dynamic"] = "total"

    @property
    def weighs_costs(self) -> bool:
        """Whether anything but the score counts."""
        return any((self.lambda_spikes, self.mu_energy, self.nu_latency))

    def terms(self) -> tuple[tuple[float, str], ...]:
        """(weight, field of `CellMetrics`) of each term that counts."""
        energy = "energy_dynamic_j" if self.energy == "dynamic" else "energy_j"
        found = ((self.lambda_spikes, "spikes"), (self.mu_energy, energy), (self.nu_latency, "latency_s"))
        return tuple((weight, name) for weight, name in found if weight)


@dataclass(frozen=True)
class CellMetrics:
    """One untrained cell on one target; figures per inference, means over the images that were run, None where there are none.

    `score` is None where the cell was not scored because it does not fit, or cannot tell two images apart. `refused` says why
    the target has no form of the cell at all, `violations` which limits its form breaks.
    """

    score: float | None
    spikes: float | None = None
    synops: float | None = None
    energy_j: float | None = None
    energy_dynamic_j: float | None = None
    latency_s: float | None = None
    n_cores: int | None = None
    fits: bool = False
    refused: str | None = None
    violations: tuple[Violation, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON and the search's storage."""
        return asdict(self) | {"violations": [v.to_dict() for v in self.violations]}


@dataclass(frozen=True)
class CellReferences:
    """What the costs are divided by, and the spread of the scores: of the same cells."""

    score_deviation: float
    spikes: float
    energy_j: float
    energy_dynamic_j: float
    latency_s: float


def cell_fitness(metrics: Mapping[str, Any], settings: CellFitnessSettings, references: CellReferences | None) -> float | None:
    """The fitness of a cell's metrics (`CellMetrics.to_dict`); None where it has none (`why_not`)."""
    if why_not(metrics, settings):
        return None
    value = float(metrics["score"])
    for weight, name in settings.terms():
        assert references is not None  # whoever weighs costs made them
        value += references.score_deviation * weight * math.log(metrics[name] / getattr(references, name))
    return value


def why_not(metrics: Mapping[str, Any], settings: CellFitnessSettings) -> str | None:
    """Why a cell has no fitness, in a word or two that many cells share; None where it has one."""
    if metrics["refused"] is not None:
        return "the target has no form of it"
    if not metrics["fits"]:
        return "it does not fit"
    if metrics["score"] is None:
        return "it does not tell all images apart"
    if any(metrics[name] <= 0 for _, name in settings.terms()):
        return "it never spikes"
    return None
