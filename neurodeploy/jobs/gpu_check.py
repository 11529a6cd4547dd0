"""`neurodeploy check` on GPUs: the memory is the one limit."""

from __future__ import annotations

from typing import Any

from neurodeploy.errors import Violation
from neurodeploy.hw.profile import GpuProfile
from neurodeploy.jobs.gpu_energy import OnGpu, shapes_for_gpu
from neurodeploy.jobs.opened import Opened
from neurodeploy.search.recipe import DeploySettings


def check_on_gpu(
    opened: Opened, profile: GpuProfile, settings: DeploySettings, *, suggest: bool
) -> tuple[dict[str, Any], tuple[Violation, ...]]:
    """(fields of the target as of `check.CheckResult`, violations); `utilisation` has the memory of a batch, in bytes."""
    on = OnGpu.of(shapes_for_gpu(opened), profile, settings)
    broken = on.violations()
    entry: dict[str, Any] = {
        "fits": not broken, "n_cores": None, "placement": None, "placement_source": None,
        "violations": [v.to_dict() for v in broken], "utilisation": {"memory": on.memory()},
    }
    if suggest:  # the remedy of the violation names the batch that fits: there is no width or system to look for
        entry["suggestion"] = None if not broken else {"system": None, "width": None}
    return entry, broken
