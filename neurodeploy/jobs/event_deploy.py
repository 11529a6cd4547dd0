"""A trained network onto an event-driven chip: lower, quantize by the chip's own order of events, place, fix the exit."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.errors import DoesNotFit, NeurodeployWarning
from neurodeploy.hw.profile import EventProfile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.event_exit import EventExit, choose_event_exit
from neurodeploy.jobs.exits import require_data
from neurodeploy.models.event_run import FloatRun, run_in_bins
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.event_cores import check
from neurodeploy.progress import SILENT, Progress
from neurodeploy.quantize.iaf_network import quantize_events
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim.event_mismatch import Mismatch
from neurodeploy.sim.event_runs import EventRuns, run_streams
from neurodeploy.train.runtime import threads


@dataclass(frozen=True)
class EventDeployment:
    """A network on its target. `lowered` is the real-valued network that `net` stands for; `policy` is None without data;
    `validation` says what the integers and the chip's order of events did to the validation split."""

    lowered: Graph
    net: IntGraph
    plan: CorePlan
    policy: EventExit | None
    validation: dict[str, Any] | None


def deploy_events(
    lowered: Graph, profile: EventProfile, settings: DeploySettings, data: EventDataset | None, progress: Progress = SILENT
) -> EventDeployment:
    """Bring a lowered graph onto the target. Validation data choose scales and exit threshold.

    Without data, scales come from the weights alone and there is no early exit. One thread computes, so that the same
    model and settings give the same network everywhere. Raises DoesNotFit with every violation.
    """
    found = check(lowered, profile)
    if found.plan is None:
        raise DoesNotFit(found.violations, target=profile.name)
    found.warn()
    rule = settings.quantize.rule
    require_data(settings, data)
    if data is None:
        return EventDeployment(lowered, quantize_events(lowered, profile, rule=rule), found.plan, None, None)
    streams, labels = data.split("validation")
    with threads(1):
        n = settings.quantize.calibration_samples
        wanted = float_run(lowered, streams[:n], data)
        judge = Mismatch(streams[:n], wanted.counts) if rule == "mismatch" else None
        net = quantize_events(lowered, profile, rule=rule, judge=judge, progress=progress)
        runs = run_streams(net, streams, duration_us=data.duration_us, progress=progress)
        real = predictions(float_run(lowered, streams, data).votes)[-1]
    _warn_of_layers(runs)
    policy = choose_event_exit(net, data, settings, runs, progress)
    before, now = float((real == labels).mean()), float((runs.predictions == labels).mean())
    validation = {
        "accuracy_float": before, "accuracy_integer": now, "drop": before - now,
        "agreement": float((real == runs.predictions).mean()), "n": len(labels),
    }
    return EventDeployment(lowered, net, found.plan, policy, validation)


def float_run(lowered: Graph, streams: Sequence[Array], data: EventDataset) -> FloatRun:
    """The lowered network in float64 on streams of this data, counted in the bins that it was trained with."""
    return run_in_bins(lowered, streams, data.sensor, data.duration_us)


def _warn_of_layers(runs: EventRuns) -> None:
    """Warn of layers that no validation sample makes fire, and of those whose sums left the width of the states."""
    for name, n_spikes in runs.n_spikes.items():
        if not n_spikes.any():
            warnings.warn(NeurodeployWarning(
                f"no neuron fires on {runs.n_samples} validation samples", code="silent_layer", where=name,
                remedy="Lower its threshold or train with more activity: nothing passes this layer",
            ), stacklevel=3)
        n_left, n_all = int(runs.n_saturations[name].sum()), int(runs.n_synops[name].sum())
        if n_left:
            warnings.warn(NeurodeployWarning(
                f"{n_left:,} of {n_all:,} additions left the width of the states and were saturated", code="saturated_layer",
                where=name, remedy="Train with weights at or below the threshold and with a floor nearer to it",
            ), stacklevel=3)
