"""Settings, seeds, threads and devices."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.train import runtime
from neurodeploy.train.config import SupernetConfig, TrainConfig
from neurodeploy.train.trainer import Trainer
from pydantic import ValidationError


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"lr": 0.0}, {"lr": float("inf")}, {"batch_size": -1}, {"loss": "hinge"}, {"optimizer": "lion"},
     {"shift": -1.0}, {"zoom": 1.0}, {"weight_decay": -1e-3}, {"momentum": 1.0}, {"n_threads": 0}, {"dropout": 0.5},
     {"lr_end": 1.5}],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TrainConfig(**{"epochs": 1, **wrong})


def test_an_anchor_leaves_room_for_uniform_draws() -> None:
    settings: dict[str, Any] = {"epochs": 10, "anchor": ["skip_connect"] * 5, "anchor_fade": 0.0, "anchor_hold": 0.2}
    assert [SupernetConfig(**settings).anchor_probability(e) for e in (1, 2)] == [1, 0]
    assert SupernetConfig(epochs=10).anchor_probability(0) == 0
    with pytest.raises(ValidationError, match="draw uniformly"):
        SupernetConfig(**{**settings, "anchor_fade": 0.9})


def test_the_cosine_ends_where_it_is_told_to() -> None:
    def rates(**settings: Any) -> list[float]:
        trainer = Trainer(torch.nn.Linear(1, 1), TrainConfig(epochs=4, lr=0.2, **settings), 0, torch.device("cpu"), 1)
        found = []
        for progress in (0, 0.25, 0.5, 1):
            trainer._set_rate(progress)
            found.append(trainer.optimizer.param_groups[0]["lr"])
        return found

    falling = [0.2 * 0.5 * (1 + math.cos(math.pi * p)) for p in (0, 0.25, 0.5, 1)]
    assert rates() == falling and falling[-1] == 0
    # 0.01 + 0.99 of the same: at the end 1 % of 0.2, half way 0.505 of it.
    assert rates(lr_end=0.01) == pytest.approx([0.2, 0.002 + 0.99 * falling[1], 0.101, 0.002], rel=1e-12)
    assert rates(lr_end=1.0) == [0.2] * 4 == rates(schedule="none", lr_end=0.5)
    assert "lr_end" not in TrainConfig(epochs=1).to_dict() and TrainConfig(epochs=1, lr_end=0.5).to_dict()["lr_end"] == 0.5


def test_settings_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig(epochs=1).lr = 1.0  # type: ignore[misc]


def draws() -> tuple[Any, ...]:
    return random.random(), np.random.rand(), torch.rand(()).item(), np.random.randn()


def test_global_generators_are_seeded_saved_and_restored() -> None:
    runtime.seed_everything(5)
    first = draws()
    state = runtime.global_state()
    second = draws()
    assert first != second
    runtime.restore_global_state(state)
    assert draws() == second
    runtime.seed_everything(5)
    assert draws() == first
    with pytest.raises(UsageError, match="2\\^32"):
        runtime.seed_everything(-1)


def test_threads_are_set_and_put_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), runtime.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_devices() -> None:
    assert runtime.resolve_device("cpu") == torch.device("cpu")
    assert runtime.resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for absent in ("cuda:99", "tpu", "cuda:x", "cudax"):
        with pytest.raises(UsageError, match="device"):
            runtime.resolve_device(absent)
