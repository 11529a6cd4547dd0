"""A search in parts: stopped behind a stage, resumed, and helped by other processes where it trains."""

from __future__ import annotations

import time
from typing import Any, Literal

from neurodeploy.errors import UsageError
from neurodeploy.jobs.data import load_data
from neurodeploy.jobs.extensions import require_extensions
from neurodeploy.jobs.routes import route_of
from neurodeploy.jobs.run import Run
from neurodeploy.jobs.training import supernet_of, train_arch
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.snas_recipe import AnyRecipe
from neurodeploy.train.ranks import Ranks
from neurodeploy.train.runtime import threads

Stage = Literal["supernet", "search", "training"]


class Laps:
    """Seconds of each stage as they end, told to `progress`; raises KeyboardInterrupt where one came during the stage."""

    def __init__(self, progress: Progress, interrupted: list[bool]) -> None:
        self.seconds: dict[str, float] = {}
        self._progress, self._interrupted, self._started = progress, interrupted, time.monotonic()

    def __call__(self, name: str, what: str) -> None:
        if self._interrupted[0]:
            raise KeyboardInterrupt
        self.seconds[name] = round(time.monotonic() - self._started - sum(self.seconds.values()), 2)
        self._progress.message(f"{name}: {what}, {self.seconds[name]:.0f} s")


def require_stage(recipe: AnyRecipe, until: Stage | None) -> None:
    """UsageError where a search for cells, which has no supernet, is to stop behind it."""
    if until == "supernet" and not isinstance(recipe, Recipe):
        raise UsageError("no stage 'supernet'", where=f"recipe {recipe.name}", remedy="Name search or training",
                         limit="Cells of SNASNet are scored untrained")


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
        data = load_data(run.settings.data, run.settings.input.kind)
        with threads(1):
            if isinstance(run.settings, Recipe):  # cells have no supernet
                require_extensions(run.recipe, data)
                supernet_of(run, data, route_of(run.profile, run.recipe).choices(run.recipe, data), SILENT)
            arch = here.shared(None)
            if arch:  # not stopped before
                train_arch(run, arch, data, SILENT)
    result: dict[str, Any] = here.shared(None)
    return result
