"""Our SEENN-I against what the authors' released code computed on given logits (numbers only)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from neurodeploy.early_exit.confidence import (
    ConfidencePolicy,
    average_exit_time,
    evaluate_policy,
    exit_steps,
    fixed_accuracy,
    oracle_steps,
)
from neurodeploy.ir.votes import predictions

import oracles

AREA = "seeds"
# The release computes percentages in float32.
TOLERANCE = 1e-4


def cases() -> list[Any]:
    return [pytest.param(spec, path, id=stem) for stem, spec, path in oracles.described("seenn1_*.json", AREA)]


def read(path: Any) -> tuple[np.ndarray, np.ndarray]:
    """(logits [T, N, C], labels [N])."""
    data = oracles.npz(path)
    return data["logits"].transpose(1, 0, 2).astype(np.float64), data["labels"]


def test_fixtures_are_there() -> None:
    oracles.require(cases(), "seenn1_*.json", AREA)


@pytest.mark.parametrize(("spec", "path"), cases())
def test_exits_equal_the_release(spec: dict[str, Any], path: Any) -> None:
    logits, labels = read(path)
    assert logits.shape == (spec["T"], spec["N"], spec["C"])
    assert spec["rows_metric_threshold_acc_avgT_fractionPerT"]
    for metric, threshold, accuracy, mean, fractions in spec["rows_metric_threshold_acc_avgT_fractionPerT"]:
        point = evaluate_policy(logits, labels, ConfidencePolicy(threshold, metric=metric))
        assert 100 * point.accuracy == pytest.approx(accuracy, abs=TOLERANCE), (metric, threshold)
        assert point.mean_timesteps == pytest.approx(mean, abs=TOLERANCE), (metric, threshold)
        np.testing.assert_allclose(np.array(point.histogram) / spec["N"], fractions, rtol=0, atol=1e-6)
        steps = exit_steps(logits, ConfidencePolicy(threshold, metric=metric))
        assert np.bincount(steps, minlength=spec["T"] + 1)[1:].tolist() == list(point.histogram)


@pytest.mark.parametrize(("spec", "path"), cases())
def test_the_mean_of_logits_is_the_other_rule(spec: dict[str, Any], path: Any) -> None:
    logits, labels = read(path)
    rows = spec["mean_logit_variant_threshold_acc_avgT"]
    assert rows
    for threshold, accuracy, mean in rows:
        point = evaluate_policy(logits, labels, ConfidencePolicy(threshold, logits="mean"))
        assert 100 * point.accuracy == pytest.approx(accuracy, abs=TOLERANCE), threshold
        assert point.mean_timesteps == pytest.approx(mean, abs=TOLERANCE), threshold
        summed = evaluate_policy(logits, labels, ConfidencePolicy(threshold))
        assert summed.mean_timesteps <= point.mean_timesteps  # the sum is the more confident


@pytest.mark.parametrize(("spec", "path"), cases())
def test_fixed_timesteps_equal_the_release(spec: dict[str, Any], path: Any) -> None:
    logits, labels = read(path)
    found = 100 * np.array(fixed_accuracy(logits, labels))
    np.testing.assert_allclose(found, spec["acc_per_fixed_t"], rtol=0, atol=TOLERANCE)
    assert found[-1] == pytest.approx(spec["static_full_T_acc"], abs=TOLERANCE)


@pytest.mark.parametrize(("spec", "path"), cases())
def test_average_exit_times_equal_what_the_release_prints(spec: dict[str, Any], path: Any) -> None:
    logits, labels = read(path)
    printed = {
        name: float(value) for name, value in re.findall(r"((?:Empirical )?AET): ([\d.]+)", spec.get("printed", ""))
    }
    if not printed:
        pytest.skip("nothing was printed")
    found = {
        "AET": average_exit_time(fixed_accuracy(logits, labels)),
        "Empirical AET": float(oracle_steps(predictions(logits) == labels).mean()),
    }
    for name, value in printed.items():
        assert found[name] == pytest.approx(value, abs=6e-4), name  # printed with three decimals, of float32 accuracies
