"""Training inside a run: the supernet, and one architecture from scratch. Both go on from the run's checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from neurodeploy.data.datasets import Dataset
from neurodeploy.jobs.run import Run
from neurodeploy.models.autosnn import AutoSnn, MacroConfig, SuperNet
from neurodeploy.models.files import load_module, save
from neurodeploy.models.macro import BLOCKS, N_POSITIONS
from neurodeploy.progress import Progress
from neurodeploy.search.recipe import Recipe
from neurodeploy.train.config import SupernetConfig
from neurodeploy.train.loop import Epoch, train
from neurodeploy.train.supernet import SuperNetResult, train_supernet

MODEL = "model.safetensors"


def macro_of(recipe: Recipe, data: Dataset) -> MacroConfig:
    """The network family's sizes: the recipe's, and the data's."""
    channels, height, width = data.image_shape
    n = recipe.network
    return MacroConfig(
        in_channels=channels, image_size=(height, width), n_classes=data.n_classes, width=n.width,
        n_timesteps=n.n_timesteps, group=n.group, tau0=n.tau0, decay_input=n.decay_input,
    )


def supernet_of(run: Run, data: Dataset, progress: Progress) -> tuple[SuperNet, SuperNetResult]:
    """The run's trained supernet; trains it, or the rest of it, where the checkpoint does not hold it yet."""
    recipe = run.recipe
    torch.manual_seed(recipe.seed)
    supernet = SuperNet(macro_of(recipe, data))
    settings = SupernetConfig.model_validate(recipe.supernet.model_dump(include=set(SupernetConfig.model_fields)))
    task = "supernet training"
    seen = 0

    def advance(epoch: int, loss: float) -> None:
        nonlocal seen
        progress.advance(task, epoch - seen, loss=f"{loss:.4f}")
        seen = epoch

    progress.start(task, settings.epochs)
    result = train_supernet(
        supernet, data.split("train"), settings, [BLOCKS] * N_POSITIONS, seed=recipe.seed,
        checkpoint_file=run.path / "supernet.ckpt", progress=advance,
    )
    progress.done(task)
    return supernet, result


def train_arch(run: Run, arch: Sequence[str], data: Dataset, progress: Progress) -> AutoSnn:
    """The architecture trained from scratch by the run's recipe, in the run's model file from then on."""
    path = run.path / MODEL
    if path.exists():
        return load_module(path)
    recipe = run.recipe
    torch.manual_seed(recipe.seed)
    network = AutoSnn(macro_of(recipe, data), arch)
    task = "training"
    seen = 0

    def advance(epoch: Epoch) -> None:
        nonlocal seen
        progress.advance(task, epoch.epoch - seen, validation=f"{100 * epoch.accuracy:.1f} %")
        seen = epoch.epoch

    progress.start(task, recipe.train.epochs)
    result = train(
        network, data.split("train"), data.split("validation"), recipe.train, seed=recipe.seed,
        checkpoint_file=run.path / "model.ckpt", progress=advance,
    )
    progress.done(task)
    network.metadata = {
        "data": {"name": recipe.data.name, "n_levels": data.n_levels}, "encoding": recipe.train.encoding,
        "recipe": recipe.name, "deploy": recipe.deploy.model_dump(mode="json"), "accuracy_validation": result.best.accuracy,
    }
    save(network, path)
    return network
