"""Which policy a recipe ends up with."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from neurodeploy.early_exit.confidence import ConfidencePolicy, ExitPoint, evaluate_policy, exit_curve, fixed_accuracy
from neurodeploy.errors import NeurodeployWarning
from neurodeploy.jobs.exits import choose_policy
from neurodeploy.search.recipe import ExitSettings


def some_votes(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Votes [5, 300, 4] whose first two steps are noise for some samples, and which stay wrong for a few; labels [300]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 300)
    hard = rng.random(300) < 0.4
    noise = rng.integers(0, 11, (5, 300, 4)) / 10
    shown = np.where(rng.random(300) < 0.05, (labels + 1) % 4, labels)
    return np.where(hard[:, None] & (np.arange(5) < 2)[:, None, None], noise, np.eye(4)[shown]), labels


def chosen(votes: np.ndarray, labels: np.ndarray, **settings: Any) -> ExitPoint:
    return evaluate_policy(votes, labels, choose_policy(ExitSettings(**settings), votes, labels))


@pytest.mark.parametrize("logits", ["sum", "mean", "either"])
def test_a_wanted_accuracy_is_reached_as_cheaply_as_any_threshold_reaches_it(logits: Any) -> None:
    votes, labels = some_votes()
    kinds = ("sum", "mean") if logits == "either" else (logits,)
    curves = [p for kind in kinds for p in exit_curve(votes, labels, ConfidencePolicy(1.0, logits=kind))]
    first, last = fixed_accuracy(votes, labels)[0], fixed_accuracy(votes, labels)[-1]
    assert first < last
    for wanted in ((first + last) / 2, last):
        point = chosen(votes, labels, accuracy=wanted, logits=logits)
        assert point.accuracy >= wanted
        assert point.mean_timesteps == min(p.mean_timesteps for p in curves if p.accuracy >= wanted)
    assert chosen(votes, labels, accuracy=first / 2, logits=logits).mean_timesteps == 1.0


@pytest.mark.parametrize("logits", ["sum", "mean", "either"])
def test_a_budget_of_timesteps_is_kept_by_the_most_accurate(logits: Any) -> None:
    votes, labels = some_votes()
    kinds = ("sum", "mean") if logits == "either" else (logits,)
    curves = [p for kind in kinds for p in exit_curve(votes, labels, ConfidencePolicy(1.0, logits=kind))]
    for budget in (1.0, 1.8, 3.0):
        point = chosen(votes, labels, mean_timesteps=budget, logits=logits)
        assert point.mean_timesteps <= budget
        assert point.accuracy == max(p.accuracy for p in curves if p.mean_timesteps <= budget)


def test_a_wish_that_nothing_meets_is_told() -> None:
    votes, labels = some_votes()
    with pytest.warns(NeurodeployWarning, match="accuracy 1") as caught:
        point = chosen(votes, labels, accuracy=1.0)
    assert caught[0].message.code == "exit_missed"  # type: ignore[union-attr]
    assert point.accuracy == max(p.accuracy for p in exit_curve(votes, labels, ConfidencePolicy(1.0)))
    silent = np.zeros((3, 4, 2))  # a uniform vote: the entropy metric is 0, which no threshold lies below
    with pytest.warns(NeurodeployWarning, match="mean_timesteps 1.5: 3 at least"):
        chosen(silent, np.zeros(4, dtype=np.int64), mean_timesteps=1.5, metric="entropy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose_policy(ExitSettings(accuracy=1.0), votes, labels, warn=False)


def test_either_takes_the_cheaper_of_both_within_the_drop() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 300)
    hard = rng.random(300) < 0.4  # their votes are noise at first
    noise = rng.integers(0, 11, (5, 300, 4)) / 10
    votes = np.where(hard[:, None] & (np.arange(5) < 2)[:, None, None], noise, np.eye(4)[labels])
    chosen = {
        kind: choose_policy(ExitSettings(logits=kind, max_drop=0.02), votes, labels)  # type: ignore[arg-type]
        for kind in ("sum", "mean", "either")
    }
    points = {kind: evaluate_policy(votes, labels, policy) for kind, policy in chosen.items()}
    assert points["sum"].mean_timesteps != points["mean"].mean_timesteps  # else the case shows nothing
    cheaper = min(("sum", "mean"), key=lambda kind: points[kind].mean_timesteps)
    assert chosen["either"] == chosen[cheaper]
    full = evaluate_policy(votes, labels, ConfidencePolicy(threshold=1.0)).accuracy
    assert points["either"].accuracy >= full - 0.02
