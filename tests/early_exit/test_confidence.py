"""SEENN-I: when a sample stops, and how the threshold is chosen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neurodeploy.early_exit.confidence import (
    ConfidencePolicy,
    calibrate_temperature,
    choose_threshold,
    evaluate_policy,
    exit_curve,
    exit_steps,
    fixed_accuracy,
)
from neurodeploy.errors import UsageError
from neurodeploy.ir.votes import predictions, running_votes
from neurodeploy.jobs.exits import choose_policy
from neurodeploy.search.recipe import ExitSettings


def votes(seed: int = 0, T: int = 4, B: int = 60, C: int = 5, group: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Votes [T, B, C] of groups of spiking neurons that lean towards the label, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, C, B)
    rate = np.where(np.arange(C) == labels[:, None], rng.uniform(0.3, 0.9, (B, 1)), 0.3)
    return rng.binomial(group, rate, size=(T, B, C)) / group, labels


def slow_exit(sample: np.ndarray, policy: ConfidencePolicy) -> tuple[int, int]:
    """(exit step, answer) of one sample's votes [T, C], in plain Python."""
    z = [0.0] * sample.shape[1]
    for t, vote in enumerate(sample.tolist(), start=1):
        z = [a + b for a, b in zip(z, vote, strict=True)]
        logits = [a / policy.temperature / (t if policy.logits == "mean" else 1) for a in z]
        total = sum(math.exp(a) for a in logits)
        p = [math.exp(a) / total for a in logits]
        score = max(p) if policy.metric == "confidence" else 1 + sum(q * math.log(q) for q in p) / math.log(len(p))
        if score > policy.threshold or t == len(sample):
            rounded = [round(a, 9) for a in z]
            return t, rounded.index(max(rounded))
    raise AssertionError


@pytest.mark.parametrize("metric", ["confidence", "entropy"])
@pytest.mark.parametrize("logits", ["sum", "mean"])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_exits_equal_a_slow_computation(metric: Any, logits: Any, temperature: float) -> None:
    v, labels = votes()
    base = ConfidencePolicy(0.5, temperature, metric, logits)
    seen = set()
    # Half way between observed values: no rounding decides.
    observed = np.unique(np.round(base.confidences(v), 9))
    for threshold in (observed[:-1] + observed[1:])[:: len(observed) // 12] / 2:
        policy = ConfidencePolicy(float(threshold), temperature, metric, logits)
        slow = [slow_exit(v[:, b], policy) for b in range(v.shape[1])]
        steps = exit_steps(v, policy)
        assert steps.tolist() == [s for s, _ in slow]
        point = evaluate_policy(v, labels, policy)
        assert point.accuracy == pytest.approx(np.mean([a == y for (_, a), y in zip(slow, labels, strict=True)]))
        assert point.mean_timesteps == pytest.approx(np.mean([s for s, _ in slow]))
        seen |= set(steps.tolist())
    assert seen == {1, 2, 3, 4}


def test_the_comparison_is_strict_and_the_end_is_forced() -> None:
    v, _ = votes()
    policy = ConfidencePolicy(0.0)
    first = policy.confidences(v)[0]
    for b in range(5):
        steps = exit_steps(v, ConfidencePolicy(float(first[b])))
        assert steps[b] > 1
        assert exit_steps(v, ConfidencePolicy(float(np.nextafter(first[b], 0))))[b] == 1
    assert (exit_steps(v, ConfidencePolicy(1.0)) == 4).all()
    assert (exit_steps(v, ConfidencePolicy(0.0)) == 1).all()
    assert (exit_steps(v[:1], ConfidencePolicy(2.0)) == 1).all()


def test_the_vote_head_bounds_the_confidence() -> None:
    """10 classes, one always at 1, the others at 0: e^t / (e^t + 9)."""
    v = np.zeros((8, 1, 10))
    v[:, :, 3] = 1.0
    found = ConfidencePolicy(1.0).confidences(v)[:, 0]
    np.testing.assert_allclose(found, [math.exp(t) / (math.exp(t) + 9) for t in range(1, 9)], rtol=1e-12)
    assert np.round(found[[0, 1, 3, 7]], 3).tolist() == [0.232, 0.451, 0.858, 0.997]
    mean = ConfidencePolicy(1.0, logits="mean").confidences(v)[:, 0]
    np.testing.assert_allclose(mean, found[0], rtol=1e-12)


def test_silent_samples_have_no_confidence() -> None:
    nothing = np.zeros((3, 2, 7))
    assert ConfidencePolicy(0.5).confidences(nothing) == pytest.approx(1 / 7)
    entropy = ConfidencePolicy(0.5, metric="entropy").confidences(nothing)
    assert ((entropy >= 0) & (entropy < 1e-12)).all()
    huge = np.zeros((1, 1, 3))
    huge[0, 0, 0] = 1e6  # probabilities that underflow
    assert ConfidencePolicy(0.5, metric="entropy").confidences(huge).item() == 1.0
    assert ConfidencePolicy(0.5).confidences(huge).item() == 1.0


@given(seed=st.integers(0, 2**32 - 1), group=st.sampled_from([3, 7, 10]))
def test_equal_counts_are_ties_in_any_order(seed: int, group: int) -> None:
    """The same spikes at other timesteps give the same sums, and the lowest class wins."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, group + 1, size=(12, 1))
    shuffled = np.stack([rng.permutation(counts[:, 0]) for _ in range(4)], axis=1)
    for dtype in (np.float64, np.float32):
        v = (shuffled[:, None, :] / group).astype(dtype)
        z = running_votes(v)
        assert z.dtype == np.float64 and len(set(z[-1, 0].tolist())) == 1
        assert predictions(v)[-1].tolist() == [0]
    np.testing.assert_allclose(z[-1, 0, 0], counts.sum() / group, atol=1e-6)


def test_float64_logits_keep_nine_decimals() -> None:
    z = running_votes(np.array([[[0.1, 0.1 + 4e-9]]]))
    assert z[0, 0, 1] > z[0, 0, 0]
    assert predictions(np.array([[[0.1, 0.1 + 4e-9]]])).item() == 1


@pytest.mark.parametrize("metric", ["confidence", "entropy"])
def test_the_curve_uses_observed_thresholds_and_its_ends(metric: Any) -> None:
    v, labels = votes()
    policy = ConfidencePolicy(0.7, metric=metric)
    observed = set(policy.confidences(v)[:-1].ravel().tolist())
    curve = exit_curve(v, labels, policy, n_points=10_000)
    thresholds = [p.threshold for p in curve]
    assert thresholds == sorted(thresholds) and (thresholds[0], thresholds[-1]) == (0.0, 1.0)
    assert set(thresholds[1:-1]) == observed
    means = [p.mean_timesteps for p in curve]
    assert means == sorted(means) and (means[0], means[-1]) == (1.0, 4.0)
    fixed = fixed_accuracy(v, labels)
    assert (curve[0].accuracy, curve[-1].accuracy) == (fixed[0], fixed[-1])
    for point in curve[:: len(curve) // 7]:
        assert point == evaluate_policy(v, labels, ConfidencePolicy(point.threshold, metric=metric))
        assert sum(point.histogram) == len(labels)
    few = exit_curve(v, labels, policy, n_points=5)
    assert len(few) == 7 and set(few) <= set(curve)
    assert [p.threshold for p in exit_curve(v[:1], labels, policy)] == [0.0, 1.0]


def test_the_threshold_is_the_cheapest_within_the_allowed_drop() -> None:
    v, labels = votes(3, B=300)
    start = ConfidencePolicy(1.0, temperature=0.5, logits="mean")
    curve = exit_curve(v, labels, start)
    full = curve[-1].accuracy
    chosen = {}
    for drop in (0.0, 0.02, 1.0):
        policy = choose_threshold(v, labels, start, max_drop=drop)
        assert (policy.temperature, policy.metric, policy.logits) == (0.5, "confidence", "mean")
        point = evaluate_policy(v, labels, policy)
        assert point.accuracy >= full - drop - 1e-12
        cheaper = [p for p in curve if p.mean_timesteps < point.mean_timesteps]
        assert all(p.accuracy < full - drop for p in cheaper)
        chosen[drop] = point.mean_timesteps
    assert chosen[0.0] > chosen[0.02] > chosen[1.0] == 1.0
    assert chosen[0.0] < 4.0


def test_the_threshold_of_a_budget_of_timesteps_is_the_most_accurate() -> None:
    v, labels = votes(3, B=300)
    start = ConfidencePolicy(1.0)
    curve = exit_curve(v, labels, start)
    for budget in (1.0, 1.7, 2.5, 4.0):
        point = evaluate_policy(v, labels, choose_threshold(v, labels, start, mean_timesteps=budget))
        assert point.mean_timesteps <= budget
        assert point.accuracy == max(p.accuracy for p in curve if p.mean_timesteps <= budget)
    assert choose_threshold(v, labels, start, mean_timesteps=0.5).threshold == 0.0


@pytest.mark.parametrize("logits", ["sum", "mean"])
def test_a_calibrated_temperature_makes_confidences_frequencies(logits: Any) -> None:
    v, labels = votes(1, B=3000)
    temperature = calibrate_temperature(v, labels, logits)
    policy = ConfidencePolicy(1.0, temperature, logits=logits)
    assert policy.confidences(v)[-1].mean() == pytest.approx(fixed_accuracy(v, labels)[-1], abs=0.05)
    found = choose_policy(ExitSettings(temperature="calibrate", logits=logits, max_drop=0.01), v, labels)
    assert (found.temperature, found.logits, found.metric) == (temperature, logits, "confidence")
    assert evaluate_policy(v, labels, found).mean_timesteps < 4
    fixed = choose_policy(ExitSettings(temperature=0.7, metric="entropy"), v, labels)
    assert (fixed.temperature, fixed.metric) == (0.7, "entropy")


def test_sharper_votes_exit_earlier_at_a_lower_temperature() -> None:
    v, _ = votes()
    means = [exit_steps(v, ConfidencePolicy(0.5, temperature=t)).mean() for t in (0.1, 0.5, 2.0)]
    assert means[0] < means[1] < means[2] == 4.0


@pytest.mark.parametrize("fields", [
    {"temperature": 0.0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"metric": "margin"}, {"logits": "max"},
])  # fmt: skip
def test_what_defines_no_policy_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="early exit"):
        ConfidencePolicy(0.5, **fields)


def test_a_policy_survives_json() -> None:
    policy = ConfidencePolicy(0.1 + 0.2, 0.3, "entropy", "mean")
    assert ConfidencePolicy(**policy.to_dict()) == policy
