"""From a deployment on an event-driven chip to its bundle: what the manifest says about data, accuracy and early exit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.early_exit.event_windows import PlannedExit
from neurodeploy.early_exit.planned import N_GOLDEN
from neurodeploy.export.bundle import Bundle
from neurodeploy.export.write_events import export_events
from neurodeploy.hw.profile import EventProfile
from neurodeploy.jobs.event_deploy import EventDeployment
from neurodeploy.jobs.event_evaluate import EventEvaluation
from neurodeploy.jobs.event_exit import views_of
from neurodeploy.jobs.training import described

_N_GOLDEN = 4  # samples whose exact spikes a bundle carries


def write_event_bundle(
    deployment: EventDeployment, profile: EventProfile, data: EventDataset, source: str, evaluation: EventEvaluation, out: Path,
    *, seed: int, extra: dict[str, Any] | None = None, padded: bool = False,
) -> Bundle:
    """Write the bundle of a deployment; golden vectors are the first test samples.

    source: name or path under which `validate` finds the data again. padded: see `export_events`.
    """
    policy, planned = deployment.policy, None
    if isinstance(policy, PlannedExit):
        views = views_of(data, "test", policy, policy.planned.sees)
        planned = replace(policy.planned, golden=views[:N_GOLDEN])
    accuracy = {**evaluation.accuracy, "quantized": evaluation.accuracy["simulator"], "split": "test"}
    metadata = {
        "data": {**described(data, source), "split": "test"}, "seed": seed, "accuracy": accuracy,
        "early_exit": None if policy is None else policy.to_dict(),
        "validation": deployment.validation, "gap": evaluation.gap, **(extra or {}),
    }
    return export_events(
        deployment.net, deployment.plan, profile, out, golden_streams=data.split("test")[0][:_N_GOLDEN], metadata=metadata,
        lowered=deployment.lowered, padded=padded, policy=planned,
    )
