"""`neurodeploy check`: does the network fit, on each target, and what is the smallest change that fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neurodeploy.errors import UsageError, Violation
from neurodeploy.hw.profile import Profile
from neurodeploy.hw.profile import target as profile_of
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.deploy import lowered_for
from neurodeploy.jobs.opened import Opened, open_model
from neurodeploy.jobs.search import split_overrides
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.convert import to_graph
from neurodeploy.place import check as check_placement
from neurodeploy.place import suggest as suggest_system
from neurodeploy.search.recipe import DeploySettings


@dataclass(frozen=True)
class CheckResult:
    """Per target: fits, n_cores, placement or violations, and with `suggest` what would fit."""

    targets: dict[str, dict[str, Any]]
    violations: tuple[Violation, ...]

    @property
    def fits(self) -> bool:
        """True where the network fits every target asked for."""
        return all(t["fits"] for t in self.targets.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON: those of the one target, or of several under `targets`."""
        if len(self.targets) == 1:
            return {"target": next(iter(self.targets)), **next(iter(self.targets.values()))}
        return {"fits": self.fits, "targets": self.targets}


def check(
    model: Path, targets: list[str], *, suggest: bool = False, overrides: dict[str, Any] | None = None
) -> CheckResult:
    """Every rule of each target against the model; nothing is trained or quantized."""
    opened = open_model(model)
    of_model, of_profile = split_overrides(overrides or {})
    settings = opened.settings(of_model)
    found: dict[str, dict[str, Any]] = {}
    violations: list[Violation] = []
    for name in targets:
        profile = profile_of(name, of_profile)
        lowered = opened.lowered(profile, settings)
        fit = check_placement(lowered, profile, settings.cost.n_chips)
        violations += fit.violations
        found[name] = {
            "fits": fit.fits, "n_cores": fit.n_cores, "placement": None if fit.placement is None else fit.placement.to_dict(),
            "violations": [v.to_dict() for v in fit.violations],
        }
        if suggest:
            found[name]["suggestion"] = None if fit.fits else _suggestion(opened, lowered, profile, settings)
    return CheckResult(found, tuple(violations))


def _suggestion(opened: Opened, lowered: Graph, profile: Profile, settings: DeploySettings) -> dict[str, Any]:
    """The smallest system that holds the network as it is, and the largest width that fits the system asked for."""
    system = suggest_system(lowered, profile)
    return {
        "system": None if system is None else {"name": system.name, "n_chips": system.n_chips},
        "width": None if opened.module is None else _largest_width(opened.module, profile, settings),
    }


def _largest_width(module: AutoSnn, profile: Profile, settings: DeploySettings) -> int | None:
    """Largest width below the module's own whose network fits (wider never needs fewer cores), None where none does."""
    low, high = 0, module.config.width - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _fits(module, middle, profile, settings) else (low, middle - 1)
    return low or None


def _fits(module: AutoSnn, width: int, profile: Profile, settings: DeploySettings) -> bool:
    graph = to_graph(AutoSnn(replace(module.config, width=width), module.arch))
    try:
        lowered = lowered_for(graph, profile, settings)
    except UsageError:
        return False
    return check_placement(lowered, profile, settings.cost.n_chips).fits
