"""`neurodeploy energy`: what one inference costs on each target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.cost.counts import from_rates, mean_rates
from neurodeploy.cost.model import cost
from neurodeploy.cost.proxies import proxies
from neurodeploy.cost.result import Cost
from neurodeploy.cost.schedule import Schedule
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import Dataset
from neurodeploy.errors import DoesNotFit, NeurodeployError, UsageError
from neurodeploy.hw.profile import Profile
from neurodeploy.hw.profile import target as profile_of
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.evaluate import evaluate
from neurodeploy.jobs.measure import batches
from neurodeploy.jobs.opened import Opened, open_model
from neurodeploy.jobs.search import split_overrides
from neurodeploy.place import check
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim.clocked import simulate


@dataclass(frozen=True)
class EnergyReport:
    """Per target the contract's fields; proxies apart; `errors` where the network does not fit a target."""

    targets: dict[str, dict[str, Any]]
    proxies: dict[str, Any] | None
    errors: tuple[NeurodeployError, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {"targets": self.targets, "proxies": self.proxies}


def energy(
    model: Path, targets: list[str], *, data: str | None = None, rate: float | None = None, schedule: Schedule = "pipelined",
    overrides: dict[str, Any] | None = None, progress: Progress = SILENT,
) -> EnergyReport:
    """Energy and latency per target: exact counts on the dataset's test split, or an assumed `rate` of spikes per neuron
    and timestep.

    A target that the network does not fit is reported with its violations and listed under `errors`; the others are
    complete. Raises UsageError where neither a dataset is known nor a rate given.
    """
    opened = open_model(model)
    of_model, of_profile = split_overrides(overrides or {})
    settings = opened.settings(of_model)
    dataset = None if rate is not None else opened.dataset(data)
    if rate is None and dataset is None:
        raise UsageError(
            "the model names no dataset", where=str(model), code="missing_data",
            remedy="Give one with --data, or assume a firing rate with --rate 0.1",
        )
    found: dict[str, dict[str, Any]] = {}
    errors: list[NeurodeployError] = []
    apart: dict[str, Any] | None = None
    for name in targets:
        profile = profile_of(name, of_profile)
        try:
            if rate is not None or dataset is None:
                found[name], apart = _assumed(opened, profile, settings, float(rate or 0.0), schedule)
            else:
                found[name], apart = _measured(opened, profile, settings, dataset, schedule, progress)
        except DoesNotFit as error:
            errors.append(error)
            found[name] = _unfit(error, check(opened.lowered(profile, settings), profile, settings.cost.n_chips).n_cores)
    return EnergyReport(found, apart, tuple(errors))


def _measured(
    opened: Opened, profile: Profile, settings: DeploySettings, data: Dataset, schedule: Schedule, progress: Progress
) -> tuple[dict[str, Any], dict[str, Any]]:
    deployment = opened.deployed(profile, settings, data, progress)
    images, labels = data.split("test")
    net, plan = deployment.net, deployment.plan
    final = evaluate(deployment.lowered, net, plan, profile, deployment.policy, images, labels, progress)
    both = {
        s: {
            "energy_j": c.energy_j.to_dict(), "energy_dynamic_j": c.energy_dynamic_j.to_dict(), "latency_s": c.latency_s.nominal
        }
        for s, c in final.costs.items()
    }
    entry = {
        "fits": True, "accuracy": final.accuracy, "early_exit": final.early_exit, "data": {"name": data.name, "split": "test"},
        **_entry(final.costs[schedule], profile), "schedules": both,
    }
    sample = simulate(net, chip_input(net, images[batches(net, len(images))[0]]))
    return entry, proxies(net, mean_rates(sample))


def _assumed(
    opened: Opened, profile: Profile, settings: DeploySettings, rate: float, schedule: Schedule
) -> tuple[dict[str, Any], dict[str, Any]]:
    if not 0 <= rate <= 1:
        raise UsageError(f"rate is {rate}", limit="Spikes per neuron and timestep lie in 0 to 1")
    lowered = opened.lowered(profile, settings)
    fit = check(lowered, profile, settings.cost.n_chips)
    if fit.placement is None:
        raise DoesNotFit(fit.violations, target=profile.name)
    rates = uniform_rates(lowered, rate)
    found = cost(from_rates(lowered, fit.placement, rates), fit.placement, profile, schedule)
    entry = {"fits": True, "accuracy": None, "early_exit": None, "data": None, "rate": rate, **_entry(found, profile)}
    terms = {term: None if status is None else "assumed" for term, status in found.breakdown_status.items()}
    return {**entry, "status": "assumed", "breakdown_status": terms}, proxies(lowered, rates)


_UNKNOWN = (
    "energy_j", "energy_dynamic_j", "breakdown_j", "latency_s", "interval_s", "edp_js", "counts", "layers", "cores",
    "early_exit", "status", "excluded", "provenance",
)


def _unfit(error: DoesNotFit, n_cores: int) -> dict[str, Any]:
    """The contract's fields of a target that the network does not fit: no figure, every violation."""
    return {
        "fits": False, "n_cores": n_cores, "violations": [v.to_dict() for v in error.violations],
        **dict.fromkeys(_UNKNOWN),
    }


def uniform_rates(graph: Graph, rate: float) -> dict[str, np.ndarray[Any, Any]]:
    """Rates of a lowered graph whose every neuron and input fires with the same probability in each of T timesteps."""
    nodes = [*graph.neurons, *graph.inputs]
    return {n.name: np.full((graph.n_timesteps, *graph.shapes[n.name]), rate) for n in nodes}


def _entry(found: Cost, profile: Profile) -> dict[str, Any]:
    return {**found.to_dict(), "disclaimer": profile.disclaimer}
