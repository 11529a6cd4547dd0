"""Which policy a recipe ends up with."""

from __future__ import annotations

import numpy as np
from neurodeploy.early_exit.confidence import ConfidencePolicy, evaluate_policy
from neurodeploy.jobs.exits import choose_policy
from neurodeploy.search.recipe import ExitSettings


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
