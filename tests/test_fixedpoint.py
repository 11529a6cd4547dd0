"""Vectors worked by hand, and properties against Python's unbounded integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neurodeploy.fixedpoint import (
    clip_symmetric,
    decay_toward_zero,
    round_to_step,
    shift_signed,
    wrap_modulo,
    wrap_once,
)

TOP = 2**23
states = st.integers(-(2**40), 2**40)


def one(value: int) -> np.ndarray:
    return np.array([value], dtype=np.int64)


@pytest.mark.parametrize(("x", "decay", "expected"), [
    (7, 2048, 3),  # 3.5 -> 3
    (-7, 2048, -3),  # -3.5 -> -3, toward zero; a plain arithmetic shift would give -4
    (1, 1, 0),  # 4095/4096 -> 0
    (-1, 1, 0),
    (4096, 1, 4095), (-4096, 1, -4095),
    (100, 0, 100), (-100, 0, -100),
    (TOP - 1, 4096, 0), (1 - TOP, 4096, 0),
    (TOP, 1, 8386560),  # 2^23 * 4095 / 4096 = 2^23 - 2048
    (-TOP, 1, -8386560),
    (1000, 1229, 699),  # 1000 * 2867 / 4096 = 699.95
    (0, 1234, 0),
])
def test_decay(x: int, decay: int, expected: int) -> None:
    assert decay_toward_zero(one(x), decay).tolist() == [expected]


@given(states, st.integers(0, 4096))
def test_decay_truncates_the_exact_quotient(x: int, decay: int) -> None:
    exact = abs(x) * (4096 - decay) // 4096 * (1 if x >= 0 else -1)
    found = decay_toward_zero(one(x), decay)
    assert found.dtype == np.int64 and found.tolist() == [exact]


def test_decay_takes_one_value_per_neuron() -> None:
    assert decay_toward_zero(np.array([-9, 9, 9]), np.array([0, 2048, 4096])).tolist() == [-9, 4, 0]


@pytest.mark.parametrize(("x", "expected"), [
    (TOP - 1, TOP - 1),
    (TOP, TOP),  # +2^23 itself is kept
    (TOP + 1, 1 - TOP),
    (1 - TOP, 1 - TOP),
    (-TOP, TOP),  # -2^23 becomes +2^23
    (-TOP - 1, TOP - 1),
    (3 * TOP, TOP),
    (3 * TOP + 1, TOP + 1),  # one wrap only: this stays out of range
    (-3 * TOP, -TOP), (-3 * TOP - 1, -TOP - 1),
    (0, 0),
])
def test_wrap_once(x: int, expected: int) -> None:
    assert wrap_once(one(x), 24).tolist() == [expected]


@given(st.integers(-3 * TOP + 1, 3 * TOP))
def test_wrap_once_keeps_the_residue(x: int) -> None:
    found = int(wrap_once(one(x), 24)[0])
    assert (found - x) % 2**24 == 0 and -TOP < found <= TOP


@pytest.mark.parametrize(("x", "expected"), [
    (TOP - 1, TOP - 1), (TOP, TOP - 1), (2**40, TOP - 1), (1 - TOP, 1 - TOP), (-TOP, 1 - TOP), (-(2**40), 1 - TOP), (0, 0),
])
def test_clip_symmetric(x: int, expected: int) -> None:
    assert clip_symmetric(one(x), 24).tolist() == [expected]


@pytest.mark.parametrize(("x", "expected"), [
    (TOP - 1, TOP - 1), (TOP, -TOP), (-TOP, -TOP), (-TOP - 1, TOP - 1), (5 * TOP, -TOP), (2**24, 0), (-1, -1),
])
def test_wrap_modulo(x: int, expected: int) -> None:
    assert wrap_modulo(one(x), 24).tolist() == [expected]


@given(states, st.integers(2, 40))
def test_wrap_modulo_is_twos_complement(x: int, bits: int) -> None:
    found = int(wrap_modulo(one(x), bits)[0])
    assert (found - x) % 2**bits == 0 and -(2 ** (bits - 1)) <= found < 2 ** (bits - 1)


@pytest.mark.parametrize(("x", "exponent", "expected"), [
    (3, 6, 192), (-3, 6, -192), (5, 0, 5), (5, -1, 2), (-5, -1, -3), (-1, -6, -1), (63, -6, 0),
])
def test_shift_floors(x: int, exponent: int, expected: int) -> None:
    assert shift_signed(one(x), exponent).tolist() == [expected]


@given(st.integers(-(2**20), 2**20), st.integers(-20, 20))
def test_shift_is_the_floor_of_the_product(x: int, exponent: int) -> None:
    exact = x * 2**exponent if exponent >= 0 else x // 2**-exponent
    assert shift_signed(one(x), exponent).tolist() == [exact]


@pytest.mark.parametrize(("x", "expected"), [
    (0.9, 0), (1.0, 0), (1.1, 2), (3.0, 4), (5.0, 4), (-1.0, 0), (-3.0, -4), (-2.9, -2), (253.0, 252), (255.0, 254),
    (1e9, 254), (-255.0, -256), (-1e9, -256),
])
def test_round_to_even_weights(x: float, expected: int) -> None:
    """Even integers in [-256, 254]; an odd integer lies half-way and goes to the even multiple (0, 4, 8, ...)."""
    assert round_to_step(np.array([x]), 2, -256, 254).tolist() == [expected]


@given(st.floats(-300, 300), st.sampled_from([(1, -128, 127), (2, -256, 254)]))
def test_round_to_step_is_nearest(x: float, grid: tuple[int, int, int]) -> None:
    step, low, high = grid
    found = int(round_to_step(np.array([x]), *grid)[0])
    assert found % step == 0 and low <= found <= high
    assert abs(found - min(max(x, low), high)) <= step / 2
