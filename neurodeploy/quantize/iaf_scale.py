"""The scale of a core chosen by what the integers do, not by what fills the format.

On integers only the ratios to the threshold count, and for a given integer threshold k the nearest ratios are
round(x * k / v_th). So the candidates are the integer thresholds, for each variant of the core (as it is, weights limited to
the threshold, outliers clipped, floor held at the end of its format), and the integers of sinabs' rule. They are ranked by
the static objective below; a handed-in objective (the mismatch of an event-driven simulation on calibration data) decides
among the best of them. Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.quantize.iaf_core import CoreReport, Float32Array, FloatCore, IafFormats, IntArray, IntCore
from neurodeploy.quantize.iaf_sinabs import quantize_sinabs

Objective = Callable[[IntCore], float]


@dataclass(frozen=True, eq=False)
class Rates:
    """Events per unit of time that weigh the static errors: per channel in [c_in] or one for all, ticks of the bias, and how
    often a neuron is at its floor."""

    inputs: Float32Array | float = 1.0
    bias: float = 1.0
    floor: float = 1.0

    def __post_init__(self) -> None:
        values = np.array([*np.ravel(self.inputs), self.bias, self.floor])
        if not np.isfinite(values).all() or (values < 0).any():
            raise UsageError("rates are finite and not below 0")


@dataclass(frozen=True)
class ScaleSearch:
    """How far the search goes.

    `limit_weights` "where_possible" keeps every weight at or below the threshold where the float weights are, and otherwise
    lets the objective choose between weights as they are and weights cut at the threshold; "always" cuts them.
    `clip_quantiles` are quantiles of |weight| beyond which weights may be cut. `n_thresholds` integer thresholds are ranked
    per variant, evenly spread where there are more; `n_tried` candidates go to a handed-in objective.
    """

    limit_weights: str = "where_possible"
    clip_quantiles: tuple[float, ...] = ()
    clip_floor: bool = True
    n_thresholds: int = 512
    n_tried: int = 16

    def __post_init__(self) -> None:
        if self.limit_weights not in ("where_possible", "always"):
            raise UsageError(f"limit_weights is {self.limit_weights!r}", remedy="Use where_possible or always")
        if not all(0 < q < 1 for q in self.clip_quantiles):
            raise UsageError(f"clip_quantiles are {self.clip_quantiles}", limit="each is above 0 and below 1")
        if min(self.n_thresholds, self.n_tried) < 1:
            raise UsageError("n_thresholds and n_tried are at least 1")


def static_mismatch(core: FloatCore, rates: Rates | None = None) -> Objective:
    """Squared errors of the ratios to the threshold, weighted by how often each acts; infinite for a threshold of 0.

    sum over weights of inputs[c_in] * (w_int / k - w / v_th)^2, plus the same for bias and floor at their rates.
    """
    rates = rates or Rates()
    per_channel = np.broadcast_to(np.asarray(rates.inputs, dtype=np.float64), core.weight.shape[1:2])
    at_inputs = per_channel.reshape(-1, *(1,) * (core.weight.ndim - 2))
    weight = core.weight.astype(np.float64) / core.v_th
    bias = None if core.bias is None else core.bias.astype(np.float64) / core.v_th

    def mismatch(ints: IntCore) -> float:
        if ints.v_th < 1:
            return float("inf")
        total = float((at_inputs * (ints.weight / ints.v_th - weight) ** 2).sum())
        if bias is not None and ints.bias is not None:
            total += rates.bias * float(((ints.bias / ints.v_th - bias) ** 2).sum())
        if core.v_min is not None:
            total += rates.floor * (ints.v_min / ints.v_th - core.v_min / core.v_th) ** 2
        return total

    return mismatch


def quantize_best(
    core: FloatCore,
    formats: IafFormats,
    objective: Objective | None = None,
    *,
    rates: Rates | None = None,
    search: ScaleSearch | None = None,
) -> CoreReport:
    """The candidate with the least objective (default: `static_mismatch` at these rates); of equal ones the first.

    Never worse by the objective than sinabs' integers, which are a candidate wherever they keep to the formats and to
    `limit_weights`. Warnings are in the report. Raises UsageError for a core without a floor, with a state left over, whose
    threshold no scale keeps, and for an objective that is not a number.
    """
    search = search or ScaleSearch()
    if core.v_min is None:
        raise UsageError(
            "the state has no floor (min_v_mem is None), which leaves the scale at 1 and rounds the weights away",
            where=core.name, limit=f"the chip's floor is an integer of {formats.state_bits} bits",
            remedy="Give the neurons a floor and train with it, for example minus the threshold", code="iaf_no_floor",
        )
    if core.v_mem is not None:
        raise UsageError("a state left over from a simulation would take part in the scale", where=core.name,
                         remedy="Reset the states first (v_mem None)", code="iaf_state_in_scale")
    static, rule = static_mismatch(core, rates), quantize_sinabs(core)
    made = list(_candidates(core, formats, search))
    allowed = search.limit_weights == "where_possible" or not rule.ints.n_over_threshold
    if rule.ints.v_th >= 1 and allowed and _fits(rule.ints, formats):
        made.append(_Candidate("sinabs", rule.decided_by, core.weight, 0, rule))
    # Built again when tried: hundreds of large kernels are not held at once.
    scored = [(static(report.ints), i) for i, c in enumerate(made) if _limited(report := c.build(core, formats), core, search)]
    if not scored:
        raise UsageError(
            f"no scale keeps a threshold of {core.v_th:g} beside weights up to {np.abs(core.weight).max():g}", where=core.name,
            limit=f"weights have {formats.weight_bits} bits, and the threshold is an integer of at least 1",
            remedy="Keep weights near the threshold in training", code="iaf_threshold_lost",
        )
    ranked = [made[i] for _, i in sorted(scored)]
    if objective is None:
        return ranked[0].build(core, formats)
    tried = ranked[: search.n_tried] + [c for c in ranked[search.n_tried :] if c.rule is not None]
    values = [objective(c.build(core, formats).ints) for c in tried]
    if any(np.isnan(value) for value in values) or not np.isfinite(min(values)):
        raise UsageError("the objective is not a finite number for any candidate", where=core.name,
                         remedy="Return a mismatch that is 0 or above")
    return tried[int(np.argmin(values))].build(core, formats)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A variant of the weights at an integer threshold, or the report of sinabs' rule."""

    variant: str
    decided_by: str
    weight: Float32Array
    k: int
    rule: CoreReport | None = None

    def build(self, core: FloatCore, formats: IafFormats) -> CoreReport:
        if self.rule is not None:
            return CoreReport(core, self.rule.ints, self.decided_by, 0, self.variant)
        s = self.k / core.v_th
        lowest = -(2 ** (formats.state_bits - 1))
        ints = IntCore(
            weight=_rounded(self.weight, s),
            bias=None if core.bias is None else _rounded(core.bias, s),
            v_th=self.k,
            v_min=max(lowest, int(np.rint((core.v_min or 0.0) * s))),
            v_mem=None,
            scale=s,
        )
        return CoreReport(core, ints, self.decided_by, int(np.count_nonzero(self.weight != core.weight)), self.variant)


def _limited(report: CoreReport, core: FloatCore, search: ScaleSearch) -> bool:
    """Whether the weights keep below the threshold, where that is asked."""
    return not report.ints.n_over_threshold or (search.limit_weights == "where_possible" and not _within(core))


def _within(core: FloatCore) -> bool:
    return not (core.weight > np.float32(core.v_th)).any()


def _candidates(core: FloatCore, formats: IafFormats, search: ScaleSearch) -> Iterator[_Candidate]:
    for variant, weight in _variants(core, search):
        top, decided_by = _largest_threshold(core, weight, formats, floor_held=False)
        for k in _spread(1, top, search.n_thresholds):
            yield _Candidate(variant, decided_by, weight, k)
        if search.clip_floor:
            beyond, decided_by = _largest_threshold(core, weight, formats, floor_held=True)
            for k in _spread(top + 1, beyond, search.n_thresholds):
                yield _Candidate(f"{variant}, floor held", decided_by, weight, k)


def _variants(core: FloatCore, search: ScaleSearch) -> Iterator[tuple[str, Float32Array]]:
    limit = np.float32(core.v_th)
    always = search.limit_weights == "always"
    if _within(core):
        yield "as it is", core.weight
    else:
        if not always:
            yield "as it is", core.weight
        yield "weights limited to the threshold", np.minimum(core.weight, limit)
    sizes = np.abs(core.weight[core.weight != 0])
    for q in search.clip_quantiles if sizes.size else ():
        bound = np.float32(np.quantile(sizes, q))
        clipped = np.clip(core.weight, -bound, bound)
        yield f"outliers clipped at the quantile {q:g}", np.minimum(clipped, limit) if always else clipped


def _largest_threshold(core: FloatCore, weight: Float32Array, formats: IafFormats, *, floor_held: bool) -> tuple[int, str]:
    """The largest integer threshold at which everything keeps to its format (0: none), and what bounds it."""
    spans = [("weight", float(weight.min()), float(weight.max()), formats.weight_bits)]
    if core.bias is not None:
        spans.append(("bias", float(core.bias.min()), float(core.bias.max()), formats.bias_bits))
    if not floor_held:
        spans.append(("floor", float(core.v_min or 0), 0.0, formats.state_bits))
    tops = [(2 ** (formats.state_bits - 1) - 1, "threshold")]
    for name, low, high, bits in spans:
        half = 2 ** (bits - 1)
        ends = [(half - 0.5) * core.v_th / high] if high > 0 else []
        ends += [(half + 0.5) * core.v_th / -low] if low < 0 else []
        top = int(min([*ends, tops[0][0]]))
        while top > 0 and not _in_format(np.array([low, high]), top / core.v_th, bits):
            top -= 1  # a tie at the end of the format rounds out of it
        tops.append((top, name))
    return min(tops, key=lambda pair: pair[0])


def _spread(low: int, high: int, n: int) -> list[int]:
    return sorted({int(k) for k in np.rint(np.linspace(low, high, min(n, high - low + 1)))}) if low <= high else []


def _rounded(values: Float32Array, s: float) -> IntArray:
    rounded: IntArray = np.rint(values.astype(np.float64) * s).astype(np.int64)
    return rounded


def _in_format(values: NDArray[np.float64], s: float, bits: int) -> bool:
    rounded = np.rint(values * s)
    return bool((rounded >= -(2 ** (bits - 1))).all() and (rounded <= 2 ** (bits - 1) - 1).all())


def _fits(ints: IntCore, formats: IafFormats) -> bool:
    return (
        _in_format(ints.weight.astype(np.float64), 1.0, formats.weight_bits)
        and (ints.bias is None or _in_format(ints.bias.astype(np.float64), 1.0, formats.bias_bits))
        and _in_format(np.array([ints.v_min, ints.v_th], dtype=np.float64), 1.0, formats.state_bits)
    )
