"""Final figures of a deployment on held-out images: accuracy of each stage, agreement, cost, early exit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from neurodeploy.cost.result import Cost
from neurodeploy.cost.schedule import Schedule
from neurodeploy.cost.windows import schedules
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.deploy import float_votes
from neurodeploy.jobs.measure import costs_of, early_exit_report, measure
from neurodeploy.jobs.statistics import paired_difference, wilson
from neurodeploy.place import Placement
from neurodeploy.progress import SILENT, Progress


@dataclass(frozen=True)
class Evaluation:
    """Plain values (shares 0..1, None where unknown) and the costs by schedule."""

    accuracy: dict[str, Any]
    agreement: dict[str, Any] | None
    early_exit: dict[str, Any] | None
    costs: dict[Schedule, Cost]

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {
            "accuracy": self.accuracy, "agreement": self.agreement, "early_exit": self.early_exit,
            "cost": {schedule: cost.to_dict() for schedule, cost in self.costs.items()},
        }


def evaluate(
    lowered: Graph, net: IntGraph, plan: Placement, profile: Profile, policy: ConfidencePolicy | None,
    images: NDArray[Any], labels: NDArray[Any], progress: Progress = SILENT, *, interval_s: float | None = None,
) -> Evaluation:
    """Run the integer network (and its real-valued twin, where there is one) on images that the run made no choice on;
    `interval_s`: the time between samples where it is known."""
    measured = measure(net, plan, images, progress, zeros=profile.zeros)
    integer = predictions(measured.votes)[-1]
    n, n_right = len(labels), int((integer == labels).sum())
    accuracy: dict[str, Any] = {
        "float": None, "simulator": n_right / n, "n": n, "n_right": n_right, "interval": wilson(n_right, n)
    }
    agreement = None
    if not isinstance(lowered, IntGraph):  # a network that came as integers has no real-valued twin
        real = predictions(float_votes(lowered, images))[-1]
        n_same = int((real == integer).sum())
        accuracy["float"] = float((real == labels).mean())
        accuracy["simulator_minus_float"] = paired_difference(integer == labels, real == labels)
        agreement = {"share": n_same / n, "n_same": n_same, "n": n, "interval": wilson(n_same, n)}
    return Evaluation(
        accuracy=accuracy, agreement=agreement,
        early_exit=None if policy is None else early_exit_report(
            net, plan, profile, policy, images, labels, measured, interval_s=interval_s
        ),
        costs=costs_of(measured.counts, plan, profile, schedules=schedules(net), interval_s=interval_s),
    )
