"""sinabs' rule by hand, and its traps one by one; the recorded cases are in `test_oracles_speck.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.quantize.iaf_core import CoreReport, FloatCore
from neurodeploy.quantize.iaf_sinabs import candidates, fold_average_pools, quantize_sinabs, scale


def core(weight: Any = (0.5, -0.25), **changes: Any) -> FloatCore:
    """One channel in for each weight, one out."""
    values = {"bias": None, "v_th": 1.0, "v_min": -1.0, "v_mem": None, **changes}
    return FloatCore("conv1", np.array(weight, np.float32).reshape(1, -1, 1, 1), **values)


def codes(report: CoreReport) -> set[str]:
    return {warning.code for warning in report.warnings()}


def test_by_hand() -> None:
    # 127 / 0.5 = 254; the 16-bit threshold would allow 32767.
    report = quantize_sinabs(core())
    assert report.decided_by == "weight"
    assert report.ints.scale == 254
    assert report.ints.weight.ravel().tolist() == [127, -64]  # -63.5, half to even
    assert (report.ints.v_th, report.ints.v_min, report.ints.bias) == (254, -254, None)
    assert not codes(report)
    report.require_usable()


def test_negative_range_is_one_larger() -> None:
    assert scale(np.array([-128, 127], np.float32), 8) == 1
    assert scale(np.array([-129, 127], np.float32), 8) == np.float32(128) * (np.float32(1) / np.float32(129))
    assert np.isinf(scale(np.zeros(3, np.float32), 8))


def test_division_is_by_the_reciprocal() -> None:
    values = np.random.default_rng(1).uniform(0.1, 3, 200).astype(np.float32)
    found = np.array([scale(values[i : i + 1], 8) for i in range(200)])
    assert np.array_equal(found, np.float32(127) * (np.float32(1) / values))
    assert (found != np.float32(127) / values).any()  # the values tell the two roundings apart


def test_average_pools_fold_into_the_weights() -> None:
    weight = np.array([1.0, 3.0], np.float32)
    assert fold_average_pools(weight, [(2, 2), (1, 3)]).tolist() == (weight * np.float32(1 / 12)).tolist()
    assert fold_average_pools(weight, []).tolist() == [1, 3]


def test_no_floor_rounds_weights_away() -> None:
    report = quantize_sinabs(core(v_min=None))
    assert report.ints.scale == 1
    assert (report.ints.v_th, report.ints.v_min) == (1, -32768)
    assert not report.ints.weight.any()
    assert report.n_dead == 2
    assert codes(report) == {"iaf_no_floor", "iaf_silent"}


@pytest.mark.parametrize(
    ("changes", "decided_by", "code"),
    [
        ({"v_min": -9000.0}, "floor", "iaf_state_range"),
        ({"v_th": 9000.0}, "threshold", "iaf_state_range"),
        ({"bias": np.array([40.0], np.float32)}, "bias", "iaf_bias_range"),
        ({"weight": [90.0, *[0.5] * 9], "v_th": 100.0}, "weight", "iaf_weight_outlier"),
    ],
)
def test_what_starves_the_weights(changes: dict[str, Any], decided_by: str, code: str) -> None:
    report = quantize_sinabs(core(**changes))
    assert report.decided_by == decided_by
    assert report.typical_levels < 4
    assert code in codes(report)
    assert report.to_dict()["decided_by"] == decided_by


def test_threshold_rounds_to_nothing() -> None:
    report = quantize_sinabs(core(v_th=0.001))
    assert report.ints.v_th == 0
    assert "iaf_threshold_lost" in codes(report)
    with pytest.raises(DoesNotFit) as caught:
        report.require_usable()
    (violation,) = caught.value.violations
    assert violation.rule == "iaf_threshold_lost"
    assert violation.where == "conv1"
    assert violation.remedy


def test_all_zero_weights_are_legal_and_silent() -> None:
    report = quantize_sinabs(core([0.0, 0.0]))
    assert report.decided_by == "threshold"
    assert candidates(report.core)["weight"] == np.inf
    assert report.ints.silent
    assert codes(report) == {"iaf_silent"}
    assert not quantize_sinabs(core([0.0, 0.0], bias=np.array([0.5], np.float32))).ints.silent


def test_a_state_left_over_takes_part() -> None:
    state = np.array([[[[1000.0]]]], np.float32)
    report = quantize_sinabs(core(v_mem=state))
    assert report.decided_by == "state"
    assert report.ints.v_mem is not None
    assert report.ints.v_mem.tolist() == [[[[32767]]]]
    assert report.ints.scale < quantize_sinabs(core()).ints.scale
    assert "iaf_state_in_scale" in codes(report)
    reset = quantize_sinabs(core(v_mem=np.zeros_like(state)))
    assert np.array_equal(reset.ints.weight, quantize_sinabs(core()).ints.weight)
    assert "iaf_state_in_scale" not in codes(reset)


def test_saturated_and_over_the_threshold() -> None:
    report = quantize_sinabs(core([2.0, -1.0, 1.5]))
    assert report.ints.n_over_threshold == 2
    assert codes(report) == {"iaf_saturated", "iaf_over_threshold"}
    assert "iaf_saturated" not in codes(quantize_sinabs(core([2.0, 0.5])))


@pytest.mark.parametrize(
    "changes",
    [{"weight": [np.nan]}, {"weight": []}, {"v_th": 0.0}, {"v_th": np.inf}, {"v_min": 0.5}, {"bias": np.ones(3, np.float32)}],
)
def test_refused_values(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        core(**changes)
    assert caught.value.where == "conv1"
