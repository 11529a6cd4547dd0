"""SEENN-II: a small network p looks at the image and says how many timesteps it needs, before the first one runs.

p(x) has T logits, v = softmax(p(x)). The spiking network is frozen, so it is known beforehand whether its answer after k+1
steps is right, c_k, and the expectation over v is exact:

    loss = mean over samples of  w_b * sum_k v_k * (beta * (1 - c_k) - 2^-k * c_k)          k = 0..T-1
    w_b  = 1 if right after the first step, else rate / (1 - rate),  rate = share right after the first step

beta is the price of a wrong answer: a high one runs longer where in doubt. SGD without momentum, its rate a cosine over all
iterations. In use, the network runs argmax p(x) + 1 timesteps, k from 0, neither more nor fewer. What p itself costs:
`cost/policy_cost.py`.
Source: Li et al., SEENN, NeurIPS 2023; there p is a ResNet-8, here as many convolutions as are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neurodeploy.early_exit.confidence import IntArray, Outcome, choose, outcome
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.train.runtime import threads

Images = NDArray[np.float32]  # [N, C, H, W]
Correct = NDArray[np.bool_]  # [T, N]: whether the answer after 1..T timesteps is right
_BATCH = 512


@dataclass(frozen=True)
class PolicyConfig:
    """How a policy is built and trained: each of `channels` is a 3x3 convolution of stride 2 with batch norm and ReLU. It
    chooses from `choices` lengths at most, evenly spaced (`lengths`); None: from every one.

    Raises UsageError for values that define no training.
    """

    beta: float = 1.0
    channels: tuple[int, ...] = (8, 16)
    epochs: int = 60
    batch_size: int = 32
    lr: float = 0.01
    seed: int = 0
    choices: int | None = None

    def __post_init__(self) -> None:
        counts = (self.epochs, self.batch_size, *self.channels, 1 if self.choices is None else self.choices)
        if not self.channels or min(counts) < 1 or not 0 < self.lr < math.inf or not 0 <= self.beta < math.inf:
            raise UsageError(
                f"beta {self.beta}, lr {self.lr}, epochs {self.epochs}, batch_size {self.batch_size}, channels {self.channels}",
                where="early-exit policy", limit="beta at least 0, lr above 0, all others at least 1",
            )


def lengths(n_timesteps: int, choices: int | None = None) -> tuple[int, ...]:
    """At most so many lengths of 1..n_timesteps, evenly spaced, the last one the whole.

    >>> lengths(32, 4), lengths(3, 8)
    ((8, 16, 24, 32), (1, 2, 3))
    """
    n = min(n_timesteps, choices or n_timesteps)
    return tuple(-(-i * n_timesteps // n) for i in range(1, n + 1))


class StepPolicy(nn.Module):
    """Images [B, C, H, W] -> a logit for each of `lengths` (None: 1..T): the convolutions of a config, the mean over the map,
    one matrix."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, shape: tuple[int, int, int], n_timesteps: int, channels: Sequence[int], lengths: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.shape, self.n_timesteps, self.channels = shape, n_timesteps, tuple(channels)
        self.lengths = tuple(range(1, n_timesteps + 1)) if lengths is None else tuple(lengths)
        widths = (shape[0], *channels)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)
        self.linear = nn.Linear(widths[-1], len(self.lengths))
        self.register_buffer("mean", torch.zeros(1, shape[0], 1, 1))
        self.register_buffer("std", torch.ones(1, shape[0], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.std
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x)).relu()
        out: Tensor = self.linear(x.mean((2, 3)))
        return out

    @torch.inference_mode()
    def logits(self, images: Images) -> NDArray[np.float32]:
        """Logits [N, number of lengths]."""
        self.eval()
        with threads(1):
            parts = [self(_tensor(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
        return np.asarray(torch.cat(parts).numpy())

    def steps(self, images: Images) -> IntArray:
        """Timesteps [N], of `lengths`, that the policy gives each image; the earliest on a tie."""
        return np.asarray(np.asarray(self.lengths, dtype=np.int64)[self.logits(images).argmax(axis=1)])


def expected_loss(logits: Tensor, correct: Tensor, weights: Tensor, beta: float) -> Tensor:
    """The loss above for logits [B, T], correct [T, B] and weights w_b [B]."""
    gains = torch.pow(2.0, -torch.arange(logits.shape[1], dtype=logits.dtype, device=logits.device))
    right = correct.T.to(logits.dtype)
    price = beta * (1 - right) - gains * right
    return (weights * (logits.softmax(1) * price).sum(1)).mean()


def sample_weights(correct: Correct) -> NDArray[np.float32]:
    """w_b [N]. Raises UsageError where no sample is right after the first step: the loss would be 0 for all."""
    rate = float(correct[0].mean())
    if rate == 0:
        raise UsageError("no training sample is answered rightly after 1 timestep", where="early-exit policy",
                         limit="Weights are rate / (1 - rate), all 0 here",
                         remedy="Train the network so that prefixes answer (tet, prefix_mse)")
    return np.where(correct[0], 1.0, rate / (1 - rate) if rate < 1 else 1.0).astype(np.float32)


def train_policy(
    images: Images, correct: Correct, config: PolicyConfig, progress: Callable[[int, float], None] | None = None
) -> StepPolicy:
    """A policy from TRAINING images and what the frozen network answers on them. progress: epoch (from 1), its mean loss.

    Depends on data, config and nothing else: one thread, generators of its own. Raises UsageError for data that do not fit
    together, NeurodeployError where training diverges.
    """
    if images.ndim != 4 or correct.ndim != 2 or correct.shape[1] != len(images) or len(images) < 2:
        raise UsageError(f"images {images.shape}, correct {correct.shape}", where="early-exit policy",
                         limit="[N, C, H, W] and [T, N], N at least 2")
    with torch.random.fork_rng(devices=[]), threads(1):
        torch.manual_seed(config.seed)  # initial weights and order of data
        _, *shape = images.shape
        chosen = lengths(len(correct), config.choices)
        policy = StepPolicy((shape[0], shape[1], shape[2]), len(correct), config.channels, chosen)
        correct = correct[np.asarray(chosen) - 1]
        x, right, weights = _tensor(images), torch.from_numpy(correct), torch.from_numpy(sample_weights(correct))
        policy.mean.copy_(x.mean((0, 2, 3), keepdim=True))
        policy.std.copy_(x.std((0, 2, 3), keepdim=True).clamp(min=1e-6))
        n_batches = math.ceil(len(x) / config.batch_size)
        optimizer = torch.optim.SGD(policy.parameters(), config.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * n_batches)
        policy.train()
        for epoch in range(1, config.epochs + 1):
            total = 0.0
            for index in torch.tensor_split(torch.randperm(len(x)), n_batches):
                loss = expected_loss(policy(x[index]), right[:, index], weights[index], config.beta)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                total += loss.item() * len(index)
            if not math.isfinite(total):
                raise NeurodeployError(f"the policy diverged in epoch {epoch}", where="early-exit policy", code="diverged",
                                       remedy="Lower lr or beta, and check that images are finite")
            if progress is not None:
                progress(epoch, total / len(x))
    return policy.eval()


@dataclass(frozen=True, eq=False)
class Trained:
    """A policy with the beta that it was trained with, and what it gives on validation data."""

    beta: float
    policy: StepPolicy
    validation: Outcome


def train_for(
    train: tuple[Images, Correct], validation: tuple[Images, Correct], betas: Sequence[float], config: PolicyConfig, *,
    max_drop: float = 0.0, accuracy: float | None = None, mean_timesteps: float | None = None,
) -> tuple[Trained, tuple[Trained, ...]]:
    """One policy for each beta, and of them the one that VALIDATION data prefer; never call it with test data.

    Wishes as in `confidence.choose_threshold`: fewest mean timesteps within `max_drop` of all T timesteps, or with a wanted
    `accuracy`; or the most accurate within `mean_timesteps`; what comes nearest where none meets them.
    """
    if not betas:
        raise UsageError("no beta", where="early-exit policy", limit="At least one to choose from")
    images, correct = validation
    found = []
    for beta in betas:
        policy = train_policy(*train, replace(config, beta=beta))
        found.append(Trained(beta, policy, outcome(correct, policy.steps(images))))
    wanted = float(correct[-1].mean()) - max_drop if accuracy is None else accuracy
    return found[choose([t.validation for t in found], wanted, mean_timesteps)], tuple(found)


def _tensor(images: Images) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
