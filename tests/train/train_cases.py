"""A network and data small enough to train in a test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from neurodeploy import data
from neurodeploy.models.autosnn import AutoSnn, MacroConfig
from neurodeploy.train.config import SupernetConfig
from neurodeploy.train.runtime import seed_everything

MACRO = MacroConfig(in_channels=1, image_size=(8, 8), n_classes=10, width=4, n_timesteps=2, group=2, decay_input=False)
ARCH = ("SCB_k3", "skip_connect", "SRB_k3", "skip_connect", "SCB_k3")
CONFIG = SupernetConfig(epochs=4, batch_size=40, lr=1e-2, loss="prefix_mse", shift=0.5, rotate=5)

Labelled = tuple[np.ndarray, np.ndarray]


def network(seed: int = 0, n_timesteps: int = 2) -> AutoSnn:
    seed_everything(seed)
    return AutoSnn(replace(MACRO, n_timesteps=n_timesteps), ARCH)


def digits(n: int = 160) -> tuple[Labelled, Labelled]:
    """The first n training and n // 2 validation images."""
    dataset = data.load("digits")
    train, validation = dataset.split("train"), dataset.split("validation")
    return (train[0][:n], train[1][:n]), (validation[0][: n // 2], validation[1][: n // 2])
