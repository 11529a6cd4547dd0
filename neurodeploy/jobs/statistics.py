"""Intervals for the shares that reports print; 95 %, closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927).

    >>> low, high = wilson(95, 100)
    >>> round(low, 3), round(high, 3)
    (0.888, 0.978)
    """
    p, z2 = n_right / n, _Z**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))  # rounding may leave 0..1


def paired_difference(first: NDArray[Any], second: NDArray[Any]) -> dict[str, Any]:
    """Accuracy of `first` minus `second` on the same samples (booleans [N]), with its paired interval.

    Agresti and Min (2005): half a sample is added to each cell of the 2 x 2 table, then Wald's interval.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n = len(first) + 2
    b, c = only_first + 0.5, only_second + 0.5
    centre = (b - c) / n
    half = _Z * float(np.sqrt((b + c) - (b - c) ** 2 / n)) / n
    return {
        "difference": (only_first - only_second) / len(first), "low": centre - half, "high": centre + half,
        "only_first_right": only_first, "only_second_right": only_second, "n": len(first),
    }
