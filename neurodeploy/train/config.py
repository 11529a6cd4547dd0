"""Settings of a training run."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

Encoding = Literal["direct", "rate", "events"]
Loss = Literal["mse", "ce", "tet", "prefix_mse", "prefix_ce", "mix"]
# Settings younger than files that name the others: left out where they have these values, so that such files stay as they are.
LATER: dict[str, Any] = {"lr_end": 0.0}


class TrainConfig(BaseModel):
    """What decides a training run, apart from the network, the data and the seed. Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: PositiveInt
    batch_size: PositiveInt = 96  # at most; the batches of an epoch are of equal size, to within one
    lr: PositiveFloat = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of sgd
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["cosine", "none"] = "cosine"  # per batch, from lr to lr_end times lr
    lr_end: float = Field(default=0.0, ge=0, le=1)
    loss: Loss = "mse"
    tet_lambda: float = Field(default=1e-3, ge=0, le=1)
    shift: NonNegativeFloat = 0.0  # augmentation: pixels in y and in x (of events whole ones),
    rotate: float = Field(default=0.0, ge=0, le=180)  # degrees,
    zoom: float = Field(default=0.0, ge=0, lt=1)  # 1 - zoom .. 1 + zoom,
    noise: NonNegativeFloat = 0.0  # and the standard deviation of noise on pixels above 0 (white is 1)
    drop: float = Field(default=0.0, ge=0, lt=1)  # share of events that are left out, with encoding "events"
    encoding: Encoding = "direct"
    n_threads: PositiveInt = 1
    select_last: float = Field(default=1.0, gt=0, le=1)  # share of the epochs, the last ones, of which the best is kept

    @model_validator(mode="after")
    def _events_stay_whole(self) -> Self:
        images_only = [name for name in ("rotate", "zoom", "noise") if getattr(self, name)]
        if self.encoding == "events" and images_only:
            raise ValueError(f"{images_only[0]} changes images, and encoding is 'events'")
        if self.encoding != "events" and self.drop:
            raise ValueError(f"drop leaves out events, and encoding is {self.encoding!r}")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, all defaults filled in but later ones (`LATER`)."""
        return {k: v for k, v in self.model_dump().items() if k not in LATER or v != LATER[k]}


class SupernetConfig(TrainConfig):
    """Training of a supernet, with an optional start from one architecture.

    Without `anchor` every batch draws its architecture uniformly from the first one on, as AutoSNN does. With it, each
    position takes the anchor's block with a probability that is 1 for the first `anchor_hold` of the epochs and then
    falls linearly to 0 over the next `anchor_fade` of them; otherwise, and from then on, the draw is uniform. A short
    run needs this: while no path works, uniform draws hand the shared layers gradients that cancel, and the votes
    stay constant (digits, 60 epochs: candidates at 19 % without, at 95 % with it).
    """

    anchor: tuple[str, ...] | None = None
    anchor_hold: float = Field(default=0.1, ge=0, le=1)
    anchor_fade: float = Field(default=0.4, ge=0, le=1)

    @model_validator(mode="after")
    def _some_uniform(self) -> Self:
        if self.anchor is not None and self.anchor_probability(self.epochs - 1) > 0:
            raise ValueError("with this anchor_hold and anchor_fade no epoch would draw uniformly")
        return self

    def anchor_probability(self, epoch: int) -> float:
        """Probability that a position takes the anchor's block in an epoch (0-based)."""
        if self.anchor is None:
            return 0.0
        past = epoch / self.epochs - self.anchor_hold
        if past < 0 or self.anchor_fade == 0:
            return 1.0 if past < 0 else 0.0
        return max(0.0, 1.0 - past / self.anchor_fade)
