"""Training of one network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurodeploy.errors import UsageError
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.own_blocks import own_parameters
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.train import checkpoint, runtime
from neurodeploy.train.config import TrainConfig
from neurodeploy.train.evaluate import evaluate
from neurodeploy.train.losses import loss as compute_loss
from neurodeploy.train.trainer import Trainer

Labelled = tuple[NDArray[Any], NDArray[np.int64]]  # images [N, C, H, W] or events [N, T, C, H, W], and labels [N]


@dataclass(frozen=True)
class Epoch:
    """One finished epoch (1-based): mean training loss; accuracy (0..1) and loss on the validation data."""

    epoch: int
    train_loss: float
    accuracy: float
    validation_loss: float


@dataclass(frozen=True)
class TrainResult:
    """`best` is the epoch whose weights the network holds now; `seconds` counts this process only."""

    best: Epoch
    history: tuple[Epoch, ...]
    seconds: float


def train(
    module: AutoSnn | SnasNet, data: Labelled, validation: Labelled, config: TrainConfig, *, seed: int, device: str = "auto",
    checkpoint_file: Path | None = None, checkpoint_interval_s: float = 10.0,
    progress: Callable[[Epoch], None] | None = None,
) -> TrainResult:
    """Trains `module` in place and leaves it, in evaluation mode, with the weights of the best epoch.

    Best is the highest validation accuracy, then the lowest validation loss, of the last `config.select_last` of the
    epochs (the highest of many noisy figures of a small validation set is luck; the weights at the end of a cosine
    schedule generalise better); test data have no part in it.

    With a `checkpoint_file` the state is saved every `checkpoint_interval_s` seconds, at the end of an epoch, and a run
    that finds its file goes on from there: on the CPU it then equals an undisturbed run bit for bit, at equal n_threads.
    Of several processes (`ranks`) the first validates and writes; all of them return the same.

    Raises UsageError for empty or unequal data or a checkpoint of another run, UnsafeFile for a file that is none,
    NeurodeployError where the loss or a weight is not finite.
    """
    check(data, "training data")
    check(validation, "validation data")
    run = checkpoint.fingerprint(
        kind="train", seed=seed, train=config.to_dict(), macro=module.config.to_dict(), arch=list(module.arch),
        x=data[0], y=data[1], validation_x=validation[0], validation_y=validation[1], **own_parameters(module, module.arch),
    )
    started = time.monotonic()
    with runtime.threads(config.n_threads):
        runtime.seed_everything(seed)
        trainer = Trainer(module, config, seed, runtime.resolve_device(device), module.config.n_timesteps)
        history: list[Epoch] = []
        best: tuple[Epoch, dict[str, Tensor]] | None = None
        saved = checkpoint.load(checkpoint_file, run) if checkpoint_file else None
        if saved is not None:
            trainer.restore(saved["trainer"])
            history = [Epoch(**epoch) for epoch in saved["history"]]
            best = (Epoch(**saved["best"]), saved["best_module"]) if saved["best"] else None
        x, y = (torch.from_numpy(array).to(trainer.device) for array in data)
        last_save = time.monotonic()
        while trainer.n_epochs < config.epochs:
            train_loss = trainer.epoch(x, y, module)
            if not trainer.ranks.is_first:
                continue
            epoch = _validate(trainer, module, validation, train_loss)
            history.append(epoch)
            late = config.epochs - trainer.n_epochs < max(1.0, config.select_last * config.epochs)
            if late and (best is None or _rank(epoch) > _rank(best[0])):
                best = (epoch, {key: value.detach().clone() for key, value in module.state_dict().items()})
            due = time.monotonic() - last_save >= checkpoint_interval_s or trainer.n_epochs == config.epochs
            if checkpoint_file and due:
                checkpoint.save(checkpoint_file, run, {
                    "trainer": trainer.state(), "history": [asdict(e) for e in history],
                    "best": asdict(best[0]) if best else None, "best_module": best[1] if best else None,
                })
                last_save = time.monotonic()
            if progress:
                progress(epoch)
        if best is not None:  # of rank 0, which has validated; the last epoch is always late
            module.load_state_dict(best[1])
        trainer.ranks.share_weights(module)
        found = trainer.ranks.shared({"best": asdict(best[0]) if best else None, "history": [asdict(e) for e in history]})
    module.eval()
    return TrainResult(
        Epoch(**found["best"]), tuple(Epoch(**epoch) for epoch in found["history"]), time.monotonic() - started
    )


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.accuracy, -epoch.validation_loss


def _validate(trainer: Trainer, module: AutoSnn | SnasNet, validation: Labelled, train_loss: float) -> Epoch:
    c = trainer.config
    result = evaluate(module, *validation, encoding=c.encoding)
    value = compute_loss(c.loss, torch.from_numpy(result.votes), torch.from_numpy(validation[1]), c.tet_lambda)
    return Epoch(trainer.n_epochs, train_loss, result.accuracy, value.item())


def check(data: tuple[NDArray[Any], NDArray[Any]], where: str) -> None:
    """Raises UsageError unless data are images [N, C, H, W], or counts of events [N, T, C, H, W], and as many labels [N]."""
    x, y = data
    if x.ndim not in (4, 5) or y.shape != (len(x),) or len(x) == 0:
        raise UsageError(f"images {x.shape} and labels {y.shape}", where=where,
                         limit="Expected [N, C, H, W] or [N, T, C, H, W], and [N], with N at least 1")
