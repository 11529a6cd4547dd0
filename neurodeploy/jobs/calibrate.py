"""`neurodeploy calibrate`: what the power log of a board says about the energy constants of its chip."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.calibration import Calibration, RestLevel, fit_levels, fit_rates, rest_level
from neurodeploy.data.power_log import PowerLog, describe_log, read_power_log
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.hw.profile import EventProfile, any_target, read
from neurodeploy.ir.archive import write
from neurodeploy.jobs.calibrated import Origin, calibrated_profile, settings_of
from neurodeploy.sim.files import check_writable

Floats = NDArray[np.float64]
_NEAR = 5  # windows of which most are above rest where a run goes on
_MAX_JSON = 2**26  # bytes


@dataclass(frozen=True)
class CalibrateResult:
    """What a log gave. `rest` is None where it has one level of power only, `fit` where it gives no energy per synop: then
    `errors` says why. `profile` is the file that was written; `synops_per_s` the mean rate that the fit rests on.
    """

    target: str
    log: dict[str, Any]
    idle: dict[str, Any] | None
    rest: RestLevel | None
    synops_per_s: float | None
    run_s: float | None
    fit: Calibration | None
    energy_before_j: dict[str, float] | None
    settings: tuple[str, ...]
    profile: Path | None
    errors: tuple[NeurodeployError, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "target": self.target, "profile": self.profile, "log": self.log, "idle": self.idle,
            "rest": None if self.rest is None else self.rest.to_dict(), "synops_per_s": self.synops_per_s, "run_s": self.run_s,
            "fit": None if self.fit is None else self.fit.to_dict(), "energy_before_j": self.energy_before_j,
            "settings": list(self.settings),
        }


def calibrate(
    log: Path | str, target: str, *, synops: float | None = None, activity: Path | str | None = None,
    idle: Path | str | None = None, out: Path | str | None = None, note: str = "",
) -> CalibrateResult:
    """Fit energy per synop and power at rest of each rail to a power log (`data.power_log`).

    The synops come from the log's own column, or as the mean rate of the run: `synops` per second, or `activity`, a JSON file
    that holds synops_per_s (what `energy --json` printed, or an EventActivity). The run lasts from the first to the last
    window above rest. `idle` is a log of the board at rest. `out` is the profile to write, TOML that extends the target; only
    a fit is written. What the log cannot give is refused in `errors` of the result, the rest of which is complete all the same.
    Raises UsageError for a target without synops, files that are missing or no logs, and an `out` that exists.
    """
    profile = any_target(target)
    if not isinstance(profile, EventProfile):
        raise UsageError(f"{profile.name} is no event-driven chip", where=target, code="other_arithmetic",
                         limit="Energy per synop and rails are those of chips such as speck2f")
    written = None if out is None else _checked(Path(out), profile)
    rails, needed = tuple(profile.power), profile.static_rails
    run = read_power_log(Path(log), rails, needed)
    still = None if idle is None else read_power_log(Path(idle), rails, needed)
    rate = _given_rate(run, synops, activity, profile)
    rest = rest_level(run.power_w, needed)
    fit, error, span = None, None, slice(0, run.n) if rest is None else _span(rest)
    try:
        fit = _fit(run, still, rest, rate, span, needed)
        _believable(fit, needed, run)
    except UsageError as refused:
        fit, error = None, refused
    if rate is None and run.synops_per_s is not None:
        rate = float(run.synops_per_s.mean())
    origin = Origin(Path(log).name, _digest(Path(log)), run.n, run.duration_s, note)
    if fit is not None and written is not None:
        write(written, calibrated_profile(profile, fit, origin, name=written.stem).encode())
        read(written)
    before = profile.energy.get("synop")
    return CalibrateResult(
        target=profile.name, log=describe_log(run), idle=None if still is None else describe_log(still), rest=rest,
        synops_per_s=rate, run_s=run.duration_s * (span.stop - span.start) / run.n, fit=fit,
        energy_before_j=None if before is None else dict(zip(("low", "nominal", "high"), before.si, strict=True)),
        settings=() if fit is None else settings_of(profile, fit), profile=written if fit is not None else None,
        errors=() if error is None else (error,),
    )


def _fit(
    run: PowerLog, still: PowerLog | None, rest: RestLevel | None, rate: float | None, span: slice, needed: tuple[str, ...]
) -> Calibration:
    shared = run.power_w if still is None else {rail: p for rail, p in run.power_w.items() if rail in still.power_w}
    if run.synops_per_s is not None:
        if still is None:
            return fit_rates(run.power_w, run.synops_per_s, needed)
        both = {rail: np.concatenate([still.power_w[rail], p]) for rail, p in shared.items()}
        return fit_rates(both, np.concatenate([np.zeros(still.n), run.synops_per_s]), needed)
    if rate is None:
        raise UsageError(
            "no energy per synop: the log has no event counts", where=str(run.path), code="no_synops",
            limit="P = P_static + e * synops/s: power alone cannot tell many cheap synops from few dear ones",
            remedy="Log synops_per_s beside the rails, or give the mean of the run with --synops or --activity",
        )
    if still is not None:
        return fit_levels(still.power_w, {rail: p[span] for rail, p in shared.items()}, rate, needed)
    if rest is None:
        raise UsageError(
            "static power and energy per synop cannot be told apart", where=str(run.path), code="no_variation",
            limit="The log has one level of power and one rate of synops, which give only their sum",
            remedy="Log the board at rest too: --idle idle.csv, or a run with pauses",
        )
    at_rest = {rail: p[rest.at_rest] for rail, p in run.power_w.items()}
    return fit_levels(at_rest, {rail: p[span] for rail, p in run.power_w.items()}, rate, needed)


def _span(rest: RestLevel) -> slice:
    """The run: from the first to the last window above rest, single ones left out, as noise can be one."""
    above = ~rest.at_rest
    busy = above & (np.convolve(above, np.ones(_NEAR), "same") > _NEAR / 2)
    active = np.flatnonzero(busy if busy.any() else above)
    return slice(int(active[0]), int(active[-1]) + 1)


def _believable(fit: Calibration, needed: tuple[str, ...], run: PowerLog) -> None:
    """Raise UsageError for a fit that says nothing, or what cannot be."""
    e = fit.energy_j
    if e.value <= 0 or (e.low is not None and e.low <= 0):
        interval = "" if e.low is None or e.high is None else f", 95 % interval {e.low * 1e12:.3g} to {e.high * 1e12:.3g}"
        raise UsageError(
            f"power does not rise with the synops: {e.value * 1e12:.3g} pJ per synop{interval}", where=str(run.path),
            code="no_slope", limit="An energy above zero",
            remedy="Check that powers and synops are those of the same times, or log a busier run",
        )
    for rail in needed:
        if fit.static_w[rail].value < 0:
            raise UsageError(
                f"rail {rail} at rest would have {fit.static_w[rail].value * 1e6:.3g} uW", where=str(run.path),
                code="negative_power", limit="Powers from 0", remedy="Log the board at rest too: --idle idle.csv",
            )


def _given_rate(
    run: PowerLog, synops: float | None, activity: Path | str | None, profile: EventProfile
) -> float | None:
    """The mean rate of the run that was given beside the log."""
    given = [name for name, there in (("the log's own column", run.synops_per_s is not None), ("--synops", synops is not None),
                                      ("--activity", activity is not None)) if there]  # fmt: skip
    if len(given) > 1:
        raise UsageError(f"synops from {' and '.join(given)}", where=str(run.path), limit="One of them")
    if activity is not None:
        synops = _activity(Path(activity), profile.name)
    if synops is not None and not 0 < synops < float("inf"):
        raise UsageError(f"{synops:g} synops per second", where=given[0], limit="A positive number")
    return synops


def _activity(path: Path, target: str) -> float:
    """Synops per second from a JSON file: of its top level, or of the target in what `energy --json` printed.

    With an interval from one sample to the next, the mean over it: a run of such samples pauses in between.
    """
    where = str(path)
    if not path.is_file():
        raise UsageError("no such file", where=where, code="path")
    if path.stat().st_size > _MAX_JSON:
        raise UnsafeFile(f"the file has {path.stat().st_size} bytes", where=where, limit=f"At most {_MAX_JSON}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UnsafeFile("the file is no JSON", where=where, limit=str(error)) from error
    try:
        if "data" in found:
            found = found["data"]["targets"][target]
        if "synops_per_s" in found:
            share = float(found["duration_s"]) / float(found["interval_s"]) if "interval_s" in found else 1.0
            return float(found["synops_per_s"]) * share
        return sum(float(n) for n in found["n_synops"].values()) / float(found["duration_s"])
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise UsageError(
            "no activity in it", where=where, limit="synops_per_s, or n_synops by layer and duration_s",
            remedy="Write it with `neurodeploy energy MODEL --target T --json`",
        ) from error


def _checked(out: Path, profile: EventProfile) -> Path:
    if out.suffix != ".toml" or out.stem == profile.name or out.stem.startswith("_"):
        raise UsageError("no name for the profile", where=str(out), limit=f"NAME.toml, with another name than {profile.name}")
    if out.exists():
        raise UsageError("the file is there already", where=str(out), code="path", remedy="Name another with --out")
    check_writable(out)
    return out


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
