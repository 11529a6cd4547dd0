"""Votes and accuracy of a trained network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.votes import predictions
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.train.runtime import repeatable
from neurodeploy.train.trainer import as_input


@dataclass(frozen=True, eq=False)
class Evaluation:
    """accuracy 0..1 after all T timesteps; accuracy_per_step [T] of the answers after 1..T; votes float32 [T, N, K]."""

    accuracy: float
    accuracy_per_step: NDArray[np.float64]
    votes: NDArray[np.float32]


def evaluate(
    module: AutoSnn | SnasNet, x: NDArray[Any], y: NDArray[np.int64], *, batch_size: int | None = None, encoding: str = "direct"
) -> Evaluation:
    """Runs images x [N, C, H, W], or counts of events [N, T, C, H, W], with labels y [N] in evaluation mode, on the
    device where the network lies.

    Raises UsageError for no images.
    """
    if len(x) == 0:
        raise UsageError("no images to evaluate", where="evaluate")
    if batch_size is None:
        batch_size = 512 if x.ndim == 4 else 128  # events are T maps a sample
    device = next(module.parameters()).device
    training = module.training
    module.eval()
    try:
        with torch.inference_mode(), repeatable():
            parts = [
                module(as_input(torch.from_numpy(x[i : i + batch_size]).to(device), encoding, module.config.n_timesteps))
                for i in range(0, len(x), batch_size)
            ]
    finally:
        module.train(training)
    votes: NDArray[np.float32] = torch.cat(parts, dim=1).cpu().numpy()
    accuracy = (predictions(votes) == y).mean(axis=1)
    return Evaluation(float(accuracy[-1]), accuracy, votes)
