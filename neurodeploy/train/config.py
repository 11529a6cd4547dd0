"""Settings of a training run."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

Loss = Literal["mse", "ce", "tet", "prefix_mse", "prefix_ce"]


class TrainConfig(BaseModel):
    """What decides a training run, apart from the network, the data and the seed. Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: PositiveInt
    batch_size: PositiveInt = 96  # at most; the batches of an epoch are of equal size, to within one
    lr: PositiveFloat = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of sgd
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["cosine", "none"] = "cosine"  # per batch, from lr to 0
    loss: Loss = "mse"
    tet_lambda: float = Field(default=1e-3, ge=0, le=1)
    shift: NonNegativeFloat = 0.0  # augmentation: pixels in y and in x,
    rotate: float = Field(default=0.0, ge=0, le=180)  # degrees,
    zoom: float = Field(default=0.0, ge=0, lt=1)  # and 1 - zoom .. 1 + zoom
    encoding: Literal["direct", "rate"] = "direct"
    n_threads: PositiveInt = 1
