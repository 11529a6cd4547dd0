"""Early exit on a chip with timesteps by either method; with SEENN-II every sample runs as long as its policy said, and the
policy's own cost is charged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.band import Band
from neurodeploy.cost.policy_cost import PolicyCost, decider_of, waiting, with_decider
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import Dataset
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.exits import Known, choose_planned, choose_policy, few_to_train
from neurodeploy.jobs.measure import Measured, early_exit_report, exit_figures
from neurodeploy.place import Placement
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim.exit import ExitTrace, simulate_for
from neurodeploy.validate.accuracy import votes_of

AnyPolicy = ConfidencePolicy | PlannedPolicy


def choose_exit(
    net: IntGraph, data: Dataset, settings: DeploySettings, votes: NDArray[np.float64] | None = None,
    progress: Progress = SILENT,
) -> AnyPolicy:
    """The policy that the settings ask for, by validation images and what the integer network answers on them; `votes`: those
    of the validation split, where they are known."""
    images, labels = data.split("validation")
    votes = votes_of(net, images, chip_input) if votes is None else votes
    if settings.early_exit.method == "confidence":
        return choose_policy(settings.early_exit, votes, labels)
    few = few_to_train(data, settings)

    def known(split: str) -> Known:
        x, y = few.split(split)
        return x, predictions(votes if split == "validation" else votes_of(net, x, chip_input)) == y

    return choose_planned(settings, known, "image", progress)


def exit_report(
    net: IntGraph, plan: Placement, profile: Profile, policy: AnyPolicy, images: NDArray[Any], labels: NDArray[Any],
    full: Measured, *, interval_s: float | None = None,
) -> dict[str, Any]:
    """What stopping early gives by a policy of either kind: `early_exit_report`, or that of SEENN-II below."""
    if isinstance(policy, ConfidencePolicy):
        return early_exit_report(net, plan, profile, policy, images, labels, full, interval_s=interval_s)
    found = planned_exit_report(
        net, plan, profile, policy.steps(images), images, labels, full, decider_of(policy, profile), interval_s=interval_s
    )
    return {"policy": policy.to_dict(), "threshold": None, **found}


def planned_exit_report(
    net: IntGraph, plan: Placement, profile: Profile, steps: NDArray[np.int64], images: NDArray[Any], labels: NDArray[Any],
    full: Measured, decider: PolicyCost | None = None, *, interval_s: float | None = None,
) -> dict[str, Any]:
    """What stopping after `steps` [N] (`StepPolicy.steps`, or the same number for all) gives on these samples, as
    `measure.early_exit_report`: figures of the chip alone, and what the policy adds (`policy_cost.with_decider`).

    Chips that wait for the policy cost nothing more where `interval_s` is given, which their power covers.
    """
    def run(part: slice) -> ExitTrace:
        return simulate_for(net, chip_input(net, images[part]), steps[part])

    figures = exit_figures(net, plan, profile, run, labels, full, interval_s=interval_s)
    waits = Band(0.0, 0.0, 0.0)
    if decider is not None and interval_s is None:
        waits = waiting(profile, plan.n_chips, decider.latency_s)
    return with_decider(figures, decider, waits, figures["latency_s"])
