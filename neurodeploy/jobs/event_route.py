"""The way of a search to event-driven chips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from neurodeploy.cost.event_band import Candidate, front_flips
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.errors import DoesNotFit, UsageError, Violation
from neurodeploy.hw.profile import EventProfile
from neurodeploy.jobs.data import AnyDataset
from neurodeploy.jobs.event_bundles import write_event_bundle
from neurodeploy.jobs.event_candidate import EventEvaluator
from neurodeploy.jobs.event_deploy import deploy_events
from neurodeploy.jobs.event_evaluate import evaluate_events
from neurodeploy.jobs.training import macro_of
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.models.macro import Arch
from neurodeploy.models.networks import Network, to_graph
from neurodeploy.place.event_cores import check
from neurodeploy.progress import Progress
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.snas_recipe import AnyRecipe
from neurodeploy.validate.event_verdict import validate_event_bundle


@dataclass(frozen=True)
class EventRoute:
    """See `routes.Route`."""

    profile: EventProfile

    def choices(self, recipe: Recipe, data: AnyDataset) -> tuple[Arch, ...]:
        """A block that the chip cannot run at a position, all others skipped, is left out there: the profile decides."""
        events = _events(data)
        n = recipe.network.n_positions
        smallest = ("skip_connect",) * n
        broken = self._broken(recipe, events, smallest)
        if broken:
            raise DoesNotFit(broken, target=self.profile.name)
        found = []
        for i in range(n):
            failing = {b: self._broken(recipe, events, (*smallest[:i], b, *smallest[i + 1 :])) for b in recipe.network.blocks}
            if all(failing.values()):
                raise DoesNotFit(tuple(dict.fromkeys(v for each in failing.values() for v in each)), target=self.profile.name)
            found.append(tuple(b for b, violations in failing.items() if not violations))
        return tuple(found)

    def _broken(self, recipe: Recipe, data: EventDataset, arch: Arch) -> tuple[Violation, ...]:
        module = AutoSnn(macro_of(recipe, data), arch)
        for norm in module.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                torch.nn.init.ones_(norm.bias)  # as training would leave it, not as zero as it starts
        try:
            lowered = lower_to_events(to_graph(module), self.profile)
            return check(lowered, self.profile).violations
        except DoesNotFit as error:
            return error.violations

    def evaluator(self, supernet: SuperNet, data: AnyDataset, recipe: Recipe) -> EventEvaluator:
        return EventEvaluator(supernet, _events(data), recipe, self.profile)

    def finish(
        self, network: Network, data: AnyDataset, recipe: AnyRecipe, out: Path, extra: dict[str, Any],
        lap: Callable[[str, str], None], progress: Progress,
    ) -> dict[str, Any]:
        events = _events(data)
        lowered = lower_to_events(to_graph(network), self.profile)
        deployment = deploy_events(lowered, self.profile, recipe.deploy, events, progress)
        lap("deployment", f"{deployment.plan.n_cores} cores")
        final = evaluate_events(
            deployment.lowered, deployment.net, deployment.plan, self.profile, deployment.policy, events, progress=progress,
            limit=recipe.cost.synops_per_core,
        )
        bundle = write_event_bundle(
            deployment, self.profile, events, recipe.data.name, final, out, seed=recipe.seed, extra=extra
        )
        verdict = validate_event_bundle(bundle.path)  # the accuracy was just measured
        if verdict.errors:
            raise verdict.errors[0]
        lap("evaluation", f"{final.accuracy['n']} test samples, bundle validated")
        return {"validation": deployment.validation, "fine_tuned": False, "test": final.to_dict()}

    def front(self, pareto: list[dict[str, Any]], data: AnyDataset) -> dict[str, Any]:
        """Whether the order of the front by energy changes anywhere in the band of the energy per synop, where one is known."""
        if "synop" not in self.profile.energy:
            return {}
        interval_s = _events(data).duration_us * 1e-6
        entries = [Candidate("-".join(e["genome"]), e["accuracy"], e["synops"], interval_s) for e in pareto if e["fits"]]
        found = front_flips(entries, self.profile)
        return {"energy_band": {**found.to_dict(), "sentence": found.sentence()}}


def _events(data: AnyDataset) -> EventDataset:
    if not isinstance(data, EventDataset):
        raise UsageError("images", where=data.name, limit="This chip takes streams of events",
                         remedy="Name a dataset of events, or a folder of images for the simulated camera")
    return data
