"""Settings of a training run."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

Loss = Literal["mse", "ce", "tet", "prefix_mse", "prefix_ce"]


class TrainConfig(BaseModel):
    """What decides a training run, apart from the network, the data and the seed. Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: PositiveInt
    batch_size: PositiveInt = 96
    lr: PositiveFloat = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of sgd
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["cosine", "none"] = "cosine"  # per batch, from lr to 0
    loss: Loss = "mse"
    tet_lambda: float = Field(default=1e-3, ge=0, le=1)
    shift: NonNegativeInt = 0  # images move by up to so many pixels in both directions, zeros come in
    encoding: Literal["direct", "rate"] = "direct"
    n_threads: PositiveInt = 1
