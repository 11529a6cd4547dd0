"""How a candidate stands where several things count at once: what is to be small, and how many limits it breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neurodeploy.search.fitness import FitnessSettings, Metrics, energy_field, infeasible
from neurodeploy.search.pareto import Objectives, costs, own_objectives


@dataclass(frozen=True)
class Standing:
    """A call gives (costs, 0) of a feasible candidate's metrics, ((), number of reasons) of others."""

    settings: FitnessSettings
    n_classes: int

    @property
    def objectives(self) -> Objectives:
        """Accuracy, the energy that the fitness reads, latency, cores, and terms of one's own."""
        return {
            "accuracy": "max", energy_field(self.settings): "min", "latency_s": "min", "n_cores": "min",
            **own_objectives(self.settings.terms),
        }

    def __call__(self, metrics: Mapping[str, Any]) -> tuple[tuple[float, ...], int]:
        reasons = infeasible(Metrics.from_dict(metrics), self.settings, self.n_classes)
        return ((), len(reasons)) if reasons else (costs(metrics, self.objectives), 0)
