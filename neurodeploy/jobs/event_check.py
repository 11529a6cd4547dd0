"""`neurodeploy check` on event-driven chips: which layer on which core, how full each is, everything that is in the way."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from neurodeploy.errors import DoesNotFit, UsageError, Violation
from neurodeploy.hw.profile import EventProfile
from neurodeploy.jobs.event_opened import checked_cores, lowered_to_cores
from neurodeploy.jobs.opened import Opened
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.models.networks import Network, of_width, to_graph
from neurodeploy.place.core_plan import CorePlan, CoreUse
from neurodeploy.place.event_cores import check

_MEMORIES = ("kernel_words", "neuron_words", "bias_words")


def check_on_cores(opened: Opened, profile: EventProfile, *, suggest: bool) -> tuple[dict[str, Any], tuple[Violation, ...]]:
    """(fields of the target as of `check.CheckResult`, violations).

    `utilisation` has `cores`: of each in use the layer on it and its three memories (`used`, `limit` in words, `share`), and
    `n_cores_limit`. A network that no pass can lower is no error here but violations, like one that is too large.
    """
    try:
        lowered = lowered_to_cores(opened, profile)
    except DoesNotFit as error:
        broken = error.violations
        return _entry(False, len(opened.graph.neurons), None, None, broken, opened, profile, suggest), broken
    found, plan, source = checked_cores(opened, lowered, profile)
    found.warn()
    entry = _entry(
        found.fits, found.n_cores, plan, None if plan is None else source, found.violations, opened, profile, suggest
    )
    return entry, found.violations


def _entry(
    fits: bool, n_cores: int, plan: CorePlan | None, source: str | None, violations: tuple[Violation, ...], opened: Opened,
    profile: EventProfile, suggest: bool,
) -> dict[str, Any]:
    entry = {
        "fits": fits, "n_cores": n_cores, "placement": None if plan is None else plan.to_dict(), "placement_source": source,
        "violations": [v.to_dict() for v in violations],
        "utilisation": None if plan is None else {
            "n_cores_limit": profile.capacity.n_cores, "cores": [_use(use) for use in plan.cores],
        },
    }
    if suggest:
        width = None if opened.module is None else largest_width(opened.module, profile)
        entry["suggestion"] = None if fits else {"system": None, "width": width}
    return entry


def _use(use: CoreUse) -> dict[str, Any]:
    fields = asdict(use)
    memories = {name: {"used": fields[name], "limit": fields[f"{name}_max"]} for name in _MEMORIES}
    return {
        "core": use.core, "node": use.node,
        **{name: {**m, "share": m["used"] / m["limit"] if m["limit"] else 0.0} for name, m in memories.items()},
    }


def largest_width(module: Network, profile: EventProfile) -> int | None:
    """Largest width below the module's own whose network fits (wider never needs less memory), None where none does."""
    low, high = 0, module.config.width - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _fits(module, middle, profile) else (low, middle - 1)
    return low or None


def _fits(module: Network, width: int, profile: EventProfile) -> bool:
    try:
        graph = to_graph(of_width(module, width))
        return check(lower_to_events(graph, profile), profile).fits
    except (DoesNotFit, UsageError):
        return False
