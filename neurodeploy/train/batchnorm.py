"""Batch-norm statistics of a candidate that took its weights from a supernet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from neurodeploy.errors import UsageError
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.train.trainer import as_input


def recalibrate_bn(
    module: AutoSnn, x: NDArray[Any], n_batches: int, batch_size: int, *, encoding: str = "direct"
) -> None:
    """Replaces every running mean and variance by the plain average over batches of images x [N, C, H, W].

    The running statistics of a supernet mix all paths and fit none of them. `batch_order` says which images. The module keeps
    its training mode; one without batch norms stays as it is. Raises UsageError where x has fewer images, or batches of one.
    """
    order = batch_order(len(x), n_batches, batch_size)
    if not _norms(module):
        return
    device = next(module.parameters()).device
    with averaging(module):
        for index in order:
            module(as_input(torch.from_numpy(x[index]).to(device), encoding, module.config.n_timesteps))


def batch_order(n: int, n_batches: int, batch_size: int) -> NDArray[np.intp]:
    """Which of n images batch norms are estimated on, [n_batches, batch_size]: the first of a fixed permutation, so that the
    outcome depends on nothing random. Raises UsageError as `recalibrate_bn`."""
    if n_batches < 1 or batch_size < 2 or n_batches * batch_size > n:
        raise UsageError(f"{n_batches} batches of {batch_size} images", where="recalibrate_bn",
                         limit=f"At least one batch of two, together at most {n} images")
    return np.random.RandomState(0).permutation(n)[: n_batches * batch_size].reshape(n_batches, batch_size)


@contextmanager
def averaging(module: nn.Module) -> Iterator[None]:
    """Batch norms begin anew and, inside, take the plain average of every batch's statistics, in training mode."""
    norms = _norms(module)
    momenta = [norm.momentum for norm in norms]
    training = module.training
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch's word for the cumulative average
        module.train()
        with torch.no_grad():
            yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.train(training)


def _norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]
