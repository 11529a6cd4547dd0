"""The way of a search to chips with timesteps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.data.datasets import Dataset
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.hw.profile import Profile
from neurodeploy.jobs.bundles import write_bundle
from neurodeploy.jobs.candidate import Evaluator
from neurodeploy.jobs.data import AnyDataset
from neurodeploy.jobs.deploy import deploy, lowered_for
from neurodeploy.jobs.evaluate import evaluate
from neurodeploy.jobs.training import macro_of
from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.models.macro import Arch
from neurodeploy.models.networks import Network, to_graph
from neurodeploy.place import check
from neurodeploy.progress import Progress
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.snas_recipe import AnyRecipe
from neurodeploy.validate import validate


@dataclass(frozen=True)
class MeshRoute:
    """See `routes.Route`."""

    profile: Profile

    def choices(self, recipe: Recipe, data: AnyDataset) -> tuple[Arch, ...]:
        images = _images(data)
        n = recipe.network.n_positions
        smallest = AutoSnn(macro_of(recipe, images), ("skip_connect",) * n)
        smallest.metadata = {"data": {"name": images.name, "n_levels": images.n_levels}}
        fit = check(lowered_for(to_graph(smallest), self.profile, recipe.deploy), self.profile, recipe.cost.n_chips)
        if not fit.fits:
            raise DoesNotFit(fit.violations, target=self.profile.name)
        return (recipe.network.blocks,) * n

    def evaluator(self, supernet: SuperNet, data: AnyDataset, recipe: Recipe) -> Evaluator:
        return Evaluator(supernet, _images(data), recipe, self.profile)

    def finish(
        self, network: Network, data: AnyDataset, recipe: AnyRecipe, out: Path, extra: dict[str, Any],
        lap: Callable[[str, str], None], progress: Progress,
    ) -> dict[str, Any]:
        images = _images(data)
        lowered = lowered_for(to_graph(network), self.profile, recipe.deploy)
        deployment = deploy(lowered, self.profile, recipe.deploy, images, progress, device=recipe.device)
        fine_tuned = deployment.net.quantization["fine_tuned"]
        lap("deployment", f"{deployment.plan.n_cores} cores" + ", fine-tuned" * fine_tuned)
        final = evaluate(
            deployment.lowered, deployment.net, deployment.plan, self.profile, deployment.policy, *images.split("test"),
            progress,
        )
        bundle = write_bundle(
            deployment, self.profile, images, recipe.data.name, final, out, seed=recipe.seed, extra=extra
        )
        verdict = validate(bundle.path)  # the accuracy was just measured
        if verdict.errors:
            raise verdict.errors[0]
        lap("evaluation", f"{final.accuracy['n']} test images, bundle validated")
        return {"validation": deployment.validation, "fine_tuned": fine_tuned, "test": final.to_dict()}

    def front(self, pareto: list[dict[str, Any]], data: AnyDataset) -> dict[str, Any]:
        return {}


def _images(data: AnyDataset) -> Dataset:
    if not isinstance(data, Dataset):
        raise UsageError("streams of events", where=data.name, limit="This chip takes images",
                         remedy="Name a dataset of images")
    return data
