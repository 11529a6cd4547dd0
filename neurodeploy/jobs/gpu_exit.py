"""Early exit on a GPU by either method: how it is chosen, what SEENN-II's policy sees, what it gives."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.data.datasets import Dataset
from neurodeploy.early_exit.confidence import exit_steps
from neurodeploy.early_exit.planned import PlannedPolicy, Sees
from neurodeploy.early_exit.policy import Images
from neurodeploy.errors import UsageError
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.exits import Known, choose_planned, choose_policy, few_to_train
from neurodeploy.jobs.gpu_opened import Samples
from neurodeploy.jobs.gpu_run import GpuRuns, run_split
from neurodeploy.jobs.opened import Opened
from neurodeploy.jobs.planned_exit import AnyPolicy
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.validate.gpu_bundle import GpuBundle
from neurodeploy.validate.gpu_verdict import exit_report


def views_of(samples: Samples, split: str, sees: Sees) -> Images:
    """What a policy sees of a split, float32 [N, C, H, W]: the images, also those in front of a simulated camera, or the counts
    of the first timestep. Raises UsageError for recordings where images are wanted."""
    data = samples.data
    if isinstance(data, Dataset):
        return data.split(split)[0]
    if sees == "events":
        return np.concatenate([x[0].reshape(-1, *data.sensor) for x in samples.batches(split)])
    images = data.images_of(split)
    if images is None:
        raise UsageError("recordings of events", where=data.name, code="wrong_data",
                         limit="The early-exit policy sees images", remedy="Give the data that it was trained on")
    return images


def choose_exit(samples: Samples, settings: DeploySettings, validation: GpuRuns, progress: Progress = SILENT) -> AnyPolicy:
    """The policy that the settings ask for, by what the network answers on validation samples."""
    if settings.early_exit.method == "confidence":
        return choose_policy(settings.early_exit, validation.votes, validation.labels)
    few = Samples(samples.graph, few_to_train(samples.data, settings))
    sees: Sees = "image" if isinstance(few.data, Dataset) or few.data.images is not None else "events"

    def known(split: str) -> Known:
        runs = validation if split == "validation" else run_split(few, split, progress)
        return views_of(few, split, sees), predictions(runs.votes) == runs.labels

    return choose_planned(settings, known, sees, progress)


def kept_or_chosen(opened: Opened, samples: Samples, settings: DeploySettings, validation: GpuRuns) -> AnyPolicy:
    """The policy network that a bundle for GPUs carries, unless the settings ask for another exit; else `choose_exit`."""
    kept = opened.bundle.policy if isinstance(opened.bundle, GpuBundle) else None
    if isinstance(kept, PlannedPolicy) and not opened.asks_for_another_exit(settings):
        return kept
    return choose_exit(samples, settings, validation)


def exit_answers(samples: Samples, runs: GpuRuns, policy: AnyPolicy) -> dict[str, Any]:
    """What stopping early answers on the test split, whose `runs` these are; what it costs is `OnGpu.early_exit`'s to say."""
    if isinstance(policy, PlannedPolicy):
        steps = policy.steps(views_of(samples, "test", policy.sees))
    else:
        steps = exit_steps(runs.votes, policy)
    return exit_report(runs.votes, runs.labels, policy, steps, runs.latency)
