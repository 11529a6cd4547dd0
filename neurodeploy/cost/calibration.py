"""Fits of what a board's power log can give: power at rest and energy per synop of each rail, with 95 % intervals.

    P_rail(t) = P_static_rail + e_rail * synops/s(t),    e = sum of e_rail over the processor's rails

Where the synops of every window are known this is a straight line a rail, fitted with Huber's weights so that windows in
which the board did something else do not decide. Where only the mean rate of the run is known, two levels are needed: rest
and run. Standard errors allow for noise that differs between windows and hangs together in time (Newey and West 1987).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError

Floats = NDArray[np.float64]
_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
_HUBER = 1.345  # of the residuals' scale: 95 % of least squares' efficiency on normal noise (Huber 1981)
_MAD = 1.4826  # standard deviations per median absolute deviation, of normal noise
_CLIP = 4.0  # standard deviations above rest from which a window counts as active
_SEED_SHARE = 0.1  # the lowest windows, from which rest is grown
_SMALLEST_SHARE = 0.05  # of windows at rest, and of active ones
_MAX_ROUNDS = 100
_CONVERGED = 1e-9  # relative change of the coefficients
_SMALLEST_VARIATION = 1e-3  # of the rates, relative to their mean


@dataclass(frozen=True)
class Estimate:
    """A fitted number with its standard error and 95 % interval; without them where there are too few windows."""

    value: float
    standard_error: float | None
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Plain JSON values."""
        return dict(vars(self))


@dataclass(frozen=True)
class RestLevel:
    """A log's windows at rest and active: mean power of both and over all windows, by rail, in watt.

    at_rest [n]: which windows; noise_w by rail: standard deviation at rest. share: of windows at rest.
    """

    at_rest: NDArray[np.bool_]
    rest_w: dict[str, float]
    active_w: dict[str, float]
    mean_w: dict[str, float]
    noise_w: dict[str, float]
    split: dict[str, float]

    @property
    def share(self) -> float:
        """Share of the windows at rest."""
        return float(self.at_rest.mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, one entry a rail."""
        return {
            "share_at_rest": self.share, "split": self.split,
            "rails": {
                rail: {"rest_w": self.rest_w[rail], "active_w": self.active_w[rail], "mean_w": self.mean_w[rail],
                       "noise_w": self.noise_w[rail]}
                for rail in self.rest_w
            },
        }  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """energy_j per synop and its share by processor rail; static_w and energy_by_rail_j of every rail of the log."""

    method: str
    n: int
    energy_j: Estimate
    static_w: dict[str, Estimate]
    energy_by_rail_j: dict[str, Estimate]
    split: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "method": self.method, "n": self.n, "energy_j": self.energy_j.to_dict(),
            **{
                name: {rail: estimate.to_dict() for rail, estimate in getattr(self, name).items()}
                for name in ("static_w", "energy_by_rail_j", "split")
            },
        }


def rest_level(power_w: Mapping[str, Floats], processor: Sequence[str]) -> RestLevel | None:
    """The windows in which the processor's rails together are at their lowest level, or None where there is one level only.

    Activity only adds power, and rest is one level with noise: from the lowest tenth of the windows on, those within 4
    standard deviations (by the median absolute deviation) of their median are taken, until these stay the same. A log without
    rest has no such gap and ends with all windows. What the lowest level of a log is, the log cannot say: a chip that
    always works looks at rest when it works least. Both kinds need a twentieth of the windows.
    """
    total = np.sum([power_w[rail] for rail in processor], axis=0)
    members = total <= np.quantile(total, _SEED_SHARE)
    for _ in range(_MAX_ROUNDS):
        middle = np.median(total[members])
        before, members = members, total <= middle + _CLIP * _MAD * np.median(np.abs(total[members] - middle))
        if np.array_equal(before, members):
            break
    if not _SMALLEST_SHARE <= members.mean() <= 1 - _SMALLEST_SHARE:
        return None
    rest = {rail: float(p[members].mean()) for rail, p in power_w.items()}
    mean = {rail: float(p.mean()) for rail, p in power_w.items()}
    rise = {rail: mean[rail] - rest[rail] for rail in processor}
    whole = math.fsum(rise.values())
    return RestLevel(
        members, rest, {rail: float(p[~members].mean()) for rail, p in power_w.items()}, mean,
        {rail: float(p[members].std()) for rail, p in power_w.items()}, {rail: rise[rail] / whole for rail in processor},
    )


def fit_rates(power_w: Mapping[str, Floats], synops_per_s: Floats, processor: Sequence[str]) -> Calibration:
    """Straight lines through windows of known rates; at least two rates, and five windows for an interval.

    Raises UsageError (code no_variation) where the rates are all the same: then static power and e cannot be told apart.
    """
    n, mean = len(synops_per_s), float(synops_per_s.mean())
    if mean <= 0:
        raise UsageError("no synops in any window", where="synops_per_s", limit="An energy per synop needs synops",
                         remedy="Log a run with events", code="no_synops")
    if float(synops_per_s.std()) < _SMALLEST_VARIATION * mean:
        raise UsageError(
            f"all windows have the same rate, {mean:.4g} synops per second", where="synops_per_s", code="no_variation",
            limit="Static power and energy per synop then only occur as their sum",
            remedy="Log a run whose activity changes, or the board at rest with --idle",
        )
    x = np.stack([np.ones(n), synops_per_s / mean], axis=1)  # scaled, so that the matrix is well conditioned
    static: dict[str, float] = {}
    energy: dict[str, float] = {}
    i_static: dict[str, Floats] = {}
    i_energy: dict[str, Floats] = {}
    for rail, power in power_w.items():
        beta, influence = _huber(x, power)
        static[rail], energy[rail] = float(beta[0]), float(beta[1]) / mean
        i_static[rail], i_energy[rail] = influence[0], influence[1] / mean
    return _calibration("regression", n, static, energy, i_static, i_energy, processor, n - 2)


def _huber(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """(coefficients [2], what each window adds to them [2, n]) of a straight line with Huber's weights."""
    weights, beta = np.ones(len(y)), np.zeros(2)
    for _ in range(_MAX_ROUNDS):
        normal = (x.T * weights) @ x
        before, beta = beta, np.asarray(np.linalg.solve(normal, (x.T * weights) @ y), dtype=np.float64)
        residuals = y - x @ beta
        scale = _MAD * float(np.median(np.abs(residuals)))
        if scale <= 1e-12 * float(np.abs(y).max()) or np.abs(beta - before).max() <= _CONVERGED * np.abs(beta).max():
            break
        weights = np.minimum(1.0, _HUBER * scale / np.maximum(np.abs(residuals), 1e-300))
    slope = (weights >= 1).astype(np.float64)  # of Huber's function: a window beyond its bend changes nothing by its place
    if np.ptp(x[slope > 0, 1]) == 0:  # none but those at one rate are left
        slope = weights
    return beta, np.asarray(np.linalg.solve((x.T * slope) @ x, x.T * (weights * residuals)), dtype=np.float64)


def fit_levels(
    rest_w: Mapping[str, Floats], run_w: Mapping[str, Floats], synops_per_s: float, processor: Sequence[str]
) -> Calibration:
    """Rest, and a run of which the mean rate is known: e_rail = (mean of the run - mean at rest) / synops_per_s.

    Power in a run goes up and down with its activity, whose mean is known; what is uncertain is the noise of the meter, as
    it shows at rest, of both means. Raises UsageError (code no_synops) for a rate that is not positive.
    """
    if not 0 < synops_per_s < math.inf:
        raise UsageError(f"{synops_per_s:g} synops per second", where="--synops", limit="A positive number", code="no_synops")
    n_rest, n_run = (len(next(iter(p.values()))) for p in (rest_w, run_w))
    static, energy, i_static, i_energy = {}, {}, {}, {}
    for rail, rest in rest_w.items():
        static[rail] = float(rest.mean())
        energy[rail] = (float(run_w[rail].mean()) - static[rail]) / synops_per_s
        noise = rest - static[rail]
        i_static[rail] = noise / n_rest
        i_energy[rail] = -noise * math.sqrt(1 / n_rest**2 + 1 / (n_rest * n_run)) / synops_per_s
    return _calibration("two levels", n_rest + n_run, static, energy, i_static, i_energy, processor, n_rest - 1)


def _calibration(
    method: str, n: int, static: Mapping[str, float], energy: Mapping[str, float], i_static: Mapping[str, Floats],
    i_energy: Mapping[str, Floats], processor: Sequence[str], freedom: int,
) -> Calibration:
    """Estimates from values and what each window adds to them (influence [n]), the sum over rails and shares of it too."""
    whole = math.fsum(energy[rail] for rail in processor)
    i_whole = np.sum([i_energy[rail] for rail in processor], axis=0)
    split = {
        rail: _estimate(energy[rail] / whole, (i_energy[rail] - energy[rail] / whole * i_whole) / whole, freedom)
        for rail in processor
        if whole > 0
    }
    return Calibration(
        method, n, _estimate(whole, i_whole, freedom),
        {rail: _estimate(value, i_static[rail], freedom) for rail, value in static.items()},
        {rail: _estimate(value, i_energy[rail], freedom) for rail, value in energy.items()}, split,
    )


def _estimate(value: float, influence: Floats, freedom: int) -> Estimate:
    """Bartlett's kernel over 1.3 sqrt(n) lags (Lazarus and others 2018), with the quantile for a kernel of that share of the
    windows (Kiefer and Vogelsang 2005), widened for few windows as Student's t is."""
    n = len(influence)
    if freedom < 3:
        return Estimate(float(value), None, None, None)
    lags = min(n - 1, math.ceil(1.3 * math.sqrt(n)))
    variance = float(influence @ influence)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(influence[lag:] @ influence[:-lag])
    error = math.sqrt(max(variance, 0.0) * n / freedom)
    share = (lags + 1) / n
    quantile = _Z + 2.9694 * share + 0.4160 * share**2 - 0.5324 * share**3
    half = quantile * _t_quantile(freedom) / _Z * error
    return Estimate(float(value), error, float(value) - half, float(value) + half)


def _t_quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t (Cornish and Fisher's expansion; 1 % low at 3 degrees of freedom, exact for many).

    >>> round(_t_quantile(10), 3), round(_t_quantile(1000), 3)
    (2.228, 1.962)
    """
    z, v = _Z, freedom
    terms = (
        z, (z**3 + z) / 4 / v, (5 * z**5 + 16 * z**3 + 3 * z) / 96 / v**2,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / v**3,
    )  # fmt: skip
    return math.fsum(terms)
