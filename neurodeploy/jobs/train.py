"""`neurodeploy train`: one architecture, or cell, of a recipe's space."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.errors import Interrupted, UsageError
from neurodeploy.jobs.data import load_data
from neurodeploy.jobs.run import Run, located, opened
from neurodeploy.jobs.training import MODEL, labelled, macro_of, sizes_of, train_arch
from neurodeploy.models.macro import Arch
from neurodeploy.models.own_blocks import check_blocks
from neurodeploy.models.published import parse_arch
from neurodeploy.models.snas_cell import check_cell
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.snas_recipe import AnyRecipe, SnasRecipe, read_any
from neurodeploy.train import ranks
from neurodeploy.train.evaluate import evaluate
from neurodeploy.train.runtime import resolve_device


@dataclass(frozen=True)
class TrainResult:
    """`model`: path of the file; `accuracy` of validation and test, 0..1; `accuracy_per_step` of test after 1..T steps.

    `time_unit`: what a step is, "bin" where events are trained on, else "timestep".
    """

    model: Path
    accuracy: float
    accuracy_validation: float
    accuracy_per_step: list[float]
    time_unit: str

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**vars(self), "model": str(self.model)}


def train(
    recipe: str | Path, arch: str, *, out: Path | None = None, seed: int | None = None,
    overrides: dict[str, Any] | None = None, progress: Progress = SILENT,
) -> TrainResult:
    """Train one architecture by a recipe, from scratch; the model file lies in the run's folder. For a recipe of SNASNet, arch
    is a cell: a released one's name, or four rows of digits.

    A run that was interrupted is continued by the same command with the same `out`. Processes of torchrun train together, and
    all return the same. Raises UsageError where `out` holds
    anything else, Interrupted on Ctrl-C.
    """
    settings = read_any(recipe, {**(overrides or {}), **({} if seed is None else {"seed": seed})})
    if isinstance(settings, SnasRecipe):
        blocks = check_cell(arch.replace(",", " "))
        data = load_data(settings.data, settings.input.kind)
        sizes_of(settings, data)
    else:
        blocks = parse_arch(arch, settings.network.n_positions)
        data = load_data(settings.data, settings.input.kind)
        check_blocks(blocks, macro_of(settings, data))
    with ranks.joined() as here:
        run = opened(here, "train", lambda: _open(out, settings, blocks) or Run.create(
            "train", settings, None, out, {"arch": list(blocks)}))
        progress.message(f"run folder {run.path}")
        try:
            with run.locked() if here.is_first else nullcontext():
                network = train_arch(run, blocks, data, progress).to(resolve_device(settings.device))
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted", remedy=f"Continue with the same command and --out {run.path}") from error
        per_step: list[float] = here.shared(
            evaluate(network, *labelled(settings, data, "test"), encoding=settings.train.encoding).accuracy_per_step.tolist()
            if here.is_first else None
        )
    return TrainResult(
        run.path / MODEL, per_step[-1], float(network.metadata["accuracy_validation"]), per_step,
        "bin" if settings.train.encoding == "events" else "timestep",
    )


def _open(out: Path | None, settings: AnyRecipe, blocks: Arch) -> Run | None:
    """The run in `out`, None where there is none; UsageError for a run of something else."""
    if out is None or not (out / "run.json").is_file():
        return None
    run = Run.open(out, "train")
    asked = {**settings.to_dict(), "arch": list(blocks)}
    asked["data"]["name"] = located(settings.data.name)
    before = {**run.settings.to_dict(), **run.arguments}
    differing = sorted(key for key in asked if asked[key] != before.get(key))
    if differing:
        raise UsageError(
            f"holds a training run of another {', '.join(differing)}", where=str(out), code="path",
            remedy="Name a new folder with --out",
        )
    return run
