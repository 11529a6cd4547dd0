"""`neurodeploy train` without --arch: a network without spikes by its recipe, for `neurodeploy convert`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neurodeploy.data.datasets import load
from neurodeploy.errors import Interrupted, UsageError
from neurodeploy.ir import serialize
from neurodeploy.jobs.run import located
from neurodeploy.models.from_torch import from_torch
from neurodeploy.models.qcfs import Qcfs
from neurodeploy.progress import SILENT, Progress
from neurodeploy.train import ranks, runtime
from neurodeploy.train.ann2snn import logits_of, read_ann_recipe, train_ann
from neurodeploy.train.loop import Epoch

MODEL = "ann.npz"


@dataclass(frozen=True)
class AnnResult:
    """`model`: the network as a graph, which names its data; `accuracy` of test and validation, 0..1; `thresholds`: the lam
    that each QCFS layer learnt."""

    model: Path
    accuracy: float
    accuracy_validation: float
    thresholds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**vars(self), "model": str(self.model)}


def resolve_without_spikes(recipe: str | Path, overrides: dict[str, Any]) -> dict[str, Any]:
    """The recipe with all defaults and the overrides, as a training would use it."""
    return {"recipe": read_ann_recipe(recipe, overrides).model_dump(mode="json")}


def train_without_spikes(
    recipe: str | Path, *, out: Path | None = None, seed: int | None = None, overrides: dict[str, Any] | None = None,
    progress: Progress = SILENT,
) -> AnnResult:
    """Train the network of a recipe (`train.ann2snn`); `ann.npz` and the checkpoint lie in the folder `out`, by default a new
    one under runs/.

    A training that was interrupted is continued by the same command with the same `out`. Raises UsageError where `out` holds
    that of another recipe or is a file, Interrupted on Ctrl-C.
    """
    settings = read_ann_recipe(recipe, {**(overrides or {}), **({} if seed is None else {"seed": seed})})
    data = load(settings.data)
    runtime.seed_everything(settings.seed)
    module = settings.network.build(data.image_shape, data.n_classes)
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError("is a file", where=str(out), code="path", remedy="Name a new folder with --out")
    task, seen = "training", 0

    def advance(epoch: Epoch) -> None:
        nonlocal seen
        progress.advance(task, epoch.epoch - seen, validation=f"{100 * epoch.accuracy:.1f} %")
        seen = epoch.epoch

    progress.start(task, settings.train.epochs)
    with ranks.joined() as here:
        folder = out or Path(here.shared(f"runs/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-ann-{Path(recipe).stem}"))
        try:
            found = train_ann(module, data.split("train"), data.split("validation"), settings.train, seed=settings.seed,
                              device=settings.device, checkpoint_file=folder / "ann.ckpt", progress=advance)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted", remedy=f"Continue with the same command and --out {folder}") from error
    progress.done(task)
    x, y = data.split("test")
    accuracy = float((logits_of(module, x).argmax(axis=1) == y).mean())
    note = {"name": located(settings.data), "n_levels": data.n_levels}
    graph = from_torch(module.cpu(), data.image_shape, metadata={"data": note})
    if here.is_first:
        serialize.save(graph, folder / MODEL)
    thresholds = {name: part.up.item() for name, part in module.named_modules() if isinstance(part, Qcfs)}
    return AnnResult(folder / MODEL, accuracy, found.best.accuracy, thresholds)
