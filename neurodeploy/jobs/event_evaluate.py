"""Final figures of a network on an event-driven chip, on held-out samples: accuracy, gap, cost, early exit."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from neurodeploy.cost.event_activity import activity_of
from neurodeploy.cost.event_cost import event_cost
from neurodeploy.cost.event_result import EventCost
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.errors import DoesNotFit, NeurodeployWarning
from neurodeploy.hw.profile import EventProfile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.event_deploy import float_run
from neurodeploy.jobs.event_exit import EventExit, event_exit_report, planned_steps
from neurodeploy.jobs.statistics import paired_difference, wilson
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.progress import SILENT, Progress
from neurodeploy.quantize.iaf_network import quantize_events
from neurodeploy.sim.event_gap import gap_table
from neurodeploy.sim.event_runs import run_streams

BINS = (16, 32, 64)  # of the gap's table


@dataclass(frozen=True)
class EventEvaluation:
    """Plain values (shares 0..1, None where unknown) and the cost of one sample."""

    accuracy: dict[str, Any]
    agreement: dict[str, Any] | None
    gap: list[dict[str, Any]]
    early_exit: dict[str, Any] | None
    cost: EventCost

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {
            "accuracy": self.accuracy, "agreement": self.agreement, "gap": self.gap, "early_exit": self.early_exit,
            "cost": {"events": self.cost.to_dict()},
        }


def evaluate_events(
    lowered: Graph, net: IntGraph, plan: CorePlan, profile: EventProfile, policy: EventExit | None, data: EventDataset,
    split: str = "test", progress: Progress = SILENT, *, interval_s: float | None = None, limit: float | None = None,
    with_gap: bool = True,
) -> EventEvaluation:
    """Run the integer network event by event on samples that the run made no choice on, beside its clocked and its
    real-valued twin and, for a network quantized otherwise, sinabs' integers of the same network.

    interval_s, limit: as `cost.event_cost.event_cost`.
    """
    streams, labels = data.split(split)
    runs = run_streams(net, streams, duration_us=data.duration_us, progress=progress)
    answers = runs.predictions
    n, n_right = len(labels), int((answers == labels).sum())
    accuracy: dict[str, Any] = {
        "float": None, "simulator": n_right / n, "n": n, "n_right": n_right, "interval": wilson(n_right, n),
        "n_silent": runs.n_silent, "sinabs_rule": None,
    }
    agreement = None
    if not isinstance(lowered, IntGraph):
        real = predictions(float_run(lowered, streams, data).votes)[-1]
        n_same = int((real == answers).sum())
        accuracy["float"] = float((real == labels).mean())
        accuracy["simulator_minus_float"] = paired_difference(answers == labels, real == labels)
        agreement = {"share": n_same / n, "n_same": n_same, "n": n, "interval": wilson(n_same, n)}
        accuracy["sinabs_rule"] = _by_sinabs(lowered, net, profile, streams, labels, data.duration_us, accuracy["simulator"])
    return EventEvaluation(
        accuracy=accuracy, agreement=agreement,
        gap=[
            report.to_dict() for report in gap_table(net, streams, data.sensor, data.duration_us, BINS, progress=progress)
        ] if with_gap else [],
        early_exit=None if policy is None else event_exit_report(
            net, plan, profile, policy, runs, streams, labels, interval_s=interval_s,
            steps=planned_steps(policy, data, split),
        ),
        cost=event_cost(activity_of(net, runs), plan, profile, interval_s=interval_s, limit=limit),
    )


def _by_sinabs(
    lowered: Graph, net: IntGraph, profile: EventProfile, streams: Sequence[Array], labels: NDArray[Any], duration_us: int,
    own: float,
) -> float | None:
    """Accuracy of the same network in the integers of sinabs' rule, event-driven; None where they are none that run."""
    if net.quantization.get("rule") == "sinabs":
        return own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NeurodeployWarning)  # of integers that are not the user's
            other = quantize_events(lowered, profile, rule="sinabs")
    except DoesNotFit:  # a threshold of 0
        return None
    return float((run_streams(other, streams, duration_us=duration_us).predictions == labels).mean())
