"""From a deployment to its bundle: what the manifest says about data, accuracy and early exit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import Dataset
from neurodeploy.early_exit.planned import N_GOLDEN, PlannedPolicy
from neurodeploy.export.bundle import Bundle
from neurodeploy.export.write import export
from neurodeploy.hw.profile import Profile
from neurodeploy.jobs.deploy import Deployment
from neurodeploy.jobs.evaluate import Evaluation

_N_GOLDEN = 8  # samples whose exact spikes a bundle carries


def write_bundle(
    deployment: Deployment, profile: Profile, data: Dataset, source: str, evaluation: Evaluation, out: Path, *, seed: int,
    extra: dict[str, Any] | None = None,
) -> Bundle:
    """Write the bundle of a deployment; golden vectors are made from the first test images.

    source: name or path under which `validate` finds the data again.
    """
    images = data.split("test")[0]
    golden = chip_input(deployment.net, images[:_N_GOLDEN])
    planned = deployment.policy if isinstance(deployment.policy, PlannedPolicy) else None
    accuracy = {**evaluation.accuracy, "quantized": evaluation.accuracy["simulator"], "split": "test"}
    metadata = {
        "data": {"name": source, "split": "test", "n_levels": data.n_levels}, "seed": seed, "accuracy": accuracy,
        "early_exit": None if deployment.policy is None else deployment.policy.to_dict(),
        "validation": deployment.validation, **(extra or {}),
        **({} if deployment.optimised is None else {"placement_optimised": deployment.optimised}),
    }
    return export(deployment.net, deployment.plan, profile, out, golden_inputs=golden, metadata=metadata,
                  lowered=deployment.lowered, policy=None if planned is None else replace(planned, golden=images[:N_GOLDEN]))
