"""The scale search: never worse than sinabs' rule, optimal by its own objective, and its refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import UsageError
from neurodeploy.quantize.iaf_core import FloatCore, IafFormats, IntCore
from neurodeploy.quantize.iaf_scale import Rates, ScaleSearch, quantize_best, static_mismatch
from neurodeploy.quantize.iaf_sinabs import quantize_sinabs

FORMATS = IafFormats(weight_bits=8, bias_bits=8, state_bits=16)


def random_core(seed: int, *, within: bool | None = None) -> FloatCore:
    """Weights around the threshold; `within` True keeps all at or below it, False one above."""
    rng = np.random.default_rng(seed)
    c_out, c_in, k = rng.integers(1, 5, 3)
    weight = rng.normal(0, 10 ** rng.uniform(-1.5, 0.5), (c_out, c_in, k, k)).astype(np.float32)
    if within:
        weight = np.minimum(weight, 1)
    elif within is False:
        weight.flat[0] = 1.5
    bias = rng.normal(0, 0.1, c_out).astype(np.float32) if rng.random() < 0.3 else None
    return FloatCore(f"core{seed}", weight, bias, 1.0, -float(10 ** rng.uniform(-1, 2)))


def in_formats(ints: IntCore, formats: IafFormats = FORMATS) -> bool:
    def within(values: Any, bits: int) -> bool:
        return bool(np.min(values) >= -(2 ** (bits - 1)) and np.max(values) < 2 ** (bits - 1))

    return (
        within(ints.weight, formats.weight_bits)
        and (ints.bias is None or within(ints.bias, formats.bias_bits))
        and within([ints.v_th, ints.v_min], formats.state_bits)
        and ints.v_th >= 1
        and ints.v_min <= 0
    )


def test_never_worse_than_sinabs_and_mostly_better() -> None:
    better = 0
    for seed in range(150):
        core = random_core(seed)
        rates = Rates(inputs=np.random.default_rng(seed).uniform(0, 2, core.weight.shape[1]).astype(np.float32))
        static = static_mismatch(core, rates)
        found, rule = quantize_best(core, FORMATS, rates=rates), quantize_sinabs(core)
        assert static(found.ints) <= static(rule.ints), seed
        assert in_formats(found.ints), seed
        better += static(found.ints) < static(rule.ints)
    assert better > 100


def test_never_worse_by_an_objective_handed_in() -> None:
    for seed in range(40):
        core = random_core(seed)
        wanted = np.random.default_rng(seed).integers(1, 300)

        def objective(ints: IntCore, wanted: int = int(wanted)) -> float:
            return abs(ints.v_th - wanted) + float(np.abs(ints.weight).mean())

        rule = quantize_sinabs(core).ints
        bound = objective(rule) if rule.v_th else np.inf
        found = quantize_best(core, FORMATS, objective, search=ScaleSearch(n_tried=4))
        assert objective(found.ints) <= bound


def test_no_scale_on_a_fine_grid_is_better() -> None:
    for seed in range(30):
        core = random_core(seed, within=True)
        static = static_mismatch(core)
        best = static(quantize_best(core, FORMATS).ints)
        for s in np.geomspace(1, 3000, 4000):
            ints = IntCore(
                weight=np.rint(core.weight.astype(np.float64) * s).astype(np.int64),
                bias=None if core.bias is None else np.rint(core.bias.astype(np.float64) * s).astype(np.int64),
                v_th=int(np.rint(s)), v_min=max(int(np.rint(core.v_min * s)), -(2**15)), v_mem=None, scale=float(s),
            )
            if in_formats(ints):
                # The grid's scale may round a weight across a tie that the exact ratio is on: equal but for rounding.
                assert best <= static(ints) * (1 + 1e-9), (seed, s)


def test_threshold_bounds_weights_wherever_it_did_before() -> None:
    for seed in range(60):
        assert quantize_best(random_core(seed, within=True), FORMATS).ints.n_over_threshold == 0
    over = random_core(3, within=False)
    assert "iaf_over_threshold" in {w.code for w in quantize_best(over, FORMATS).warnings()}
    limited = quantize_best(over, FORMATS, search=ScaleSearch(limit_weights="always"))
    assert limited.ints.n_over_threshold == 0
    assert limited.n_clipped > 0
    assert "iaf_clipped" in {w.code for w in limited.warnings()}


def test_an_objective_may_prefer_limited_weights() -> None:
    over = random_core(3, within=False)
    found = quantize_best(over, FORMATS, lambda ints: float(ints.n_over_threshold), search=ScaleSearch(n_tried=2000))
    assert found.ints.n_over_threshold == 0
    assert found.variant.startswith("weights limited")


def test_threshold_that_sinabs_loses_is_kept_by_limiting() -> None:
    core = FloatCore("conv1", np.array([[[[400.0]], [[0.5]]]], np.float32), None, 1.0, -1.0)
    assert quantize_sinabs(core).ints.v_th == 0
    ints = quantize_best(core, FORMATS).ints
    assert ints.v_th >= 1
    assert 2 * ints.weight[0, 1, 0, 0] == ints.v_th == ints.weight[0, 0, 0, 0]
    hopeless = FloatCore("conv1", np.array([[[[-400.0]]]], np.float32), None, 1.0, -1.0)
    with pytest.raises(UsageError) as caught:
        quantize_best(hopeless, FORMATS)
    assert caught.value.error_code == "iaf_threshold_lost"


def test_outliers_are_clipped_where_that_is_better() -> None:
    rng = np.random.default_rng(5)
    weight = rng.normal(0, 0.01, (8, 8, 3, 3)).astype(np.float32)
    weight[0, 0, 0, 0] = 0.9
    core = FloatCore("conv1", weight, None, 1.0, -1.0)
    # The outlier sits in a channel that is silent, the others are busy.
    rates = Rates(inputs=np.array([0, *[1.0] * 7], np.float32))
    plain = quantize_best(core, FORMATS, rates=rates)
    clipped = quantize_best(core, FORMATS, rates=rates, search=ScaleSearch(clip_quantiles=(0.99, 0.999)))
    static = static_mismatch(core, rates)
    assert static(clipped.ints) < static(plain.ints)
    assert 0 < clipped.n_clipped < 20
    assert "quantile" in clipped.variant


def test_floor_is_held_when_it_does_not_matter() -> None:
    core = FloatCore("conv1", np.array([[[[0.4]], [[-0.13]], [[0.03]]]], np.float32), None, 1.0, -5000.0)
    held = quantize_best(core, FORMATS, rates=Rates(floor=0))
    assert held.ints.v_min == -(2**15)
    assert held.ints.v_th > 5 * quantize_sinabs(core).ints.v_th
    assert "iaf_floor_held" in {w.code for w in held.warnings()}
    kept = quantize_best(core, FORMATS, rates=Rates(floor=0), search=ScaleSearch(clip_floor=False))
    assert kept.ints.v_th <= 7  # sinabs' 7 is the last whose floor -32768 is the full one but for rounding


def test_deterministic() -> None:
    for seed in range(10):
        a, b = (quantize_best(random_core(seed), FORMATS, search=ScaleSearch(clip_quantiles=(0.9,))) for _ in range(2))
        assert np.array_equal(a.ints.weight, b.ints.weight)
        assert a.to_dict() == b.to_dict()


def test_formats_are_those_handed_in() -> None:
    core = random_core(2)
    small = IafFormats(weight_bits=5, bias_bits=5, state_bits=10)
    assert in_formats(quantize_best(core, small).ints, small)


def test_refusals() -> None:
    weight = np.ones((1, 1, 1, 1), np.float32)
    with pytest.raises(UsageError) as caught:
        quantize_best(FloatCore("conv1", weight, None, 1.0, None), FORMATS)
    assert caught.value.error_code == "iaf_no_floor"
    assert "minus the threshold" in caught.value.remedy
    with pytest.raises(UsageError) as caught:
        quantize_best(FloatCore("conv1", weight, None, 1.0, -1.0, weight), FORMATS)
    assert caught.value.error_code == "iaf_state_in_scale"
    core = FloatCore("conv1", weight, None, 1.0, -1.0)
    for value in (np.nan, np.inf):
        with pytest.raises(UsageError, match="finite"):
            quantize_best(core, FORMATS, lambda ints, value=value: float(value))
    for wrong in ({"limit_weights": "never"}, {"clip_quantiles": (1.0,)}, {"n_tried": 0}):
        with pytest.raises(UsageError):
            ScaleSearch(**wrong)
    with pytest.raises(UsageError):
        Rates(inputs=-1.0)


def test_silent_layer_is_told() -> None:
    found = quantize_best(FloatCore("conv1", -np.ones((1, 1, 1, 1), np.float32), None, 1.0, -1.0), FORMATS)
    assert "iaf_silent" in {w.code for w in found.warnings()}
