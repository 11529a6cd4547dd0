"""Fits of energy per synop and power at rest: known constants come back, published rows predict each other."""

from __future__ import annotations

import json

import numpy as np
import pytest
from neurodeploy.cost.calibration import Estimate, fit_levels, fit_rates, rest_level
from neurodeploy.errors import UsageError
from numpy.typing import NDArray

import oracles

Floats = NDArray[np.float64]
PROCESSOR = ("ram", "logic")
STATIC = {"io": 62e-6, "ram": 52e-6, "logic": 367e-6}
ENERGY = {"io": 0.1e-12, "ram": 9e-12, "logic": 16e-12}


# As the public log of LENS is long and noisy: 2,444 windows, 8 uW in a window at rest.
def rates(n: int, seed: int = 0) -> Floats:
    """Synops per second of windows: rest before and after, a busy middle that wanders."""
    rng = np.random.default_rng(seed)
    wander = np.clip(6e7 + np.cumsum(rng.normal(0, 4e6, n)), 1e7, 1.5e8)
    wander[: n // 10] = wander[-n // 10 :] = 0.0
    return wander


def powers(rate: Floats, seed: int, noise: float = 8e-6) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    return {rail: STATIC[rail] + ENERGY[rail] * rate + rng.normal(0, noise, len(rate)) for rail in STATIC}


@pytest.mark.parametrize("seed", range(5))
def test_known_constants_come_back_within_two_percent(seed):
    rate = rates(2400, seed)
    found = fit_rates(powers(rate, seed), rate, PROCESSOR)
    assert found.energy_j.value == pytest.approx(25e-12, rel=0.02)
    for rail in PROCESSOR:
        assert found.static_w[rail].value == pytest.approx(STATIC[rail], rel=0.02)
        assert found.energy_by_rail_j[rail].value == pytest.approx(ENERGY[rail], rel=0.02)
    assert {rail: share.value for rail, share in found.split.items()} == pytest.approx({"ram": 0.36, "logic": 0.64}, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_a_mean_rate_and_rest_give_the_same(seed):
    """The log itself holds rest at both ends; the run between them has a mean rate that is known."""
    rate = rates(2400, seed)
    power = powers(rate, seed)
    level = rest_level(power, PROCESSOR)
    assert level is not None and (level.at_rest != (rate == 0)).mean() < 2e-3
    run = rate > 0
    found = fit_levels(
        {rail: p[level.at_rest] for rail, p in power.items()}, {rail: p[run] for rail, p in power.items()},
        float(rate[run].mean()), PROCESSOR,
    )  # fmt: skip
    assert found.energy_j.value == pytest.approx(25e-12, rel=0.02)
    for rail in PROCESSOR:
        assert found.static_w[rail].value == pytest.approx(STATIC[rail], rel=0.02)


def covers(estimate: Estimate, truth: float) -> bool:
    assert estimate.low is not None and estimate.high is not None
    return estimate.low <= truth <= estimate.high


def test_intervals_hold_what_they_say():
    """95 % intervals of 120 logs: at least 85 % hold the truth, also where noise hangs together in time, and all are narrow."""
    for width in (1, 4):
        hits, widths = [], []
        for seed in range(120):
            rate = rates(400, seed)
            rng = np.random.default_rng(1000 + seed)
            power = {
                rail: STATIC[rail] + ENERGY[rail] * rate
                + np.convolve(rng.normal(0, 15e-6, 400 + width - 1), np.full(width, width**-0.5), "valid")
                for rail in STATIC
            }  # fmt: skip
            found = fit_rates(power, rate, PROCESSOR)
            hits.append([covers(found.energy_j, 25e-12), covers(found.static_w["logic"], STATIC["logic"])])
            widths.append((found.energy_j.high or np.inf) - (found.energy_j.low or 0.0))
        assert (np.mean(hits, axis=0) >= 0.85).all()
        assert max(widths) < 0.15 * 25e-12, "nor do they hold everything"


def test_windows_in_which_the_board_did_something_else_do_not_decide():
    rate = rates(1000)
    power = powers(rate, 0)
    for rail in PROCESSOR:
        power[rail][200:240] += 5e-3
    assert fit_rates(power, rate, PROCESSOR).energy_j.value == pytest.approx(25e-12, rel=0.02)


def test_a_line_without_noise_is_found_exactly():
    rate = np.array([0.0, 1e7, 3e7, 4e7, 9e7])
    found = fit_rates({rail: STATIC[rail] + ENERGY[rail] * rate for rail in STATIC}, rate, PROCESSOR)
    assert found.energy_j.value == pytest.approx(25e-12, rel=1e-9) and found.static_w["io"].value == pytest.approx(62e-6)
    assert found.energy_j.low == pytest.approx(25e-12, rel=1e-6) and found.n == 5


def test_one_gesture_row_predicts_the_other():
    """Yao et al. 2024: 9.5 mW at 1.0 M spikes in 540 ms, 0.42 mW at rest; the same network at 0.4 M took 3.8 mW.

    Energy per spike stands for energy per synop, as a spike of the same network has the same fan-out in both rows. Two
    levels without noise give a number and no interval.
    """
    path = oracles.folder("speck") / "power" / "measured_totals.json"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    rows = [r for r in json.loads(path.read_text(encoding="utf-8")) if r.get("task") == "DVS128 Gesture"]
    busy, calm = sorted(rows, key=lambda r: -r["spikes_per_sample_millions"])
    assert (busy["total_power_mW"], calm["total_power_mW"], busy["rest_power_mW"]) == (9.5, 3.8, 0.42)
    rate = {name: row["spikes_per_sample_millions"] * 1e6 / 0.54 for name, row in (("busy", busy), ("calm", calm))}
    found = fit_rates(
        {"processor": 1e-3 * np.array([busy["rest_power_mW"], busy["total_power_mW"]])}, np.array([0.0, rate["busy"]]),
        ("processor",),
    )  # fmt: skip
    assert found.energy_j.value == pytest.approx(4.903e-9, rel=1e-3) and found.energy_j.standard_error is None
    predicted = found.static_w["processor"].value + found.energy_j.value * rate["calm"]
    assert predicted == pytest.approx(calm["total_power_mW"] * 1e-3, rel=0.15)
    assert predicted == pytest.approx(4.052e-3, rel=1e-3)


def test_rest_is_one_level_and_activity_the_others():
    rng = np.random.default_rng(5)

    def level(total: Floats) -> float | None:
        found = rest_level({"ram": 0.3 * total, "logic": 0.7 * total}, PROCESSOR)
        return None if found is None else found.share

    rest, busy = rng.normal(400e-6, 5e-6, 300), rng.normal(2e-3, 5e-6, 2700)
    assert level(np.concatenate([rest, busy])) == pytest.approx(0.1)
    assert level(np.concatenate([rest, 400e-6 + rng.exponential(1.5e-3, 2700)])) == pytest.approx(0.11, abs=0.02)
    assert level(np.concatenate([rest[:200], busy])) == pytest.approx(200 / 2900)
    assert level(busy) is None  # one level
    assert level(rng.uniform(4e-4, 2e-3, 3000)) is None  # no gap anywhere
    assert level(np.full(100, 4e-4)) is None
    assert level(np.repeat([4e-4, 2e-3], 50)) == 0.5  # a meter without noise


def test_what_cannot_be_told_apart():
    power = powers(np.full(100, 5e7), 0)
    with pytest.raises(UsageError, match=r"all windows have the same rate.*only occur as their sum") as caught:
        fit_rates(power, np.full(100, 5e7), PROCESSOR)
    assert caught.value.error_code == "no_variation"
    with pytest.raises(UsageError, match="no synops in any window"):
        fit_rates(power, np.zeros(100), PROCESSOR)
    with pytest.raises(UsageError, match="positive"):
        fit_levels(power, power, 0.0, PROCESSOR)
