"""`neurodeploy export`: a model on a target, evaluated and written as a bundle."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.spikes import Layout, read_input
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.export.bundle import Bundle, check_out
from neurodeploy.export.golden import random_inputs
from neurodeploy.export.write import export as write
from neurodeploy.hw.profile import EventProfile, GpuProfile
from neurodeploy.hw.profile import any_target as profile_of
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import CubaLif, Lif, Node
from neurodeploy.jobs.bundles import write_bundle
from neurodeploy.jobs.deploy import Deployment, accuracy_as_trained, note_rates
from neurodeploy.jobs.evaluate import evaluate
from neurodeploy.jobs.event_export import export_on_cores
from neurodeploy.jobs.event_opened import refuse_timesteps
from neurodeploy.jobs.exported import ExportResult, warn_silent
from neurodeploy.jobs.gpu_export import export_on_gpu
from neurodeploy.jobs.measure import check_length
from neurodeploy.jobs.net_options import NetOptions
from neurodeploy.jobs.opened import open_with
from neurodeploy.jobs.search import split_overrides
from neurodeploy.progress import SILENT, Progress

__all__ = ["ExportResult", "export"]


def export(
    model: Path, target: str, *, out: Path | None = None, data: str | None = None, given: Path | None = None,
    layout: Layout = "torch", n_timesteps: int | None = None, net: NetOptions | None = None,
    overrides: dict[str, Any] | None = None, progress: Progress = SILENT,
) -> ExportResult:
    """Lower, quantize (calibrated on validation data), place and write; an integer network is never requantized. For
    event-driven chips see `event_export.export_on_cores`.

    The golden vectors play chip input: of the dataset's test images, of the file `given`, else random. Without a dataset
    a float network's scales come from the weights alone (warning `uncalibrated`) and accuracy is None. `n_timesteps` is
    the length of a sample where a network without a dataset leaves it open.
    """
    opened, changes = open_with(model, net, overrides)
    of_model, of_profile = split_overrides(changes)
    settings, profile = opened.settings(of_model), profile_of(target, of_profile)
    if out is None:
        out = Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-export-{opened.path.stem}-{profile.name}"
    check_out(out)  # before the work, not after it
    if isinstance(profile, EventProfile):
        asked = {"--timesteps": n_timesteps, "--layout": None if layout == "torch" else layout}
        refuse_timesteps(profile, asked)
        return export_on_cores(opened, profile, settings, out, data=data, given=given, progress=progress)
    if isinstance(profile, GpuProfile):
        return export_on_gpu(
            opened, profile, settings, out, data=data, given=given, layout=layout, n_timesteps=n_timesteps, progress=progress
        )
    lowered = opened.lowered(profile, settings)  # whether it can be there at all, before any data is read
    dataset = opened.dataset(data)
    if dataset is not None and (given is not None or n_timesteps is not None):
        raise UsageError(
            "golden inputs come from the dataset", where="--input" if given is not None else "--timesteps",
            limit=f"The network runs on {dataset.name}", remedy="Leave it out",
        )
    deployment = opened.deployed(profile, settings, dataset, progress)
    accuracy: dict[str, Any] | None = None
    bundle: Bundle
    if dataset is None:
        if not isinstance(opened.graph, IntGraph):
            warnings.warn(
                NeurodeployWarning("no dataset: scales come from the weights alone, accuracy is unknown", code="uncalibrated",
                                   where=str(model), remedy="Give one with --data"), stacklevel=2,
            )
        deployment, golden = _golden(deployment, given, layout, n_timesteps, settings.seed)
        note_rates(deployment.lowered, deployment.net, golden)
        bundle = write(deployment.net, deployment.plan, profile, out, golden_inputs=golden,
                       metadata={"data": None, "seed": settings.seed, "golden_input": str(given) if given else "random"},
                       lowered=deployment.lowered)
        warn_silent(bundle, str(model), "Give inputs that make it fire with --input, or more timesteps with --timesteps")
    else:
        final = evaluate(
            deployment.lowered, deployment.net, deployment.plan, profile, deployment.policy, *dataset.split("test"), progress
        )
        as_trained = accuracy_as_trained(lowered, *dataset.split("test"))
        accuracy = {**final.accuracy, "agreement": final.agreement, **as_trained}
        source = opened.source(data)
        assert source is not None  # a dataset was found by it
        bundle = write_bundle(deployment, profile, dataset, source, final, out, seed=settings.seed)
    manifest = bundle.manifest
    artifact = bundle.path / (manifest.get("artifact") or "graph.npz")
    return ExportResult(bundle.path, artifact, manifest["quantization"], deployment.plan.to_dict(), accuracy,
                        deployment.optimised, deployment.placement_source)


def _golden(
    deployment: Deployment, given: Path | None, layout: Layout, n_timesteps: int | None, seed: int
) -> tuple[Deployment, NDArray[Any]]:
    """The deployment, its network as long as its golden input [T, B, *input shape], and that input."""
    net = deployment.net
    images = net.metadata.get("input") != "counts"
    if not isinstance(deployment.lowered, IntGraph) and images and given is None and n_timesteps is None:
        shape = (net.host.inputs[0] if net.host is not None else net.inputs[0]).shape
        return deployment, chip_input(net, np.random.default_rng(seed).random((8, *shape)))
    read = None if given is None else read_input(given, net, layout)
    length = n_timesteps if read is None else read.n_timesteps(net, n_timesteps)
    if length is not None and length != net.n_timesteps:
        deployment = _as_long(deployment, length)
        net = deployment.net
    check_length(net)
    if read is None:
        return deployment, random_inputs(net, seed=seed)
    x = read.x if read.timed else np.repeat(read.x, net.n_timesteps, axis=0)
    return deployment, x


def _as_long(deployment: Deployment, n_timesteps: int) -> Deployment:
    """Samples of another length; a network lowered here restarts its neurons as often."""
    if isinstance(deployment.lowered, IntGraph):
        return replace(deployment, net=replace(deployment.net, n_timesteps=n_timesteps))

    lowered, net = deployment.lowered, deployment.net

    def longer(node: Node) -> Node:
        if not isinstance(node, Lif | CubaLif):
            return node
        return replace(node, reset_interval=n_timesteps if net.is_acyclic else max(n_timesteps, node.reset_offset))

    return replace(
        deployment, net=replace(net, nodes=tuple(map(longer, net.nodes)), n_timesteps=n_timesteps),
        lowered=replace(lowered, nodes=tuple(map(longer, lowered.nodes)), n_timesteps=n_timesteps),
    )
