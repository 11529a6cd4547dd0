"""`neurodeploy calibrate`: a board's power log becomes constants of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, count, percent, si
from neurodeploy.cli.frame import Frame, Outcome
from neurodeploy.cli.options import Debug, DryRun, Json, NoSettings, Target, no_overrides, one_target


def calibrate(
    ctx: typer.Context,
    log: Annotated[Path, typer.Argument(metavar="LOG", help="The rails' power: .csv, .npz, or .npy as LENS publishes it.")],
    target: Target,
    synops: Annotated[float | None, typer.Option("--synops", metavar="PER_SECOND",
        help="Mean synops per second of the run, where the log has no column of them.")] = None,
    activity: Annotated[Path | None, typer.Option("--activity", metavar="FILE.JSON",
        help="The run's activity instead: what `energy --json` printed for this target.")] = None,
    idle: Annotated[Path | None, typer.Option("--idle", metavar="LOG", help="A log of the same board at rest.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="PROFILE.TOML",
        help="The profile to write; it must not exist. Default: only print the fit.")] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT",
        help="Board, instrument and date, for the source of each number.")] = "",
    settings: NoSettings = None,
    dry_run: DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> Outcome:
    """Fit the energy per synop and the power at rest of each supply rail to a power log of your board.

    A .csv has a header of t_s (or t_ms, t_us), one column for each rail of the profile in watt (ram, logic; or ram_mw,
    ram_uw), and synops_per_s, the activity in each row's window. Without that column, --synops or --activity gives the mean
    rate of the run, which lasts from the first to the last window above rest; the board at rest is then part of the log
    or in --idle.

    P = P_static + e x synops per second, a rail: e is the sum over the processor's rails, the bands are 95 % intervals.
    What a log cannot give is refused, exit code 2: no energy per synop without synops, none from one rate without rest.
    Rest and activity are told apart all the same.

    Examples:
      neurodeploy calibrate power.csv --target speck2f --out my_speck.toml
      neurodeploy calibrate run.csv --idle idle.csv --synops 2.4e7 --target speck2f --note "board 12, 100 Hz"
      neurodeploy calibrate power.npy --target speck2f --json
    """
    frame: Frame = ctx.obj
    no_overrides(settings, "a power log")
    name = one_target(frame, target)
    options = {"synops": synops, "activity": activity, "idle": idle, "out": out, "note": note}
    if dry_run:
        asked = {"log": log, "target": name, **options}
        return Outcome(asked, lambda console: tables.show(console, asked))

    from neurodeploy.jobs import calibrate as job

    result = job.calibrate(log, name, synops=synops, activity=activity, idle=idle, out=out, note=note)
    found = result.to_dict()
    return Outcome(found, lambda console: _show(console, found), result.errors)


def _show(console: Console, data: Mapping[str, Any]) -> None:
    log, rest, fit = data["log"], data["rest"], data["fit"]
    console.print()
    facts = [("log", f"{log['file']}: {count(log['n'])} windows, {si(log['duration_s'], 's')}")]
    if log["ignored"]:
        facts.append(("ignored columns", ", ".join(log["ignored"])))
    level = "one level of power; whether that is rest, the log does not say"
    facts.append(("at rest", level if rest is None else f"{percent(rest['share_at_rest'])} of the windows"))
    if data["synops_per_s"] is not None:
        facts.append(("synops", f"{count(data['synops_per_s'])} a second, mean"))
    tables.facts(console, f"Power log for {data['target']}", facts)
    if rest is not None:
        rows = [[rail, *(si(r[k], "W") for k in ("rest_w", "active_w", "mean_w", "noise_w")), _share(rest["split"].get(rail))]
                for rail, r in rest["rails"].items()]  # fmt: skip
        note = "noise: standard deviation of a window at rest. share: of what the processor's rails rise by over rest."
        tables.grid(console, "Rails", ["rail", "at rest", "active", "all windows", "noise", "share"], rows, note=note)
    if fit is None:
        return
    rows = [
        [rail, _interval(static, 1e6), _interval(fit["energy_by_rail_j"][rail], 1e12),
         _share(fit["split"].get(rail, {}).get("value"))]
        for rail, static in fit["static_w"].items()
    ]  # fmt: skip
    before = data["energy_before_j"]
    known = "" if before is None else (
        f" The profile had {before['nominal'] * 1e12:.3g} ({before['low'] * 1e12:.3g} to {before['high'] * 1e12:.3g})."
    )
    note = (f"{fit['method']}, {count(fit['n'])} windows, 95 % intervals. Energy per synop, the processor's rails: "
            f"{_interval(fit['energy_j'], 1e12)} pJ.{known}")  # fmt: skip
    tables.grid(console, "Fit", ["rail", "static uW", "pJ per synop", "share"], rows, note=note)
    if data["profile"] is not None:
        tables.lines(console, "Written", [str(data["profile"])])
    tables.lines(console, "To use it in a command", [" ".join(f"--set {s}" for s in data["settings"])])


def _share(share: float | None) -> str:
    return MISSING if share is None else percent(share)


def _interval(estimate: Mapping[str, Any], factor: float) -> str:
    value = f"{estimate['value'] * factor:.4g}"
    if estimate["low"] is None:
        return value
    return f"{value} ({estimate['low'] * factor:.4g} to {estimate['high'] * factor:.4g})"
