"""A bundle for GPUs checked against the data that its manifest names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neurodeploy.data.datasets import Dataset
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.errors import UsageError
from neurodeploy.jobs.gpu_energy import OnGpu
from neurodeploy.jobs.gpu_exit import views_of
from neurodeploy.jobs.gpu_opened import Samples, samples_for
from neurodeploy.jobs.opened import Opened
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.validate import Verdict
from neurodeploy.validate.gpu_bundle import GpuBundle
from neurodeploy.validate.gpu_onnx import NAME
from neurodeploy.validate.gpu_verdict import validate_gpu_bundle


def validate_on_gpu(
    bundle: GpuBundle, data: Dataset | EventDataset | str | Path | None = None, *, oracle: str | None = None,
    trace: bool = False, max_drop: float = 0.5, progress: Progress = SILENT,
) -> Verdict:
    """The verdict over an opened bundle, on the test split of the data that its manifest names or of `data`.

    Raises UsageError for a tool that does not run the bundle, and for data that are not its kind.
    """
    if oracle not in (None, NAME):
        raise UsageError(f"{oracle} does not run bundles for GPUs", where=f"--oracle {oracle}", limit="It holds ONNX files",
                         remedy=f"Ask {NAME}")
    samples, policy = _samples(bundle, data), bundle.policy
    views = None
    if samples is not None and isinstance(policy, PlannedPolicy):
        views = views_of(samples, "test", policy.sees)

    def costs(histogram: Sequence[int]) -> dict[str, Any]:
        assert policy is not None  # asked only then
        return OnGpu.of(bundle.graph, bundle.profile, DeploySettings()).early_exit(histogram, policy)

    return validate_gpu_bundle(
        bundle, None if samples is None else samples.batches("test"), None if samples is None else samples.labels("test"),
        views=views, max_drop=max_drop, early_exit=costs,
        oracle=None if oracle is None else "onnxruntime", trace=trace, progress=progress,
    )


def _samples(bundle: GpuBundle, data: Dataset | EventDataset | str | Path | None) -> Samples | None:
    if isinstance(data, Dataset | EventDataset):
        return Samples(bundle.graph, data)
    name = (bundle.manifest.get("data") or {}).get("name")
    opened = Opened(bundle.path, bundle.graph, None, None, name, bundle)
    return samples_for(opened, bundle.graph, None if data is None else str(data))
