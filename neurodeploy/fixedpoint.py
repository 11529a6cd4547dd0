"""Named integer behaviours of chips. Every function works on numpy int64 arrays of any shape and returns int64.

A chip that computes in a new way adds a named behaviour here, with a vector worked by hand in `tests/test_fixedpoint.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

DECAY_BITS = 12  # decays are fractions of 4096 in all Loihi arithmetic (lava-nc 0.10.0, lif/models.py)


def decay_toward_zero(x: IntArray, decay: IntArray | int) -> IntArray:
    """x * (4096 - decay) / 4096, truncated toward zero. `decay` in 0..4096: 0 keeps x, 4096 forgets it."""
    magnitude = (np.abs(x) * (2**DECAY_BITS - np.asarray(decay, dtype=np.int64))) >> DECAY_BITS
    return np.asarray(np.sign(x) * magnitude)


def wrap_once(x: IntArray, bits: int) -> IntArray:
    """One conditional wrap into [-2^(bits-1)+1, 2^(bits-1)], as Lava's current does it.

    Not a true modulo: a value beyond 3 * 2^(bits-1) stays out of range. +2^(bits-1) itself is kept, and
    -2^(bits-1) becomes +2^(bits-1).
    """
    half = np.int64(1) << (bits - 1)
    x = np.where(x > half, x - 2 * half, x)
    return np.where(x <= -half, x + 2 * half, x)


def clip_symmetric(x: IntArray, bits: int) -> IntArray:
    """Saturate to [-(2^(bits-1) - 1), 2^(bits-1) - 1]."""
    top = (np.int64(1) << (bits - 1)) - 1
    return np.clip(x, -top, top)


def wrap_modulo(x: IntArray, bits: int) -> IntArray:
    """True two's-complement wrap into [-2^(bits-1), 2^(bits-1) - 1], as Lava's conv accumulator does it."""
    half = np.int64(1) << (bits - 1)
    return (x + half) % (2 * half) - half


def shift_signed(x: IntArray, exponent: IntArray | int) -> IntArray:
    """x * 2^exponent; a negative exponent is an arithmetic right shift (floors). Arrays broadcast."""
    exponent = np.asarray(exponent, dtype=np.int64)
    shifted: IntArray = (np.asarray(x, dtype=np.int64) << np.maximum(exponent, 0)) >> np.maximum(-exponent, 0)
    return shifted


def round_to_step(x: NDArray[np.floating], step: int, low: int, high: int) -> IntArray:
    """Nearest multiple of `step` (ties to even multiple), saturated to [low, high]; low and high are multiples of step."""
    return np.clip(np.rint(np.asarray(x, dtype=np.float64) / step).astype(np.int64) * step, low, high)
