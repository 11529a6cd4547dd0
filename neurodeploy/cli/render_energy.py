"""An energy report for a person: the targets side by side, then each in detail, then the proxies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, band, count, percent, share_of, si
from neurodeploy.cli.render_cost import show_cores, show_layers, show_proxies, show_terms, show_totals, show_trust
from neurodeploy.cli.render_deploy import PLACEMENT_SOURCES
from neurodeploy.cli.render_event_energy import is_event_cost, show_event_target
from neurodeploy.cli.render_exit import show_early_exit
from neurodeploy.cli.render_gpu import is_gpu_cost, show_gpu_target
from neurodeploy.cli.render_steps import show_steps

_LENGTHS = {
    "argument": "given", "tSample": "the file's tSample", "reset_interval": "the reset interval", "file": "as the file has it",
    "default": "assumed too: the file names none; --timesteps does",
}


def show_energy(console: Console, data: Mapping[str, Any]) -> None:
    """Print an energy report, the contract's object."""
    console.print()
    targets: dict[str, dict[str, Any]] = data["targets"]
    if len(targets) > 1:
        _show_side_by_side(console, targets)
    for name, entry in targets.items():
        if entry["fits"]:
            _show_target(console, name, entry)
        elif "reason" in entry:
            tables.say(console, f"{name}: no figure can be given. {entry['reason']}")
            console.print()
        else:
            n = len(entry["violations"])
            tables.say(console, f"{name}: does not fit, {n} limit{'s' if n != 1 else ''} broken; no figure can be given.")
            console.print()
    if data.get("proxies") is not None:
        show_proxies(console, data["proxies"])


def _show_side_by_side(console: Console, targets: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [
        [
            name, "yes" if e["fits"] else "no", count(e["n_cores"]), band(e["energy_j"], "J"), band(e["energy_dynamic_j"], "J"),
            si(e["decision_s"] if is_event_cost(e) else e["latency_s"], "s"), e["status"] or MISSING,
        ]
        for name, e in targets.items()
    ]
    columns = ["target", "fits", "cores", "energy", "of it dynamic", "latency", "status"]
    note = "nominal (low to high)."
    if any(is_event_cost(e) for e in targets.values()):
        note += " latency: on an event-driven chip the sample's duration and the way of its last event."
    if any(is_gpu_cost(e) for e in targets.values()):
        note += " On a GPU one sample alone; a batch costs less for each."
    tables.grid(console, "One inference", columns, rows, note=note)


def _show_target(console: Console, name: str, entry: Mapping[str, Any]) -> None:
    if is_event_cost(entry):
        show_event_target(console, name, entry)
        return
    if is_gpu_cost(entry):
        show_gpu_target(console, name, entry)
        return
    schedule = {entry["schedule"]: dict(entry)}
    title, simulated = f"{name}: {entry['n_cores']} cores", None
    if "input" in entry:
        used = entry["input"]
        simulated = (
            f"run and counted on a simulator of the chip's integer arithmetic, {used['n_samples']} "
            f"sample{'s' if used['n_samples'] != 1 else ''} of {used['file']}"
        )
        tables.facts(console, title, [
            ("accuracy", MISSING),
            ("activity", f"{used['n_samples']} x {used['n_timesteps']} timesteps of {used['file']}, every event counted"),
            *_placement(entry),
        ])
    elif entry["data"] is None:
        length = ""
        if "n_timesteps" in entry:
            length = f" for {entry['n_timesteps']} timesteps ({_LENGTHS[entry['n_timesteps_from']]})"
        activity = f"assumed: {entry['rate']:g} spikes a neuron and timestep{length}; no data was run"
        tables.facts(console, title, [("accuracy", MISSING), ("activity", activity), *_placement(entry)])
    else:
        accuracy, used = entry["accuracy"], entry["data"]
        simulated = (
            f"run and counted on a simulator of the chip's integer arithmetic, {accuracy['n']} images of the {used['split']} "
            f"split of {used['name']}"
        )
        based = share_of(accuracy["n_right"], accuracy["n"], accuracy["interval"])
        rows = [("accuracy", f"{percent(accuracy['simulator'])} ({based}), simulated")]
        if accuracy["float"] is not None:
            rows.append(("before quantization", f"{percent(accuracy['float'])}, computed in float64"))
        tables.facts(console, title, [*rows, *_placement(entry)])
    show_totals(console, schedule)
    show_terms(console, schedule)
    show_layers(console, entry)
    show_cores(console, entry)
    show_steps(console, entry)
    if entry["early_exit"] is not None:
        show_early_exit(console, entry["early_exit"])
    show_trust(console, entry, entry["disclaimer"], simulated=simulated)


def _placement(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the placement comes from, where that is said."""
    source = entry.get("placement_source")
    return [] if source is None else [("placement", PLACEMENT_SOURCES[source])]
