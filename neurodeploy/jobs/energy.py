"""`neurodeploy energy`: what one inference costs on each target."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from neurodeploy.cost.assumed import expected_at, messages_at, uniform_rates
from neurodeploy.cost.counts import from_expected, mean_rates
from neurodeploy.cost.model import cost
from neurodeploy.cost.proxies import proxies, proxies_of
from neurodeploy.cost.result import Cost
from neurodeploy.cost.schedule import Schedule
from neurodeploy.cost.windows import no_window, schedule_for, schedules
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.spikes import Layout, read_input
from neurodeploy.errors import DoesNotFit, NeurodeployError, NeurodeployWarning
from neurodeploy.hw.profile import AnyProfile, EventProfile, GpuProfile, Profile
from neurodeploy.hw.profile import any_target as profile_of
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.activity import Activity, asked_activity
from neurodeploy.jobs.deploy import PlacementSource, accuracy_as_trained, disclaimer, lowering_note
from neurodeploy.jobs.evaluate import evaluate
from neurodeploy.jobs.event_energy import NO_PROXIES, energy_on_cores
from neurodeploy.jobs.gpu_energy import NO_PROXIES as NO_VALUES
from neurodeploy.jobs.gpu_energy import energy_on_gpu
from neurodeploy.jobs.measure import batches, check_length, costs_of, measure_given
from neurodeploy.jobs.net_options import NetOptions
from neurodeploy.jobs.opened import Opened, counted, foremost, open_with, refuses_one_target
from neurodeploy.jobs.search import split_overrides
from neurodeploy.place import check
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim.clocked import simulate


@dataclass(frozen=True)
class EnergyReport:
    """Per target the contract's fields; proxies apart; `errors` where the network does not fit a target, or cannot be
    brought onto it; `no_proxies` the reason where none could be counted."""

    targets: dict[str, dict[str, Any]]
    proxies: dict[str, Any] | None
    errors: tuple[NeurodeployError, ...]
    no_proxies: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        reason = {} if self.no_proxies is None else {"proxies_reason": self.no_proxies}
        return {"targets": self.targets, "proxies": self.proxies, **reason}


def energy(
    model: Path, targets: list[str], *, data: str | None = None, rate: float | None = None, given: Path | None = None,
    layout: Layout = "torch", n_timesteps: int | None = None, schedule: Schedule | None = None,
    interval_s: float | None = None, net: NetOptions | None = None,
    overrides: dict[str, Any] | None = None, skip_foreign: bool = False, progress: Progress = SILENT,
) -> EnergyReport:
    """Energy and latency per target: exact counts on the dataset's test split or on the chip input in `given`, or an
    assumed `rate` of spikes per neuron and timestep. For event-driven targets see `event_energy.energy_on_cores`.

    `n_timesteps` is the length of an inference where neither file nor network says it; `schedule` None is pipelined
    where that has a meaning, else single. `interval_s` is the time between inferences as the lab has it: static and
    management power run that long instead of the predicted time (`interval_source` "given"). A target that the network
    does not fit, or (of several targets) cannot be brought onto, is reported with its violations or the reason and listed
    under `errors`; the others are complete. skip_foreign: those of another arithmetic are reported, but no errors.
    Raises UsageError where events come from nowhere or from two places.
    """
    opened, changes = open_with(model, net, overrides)
    of_model, of_profile = split_overrides(changes)
    settings = opened.settings(of_model)
    activity = asked_activity(
        opened, data=data, rate=rate, given=given, layout=layout, n_timesteps=n_timesteps, interval_s=interval_s,
        needed=any(not isinstance(profile_of(name), GpuProfile) for name in targets),
    )
    found: dict[str, dict[str, Any]] = {}
    errors: list[NeurodeployError] = []
    foreign: list[NeurodeployError] = []
    apart: dict[str, Any] | None = None
    no_proxies: str | None = None
    for name in targets:
        profile = profile_of(name, of_profile)
        try:
            if isinstance(profile, EventProfile):
                found[name], no_proxies = energy_on_cores(profile, settings, activity, schedule, progress), NO_PROXIES
            elif isinstance(profile, GpuProfile):
                found[name], of_values = energy_on_gpu(profile, settings, activity, schedule)
                apart, no_proxies = apart or of_values, no_proxies or NO_VALUES
            else:
                found[name], apart = _entry(opened, profile, settings, activity, schedule, progress)
        except DoesNotFit as error:
            errors.append(error)
            found[name] = _unfit(error, _n_cores(opened, profile, settings))
        except NeurodeployError as error:
            if not refuses_one_target(error, targets):
                raise
            foreign.append(error)
            found[name] = {**dict.fromkeys(_UNKNOWN), "fits": False, "n_cores": None, "violations": [], "reason": str(error)}
    if len(foreign) == len(targets):
        raise foremost(foreign)  # nothing was found out about any target: the question was wrong
    errors += counted(foreign, skip_foreign)  # the first decides the exit code
    return EnergyReport(found, apart, tuple(errors), no_proxies if apart is None else None)


def _n_cores(opened: Opened, profile: AnyProfile, settings: DeploySettings) -> int | None:
    """Cores that a network would take which does not fit; None where there are none."""
    if isinstance(profile, EventProfile):
        return len(opened.graph.neurons)
    if isinstance(profile, GpuProfile):
        return None
    try:
        lowered = opened.lowered(profile, settings)
    except DoesNotFit:  # it cannot even be lowered
        return None
    return check(lowered, profile, settings.cost.n_chips).n_cores


def _entry(
    opened: Opened, profile: Profile, settings: DeploySettings, activity: Activity, schedule: Schedule | None,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Any]]:
    if activity.rate is not None:
        return _assumed(opened, profile, settings, activity, activity.rate, schedule)
    if activity.given is not None:
        return _given(opened, profile, settings, activity, schedule, progress)
    return _measured(opened, profile, settings, activity, schedule, progress)


def _measured(
    opened: Opened, profile: Profile, settings: DeploySettings, activity: Activity, asked: Schedule | None, progress: Progress
) -> tuple[dict[str, Any], dict[str, Any]]:
    lowered = opened.lowered(profile, settings)  # whether it can be there at all, before any data is read
    data = activity.images
    deployment = opened.deployed(profile, settings, data, progress)
    images, labels = data.split("test")
    net, plan = deployment.net, deployment.plan
    schedule = schedule_for(net, asked)
    final = evaluate(
        deployment.lowered, net, plan, profile, deployment.policy, images, labels, progress, interval_s=activity.interval_s
    )
    accuracy = {**final.accuracy, **accuracy_as_trained(lowered, images, labels)}
    entry = {
        "fits": True, "accuracy": accuracy, "early_exit": final.early_exit, "data": {"name": data.name, "split": "test"},
        **_figures(final.costs[schedule], net, profile, deployment.placement_source, activity), "schedules": _both(final.costs),
    }
    sample = simulate(net, chip_input(net, images[batches(net, len(images))[0]]))
    if no_window(net) is not None:
        return entry, proxies_of(net, {name: (raster != 0).sum(axis=0).mean(axis=0) for name, raster in sample.spikes.items()})
    return entry, proxies(net, mean_rates(sample))


def _given(
    opened: Opened, profile: Profile, settings: DeploySettings, activity: Activity, asked: Schedule | None, progress: Progress
) -> tuple[dict[str, Any], dict[str, Any]]:
    assert activity.given is not None
    dataset = opened.dataset()
    opened.check_runs_on_spikes(dataset)
    deployment = opened.deployed(profile, settings, dataset, progress)
    read = read_input(activity.given, deployment.net, activity.layout)
    net = replace(deployment.net, n_timesteps=read.n_timesteps(deployment.net, activity.n_timesteps))
    schedule = schedule_for(net, asked)
    measured = measure_given(net, deployment.plan, read.x, progress, zeros=profile.zeros)
    costs = costs_of(measured.counts, deployment.plan, profile, schedules=schedules(net), interval_s=activity.interval_s)
    entry = {
        "fits": True, "accuracy": None, "early_exit": None, "data": None,
        "input": {
            "file": str(activity.given), "n_samples": read.x.shape[1], "n_timesteps": net.n_timesteps,
            "n_chip_timesteps": measured.counts.n_steps,
        },
        **_figures(costs[schedule], net, profile, deployment.placement_source, activity), "schedules": _both(costs),
    }
    return entry, proxies_of(net, measured.messages)


def _both(costs: dict[Schedule, Cost]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "energy_j": c.energy_j.to_dict(), "energy_dynamic_j": c.energy_dynamic_j.to_dict(), "latency_s": c.latency_s.nominal
        }
        for name, c in costs.items()
    }


def _assumed(
    opened: Opened, profile: Profile, settings: DeploySettings, activity: Activity, rate: float, asked: Schedule | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    lowered = opened.lowered(profile, settings)
    if activity.n_timesteps is not None:
        lowered = replace(lowered, n_timesteps=activity.n_timesteps)
    check_length(lowered)
    fit, source = opened.checked(lowered, profile, settings)
    plan = fit.placement
    if plan is None:
        raise DoesNotFit(fit.violations, target=profile.name)
    schedule = schedule_for(lowered, asked)
    events = expected_at(lowered, rate, profile.zeros)
    counts = from_expected(lowered, plan, events, profile.zeros)
    found = cost(counts, plan, profile, schedule, interval_s=activity.interval_s)
    entry = {
        "fits": True, "accuracy": None, "early_exit": None, "data": None, "rate": rate, "n_timesteps": lowered.n_timesteps,
        "n_timesteps_from": _length_from(lowered, activity),
        **_figures(found, lowered, profile, source, activity),
    }
    terms = {term: None if status is None else "assumed" for term, status in found.breakdown_status.items()}
    return {**entry, "status": "assumed", "breakdown_status": terms}, _proxies_at(lowered, rate, messages_at(events))


def _length_from(graph: Graph, activity: Activity) -> str:
    """What says how long an inference is: the caller, the network's file, or for a `.net` what its reader took it from."""
    return "argument" if activity.n_timesteps is not None else str(graph.metadata.get("n_timesteps_from", "file"))


def _proxies_at(lowered: Graph, rate: float, messages: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Proxies of the T timesteps of a sample; of all that were assumed where layers have no window of their own."""
    if lowered.is_acyclic and lowered.is_balanced:
        return proxies(lowered, uniform_rates(lowered, rate))
    return proxies_of(lowered, messages)


_UNKNOWN = (
    "energy_j", "energy_dynamic_j", "breakdown_j", "latency_s", "interval_s", "edp_js", "counts", "layers", "cores",
    "early_exit", "status", "excluded", "provenance", "placement_source", "interval_source", "interval_predicted_s",
)


def _unfit(error: DoesNotFit, n_cores: int | None) -> dict[str, Any]:
    """The contract's fields of a target that the network does not fit: no figure, every violation."""
    return {
        "fits": False, "n_cores": n_cores, "violations": [v.to_dict() for v in error.violations],
        **dict.fromkeys(_UNKNOWN),
    }


def _figures(
    found: Cost, net: Graph, profile: Profile, placement: PlacementSource, activity: Activity
) -> dict[str, Any]:
    predicted_s = sum(found.latency_steps_s)
    if activity.interval_s is not None and activity.interval_s < predicted_s:
        warnings.warn(NeurodeployWarning(
            f"the given interval, {activity.interval_s:.4g} s, is shorter than the {predicted_s:.4g} s that are predicted for "
            f"an inference ({found.schedule})", code="interval_below_prediction", where=profile.name,
            remedy="The prediction is too long for this chip, or the network was not run like this",
        ), stacklevel=2)
    return {
        **found.to_dict(), **lowering_note(net), "disclaimer": disclaimer(net, profile), "placement_source": placement,
        "interval_source": "predicted" if activity.interval_s is None else "given", "interval_predicted_s": predicted_s,
    }
