"""Training of a network without spikes that is meant to become one with them: QCFS activations (`models.qcfs`), by a recipe.

The network answers once per image, so its output counts as the votes of one timestep, and losses, augmentation, schedule and
checkpoints are those of every other training here. Its weights are those of the last epoch.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator
from torch import nn

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.hw.profile import apply_override, describe
from neurodeploy.models.qcfs import Qcfs
from neurodeploy.resources import folder
from neurodeploy.train import checkpoint, runtime
from neurodeploy.train.config import DEVICE, TrainConfig
from neurodeploy.train.loop import Epoch, Labelled, TrainResult, check
from neurodeploy.train.losses import loss as compute_loss
from neurodeploy.train.trainer import Trainer

_BATCH = 512  # of validation


class AnnNetwork(BaseModel):
    """A chain: for each number of `layout` a 3x3 convolution to so many channels, batch norm and the activation, for each 0 an
    average pool of 2x2; then one linear layer. Without `norm` there is neither it nor any bias, as event-driven chips want.

    activation: `qcfs` with `levels` and `lam` at the start, or `relu`, which conversion calibrates.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layout: tuple[int, ...] = Field(min_length=1, max_length=64)
    activation: Literal["qcfs", "relu"] = "qcfs"
    levels: PositiveInt | None = 4
    lam: PositiveFloat = 4.0
    norm: bool = True

    @model_validator(mode="after")
    def _sizes(self) -> AnnNetwork:
        if not all(0 <= width <= 4096 for width in self.layout) or not any(self.layout):
            raise ValueError(f"layout {list(self.layout)}: numbers of channels up to 4096, and 0 for pools")
        return self

    def build(self, image: tuple[int, int, int], n_classes: int) -> nn.Sequential:
        """The network for images (C, H, W), initialised from torch's global generator. UsageError where a pool finds no map."""
        channels, height, width = image
        layers: list[nn.Module] = []
        for wide in self.layout:
            if wide:
                layers.append(nn.Conv2d(channels, wide, 3, padding=1, bias=False))
                layers += [nn.BatchNorm2d(wide)] if self.norm else []
                layers.append(Qcfs(self.levels, self.lam) if self.activation == "qcfs" else nn.ReLU())
                channels = wide
            else:
                layers.append(nn.AvgPool2d(2))
                height, width = height // 2, width // 2
        if min(height, width) < 1:
            raise UsageError(f"{self.layout.count(0)} pools of images {image}", where="network.layout",
                             limit="A pool halves the map", remedy="Take a 0 out")
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, n_classes, bias=self.norm))


class AnnRecipe(BaseModel):
    """A network without spikes and its training: `data` names a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str
    network: AnnNetwork
    train: TrainConfig
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: str = Field(default="auto", pattern=DEVICE)


def read_ann_recipe(name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> AnnRecipe:
    """A packaged recipe by name (`searches/ann`), or one of a TOML file, with dotted overrides (`{"train.epochs": 20}`).

    Raises UsageError naming the unknown recipe, the key that is misspelt, or the value out of range.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        known = sorted(p.stem for p in (folder("searches") / "ann").glob("*.toml"))
        if str(name_or_path) not in known:
            raise UsageError(f"no recipe {str(name_or_path)!r} of a network without spikes", code="unknown_recipe",
                             limit=f"Packaged ones: {', '.join(known)}",
                             remedy="Name one, give the path of a .toml file, or --arch with a recipe of a search")
        path = folder("searches") / "ann" / f"{name_or_path}.toml"
    try:
        full = AnnRecipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).model_dump(mode="json")
        for key, value in (overrides or {}).items():
            apply_override(full, key, value, where=path.name)
        return AnnRecipe.model_validate(full)
    except OSError as error:
        raise UsageError("cannot be read", where=str(path), limit=str(error), remedy="Name a TOML file") from error
    except ValidationError as error:
        raise UsageError(describe(error), where=str(path), limit=f"A recipe has {', '.join(AnnRecipe.model_fields)}",
                         remedy="A recipe of a search wants --arch") from error
    except ValueError as error:
        raise UsageError("is not valid TOML", where=str(path), limit=str(error)) from error


def train_ann(
    module: nn.Module, data: Labelled, validation: Labelled, config: TrainConfig, *, seed: int, device: str = "auto",
    checkpoint_file: Path | None = None, checkpoint_interval_s: float = 10.0, progress: Callable[[Epoch], None] | None = None,
) -> TrainResult:
    """Trains `module` (images [B, C, H, W] to logits [B, K]) in place; leaves it in evaluation mode, as the last epoch made it.

    Checkpoints and resuming as `loop.train`; `best` of the result is the last epoch. Raises UsageError for empty or unequal
    data, another encoding than `direct`, a selection of epochs, or a checkpoint of another run, UnsafeFile for a file that is
    none, NeurodeployError where the loss or a weight is not finite or a threshold (lam) is not above 0.
    """
    check(data, "training data")
    check(validation, "validation data")
    if (config.encoding, config.select_last) != ("direct", 1.0):
        raise UsageError(f"encoding {config.encoding!r}, select_last {config.select_last}", where="train_ann",
                         limit="Images as they are (direct), and the weights of the last epoch", remedy="Leave both out")
    run = checkpoint.fingerprint(
        kind="train_ann", seed=seed, train=config.to_dict(), module=repr(module), x=data[0], y=data[1],
        validation_x=validation[0], validation_y=validation[1],
    )
    started = last_save = time.monotonic()
    with runtime.threads(config.n_threads):
        runtime.seed_everything(seed)
        trainer = Trainer(module, config, seed, runtime.resolve_device(device), 1)
        history: list[Epoch] = []
        saved = checkpoint.load(checkpoint_file, run) if checkpoint_file else None
        if saved is not None:
            trainer.restore(saved["trainer"])
            history = [Epoch(**epoch) for epoch in saved["history"]]
        x, y = (torch.from_numpy(array).to(trainer.device) for array in data)
        while trainer.n_epochs < config.epochs:
            train_loss = trainer.epoch(x, y, lambda images: module(images).unsqueeze(0))
            _check_thresholds(module, trainer.n_epochs)
            if not trainer.ranks.is_first:
                continue
            history.append(_validated(trainer, validation, train_loss))
            due = time.monotonic() - last_save >= checkpoint_interval_s or trainer.n_epochs == config.epochs
            if checkpoint_file and due:
                checkpoint.save(checkpoint_file, run, {"trainer": trainer.state(), "history": [asdict(e) for e in history]})
                last_save = time.monotonic()
            if progress:
                progress(history[-1])
        history = [Epoch(**epoch) for epoch in trainer.ranks.shared([asdict(e) for e in history])]
    module.eval()
    return TrainResult(history[-1], tuple(history), time.monotonic() - started)


def _check_thresholds(module: nn.Module, epoch: int) -> None:
    for name, part in module.named_modules():
        if isinstance(part, Qcfs) and not part.up.item() > 0:
            raise NeurodeployError(f"lam became {part.up.item():.3g} in epoch {epoch}", where=name, code="diverged",
                                   limit="It is the threshold of neurons, above 0", remedy="Lower lr, or start lam higher")


def logits_of(module: nn.Module, images: np.ndarray) -> np.ndarray:
    """Logits float32 [N, K] of images [N, C, H, W] in evaluation mode, on the device where the module lies."""
    device, training = next(module.parameters()).device, module.training
    module.eval()
    try:
        with torch.inference_mode(), runtime.repeatable():
            parts = [module(torch.from_numpy(images[i : i + _BATCH]).to(device)) for i in range(0, len(images), _BATCH)]
    finally:
        module.train(training)
    logits: np.ndarray = torch.cat(parts).cpu().numpy()
    return logits


def _validated(trainer: Trainer, validation: Labelled, train_loss: float) -> Epoch:
    logits, y = logits_of(trainer.module, validation[0]), validation[1]
    c = trainer.config
    value = compute_loss(c.loss, torch.from_numpy(logits).unsqueeze(0), torch.from_numpy(y), c.tet_lambda)
    return Epoch(trainer.n_epochs, train_loss, float((logits.argmax(axis=1) == y).mean()), value.item())
