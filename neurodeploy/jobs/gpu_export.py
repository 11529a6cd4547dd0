"""`neurodeploy export` for GPUs: the network as ONNX, evaluated and written as a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.data.spikes import Layout
from neurodeploy.early_exit.planned import N_GOLDEN, PlannedPolicy
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.export.bundle import Bundle
from neurodeploy.export.gpu import export_gpu
from neurodeploy.hw.profile import GpuProfile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array
from neurodeploy.jobs.exits import require_data
from neurodeploy.jobs.exported import ExportResult, warn_silent
from neurodeploy.jobs.gpu_energy import OnGpu
from neurodeploy.jobs.gpu_exit import choose_exit, exit_answers, views_of
from neurodeploy.jobs.gpu_input import read_values
from neurodeploy.jobs.gpu_opened import Samples, lowered_for_gpu, samples_for
from neurodeploy.jobs.gpu_run import GpuRuns, run_split
from neurodeploy.jobs.opened import Opened
from neurodeploy.jobs.training import described
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings

_N_GOLDEN = 8  # samples whose exact spikes a bundle carries


def export_on_gpu(
    opened: Opened, profile: GpuProfile, settings: DeploySettings, out: Path, *, data: str | None, given: Path | None,
    layout: Layout = "torch", n_timesteps: int | None, progress: Progress = SILENT,
) -> ExportResult:
    """Evaluate in float32 on the test split, choose the exit on the validation split, and write the ONNX forms.

    The golden inputs are test samples; without a dataset, those of the file `given`, else random ones. `n_timesteps` is the
    length of a sample where no dataset says it. Raises DoesNotFit where the memory is too small.
    """
    graph = lowered_for_gpu(opened, n_timesteps)
    samples = samples_for(opened, graph, data)
    require_data(settings, None if samples is None else samples.data)
    if samples is not None and (given is not None or n_timesteps is not None):
        raise UsageError("golden inputs come from the dataset", where="--input" if given is not None else "--timesteps",
                         limit=f"The network runs on {samples.name}", remedy="Leave it out")
    on = OnGpu.of(graph, profile, settings)
    if on.violations():
        raise DoesNotFit(on.violations(), target=profile.name)
    if samples is None:
        golden = random_values(graph, settings.seed) if given is None else read_values(given, graph, layout)
        metadata = {"data": None, "seed": settings.seed, "golden_input": "random" if given is None else str(given)}
        bundle = export_gpu(graph, profile, out, golden_inputs=golden, metadata=metadata)
        if graph.neurons:
            remedy = "Give inputs that make it fire with --input, or more timesteps with --timesteps"
            warn_silent(bundle, str(opened.path), remedy)
        return _result(bundle)
    runs = run_split(samples, "test", progress)
    source = opened.source(data)
    assert source is not None  # a dataset was found by it
    return write_gpu_bundle(on, samples, runs, source, settings, out, progress=progress)


def write_gpu_bundle(
    on: OnGpu, samples: Samples, runs: GpuRuns, source: str, settings: DeploySettings, out: Path, *,
    extra: dict[str, Any] | None = None, progress: Progress = SILENT,
) -> ExportResult:
    """The bundle of a network whose test split was run; source: name or path under which `validate` finds the data again."""
    policy, early = None, None
    if samples.graph.n_timesteps > 1:  # else there is nothing to leave
        chosen = run_split(samples, "validation", progress)
        policy = choose_exit(samples, settings, chosen, progress)
        answers = exit_answers(samples, runs, policy)
        early = {**answers, **on.early_exit(answers["histogram"], policy)}
        if isinstance(policy, PlannedPolicy):
            policy = replace(policy, golden=views_of(samples, "test", policy.sees)[:N_GOLDEN])
    accuracy = {**runs.accuracy(), "quantized": None}
    metadata = {
        "data": {**described(samples.data, source), "split": "test"}, "seed": settings.seed,
        "accuracy": {**accuracy, "split": "test"}, **(extra or {}),
    }
    golden = samples.values("test", slice(0, _N_GOLDEN))
    bundle = export_gpu(samples.graph, on.profile, out, golden_inputs=golden, metadata=metadata, policy=policy)
    return _result(bundle, accuracy, early)


def _result(
    bundle: Bundle, accuracy: dict[str, Any] | None = None, early_exit: dict[str, Any] | None = None
) -> ExportResult:
    artifact = bundle.path / bundle.manifest["artifact"]
    return ExportResult(bundle.path, artifact, None, None, accuracy, placement_source=None, early_exit=early_exit)


def random_values(graph: Graph, seed: int) -> Array:
    """Input x float32 [T, B, *input shape] of random samples: values 0 to 1 that stay, of networks of events random counts."""
    random = np.random.default_rng(seed)
    shape = (_N_GOLDEN, *graph.inputs[0].shape)
    if "nir" in graph.metadata or graph.metadata.get("encoding") == "events" or graph.inputs[0].kind == "spikes":
        return (random.random((graph.n_timesteps, *shape)) < _DENSITY).astype(np.float32)
    values = random.random(shape) * graph.inputs[0].max_value
    return np.repeat(values[np.newaxis], graph.n_timesteps, axis=0).astype(np.float32)


_DENSITY = 0.3  # of events in a random input, enough for deep layers to fire
