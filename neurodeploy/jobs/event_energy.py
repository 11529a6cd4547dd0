"""`neurodeploy energy` on event-driven chips: what one sample costs, from events counted in the chip's own order."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.cost.event_activity import activity_of, expected_activity
from neurodeploy.cost.event_cost import event_cost
from neurodeploy.cost.event_result import EventCost
from neurodeploy.cost.schedule import Schedule
from neurodeploy.data.event_input import read_streams
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UsageError
from neurodeploy.hw.profile import EventProfile
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.activity import Activity
from neurodeploy.jobs.deploy import PlacementSource
from neurodeploy.jobs.event_evaluate import evaluate_events
from neurodeploy.jobs.event_opened import checked_cores, deployed_on_cores, events_for, lowered_to_cores, refuse_timesteps
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim.event_runs import run_streams

NO_PROXIES = "Proxies count operations of timesteps; an event-driven chip has none"


def energy_on_cores(
    profile: EventProfile, settings: DeploySettings, activity: Activity, schedule: Schedule | None, progress: Progress = SILENT
) -> dict[str, Any]:
    """The contract's fields of one event-driven target.

    A sample costs what its synops cost and what static power takes until the next one comes: after `activity.interval_s`,
    else at once. Raises DoesNotFit with every violation; UsageError where nothing says how long a sample lasts.
    """
    lowered = lowered_to_cores(activity.opened, profile)  # whether it can be there at all, before anything else
    refuse_timesteps(profile, {
        "--schedule": schedule if schedule == "pipelined" else None,
        "--layout": None if activity.layout == "torch" else activity.layout,
        "--timesteps": None if activity.rate is not None else activity.n_timesteps,
    })
    if activity.rate is not None:
        return _assumed(lowered, profile, settings, activity, activity.rate)
    if activity.given is not None:
        return _given(profile, settings, activity, activity.given, progress)
    return _measured(profile, settings, activity, progress)


def _measured(profile: EventProfile, settings: DeploySettings, activity: Activity, progress: Progress) -> dict[str, Any]:
    data = activity.events
    deployment, source = deployed_on_cores(activity.opened, profile, settings, data, progress)
    final = evaluate_events(
        deployment.lowered, deployment.net, deployment.plan, profile, deployment.policy, data, progress=progress,
        interval_s=activity.interval_s, limit=settings.cost.synops_per_core, with_gap=False,
    )
    return {
        "fits": True, "accuracy": final.accuracy, "agreement": final.agreement, "early_exit": final.early_exit,
        "data": {"name": data.name, "split": "test"}, **_figures(final.cost, profile, source),
    }


def _given(
    profile: EventProfile, settings: DeploySettings, activity: Activity, given: Path, progress: Progress
) -> dict[str, Any]:
    opened = activity.opened
    streams = read_streams(given, opened.graph.inputs[0].shape)
    data = events_for(opened, None)
    opened.check_runs_on_spikes(data)
    deployment, source = deployed_on_cores(opened, profile, settings, data, progress)
    runs = run_streams(deployment.net, streams.streams, duration_us=streams.duration_us, progress=progress)
    found = event_cost(
        activity_of(deployment.net, runs), deployment.plan, profile, interval_s=activity.interval_s,
        limit=settings.cost.synops_per_core,
    )
    return {
        "fits": True, "accuracy": None, "early_exit": None, "data": None,
        "input": {
            "file": str(given), "n_samples": runs.n_samples, "n_events": int(runs.n_events.sum()),
            "duration_us": streams.duration_us, "duration_from": "file" if streams.stated else "last event",
        },
        **_figures(found, profile, source),
    }


def _assumed(
    lowered: Graph, profile: EventProfile, settings: DeploySettings, activity: Activity, rate: float
) -> dict[str, Any]:
    """Every neuron and every address of the input sends `rate` events in each of the bins that the network was trained with."""
    fit, plan, source = checked_cores(activity.opened, lowered, profile)
    if plan is None:
        raise DoesNotFit(fit.violations, target=profile.name)
    n_bins = activity.n_timesteps or lowered.n_timesteps
    counts = {n.name: np.full(lowered.shapes[n.name], rate * n_bins) for n in (*lowered.inputs, *lowered.neurons)}
    events = expected_activity(lowered, counts, _duration_s(activity))
    found = event_cost(events, plan, profile, interval_s=activity.interval_s, limit=settings.cost.synops_per_core)
    entry = {
        "fits": True, "accuracy": None, "early_exit": None, "data": None, "rate": rate, "n_timesteps": n_bins,
        "n_timesteps_from": _bins_from(lowered, activity), **_figures(found, profile, source),
    }
    terms = {term: None if status is None else "assumed" for term, status in found.breakdown_status.items()}
    return {**entry, "status": "assumed", "breakdown_status": terms}


def _bins_from(lowered: Graph, activity: Activity) -> str:
    """What says how many bins a sample has: the caller, the model, or for another tool's file nothing ("default")."""
    return "argument" if activity.n_timesteps is not None else "default" if "nir" in lowered.metadata else "file"


def _duration_s(activity: Activity) -> float:
    """How long a sample lasts: as the model's data did, else as long as until the next one."""
    data = activity.opened.graph.metadata.get("data")
    known = data.get("duration_us") if isinstance(data, dict) else None
    if isinstance(known, int) and known > 0:
        return known / 1e6
    if activity.interval_s is None:
        raise UsageError(
            "nothing says how long a sample lasts", where=str(activity.opened.path), code="missing_data",
            limit="Static power runs as long as a sample does", remedy="Give the seconds from one to the next with --interval",
        )
    return activity.interval_s


def _figures(found: EventCost, profile: EventProfile, placement: PlacementSource) -> dict[str, Any]:
    for core in found.cores:
        if core.over_limit:
            warnings.warn(NeurodeployWarning(
                f"core {core.index} would have to do {core.synops_per_s:.4g} synops per second, and can do "
                f"{core.limit_synops_per_s:.4g}: events would wait or get lost", code="core_overloaded", where=core.node,
                remedy="Fewer events in, sparser layers, or a smaller kernel or fewer channels behind this layer",
            ), stacklevel=3)
    return {
        **found.to_dict(), "disclaimer": profile.disclaimer, "placement_source": placement, "interval_predicted_s": None,
    }
