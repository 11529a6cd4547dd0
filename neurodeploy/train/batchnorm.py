"""Batch-norm statistics of a candidate that took its weights from a supernet."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from neurodeploy.errors import UsageError
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.train.trainer import as_input


def recalibrate_bn(
    module: AutoSnn, x: NDArray[Any], n_batches: int, batch_size: int, *, encoding: str = "direct"
) -> None:
    """Replaces every running mean and variance by the plain average over batches of images x [N, C, H, W].

    The running statistics of a supernet mix all paths and fit none of them. The batches are the first
    n_batches * batch_size images of a fixed permutation, so the outcome depends on nothing random. The module keeps
    its training mode; one without batch norms stays as it is. Raises UsageError where x has fewer images, or batches of one.
    """
    if n_batches < 1 or batch_size < 2 or n_batches * batch_size > len(x):
        raise UsageError(f"{n_batches} batches of {batch_size} images", where="recalibrate_bn",
                         limit=f"At least one batch of two, together at most {len(x)} images")
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    training = module.training
    device = next(module.parameters()).device
    order = np.random.RandomState(0).permutation(len(x))[: n_batches * batch_size].reshape(n_batches, batch_size)
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch's word for the cumulative average
        module.train()
        with torch.no_grad():
            for index in order:
                module(as_input(torch.from_numpy(x[index]).to(device), encoding, module.config.n_timesteps))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.train(training)
