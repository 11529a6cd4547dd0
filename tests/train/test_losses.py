"""Losses by hand, and TET against what the authors' released code computed."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.train import losses

import oracles

VOTES = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]], dtype=torch.float64)  # T = 2, B = 1, K = 2
LABEL = torch.tensor([0])


def cross_entropy(right: float, wrong: float) -> float:
    return math.log(math.exp(right) + math.exp(wrong)) - right


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mse", 0.0625),  # z_2 / 2 = (0.75, 0.25): ((1/4)^2 + (1/4)^2) / 2
        ("prefix_mse", (0.0 + 0.0625) / 2),
        ("ce", cross_entropy(1.5, 0.5)),
        ("prefix_ce", (cross_entropy(1, 0) + cross_entropy(1.5, 0.5)) / 2),
        # (votes - 1)^2: 0, 1, 1/4, 1/4, mean 3/8
        ("tet", 0.9 * (cross_entropy(1, 0) + cross_entropy(0.5, 0.5)) / 2 + 0.1 * 0.375),
        ("mix", 0.9 * (cross_entropy(1, 0) + cross_entropy(1.5, 0.5)) / 2 + 0.1 * 0.375),
    ],
)
def test_by_hand(name: Any, expected: float) -> None:
    assert losses.loss(name, VOTES, LABEL, tet_lambda=0.1).item() == pytest.approx(expected, rel=1e-12)


def test_labels_meet_their_sample_at_every_timestep() -> None:
    generator = torch.Generator().manual_seed(0)
    votes = torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)
    y = torch.tensor([3, 0, 1, 2, 2])
    by_step = [torch.nn.functional.cross_entropy(votes[: t + 1].sum(0), y) for t in range(3)]
    # Means of the same numbers in another order.
    torch.testing.assert_close(losses.loss("prefix_ce", votes, y), torch.stack(by_step).mean(), rtol=1e-12, atol=0)
    by_step = [losses.mse(votes[: t + 1], y) for t in range(3)]
    torch.testing.assert_close(losses.prefix_mse(votes, y), torch.stack(by_step).mean(), rtol=1e-12, atol=0)


def tet_cases() -> list[Any]:
    found = []
    for path in sorted(oracles.folder("seeds").glob("tet_loss*.json")):
        for key, values in json.loads(path.read_text(encoding="utf-8")).items():
            match = re.fullmatch(r"(?P<case>\w+)\|lamb=(?P<lamb>[\d.e-]+)\|means=(?P<means>[\d.]+)", key)
            if match:
                inputs = path.with_name(f"{path.stem}_inputs.npz")
                case = (inputs, match["case"], float(match["lamb"]), float(match["means"]), values)
                found.append(pytest.param(*case, id=f"{path.stem}-{key}"))
    return found


def test_fixtures_are_there() -> None:
    oracles.require(tet_cases(), "tet_loss*.json", "seeds")


@pytest.mark.parametrize(("inputs", "case", "lamb", "means", "expected"), tet_cases())
def test_tet_equals_the_release(inputs: Any, case: str, lamb: float, means: float, expected: dict[str, float]) -> None:
    arrays = oracles.npz(inputs)
    outputs = torch.tensor(arrays[f"{case}/outputs"], dtype=torch.float64, requires_grad=True)  # [B, T, C]
    value = losses.tet(outputs.movedim(1, 0), torch.tensor(arrays[f"{case}/labels"]), lamb, means)
    value.backward()
    # float64 sums of at most a thousand terms in another order.
    assert value.item() == pytest.approx(expected["TET_loss"], rel=1e-12)
    assert outputs.grad is not None
    assert outputs.grad.norm().item() == pytest.approx(expected["TET_grad_norm"], rel=1e-12)
    if "mix_loss" in expected:
        mixed = losses.mix(outputs.movedim(1, 0), torch.tensor(arrays[f"{case}/labels"]), lamb, means, as_released=True)
        assert mixed.item() == pytest.approx(expected["mix_loss"], rel=1e-12)


def ce_cases() -> list[Any]:
    return [
        pytest.param(path.with_name(f"{path.stem}_inputs.npz"), key.partition("|")[0], value, id=f"{path.stem}-{key}")
        for path in sorted(oracles.folder("seeds").glob("tet_loss*.json"))
        for key, value in json.loads(path.read_text(encoding="utf-8")).items()
        if key.endswith("|CE_of_mean")
    ]


@pytest.mark.parametrize(("inputs", "case", "expected"), ce_cases())
def test_cross_entropy_of_the_mean_equals_the_release(inputs: Any, case: str, expected: float) -> None:
    arrays = oracles.npz(inputs)
    votes = torch.tensor(arrays[f"{case}/outputs"]).movedim(1, 0)
    found = losses.loss("ce", votes / len(votes), torch.tensor(arrays[f"{case}/labels"]))  # ce sums over time
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_unknown_loss() -> None:
    with pytest.raises(UsageError, match="prefix_mse"):
        losses.loss("hinge", VOTES, LABEL)  # type: ignore[arg-type]
