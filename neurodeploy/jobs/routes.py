"""What a search does differently on each kind of target; `jobs/search.py` has what is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import AnyProfile, EventProfile, GpuProfile
from neurodeploy.jobs.data import AnyDataset
from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.models.macro import Arch
from neurodeploy.models.networks import Network
from neurodeploy.progress import Progress
from neurodeploy.search.fitness import Metrics
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.snas_recipe import AnyRecipe

Lap = Callable[[str, str], None]  # (stage, what it did)


class Evaluates(Protocol):
    """An evaluator of candidates: a call gives an architecture's metrics as plain JSON values."""

    def __call__(self, arch: Sequence[str]) -> dict[str, Any]: ...

    def network(self, arch: Sequence[str]) -> AutoSnn:
        """The candidate with the supernet's weights."""
        ...

    def metrics(self, network: AutoSnn) -> Metrics:
        """Metrics of a network on the validation split."""
        ...


class Route(Protocol):
    """One kind of target: which blocks it can take, what a candidate is worth, how the best one gets there."""

    @property
    def profile(self) -> AnyProfile:
        """The target."""
        ...

    def choices(self, recipe: Recipe, data: AnyDataset) -> tuple[Arch, ...]:
        """Blocks that may stand at each position. Raises DoesNotFit where not even the smallest network fits."""
        ...

    def evaluator(self, supernet: SuperNet, data: AnyDataset, recipe: Recipe) -> Evaluates:
        """What judges candidates."""
        ...

    def finish(
        self, network: Network, data: AnyDataset, recipe: AnyRecipe, out: Path, extra: dict[str, Any], lap: Lap,
        progress: Progress,
    ) -> dict[str, Any]:
        """Bring a trained network onto the target, measure it on the test split and write its validated bundle.

        Returns `validation`, `fine_tuned` and `test` of the result.
        """
        ...

    def front(self, pareto: list[dict[str, Any]], data: AnyDataset) -> dict[str, Any]:
        """What else there is to say of the front, as further fields of the result."""
        ...


def route_of(profile: AnyProfile, recipe: AnyRecipe) -> Route:
    """The route to a target; UsageError for a recipe whose data the target cannot take."""
    events = isinstance(profile, EventProfile)
    if events != (recipe.input.kind == "events"):
        takes = "streams of events" if events else "images, not streams of events, in a search"
        raise UsageError(
            f"the recipe's input is {recipe.input.kind!r}", where=f"recipe {recipe.name}", code="other_arithmetic",
            limit=f"{profile.name} takes {takes}",
            remedy=f"Use a recipe for {'event-driven chips' if events else 'images'}, such as {default_recipe(profile)}",
        )
    if isinstance(profile, EventProfile):
        from neurodeploy.jobs.event_route import EventRoute

        return EventRoute(profile)
    if isinstance(profile, GpuProfile):
        from neurodeploy.jobs.gpu_route import GpuRoute

        return GpuRoute(profile)
    from neurodeploy.jobs.mesh_route import MeshRoute

    return MeshRoute(profile)


def default_recipe(profile: AnyProfile, method: str | None = None) -> str:
    """The packaged recipe that a target of this kind takes where none is named."""
    if method == "sahd":
        return "digits_snasnet"
    return "digits_events" if isinstance(profile, EventProfile) else "digits"
