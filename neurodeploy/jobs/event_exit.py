"""Early exit on an event-driven chip by either method: how it is chosen, what SEENN-II's policy sees, what it saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.band import Band
from neurodeploy.cost.event_activity import activity_of
from neurodeploy.cost.event_cost import event_cost
from neurodeploy.cost.policy_cost import decider_of, waiting, with_decider
from neurodeploy.data.event_dataset import EventDataset, rasterize
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.early_exit.event_windows import EventExitPolicy, PlannedExit, Readings
from neurodeploy.early_exit.planned import Sees
from neurodeploy.early_exit.policy import Correct, Images
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import EventProfile
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.exits import Known, choose_planned, choose_policy, few_to_train
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim.event_exit import read_votes, run_until_exit
from neurodeploy.sim.event_runs import EventRuns, run_streams

EventExit = EventExitPolicy | PlannedExit


def what_it_sees(data: EventDataset) -> Sees:
    """The image where a simulated camera looked at one, else events."""
    return "events" if data.images is None else "image"


def views_of(data: EventDataset, split: str, readings: Readings, sees: Sees) -> Images:
    """What a policy sees of a split, float32 [N, C, H, W]: the images in front of the camera, or how many events each address
    sent until the first reading. Raises UsageError for recordings where images are wanted."""
    if sees == "events":
        streams = tuple(readings.first(stream) for stream in data.split(split)[0])
        return rasterize(streams, data.sensor, data.duration_us, 1)[:, 0].astype(np.float32)
    images = data.images_of(split)
    if images is None:
        raise UsageError("recordings of events", where=data.name, code="wrong_data",
                         limit="The early-exit policy sees the image in front of the simulated camera",
                         remedy="Give the data that it was trained on, or choose again with --set early_exit.method=...")
    return images


def choose_event_exit(
    net: IntGraph, data: EventDataset, settings: DeploySettings, runs: EventRuns | None = None, progress: Progress = SILENT
) -> EventExit:
    """The policy that the settings ask for, by validation runs of the integer network (`runs`, where they are known); never by
    test data."""
    streams, labels = data.split("validation")
    runs = run_streams(net, streams, duration_us=data.duration_us, progress=progress) if runs is None else runs
    early = settings.early_exit
    until = float(runs.n_events.mean()) if early.by == "event" else float(runs.duration_us)
    start = EventExitPolicy(early.by, max(1, round(until / early.windows)), ConfidencePolicy(1.0))
    votes, _ = read_votes(runs, streams, start)
    if early.method == "confidence":
        return replace(start, confidence=choose_policy(early, votes, labels))
    few, sees = few_to_train(data, settings), what_it_sees(data)
    x, y = few.split("train")
    trained = read_votes(run_streams(net, x, duration_us=data.duration_us, progress=progress), x, start)[0]
    n = max(len(votes), len(trained))  # as many readings as the longest sample has
    right = {"train": _longer(predictions(trained) == y, n), "validation": _longer(predictions(votes) == labels, n)}

    def known(split: str) -> Known:
        return views_of(few, split, start, sees), right[split]

    return PlannedExit(start.by, start.step, choose_planned(settings, known, sees, progress))


def planned_steps(policy: EventExit | None, data: EventDataset, split: str) -> NDArray[np.int64] | None:
    """Readings [N] that a planned policy lets the samples of a split run; None of any other."""
    return policy.planned.steps(views_of(data, split, policy, policy.planned.sees)) if isinstance(policy, PlannedExit) else None


def _longer(correct: Correct, n: int) -> Correct:
    """For n readings: behind the end of every sample its answer stays."""
    return np.concatenate([correct, np.repeat(correct[-1:], n - len(correct), axis=0)])


def event_exit_report(
    net: IntGraph, plan: CorePlan, profile: EventProfile, policy: EventExit, runs: EventRuns, streams: Sequence[Array],
    labels: NDArray[Any], *, steps: NDArray[np.int64] | None = None, interval_s: float | None = None,
) -> dict[str, Any]:
    """What stopping early gives, beside whole samples: each sample is run again up to its decision only. steps: what a planned
    policy says (`planned_steps`).

    The chip's static power runs while the policy decides, also where that happens while events go on coming in.
    """
    found = run_until_exit(net, streams, labels, policy, runs, steps=steps)
    time_s = max(found.report["mean_time_s"], 1e-6)
    whole = event_cost(activity_of(net, runs), plan, profile, interval_s=interval_s)
    early = event_cost(activity_of(net, found.stopped, time_s), plan, profile, interval_s=interval_s)
    figures = {
        **found.report, "n": len(labels), "by": policy.by, "mean_chip_timesteps": None,
        "energy_j": early.energy_j.to_dict(), "energy_dynamic_j": early.energy_dynamic_j.to_dict(),
        "energy_full_j": whole.energy_j.to_dict(), "energy_dynamic_full_j": whole.energy_dynamic_j.to_dict(),
        "status": whole.status, "energy_saved": 1 - early.energy_j.nominal / whole.energy_j.nominal,
    }
    if isinstance(policy, EventExitPolicy):
        return figures
    decider = decider_of(policy.planned, profile)
    waits = Band(0.0, 0.0, 0.0) if interval_s is not None else waiting(profile, 1, decider.latency_s)
    return with_decider(figures, decider, waits, time_s if early.decision_s is None else early.decision_s.nominal)
