"""Weight-sharing training: every batch takes one architecture (single-path one-shot)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neurodeploy.errors import UsageError
from neurodeploy.models.autosnn import Arch, SuperNet, check_arch
from neurodeploy.models.own_blocks import own_parameters
from neurodeploy.models.record import record, spikes_paper
from neurodeploy.train import checkpoint, runtime
from neurodeploy.train.config import SupernetConfig
from neurodeploy.train.loop import Labelled, check
from neurodeploy.train.trainer import Trainer


@dataclass(frozen=True)
class Sample:
    """One batch: its epoch (1-based), the architecture drawn, and its spikes per image by AutoSNN's rule."""

    epoch: int
    arch: Arch
    spikes_paper: float


@dataclass(frozen=True)
class SuperNetResult:
    """Mean loss of each epoch and the log of batches, from which reference values (N_avg) are derived."""

    losses: tuple[float, ...]
    log: tuple[Sample, ...]
    seconds: float


def train_supernet(
    supernet: SuperNet, data: Labelled, config: SupernetConfig, choices: Sequence[Sequence[str]], *, seed: int,
    device: str = "auto", checkpoint_file: Path | None = None, checkpoint_interval_s: float = 10.0,
    progress: Callable[[int, float], None] | None = None,
) -> SuperNetResult:
    """Trains `supernet` in place on images and labels; it ends in evaluation mode with the last epoch's weights.

    `choices` holds the blocks allowed at each position; each batch draws one per position, uniformly (see
    `SupernetConfig` for the start), from a generator of its own. `progress` receives (epoch, mean loss). Checkpoints
    and errors as in `loop.train`. The running statistics of batch norm mix all architectures: use `recalibrate_bn` on
    `supernet.child(arch)`.
    """
    check(data, "training data")
    if any(len(options) == 0 for options in choices):
        raise UsageError("a position has no block to choose from", where="choices")
    for k in range(max(map(len, choices))):
        check_arch([options[min(k, len(options) - 1)] for options in choices], supernet.config.n_positions, supernet.blocks)
    if config.anchor is not None:
        check_arch(config.anchor, supernet.config.n_positions, supernet.blocks)
    run = checkpoint.fingerprint(
        kind="supernet", seed=seed, train=config.to_dict(), macro=supernet.config.to_dict(),
        choices=[list(options) for options in choices], x=data[0], y=data[1], **own_parameters(supernet, supernet.blocks),
    )
    started = time.monotonic()
    saved = checkpoint.load(checkpoint_file, run) if checkpoint_file else None
    if saved is not None and saved["trainer"]["n_epochs"] == config.epochs:
        # Only read: an optimiser would cost a worker that joins more time than its first candidates.
        supernet.load_state_dict(saved["trainer"]["module"])
        supernet.to(runtime.resolve_device(device)).eval()
        return SuperNetResult(tuple(saved["losses"]), _samples(saved["log"]), time.monotonic() - started)
    with runtime.threads(config.n_threads), record(supernet) as recorded:
        runtime.seed_everything(seed)
        trainer = Trainer(supernet, config, seed, runtime.resolve_device(device), supernet.config.n_timesteps)
        paths = torch.Generator().manual_seed(seed + 1)
        losses: list[float] = []
        log: list[Sample] = []
        drawn: list[tuple[Arch, Tensor]] = []  # of the running epoch: numbers that a GPU need not be waited for

        def forward(images: Tensor) -> Tensor:
            arch = _draw(choices, config.anchor, config.anchor_probability(trainer.n_epochs), paths)
            votes: Tensor = supernet(images, arch)
            with torch.no_grad():
                drawn.append((arch, spikes_paper(recorded).mean() * trainer.share))
            return votes

        if saved is not None:
            trainer.restore(saved["trainer"])
            paths.set_state(saved["paths"])
            losses = list(saved["losses"])
            log = list(_samples(saved["log"]))
        x, y = (torch.from_numpy(array).to(trainer.device) for array in data)
        last_save = time.monotonic()
        while trainer.n_epochs < config.epochs:
            losses.append(trainer.epoch(x, y, forward))
            spikes = trainer.ranks.total(torch.stack([n for _, n in drawn])).tolist()
            log += [Sample(trainer.n_epochs, arch, n) for (arch, _), n in zip(drawn, spikes, strict=True)]
            drawn.clear()
            if not trainer.ranks.is_first:
                continue
            due = time.monotonic() - last_save >= checkpoint_interval_s or trainer.n_epochs == config.epochs
            if checkpoint_file and due:
                checkpoint.save(checkpoint_file, run, {
                    "trainer": trainer.state(), "paths": paths.get_state(), "losses": losses,
                    "log": [tuple(asdict(sample).values()) for sample in log],
                })
                last_save = time.monotonic()
            if progress:
                progress(trainer.n_epochs, losses[-1])
    supernet.eval()
    return SuperNetResult(tuple(losses), tuple(log), time.monotonic() - started)


def _draw(choices: Sequence[Sequence[str]], anchor: Arch | None, probability: float, paths: torch.Generator) -> Arch:
    arch = []
    for i, options in enumerate(choices):
        uniform = options[int(torch.randint(len(options), (), generator=paths))]
        anchored = anchor is not None and float(torch.rand((), generator=paths)) < probability
        arch.append(anchor[i] if anchor is not None and anchored else uniform)
    return tuple(arch)


def _samples(log: Sequence[Sequence[Any]]) -> tuple[Sample, ...]:
    return tuple(Sample(epoch, tuple(arch), spikes) for epoch, arch, spikes in log)
