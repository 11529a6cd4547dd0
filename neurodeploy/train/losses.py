"""Losses over votes [T, B, K] (one number per class and timestep) and labels y [B]; each returns a scalar.

With z_t = sum of the first t votes:

    mse         mean (z_T / T - onehot)^2                      AutoSNN
    ce          CE(z_T, y)
    tet         (1-l) mean_t CE(votes_t, y) + l mean (votes - target)^2       SEENN, after Deng et al., ICLR 2022
    prefix_mse  mean_t of mean (z_t / t - onehot)^2            every prefix is a finished answer
    prefix_ce   mean_t CE(z_t, y)
    mix         (1-l) mean_t CE(z_t, y) + l mean (votes - target)^2           SEENN's release, there with z_max(t-1, 1) for z_t

The prefix losses train what early exit reads: the answer after t steps is argmax z_t. CE is over natural logarithms,
averaged over the batch; mean without index is over batch, classes and (tet, mix) time.
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from neurodeploy.errors import UsageError
from neurodeploy.train.config import Loss


def loss(name: Loss, votes: Tensor, y: Tensor, tet_lambda: float = 1e-3) -> Tensor:
    """The loss called `name`; UsageError for another name."""
    if name == "mse":
        return mse(votes, y)
    if name == "ce":
        return functional.cross_entropy(votes.sum(0), y)
    if name == "tet":
        return tet(votes, y, tet_lambda)
    if name == "prefix_mse":
        return prefix_mse(votes, y)
    if name == "prefix_ce":
        return _cross_entropy_each(votes.cumsum(0), y)
    if name == "mix":
        return mix(votes, y, tet_lambda)
    raise UsageError(f"no loss {name!r}", where="loss", limit=f"Known: {', '.join(get_args(Loss))}")


def mse(votes: Tensor, y: Tensor) -> Tensor:
    """mean (z_T / T - onehot)^2."""
    return functional.mse_loss(votes.mean(0), _one_hot(votes, y))


def prefix_mse(votes: Tensor, y: Tensor) -> Tensor:
    """mean over t of mean (z_t / t - onehot)^2."""
    t = torch.arange(1, len(votes) + 1, dtype=votes.dtype, device=votes.device).reshape(-1, 1, 1)
    return (votes.cumsum(0) / t - _one_hot(votes, y)).square().mean()


def tet(votes: Tensor, y: Tensor, lamb: float = 1e-3, target: float = 1.0) -> Tensor:
    """(1 - lamb) mean_t CE(votes_t, y) + lamb mean (votes - target)^2."""
    return (1 - lamb) * _cross_entropy_each(votes, y) + lamb * (votes - target).square().mean()


def mix(votes: Tensor, y: Tensor, lamb: float = 1e-3, target: float = 1.0, *, as_released: bool = False) -> Tensor:
    """(1 - lamb) mean_t CE(z_t, y) + lamb mean (votes - target)^2; `as_released` leaves out the last prefix and counts the
    first one twice, as SEENN's code does."""
    z = votes.cumsum(0)
    if as_released:
        z = torch.cat([z[:1], z[:-1]])
    return (1 - lamb) * _cross_entropy_each(z, y) + lamb * (votes - target).square().mean()


def _one_hot(votes: Tensor, y: Tensor) -> Tensor:
    return functional.one_hot(y, votes.shape[-1]).to(votes.dtype)


def _cross_entropy_each(logits: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), y.repeat(len(logits)))
