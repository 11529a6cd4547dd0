"""What lava-dl's loader netx and lava-nc's Dense make of a dense weight matrix, in integers.

Dense clips weights to what their signs allow and drops low bits. netx, before that, shifts a matrix up so that it fills
8 bits and tells Dense the shift and the remaining bits; Dense takes its own view of the signs and shifts the sums back.
That is exact except at the ends of the ranges (netx/utils.py of lava-dl 0.6.0, utils/weightutils.py of lava-nc 0.10.0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.nodes import Array

SignMode = Literal["mixed", "excitatory", "inhibitory"]


def dense_weights(weight: Array, *, num_weight_bits: int = 8, sign_mode: SignMode | None = None) -> Array:
    """The weights that lava-nc's Dense acts with, int64 [O, I], for those it is given.

    Clipped to [-256, 255] (mixed), [0, 255] (excitatory) or [-255, 0] (inhibitory), then without their low
    8 - num_weight_bits (+ 1 where mixed) bits: floored, the inhibitory ones in magnitude. `sign_mode` None: from the
    signs, all >= 0, else all <= 0, else mixed.
    """
    if sign_mode is None:
        sign_mode = "excitatory" if weight.min() >= 0 else "inhibitory" if weight.max() <= 0 else "mixed"
    mixed, sign = sign_mode == "mixed", -1 if sign_mode == "inhibitory" else 1
    clipped = np.clip(sign * weight.astype(np.int64), -256 if mixed else 0, 255)
    n_low_bits = 8 - num_weight_bits + int(mixed)
    return sign * _shift_left(clipped >> max(n_low_bits, 0), n_low_bits)


@dataclass(frozen=True, eq=False)
class Packed:
    """Matrices as netx hands them on: what acts on the messages, and by how much the sums are shifted right after it."""

    weights: tuple[Array, ...]
    shift: int

    @property
    def is_lost(self) -> bool:
        """True where netx shifts by a negative count, which makes every weight zero."""
        return self.shift < 0

    def acting(self, index: int = 0) -> tuple[Array, int]:
        """(weight, weight_exp) of a Linear that computes the same; the exponent is 0 wherever it can be."""
        weight = self.weights[index]
        if not np.any(weight % 2**self.shift):
            return weight >> self.shift, 0
        return weight, -self.shift


def pack(*weights: Array) -> Packed:
    """What netx makes of matrices [O, I] that it treats as one (those of a recurrent layer), or of a single one.

    Raises NeurodeployError where all weights are zero; netx stops there (OverflowError).
    """
    if not any(w.any() for w in weights):
        raise NeurodeployError("all weights are zero", code="netx")
    low, high = min(int(w.min()) for w in weights), max(int(w.max()) for w in weights)
    mixed = low < 0 <= high  # netx counts "no positive weight, but a zero" as mixed; Dense counts it as inhibitory
    if (high > 254 and low < 0) or (low < -256 and high > 0):
        weights = tuple(np.clip(w, -256, 254) for w in weights)
        low, high = min(int(w.min()) for w in weights), max(int(w.max()) for w in weights)
    room_above = 127 / high if high else math.inf
    room = min(room_above, -128 / low) if mixed else -256 / low if high < 0 else 255 / high
    shift = math.floor(math.log2(room)) + int(mixed)
    used_bits = int(np.bitwise_or.reduce([int(np.bitwise_or.reduce(w, axis=None)) for w in weights]))
    n_zero_bits = next((n for n in range(8, 0, -1) if used_bits % 2**n == 0), 0)
    n_bits = 8 - shift - (n_zero_bits - int(mixed))
    return Packed(tuple(dense_weights(_shift_left(w, shift), num_weight_bits=n_bits) for w in weights), shift)


def _shift_left(weight: Array, count: int) -> Array:
    """numpy's int32 shift as netx meets it: a negative count silently gives zeros."""
    return weight << count if count >= 0 else np.zeros_like(weight)


def survives_packing(*weights: Array) -> bool:
    """True when a dense layer built by netx computes exactly `weight @ messages`."""
    if not any(w.any() for w in weights):
        return False
    packed = pack(*weights)
    return not packed.is_lost and all(
        np.array_equal(mine, w << packed.shift) for mine, w in zip(packed.weights, weights, strict=True)
    )
