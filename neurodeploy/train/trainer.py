"""Optimiser, schedule, data order and augmentation of a training run, and its exact state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from neurodeploy.data.encoders import encode
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.train import runtime
from neurodeploy.train.augment import random_affine, random_crop, random_cutout, random_events, random_noise
from neurodeploy.train.config import TrainConfig
from neurodeploy.train.losses import loss as compute_loss
from neurodeploy.train.ranks import current


class Trainer:
    """Optimiser, learning-rate schedule and order of data of one network: everything that is not the network.

    `forward` (images -> votes [T, B, K]) is given per epoch, so a supernet can take another path for each batch.
    """

    def __init__(self, module: nn.Module, config: TrainConfig, seed: int, device: torch.device, n_timesteps: int) -> None:
        self.module, self.config, self.device, self.n_timesteps = module.to(device), config, device, n_timesteps
        self.generator = torch.Generator().manual_seed(seed)
        self.ranks = current()
        self.share = 1.0  # of the batch that this process computes
        parameters = list(module.parameters())
        c = config
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(parameters, c.lr, weight_decay=c.weight_decay, fused=True) if c.optimizer == "adam"
            else torch.optim.SGD(parameters, c.lr, momentum=c.momentum, weight_decay=c.weight_decay, fused=True)
        )
        self.n_epochs = 0

    def epoch(self, x: Tensor, y: Tensor, forward: Callable[[Tensor], Tensor]) -> float:
        """One pass over x [N, C, H, W] (events: counts [N, T, C, H, W]), y [N] in a new random order; returns the mean loss.

        Raises NeurodeployError where the loss or a weight is not finite.
        """
        self.module.train()
        c = self.config
        order = torch.randperm(len(x), generator=self.generator)
        # Equal parts: a small rest would spoil the running statistics of batch norm at the end of every epoch.
        batches = torch.tensor_split(order, math.ceil(len(x) / c.batch_size))
        if len(batches[-1]) < self.ranks.n:
            raise UsageError(f"batches of {len(batches[-1])} images for {self.ranks.n} processes", where="train.batch_size",
                             limit="Each takes a part of every batch", remedy="Raise batch_size, or start fewer processes")
        summed = torch.zeros((), dtype=torch.float64, device=self.device)
        for i, index in enumerate(batches):
            self._set_rate((self.n_epochs + i / len(batches)) / c.epochs)
            index = index.to(self.device)
            part = self.ranks.part(len(index))
            self.share = (part.stop - part.start) / len(index)
            inputs = as_input(self._augmented(x[index])[part], c.encoding, self.n_timesteps)
            self.optimizer.zero_grad(set_to_none=True)
            with self.ranks.shared_norms(self.module):
                with runtime.precision(self.device, c.precision):
                    votes = forward(inputs)
                value = compute_loss(c.loss, votes.to(inputs.dtype), y[index[part]], c.tet_lambda) * self.share
                value.backward()  # type: ignore[no-untyped-call]
            self.ranks.add_gradients(self.module)
            self.optimizer.step()
            if isinstance(self.module, AutoSnn | SuperNet):
                self.module.constrain()
            summed += value.detach().double() * len(index)
        total = self.ranks.total(summed).item()  # once: a GPU would wait for each
        self.n_epochs += 1
        # A neuron that receives NaN stays silent, so the loss alone would not show it.
        spoilt = [name for name, value in self.module.named_parameters() if not value.isfinite().all()]
        if spoilt or not math.isfinite(total):
            raise NeurodeployError(
                f"training diverged in epoch {self.n_epochs}: loss {total / len(x):.3g}, {len(spoilt)} parameters not finite",
                where=spoilt[0] if spoilt else "loss", code="diverged", remedy="Lower lr, and check that images are finite",
            )
        return total / len(x)

    def _augmented(self, images: Tensor) -> Tensor:
        c = self.config
        if c.encoding == "events":
            return random_events(images, c.shift, c.drop, self.generator)
        images = random_affine(real(images), c.shift, c.rotate, c.zoom, self.generator)
        images = random_crop(images, c.crop, c.flip, self.generator)
        images = random_cutout(images, c.cutout, self.generator)
        return random_noise(images, c.noise, self.generator)

    def _set_rate(self, progress: float) -> None:
        end = self.config.lr_end
        scale = end + (1 - end) * 0.5 * (1 + math.cos(math.pi * progress)) if self.config.schedule == "cosine" else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * scale

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain types."""
        return {
            "module": self.module.state_dict(), "optimizer": self.optimizer.state_dict(), "n_epochs": self.n_epochs,
            "order": self.generator.get_state(), "global": runtime.global_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Undoes `state`."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.n_epochs = state["n_epochs"]
        self.generator.set_state(state["order"])
        runtime.restore_global_state(state["global"])


def real(images: Tensor) -> Tensor:
    """Images of bytes as float32 in 0..1, equal to those of `data.datasets.Dataset.split`; others as they are."""
    return images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images


def as_input(images: Tensor, encoding: str, n_timesteps: int) -> Tensor:
    """What a network receives for images [B, C, H, W]: themselves (direct), in 0..1, or spikes [T, B, C, H, W] (rate).

    Events are counts [B, T, C, H, W] of any type already, of as many timesteps as the network has.
    """
    if encoding == "events":
        return images.transpose(0, 1).to(torch.get_default_dtype()).contiguous()
    images = real(images)
    if encoding == "direct":
        return images  # networks hold a static image for T steps themselves, and convolve it once
    return torch.from_numpy(encode(images.cpu().numpy(), encoding, n_timesteps)).to(images.device)
