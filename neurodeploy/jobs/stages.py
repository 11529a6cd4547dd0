"""A search in parts: stopped behind a stage, resumed, and helped by other processes where it trains."""

from __future__ import annotations

from typing import Any, Literal

from neurodeploy.errors import UsageError
from neurodeploy.jobs.data import load_data
from neurodeploy.jobs.extensions import require_extensions
from neurodeploy.jobs.routes import route_of
from neurodeploy.jobs.run import Run
from neurodeploy.jobs.training import supernet_of, train_arch
from neurodeploy.progress import SILENT
from neurodeploy.search.snas_recipe import AnyRecipe, SnasRecipe
from neurodeploy.train.ranks import Ranks, current
from neurodeploy.train.runtime import threads

Stage = Literal["supernet", "search", "training"]


def resume_command(run: Run) -> str:
    """The command line that continues a run."""
    return f"neurodeploy search --resume {run.path}"


def stopped(run: Run, stage: Stage, **found: Any) -> dict[str, Any]:
    """What is known of a run that was asked to stop behind a stage."""
    return {"run_dir": str(run.path), "until": stage, "resume": resume_command(run), **found}


def help_training(run: Run, here: Ranks) -> dict[str, Any]:
    """The part of another process than the first, which says what there is to do: it trains what that one trains, and waits
    meanwhile. Returns the first one's result."""
    if here.shared(None):  # not finished
        data = load_data(run.recipe.data, run.recipe.input.kind)
        with threads(1):
            require_extensions(run.recipe, data)
            supernet_of(run, data, route_of(run.profile, run.recipe).choices(run.recipe, data), SILENT)
            arch = here.shared(None)
            if arch:  # not stopped before
                train_arch(run, arch, data, SILENT)
    result: dict[str, Any] = here.shared(None)
    return result


def require_whole(recipe: AnyRecipe, until: Stage | None) -> None:
    """Raises where a search for cells is to be cut in stages, or shared by torchrun's processes: it trains one network only."""
    asked = "torchrun" if current().n > 1 else None if until is None else f"until {until!r}"
    if asked is not None and isinstance(recipe, SnasRecipe):
        raise UsageError(
            f"{asked} in a search for cells", where=f"recipe {recipe.name}", code="other_family",
            limit="Cells are scored untrained, on one process and its workers; a run that is stopped goes on where it was",
            remedy="Leave it out; `torchrun ... train` trains the cell that was found on several processes",
        )
