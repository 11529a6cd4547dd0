"""SEENN-II: the loss by hand, training, and which policy is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from neurodeploy.early_exit.confidence import choose, oracle_steps, outcome
from neurodeploy.early_exit.policy import (
    PolicyConfig,
    StepPolicy,
    expected_loss,
    sample_weights,
    train_for,
    train_policy,
)
from neurodeploy.errors import NeurodeployError, UsageError

CONFIG = PolicyConfig(beta=2.0, channels=(4,), epochs=20, batch_size=16, lr=0.1)


def data(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 1, 8, 8]: dark ones are right after 1 of 3 steps, bright ones (40 %) after 3 only."""
    rng = np.random.default_rng(seed)
    bright = rng.random(n) < 0.4
    images = rng.random((n, 1, 8, 8)) * 0.2 + np.where(bright, 0.7, 0.1)[:, None, None, None]
    correct = np.stack([~bright, ~bright, np.ones(n, dtype=bool)])
    return images.astype(np.float32), correct


def test_the_loss_is_the_expectation_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.5, 0.3]], dtype=torch.float64))
    correct = torch.tensor([[True, False], [False, False], [True, True]])
    weights = torch.tensor([1.0, 0.5], dtype=torch.float64)
    # First sample, beta = 3: 0.5 * -1 + 0.25 * 3 + 0.25 * -1/4; second: 0.2 * 3 + 0.5 * 3 + 0.3 * -1/4, half of it.
    wanted = ((-0.5 + 0.75 - 0.0625) + 0.5 * (0.6 + 1.5 - 0.075)) / 2
    assert expected_loss(logits, correct, weights, 3.0).item() == pytest.approx(wanted, rel=1e-12)


def test_weights_balance_what_the_first_step_does_not_answer() -> None:
    correct = np.array([[True, True, True, False], [False, True, True, True]])
    assert sample_weights(correct).tolist() == [1.0, 1.0, 1.0, 3.0]
    assert sample_weights(np.ones((2, 3), dtype=bool)).tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(UsageError, match="after 1 timestep"):
        sample_weights(np.zeros((2, 3), dtype=bool))


def test_a_policy_learns_which_images_need_more_steps() -> None:
    images, correct = data()
    losses: list[float] = []
    policy = train_policy(images, correct, CONFIG, lambda _, loss: losses.append(loss))
    assert len(losses) == CONFIG.epochs and losses[-1] < losses[0]
    unseen, truth = data(100, seed=1)
    found = outcome(truth, policy.steps(unseen))
    assert found.accuracy >= 0.98 and found.histogram[0] > 40 and found.histogram[2] > 20
    assert found.accuracy <= outcome(truth, oracle_steps(truth)).accuracy == 1.0


def test_training_is_a_function_of_its_seed_and_disturbs_no_generator() -> None:
    images, correct = data(60)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    states = [train_policy(images, correct, PolicyConfig(epochs=2, seed=seed)).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not torch.equal(states[0]["linear.weight"], states[2]["linear.weight"])


def test_steps_do_not_depend_on_the_batch() -> None:
    images, correct = data(30)
    policy = train_policy(images, correct, PolicyConfig(epochs=2))
    together = policy.steps(images)
    assert together.dtype == np.int64 and together.shape == (30,) and set(together.tolist()) <= {1, 2, 3}
    assert together.tolist() == [int(policy.steps(images[i : i + 1])[0]) for i in range(30)]


def test_the_rate_is_a_cosine_over_all_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.SGD.step

    def noted(self: torch.optim.SGD, *args: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        assert self.param_groups[0]["momentum"] == 0
        return step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    images, correct = data(20)
    train_policy(images, correct, PolicyConfig(epochs=3, batch_size=10))
    np.testing.assert_allclose(rates, 0.01 * (1 + np.cos(np.pi * np.arange(6) / 6)) / 2, rtol=1e-12)


def test_a_higher_price_of_errors_runs_longer_and_validation_chooses() -> None:
    """Images that cannot be told apart, half of them right at once, half after the last step only."""
    images, _ = data(400)
    correct = np.stack([np.arange(400) % 2 == 0] * 2 + [np.ones(400, dtype=bool)])
    train, validation = (images[:300], correct[:, :300]), (images[300:], correct[:, 300:])
    betas = (0.0, 4.0)
    best, both = train_for(train, validation, betas, CONFIG)
    assert [t.beta for t in both] == [0.0, 4.0]
    early, late = (t.validation for t in both)
    assert early.mean_timesteps < 1.3 and early.accuracy < 0.7 and late.mean_timesteps > 2.7 and late.accuracy > 0.8
    assert best is both[1]
    assert train_for(train, validation, betas, CONFIG, max_drop=1.0)[0].beta == 0.0
    assert train_for(train, validation, betas, CONFIG, mean_timesteps=1.3)[0].beta == 0.0
    assert train_for(train, validation, betas, CONFIG, accuracy=0.4)[0].beta == 0.0


def test_what_is_chosen_where_nothing_meets_a_wish() -> None:
    correct = np.array([[True, True, False, False], [True, True, True, False]])
    early, late = (outcome(correct, np.full(4, t)) for t in (1, 2))
    assert (early.accuracy, late.accuracy, late.mean_timesteps, late.histogram) == (0.5, 0.75, 2.0, (0, 4))
    assert [choose([early, late], a) for a in (0.4, 0.6, 0.9)] == [0, 1, 1]
    assert [choose([early, late], 0.0, t) for t in (0.5, 1.0, 3.0)] == [0, 0, 1]


@pytest.mark.parametrize("fields", [{"beta": -1.0}, {"lr": 0.0}, {"epochs": 0}, {"channels": ()}, {"channels": (4, 0)}])
def test_impossible_trainings_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="early-exit policy"):
        PolicyConfig(**fields)  # type: ignore[arg-type]


def test_data_that_do_not_fit_together_are_refused() -> None:
    images, correct = data(8)
    for x, c in ((images[:7], correct), (images[0], correct), (images[:1], correct[:, :1])):
        with pytest.raises(UsageError, match="N at least 2"):
            train_policy(x, c, CONFIG)
    with pytest.raises(UsageError, match="no beta"):
        train_for((images, correct), (images, correct), (), CONFIG)
    with pytest.raises(NeurodeployError, match="diverged"):
        train_policy(np.full_like(images, np.nan), correct, CONFIG)


def test_shapes() -> None:
    policy = StepPolicy((3, 9, 7), 5, (4, 6))
    assert policy(torch.zeros(2, 3, 9, 7)).shape == (2, 5)
