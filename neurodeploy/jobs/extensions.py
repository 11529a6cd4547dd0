"""What a recipe names of others' blocks and fitness terms must be there before anything is done with it."""

from __future__ import annotations

from typing import Any

from neurodeploy.data.own import DATASETS
from neurodeploy.errors import UsageError
from neurodeploy.extensions import Registry
from neurodeploy.jobs.data import AnyDataset
from neurodeploy.jobs.training import macro_of
from neurodeploy.models.macro import OWN_BLOCKS
from neurodeploy.models.own_blocks import check_blocks
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.snas_recipe import AnyRecipe
from neurodeploy.search.terms import TERMS


def require_extensions(recipe: Recipe, data: AnyDataset) -> None:
    """Raise UsageError where a block or fitness term of the recipe is not known in this process, or a block is none."""
    for name in recipe.fitness.terms:
        TERMS.get(name)
    check_blocks(recipe.network.blocks, macro_of(recipe, data))


def require_shared(recipe: AnyRecipe, workers: int) -> None:
    """Raise UsageError where further workers, which do not run the caller's script, would lack what it registered."""
    asked: list[tuple[Registry[Any], tuple[str, ...]]] = [(DATASETS, (recipe.data.name,))]
    if isinstance(recipe, Recipe):
        asked += [(OWN_BLOCKS, recipe.network.blocks), (TERMS, tuple(recipe.fitness.terms))]
    only_here = [f"{r.kind} {name!r}" for r, names in asked for name in r.only_in_this_process(names)]
    if workers > 1 and only_here:
        raise UsageError(
            f"{', '.join(only_here)} {'is' if len(only_here) == 1 else 'are'} registered in this process alone",
            where=f"{workers} workers", code="unknown_extension", limit="Workers are processes of their own",
            remedy="Use one worker, or list them in the entry points of an installed package (docs/extending.md)",
        )
