"""SEENN-II's policy as a file: read back as it was, refused where it is damaged, caught where it decides otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from neurodeploy.early_exit.planned import PlannedPolicy, golden_steps_error
from neurodeploy.early_exit.policy import PolicyConfig as Config
from neurodeploy.early_exit.policy import StepPolicy, lengths, train_policy
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.search.recipe import ExitSettings


def policy(n_timesteps: int = 12) -> PlannedPolicy:
    """Says more the brighter an image is, as far as five epochs teach it."""
    rng = np.random.default_rng(0)
    bright = np.arange(60) % 3
    images = (rng.random((60, 2, 6, 5)) * 0.1 + 0.4 * bright[:, None, None, None]).astype(np.float32)
    correct = np.arange(1, n_timesteps + 1)[:, None] > bright * n_timesteps // 3
    network = train_policy(images, correct, Config(beta=4.0, channels=(4, 3), epochs=40, lr=0.2, batch_size=10, choices=4))
    return PlannedPolicy(network, 4.0, "image", images[:20], ExitSettings(method="policy"))


PLANNED = policy()


def test_lengths_are_spaced_evenly_up_to_the_whole() -> None:
    assert lengths(12, 4) == (3, 6, 9, 12) == PLANNED.network.lengths
    assert lengths(43, 8) == (6, 11, 17, 22, 27, 33, 38, 43) and lengths(2, 8) == (1, 2) and lengths(3) == (1, 2, 3)
    steps = PLANNED.steps(PLANNED.golden)
    assert set(steps.tolist()) <= {3, 6, 9, 12} and len(set(steps.tolist())) > 1


def test_a_file_gives_the_same_policy_and_the_same_bytes() -> None:
    payload = PLANNED.to_bytes()
    again, kept = PlannedPolicy.read(PLANNED.to_dict(), payload, "here")
    assert again.to_dict() == PLANNED.to_dict() and again.to_bytes() == payload == PLANNED.to_bytes()
    assert kept.tolist() == PLANNED.steps(PLANNED.golden).tolist() and golden_steps_error(again, kept, "here") is None
    np.testing.assert_array_equal(again.network.logits(PLANNED.golden), PLANNED.network.logits(PLANNED.golden))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("shape"), "describes no policy"),
        (lambda d: d.update(shape=[2, 6]), "describes no policy"),
        (lambda d: d.update(channels=[2**40]), "describes no policy"),
        (lambda d: d.update(lengths=[3, 3, 9, 12]), "describes no policy"),
        (lambda d: d.update(lengths=[3, 6, 9]), "describes no policy"),
        (lambda d: d.update(n_timesteps=12.0), "describes no policy"),
        (lambda d: d.update(channels=[4, 4]), "other tensors"),
        (lambda d: d.update(settings={"who": 1}), "describes no policy"),
        (lambda d: d["settings"]["policy"].update(energy_per_mac_j=1e-12), "describes no policy"),
        (lambda d: d.update(sees="sound"), "damaged"),
        (lambda d: d.update(beta=float("nan")), "damaged"),
        (lambda d: d.update(settings=3), "describes no policy"),
    ],
)
def test_a_damaged_description_is_refused(change: Callable[[dict[str, Any]], object], said: str) -> None:
    entry = PLANNED.to_dict()
    change(entry)
    with pytest.raises(UnsafeFile, match=said):
        PlannedPolicy.read(entry, PLANNED.to_bytes(), "here")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("golden.steps"), "other tensors"),
        (lambda t: t.update({"golden.steps": torch.tensor(3)}), "other tensors"),
        (lambda t: t.update({"golden.images": torch.tensor(3.0)}), "describes no policy"),
        (lambda t: t.update({"linear.weight": t["linear.weight"].double()}), "other tensors"),
        (lambda t: t["linear.weight"].fill_(float("inf")), "not finite"),
        (lambda t: t.clear(), "describes no policy"),
    ],
)
def test_a_damaged_file_is_refused(change: Callable[[dict[str, Any]], object], said: str) -> None:
    tensors = safetensors.torch.load(PLANNED.to_bytes())
    change(tensors)
    with pytest.raises(UnsafeFile, match=said):
        PlannedPolicy.read(PLANNED.to_dict(), safetensors.torch.save(tensors), "here")
    with pytest.raises(UnsafeFile):
        PlannedPolicy.read(PLANNED.to_dict(), PLANNED.to_bytes()[:-8], "here")


def test_other_decisions_are_a_mismatch_unless_two_lengths_tie() -> None:
    kept = PLANNED.steps(PLANNED.golden)
    other = kept.copy()
    other[5] = 3 if kept[5] != 3 else 6
    error = golden_steps_error(PLANNED, other, "here")
    assert error is not None and error.error_code == "policy_mismatch" and "sample 5" in str(error)
    tied = StepPolicy((2, 6, 5), 12, (4, 3), (3, 6, 9, 12)).eval()
    torch.nn.init.zeros_(tied.linear.weight)
    torch.nn.init.zeros_(tied.linear.bias)
    same = PlannedPolicy(tied, 1.0, "image", PLANNED.golden, ExitSettings())
    assert golden_steps_error(same, other, "here") is None and set(same.steps(PLANNED.golden).tolist()) == {3}


def test_it_is_shown_what_it_was_trained_on() -> None:
    with pytest.raises(UsageError, match="It sees image") as caught:
        PLANNED.steps(np.zeros((1, 1, 6, 5), np.float32))
    assert caught.value.error_code == "wrong_data"
