"""A fit as entries of a profile: TOML that extends the target, and the same as `--set` of a command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from neurodeploy.cost.calibration import Calibration, Estimate
from neurodeploy.hw.profile import EventProfile, Quantity


@dataclass(frozen=True)
class Origin:
    """Which log a fit comes from; `note` is what the user said of board and instrument."""

    log: str
    sha256: str
    n: int
    duration_s: float
    note: str = ""

    def sentence(self, fit: Calibration) -> str:
        """What stands as the source behind a number."""
        said = f"{self.note}; " if self.note else ""
        today = datetime.now(UTC).date().isoformat()
        return (
            f"{said}fitted by neurodeploy calibrate ({fit.method}) on {today} to the power log {self.log} "
            f"({self.n} windows, {self.duration_s:.4g} s, sha256 {self.sha256[:16]}); band: 95 % interval of its noise"
        )


def calibrated_profile(profile: EventProfile, fit: Calibration, origin: Origin, *, name: str) -> str:
    """The text of a profile that extends `profile` and holds the fitted numbers, their status `measured`.

    Rails whose power at rest came out negative keep the target's, as does the split where a share lies outside 0..1.
    """
    source = origin.sentence(fit)
    lines = [
        f"# {profile.title} with the constants of one board. The numbers that are not here are those of {profile.name}.",
        f"extends = {_text(profile.name)}", f"name = {_text(name)}", f"title = {_text(f'{profile.title}, calibrated')}",
        "aliases = []", f"disclaimer = {_text(f'Energy per synop and static power are those of one board: {origin.log}.')}",
        "", "[energy]", _entry("synop", fit.energy_j, 1e12, "pJ", source), "", "[power]",
        *(_entry(rail, static, 1e6, "uW", source) for rail, static in _static(fit).items()),
    ]  # fmt: skip
    if fit.split and all(0 <= share.value <= 1 for share in fit.split.values()):
        lines += ["", "[dynamic_split]", *(_entry(r, share, 1.0, "share", source, top=1.0) for r, share in fit.split.items())]
    return "\n".join(lines) + "\n"


def settings_of(profile: EventProfile, fit: Calibration) -> tuple[str, ...]:
    """The fit as `--set` of a command that costs networks on the target; the entries must be there already to be set."""
    found = []
    if "synop" in profile.energy:
        found += _settings("energy.synop", profile.energy["synop"], fit.energy_j)
    for rail in profile.static_rails:
        found += _settings(f"power.{rail}", profile.power[rail], fit.static_w[rail])
    return tuple(found)


def _settings(entry: str, known: Quantity, estimate: Estimate) -> list[str]:
    """value, and low and high where the entry has them, in its unit."""
    factor = known.si[1] / known.value if known.value else 1.0
    low, high = _band(estimate, None)
    wanted = [("value", estimate.value)]
    wanted += [("low", low)] if known.low is not None else []
    wanted += [("high", high)] if known.high is not None else []
    return [f"profile.{entry}.{key}={_number(value / factor)}" for key, value in wanted]


def _static(fit: Calibration) -> Mapping[str, Estimate]:
    return {rail: static for rail, static in fit.static_w.items() if static.value >= 0}


def _entry(key: str, estimate: Estimate, factor: float, unit: str, source: str, top: float | None = None) -> str:
    low, high = _band(estimate, top)
    numbers = f"value = {_number(estimate.value * factor)}, low = {_number(low * factor)}, high = {_number(high * factor)}"
    return f'{key} = {{ {numbers}, unit = "{unit}", status = "measured", source = {_text(source)} }}'


def _band(estimate: Estimate, top: float | None) -> tuple[float, float]:
    """The interval, inside what such a quantity can be; the value itself where there is none."""
    low = estimate.value if estimate.low is None else max(0.0, estimate.low)
    high = estimate.value if estimate.high is None else estimate.high
    return low, high if top is None else min(top, high)


def _number(value: float) -> str:
    return f"{value:.8g}"


def _text(text: str) -> str:
    """A TOML string; what cannot be printed becomes a question mark."""
    return json.dumps("".join(c if c.isprintable() else "?" for c in text), ensure_ascii=False)
