"""`neurodeploy compare`: one network on several targets side by side; a layer over `jobs.energy`, which finds every figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.cost.schedule import Schedule
from neurodeploy.data.spikes import Layout
from neurodeploy.errors import NeurodeployError, Violation
from neurodeploy.hw.profile import any_target as profile_of
from neurodeploy.jobs.energy import energy
from neurodeploy.jobs.net_options import NetOptions
from neurodeploy.progress import SILENT, Progress

_Interval = tuple[float, float, float]  # low, nominal, high


@dataclass(frozen=True)
class Comparison:
    """A row for each target, and for each respect (`RESPECTS`) which is best; `errors` only where no target took the network.

    `best[respect]` is None where fewer than two targets have the figure, else `target`, `equal` (others of the same nominal
    figure), `overlapping` (others whose band reaches into its own, the equal ones among them) and `certain`: none overlaps.
    """

    rows: list[dict[str, Any]]
    best: dict[str, dict[str, Any] | None]
    errors: tuple[NeurodeployError, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON; `cheapest` and `certain` are those of the whole energy."""
        cheapest = self.best["energy_j"] or {}
        return {
            "rows": self.rows, "best": self.best, "cheapest": cheapest.get("target"), "certain": cheapest.get("certain"),
        }


def compare(
    model: Path, targets: list[str], *, data: str | None = None, rate: float | None = None, given: Path | None = None,
    layout: Layout = "torch", n_timesteps: int | None = None, schedule: Schedule | None = None,
    interval_s: float | None = None, net: NetOptions | None = None, overrides: dict[str, Any] | None = None,
    skip_foreign: bool = False, progress: Progress = SILENT,
) -> Comparison:
    """Accuracy on each target's simulator, fit, energy, latency, energy x time and early exit; arguments as `energy` has them.

    A target that cannot take the network is a row with its reason. Raises what `energy` raises where the question itself is
    wrong, and where no target could be asked.
    """
    report = energy(
        model, targets, data=data, rate=rate, given=given, layout=layout, n_timesteps=n_timesteps, schedule=schedule,
        interval_s=interval_s, net=net, overrides=overrides, skip_foreign=skip_foreign, progress=progress,
    )
    rows = [_row(name, profile_of(name).title, entry) for name, entry in report.targets.items()]
    best = {respect: _best(rows, figure) for respect, figure in RESPECTS.items()}
    return Comparison(rows, best, () if any(row["fits"] for row in rows) else report.errors)


def _row(target: str, title: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    violations = entry.get("violations") or []
    reason = str(Violation(**violations[0])) if violations else entry.get("reason")
    same = (
        "n_cores", "energy_j", "energy_dynamic_j", "status", "latency_s", "latency_band_s", "decision_s", "decision_band_s",
        "edp_js", "edp_band_js", "schedule", "interval_s", "interval_source", "excluded", "data", "input", "rate", "disclaimer",
    )  # fmt: skip
    accuracy = _chosen(entry.get("accuracy"), "simulator", "float", "n", "interval")
    if accuracy is not None:  # of the network as it came, where the chip has other neurons
        accuracy["float"] = entry["accuracy"].get("as_trained", accuracy["float"])
    return {
        "target": target, "title": title, "fits": entry["fits"], "reason": reason, "n_violations": len(violations),
        "accuracy": accuracy,
        **{name: entry.get(name) for name in same}, "early_exit": _early_exit(entry.get("early_exit")),
    }


def _early_exit(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """How far a sample goes, in events where the chip has no timesteps, and what it then costs, one sample alone, with the
    policy that decided it where that costs something itself."""
    if found is None:
        return None
    length = "mean_events" if "mean_events" in found else "mean_timesteps"
    if "energy_with_policy_j" in found:
        found = {**found, "energy_j": found["energy_with_policy_j"], "energy_saved": found["energy_saved_with_policy"]}
    return _chosen(found, "accuracy", length, "energy_j", "energy_full_j", "energy_saved", "status")


def _chosen(found: Mapping[str, Any] | None, *names: str) -> dict[str, Any] | None:
    return None if found is None else {name: found.get(name) for name in names}


def _less_of(*names: str) -> Callable[[Mapping[str, Any]], _Interval | None]:
    """The first of the bands that a row has; less is better."""

    def figure(row: Mapping[str, Any]) -> _Interval | None:
        band = next((row[name] for name in names if row[name] is not None), None)
        return None if band is None else (band["low"], band["nominal"], band["high"])

    return figure


def _error_rate(row: Mapping[str, Any]) -> _Interval | None:
    """Share of wrong answers with its 95 % interval, a point where that is not known."""
    accuracy = row["accuracy"]
    if accuracy is None:
        return None
    low, high = accuracy["interval"] or (accuracy["simulator"], accuracy["simulator"])
    return 1 - high, 1 - accuracy["simulator"], 1 - low


def _exit_energy(row: Mapping[str, Any]) -> _Interval | None:
    return None if row["early_exit"] is None else _less_of("energy_j")(row["early_exit"])


# What targets are compared in, each as a figure of which less is better. An event-driven chip's latency begins at the last
# event of a sample: until it decides, the sample's own duration passes too.
RESPECTS: dict[str, Callable[[Mapping[str, Any]], _Interval | None]] = {
    "accuracy": _error_rate, "energy_j": _less_of("energy_j"), "energy_dynamic_j": _less_of("energy_dynamic_j"),
    "latency_s": _less_of("decision_band_s", "latency_band_s"), "edp_js": _less_of("edp_band_js"),
    "early_exit_energy_j": _exit_energy,
}  # fmt: skip


def _best(rows: list[dict[str, Any]], figure: Callable[[Mapping[str, Any]], _Interval | None]) -> dict[str, Any] | None:
    """The least nominal figure, of equal ones that with the least upper end, and whether the bands leave that certain."""
    found = {row["target"]: band for row in rows if (band := figure(row)) is not None}
    if len(found) < 2:
        return None
    first = min(found, key=lambda name: found[name][1:])
    others = [name for name in found if name != first]
    _, nominal, high = found[first]
    overlapping = [name for name in others if found[name][0] <= high]
    return {
        "target": first, "equal": [name for name in others if math.isclose(found[name][1], nominal)],
        "overlapping": overlapping, "certain": not overlapping,
    }
