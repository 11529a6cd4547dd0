"""Training inside a run: the supernet, and one architecture from scratch. Both go on from the run's checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.data.image_classes import N_LEVELS
from neurodeploy.jobs.data import AnyDataset, image_shape
from neurodeploy.jobs.run import BUNDLE, Run
from neurodeploy.models.autosnn import AutoSnn, MacroConfig, SuperNet
from neurodeploy.models.files import load_module, save
from neurodeploy.models.macro import Arch
from neurodeploy.models.networks import Network
from neurodeploy.models.snas_cell import SnasConfig
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.progress import Progress
from neurodeploy.search.recipe import Recipe
from neurodeploy.search.snas_recipe import AnyRecipe, SnasRecipe
from neurodeploy.train.config import SupernetConfig
from neurodeploy.train.loop import Epoch, Labelled, train
from neurodeploy.train.ranks import current
from neurodeploy.train.supernet import SuperNetResult, train_supernet

MODEL = "model.safetensors"
_MOST_REAL = 2**30  # bytes of images as float32


def places(run: Run) -> dict[str, str]:
    """Where a search's run keeps what it makes."""
    return {"run_dir": str(run.path), "model": str(run.path / MODEL), "bundle": str(run.path / BUNDLE)}


def macro_of(recipe: Recipe, data: AnyDataset) -> MacroConfig:
    """The network family's sizes: the recipe's, and the data's."""
    channels, height, width = image_shape(data)
    n = recipe.network
    return MacroConfig(
        in_channels=channels, image_size=(height, width), n_classes=data.n_classes, width=n.width,
        n_timesteps=n.n_timesteps, group=n.group, tau0=n.tau0, decay_input=n.decay_input,
        layout=tuple(w or None for w in n.layout), neuron=n.neuron, reset=n.reset, pool=n.pool, norm=n.norm,
        multi_spike=n.multi_spike, v_min=n.v_min, w_max=n.w_max, gain=n.gain, centre=n.centre,
        strides=n.strides, stem=n.stem, global_pool=n.global_pool,
    )


def sizes_of(recipe: SnasRecipe, data: AnyDataset) -> SnasConfig:
    """A SNASNet's sizes: the recipe's, and the data's."""
    return recipe.network.sizes(image_shape(data), data.n_classes)


def untrained(recipe: AnyRecipe, data: AnyDataset, arch: Sequence[str]) -> Network:
    """The network of a recipe's family with these blocks, or rows of a cell, and the next random weights."""
    if isinstance(recipe, SnasRecipe):
        return SnasNet(sizes_of(recipe, data), arch)
    return AutoSnn(macro_of(recipe, data), arch)


def labelled(recipe: AnyRecipe, data: AnyDataset, split: str) -> Labelled:
    """A split as training takes it: images, as bytes where their real numbers would be too large, or events counted in the
    bins of the recipe's network."""
    if isinstance(data, EventDataset):
        return data.rasters(split, recipe.network.n_timesteps), data.split(split)[1]
    n_bytes = 4 * len(data.splits[split]) * math.prod(data.image_shape)
    bytes_do = data.n_levels == N_LEVELS and recipe.encodings == {"direct"}
    return data.stored(split) if n_bytes > _MOST_REAL and bytes_do else data.split(split)


def described(data: AnyDataset, name: str) -> dict[str, Any]:
    """What a trained network's file says of its data."""
    if isinstance(data, EventDataset):
        return {"name": name, "duration_us": data.duration_us, "sensor": list(data.sensor)}
    return {"name": name, "n_levels": data.n_levels}


def supernet_of(
    run: Run, data: AnyDataset, choices: Sequence[Arch], progress: Progress
) -> tuple[SuperNet, SuperNetResult]:
    """The run's trained supernet; trains it, or the rest of it, where the checkpoint does not hold it yet.

    choices: the blocks that may stand at each position.
    """
    recipe = run.recipe
    torch.manual_seed(recipe.seed)
    supernet = SuperNet(macro_of(recipe, data), recipe.network.blocks)
    settings = SupernetConfig.model_validate(recipe.supernet.model_dump(include=set(SupernetConfig.model_fields)))
    task = "supernet training"
    seen = 0

    def advance(epoch: int, loss: float) -> None:
        nonlocal seen
        progress.advance(task, epoch - seen, loss=f"{loss:.4f}")
        seen = epoch

    progress.start(task, settings.epochs)
    result = train_supernet(
        supernet, labelled(recipe, data, "train"), settings, choices, seed=recipe.seed,
        device=recipe.device, checkpoint_file=run.path / "supernet.ckpt", progress=advance,
    )
    progress.done(task)
    return supernet, result


def train_arch(run: Run, arch: Sequence[str], data: AnyDataset, progress: Progress) -> Network:
    """The architecture trained from scratch by the run's recipe, in the run's model file from then on."""
    path = run.path / MODEL
    if path.exists():
        return load_module(path)
    recipe = run.settings
    torch.manual_seed(recipe.seed)
    network = untrained(recipe, data, arch)
    task = "training"
    seen = 0

    def advance(epoch: Epoch) -> None:
        nonlocal seen
        progress.advance(task, epoch.epoch - seen, validation=f"{100 * epoch.accuracy:.1f} %")
        seen = epoch.epoch

    progress.start(task, recipe.train.epochs)
    result = train(
        network, labelled(recipe, data, "train"), labelled(recipe, data, "validation"), recipe.train, seed=recipe.seed,
        device=recipe.device, checkpoint_file=run.path / "model.ckpt", progress=advance,
    )
    progress.done(task)
    per_class = {} if recipe.data.per_class is None else {"per_class": recipe.to_dict()["data"]["per_class"]}
    network.metadata = {
        "data": {**described(data, recipe.data.name), **per_class}, "encoding": recipe.train.encoding,
        "recipe": recipe.name, "deploy": recipe.deploy.to_dict(), "accuracy_validation": result.best.accuracy,
    }
    if current().is_first:
        save(network, path)
    return network
