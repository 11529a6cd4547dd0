"""Intervals, against their definitions and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from neurodeploy.jobs.statistics import paired_difference, wilson

Z = 1.959963984540054


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (7, 10), (525, 540), (1, 1)])
def test_wilson_bounds_are_where_the_score_test_rejects(right: int, n: int) -> None:
    """Both ends solve |p_hat - p| = z * sqrt(p (1 - p) / n)."""
    low, high = wilson(right, n)
    assert 0 <= low <= right / n + 1e-12 and right / n - 1e-12 <= high <= 1
    for p in (low, high):
        # Near 0 and 1 the root of a rounding error.
        assert abs(right / n - p) == pytest.approx(Z * np.sqrt(max(p * (1 - p), 0) / n), abs=1e-7)


def test_a_paired_difference_worked_by_hand() -> None:
    """10 samples: first right on 8, second on 5; 4 only by the first, 1 only by the second."""
    first = np.array([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], dtype=bool)
    second = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0], dtype=bool)
    found = paired_difference(first, second)
    assert (found["only_first_right"], found["only_second_right"], found["n"]) == (4, 1, 10)
    assert found["difference"] == pytest.approx(0.3)
    centre, half = 3 / 12, Z * np.sqrt(6 - 9 / 12) / 12
    assert (found["low"], found["high"]) == (pytest.approx(centre - half), pytest.approx(centre + half))
    other = paired_difference(second, first)
    assert (other["difference"], other["low"]) == (pytest.approx(-0.3), pytest.approx(-found["high"]))
    same = paired_difference(first, first)
    assert same["difference"] == 0 and same["low"] == -same["high"] < 0


def test_the_paired_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        kind = rng.choice(4, size=540, p=[0.94, 0.03, 0.02, 0.01])  # both, first only, second only, neither
        found = paired_difference(kind <= 1, (kind == 0) | (kind == 2))
        hits += found["low"] <= 0.01 <= found["high"]
    assert 930 <= hits <= 970  # 95 %, three standard deviations of a binomial
