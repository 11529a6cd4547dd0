"""Answers from votes: the one place where running sums are formed and ties are broken."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def settled(sums: NDArray[Any], dtype: np.dtype[Any] | type = np.float64) -> NDArray[np.float64]:
    """Sums of votes of type `dtype`, rounded to what that type resolves: 9 decimals, for float32 6.

    Equal spike counts reached in another order differ in the last bits of a float; ties would be broken by them.
    """
    coarse = np.dtype(dtype).kind == "f" and np.dtype(dtype).itemsize < 8
    return np.asarray(np.round(np.asarray(sums, dtype=np.float64), 6 if coarse else 9))


def running_votes(votes: NDArray[Any]) -> NDArray[np.float64]:
    """z_t = votes_1 + ... + votes_t, float64 [T, B, C], of votes [T, B, C]; see `settled` for their last digits."""
    votes = np.asarray(votes)
    return settled(votes.astype(np.float64).cumsum(axis=0), votes.dtype)


def predictions(votes: NDArray[Any]) -> NDArray[np.int64]:
    """Answer after each timestep, [T, B]: argmax of the running votes, the lowest class on a tie."""
    return np.asarray(running_votes(votes).argmax(axis=2))
