"""Answers from votes: the one place where running sums are formed and ties are broken."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def running_votes(votes: NDArray[Any]) -> NDArray[np.float64]:
    """z_t = votes_1 + ... + votes_t, float64 [T, B, C], of votes [T, B, C].

    Rounded to six decimals: equal spike counts reached in another order differ in the last bit of a float, and ties
    would be broken by it.
    """
    return np.asarray(np.round(np.asarray(votes, dtype=np.float64).cumsum(axis=0), 6))


def predictions(votes: NDArray[Any]) -> NDArray[np.int64]:
    """Answer after each timestep, [T, B]: argmax of the running votes, the lowest class on a tie."""
    return np.asarray(running_votes(votes).argmax(axis=2))
