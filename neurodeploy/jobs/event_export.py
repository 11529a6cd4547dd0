"""`neurodeploy export` on event-driven chips: quantized in the chip's order of events, evaluated, written as a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neurodeploy.data.event_input import read_streams
from neurodeploy.early_exit.event_windows import PlannedExit
from neurodeploy.errors import UsageError
from neurodeploy.export.bundle import Bundle
from neurodeploy.export.golden_events import random_streams
from neurodeploy.export.speck_readout import pad_for_readout
from neurodeploy.export.write_events import export_events
from neurodeploy.hw.profile import EventProfile
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.jobs.deploy import PlacementSource
from neurodeploy.jobs.event_bundles import write_event_bundle
from neurodeploy.jobs.event_deploy import EventDeployment
from neurodeploy.jobs.event_evaluate import evaluate_events
from neurodeploy.jobs.event_opened import deployed_on_cores, events_for, lowered_to_cores, say_uncalibrated
from neurodeploy.jobs.exported import ExportResult, warn_silent
from neurodeploy.jobs.opened import Opened
from neurodeploy.place.event_cores import configuration, place
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim.readout import readout


def export_on_cores(
    opened: Opened, profile: EventProfile, settings: DeploySettings, out: Path, *, data: str | None, given: Path | None,
    progress: Progress = SILENT,
) -> ExportResult:
    """Lower, quantize (by running validation recordings in the chip's order), place, evaluate on the test split and write.

    The golden events are of the test split; without a dataset, those of the file `given`, else random ones that make layers
    fire. Raises DoesNotFit before any data is read.
    """
    place(lowered_to_cores(opened, profile), profile)
    dataset = events_for(opened, data)
    if dataset is not None and given is not None:
        raise UsageError("golden events come from the dataset", where="--input", limit=f"The network runs on {dataset.name}",
                         remedy="Leave it out")
    streams = None if given is None else read_streams(given, opened.graph.inputs[0].shape).streams
    if dataset is None and not isinstance(opened.graph, IntGraph):
        say_uncalibrated(opened.path)
    deployment, source = deployed_on_cores(opened, profile, settings, dataset, progress)
    padded = settings.place.readout == "padded"
    if padded:
        _check_padding(deployment, profile)  # before the work of an evaluation, not after it
    if dataset is None:
        if streams is None:
            streams = random_streams(deployment.net, seed=settings.seed)
        bundle = _without_data(deployment, profile, out, streams, given, settings.seed, padded)
        warn_silent(bundle, str(opened.path), "Give events that make it fire with --input")
        return _result(bundle, deployment, source)
    final = evaluate_events(
        deployment.lowered, deployment.net, deployment.plan, profile, deployment.policy, dataset, progress=progress,
        limit=settings.cost.synops_per_core,
    )
    name = opened.source(data)
    assert name is not None  # a dataset was found by it
    bundle = write_event_bundle(deployment, profile, dataset, name, final, out, seed=settings.seed, padded=padded)
    return replace(
        _result(bundle, deployment, source), accuracy={**final.accuracy, "agreement": final.agreement}, gap=final.gap,
        early_exit=final.early_exit,
    )


def _result(bundle: Bundle, deployment: EventDeployment, source: PlacementSource) -> ExportResult:
    manifest = bundle.manifest
    return ExportResult(
        bundle.path, bundle.path / manifest["artifact"], manifest["quantization"], deployment.plan.to_dict(), None,
        placement_source=source,
    )


def _without_data(
    deployment: EventDeployment, profile: EventProfile, out: Path, streams: Sequence[Array], given: Path | None, seed: int,
    padded: bool,
) -> Bundle:
    metadata: dict[str, Any] = {"data": None, "seed": seed, "golden_input": "random" if given is None else str(given)}
    if deployment.policy is not None:
        metadata["early_exit"] = deployment.policy.to_dict()
    return export_events(
        deployment.net, deployment.plan, profile, out, golden_streams=streams, metadata=metadata,
        lowered=deployment.lowered, padded=padded,
        policy=deployment.policy.planned if isinstance(deployment.policy, PlannedExit) else None,
    )


def _check_padding(deployment: EventDeployment, profile: EventProfile) -> None:
    votes = readout(deployment.net)
    core = deployment.plan.core_of(votes.layer)
    pad_for_readout(configuration(deployment.net, deployment.plan, profile), core, votes, profile)
