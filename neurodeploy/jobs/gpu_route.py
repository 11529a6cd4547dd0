"""The way of a search to GPUs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.data.datasets import Dataset
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.hw.profile import GpuProfile
from neurodeploy.jobs.data import AnyDataset
from neurodeploy.jobs.gpu_candidate import GpuEvaluator
from neurodeploy.jobs.gpu_energy import OnGpu
from neurodeploy.jobs.gpu_export import write_gpu_bundle
from neurodeploy.jobs.gpu_opened import Samples
from neurodeploy.jobs.gpu_run import run_split
from neurodeploy.jobs.training import macro_of
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.models.macro import Arch
from neurodeploy.models.networks import Network, to_graph
from neurodeploy.progress import Progress
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.snas_recipe import AnyRecipe
from neurodeploy.validate import validate_gpu_bundle


@dataclass(frozen=True)
class GpuRoute:
    """See `routes.Route`."""

    profile: GpuProfile

    def choices(self, recipe: Recipe, data: AnyDataset) -> tuple[Arch, ...]:
        images = _images(data)
        n = recipe.network.n_positions
        smallest = AutoSnn(macro_of(recipe, images), ("skip_connect",) * n)
        broken = OnGpu.of(lower_to_gpu(to_graph(smallest)), self.profile, recipe.deploy).violations()
        if broken:
            raise DoesNotFit(broken, target=self.profile.name)
        return (recipe.network.blocks,) * n

    def evaluator(self, supernet: SuperNet, data: AnyDataset, recipe: Recipe) -> GpuEvaluator:
        return GpuEvaluator(supernet, _images(data), recipe, self.profile)

    def finish(
        self, network: Network, data: AnyDataset, recipe: AnyRecipe, out: Path, extra: dict[str, Any],
        lap: Callable[[str, str], None], progress: Progress,
    ) -> dict[str, Any]:
        graph = lower_to_gpu(to_graph(network))
        samples, on = Samples(graph, _images(data)), OnGpu.of(graph, self.profile, recipe.deploy)
        runs = run_split(samples, "test", progress)
        written = write_gpu_bundle(
            on, samples, runs, recipe.data.name, recipe.deploy, out, extra=extra, progress=progress
        )
        verdict = validate_gpu_bundle(written.bundle, oracle="onnxruntime")  # golden samples; the accuracy was just measured
        if verdict.errors:
            raise verdict.errors[0]
        lap("evaluation", f"{len(runs.labels)} test images, bundle validated, its forms run by onnxruntime")
        figures = on.figures()
        figures["counts"] |= {"spikes": sum(runs.n_spikes.values())}
        return {
            "validation": None, "fine_tuned": False, "test": {
                "accuracy": written.accuracy, "agreement": None, "early_exit": written.early_exit, "cost": {"dense": figures},
            },
        }  # fmt: skip

    def front(self, pareto: list[dict[str, Any]], data: AnyDataset) -> dict[str, Any]:
        return {}


def _images(data: AnyDataset) -> Dataset:
    if not isinstance(data, Dataset):
        raise UsageError("streams of events", where=data.name, limit="Searches for GPUs take images",
                         remedy="Name a dataset of images; networks trained on events are exported with `export`")
    return data
