"""What a network costs on a GPU, for a person: one sample alone and a batch side by side, terms, layers, memory, early exit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, band, count, percent, share_of, si
from neurodeploy.cli.render_cost import show_trust
from neurodeploy.cli.render_exit import show_early_exit
from neurodeploy.hw.profile import weakest

_TERMS = {"compute": "operations", "memory": "memory traffic", "launch": "waiting for kernels", "idle": "idle power"}
_BOUNDS = {"compute": "arithmetic", "memory": "memory", "launch": "launches"}
_N_LAYERS_SHOWN = 24


def is_gpu_cost(entry: Mapping[str, Any]) -> bool:
    """Whether an entry is the cost of an inference on a GPU."""
    return "boundary" in entry


def show_gpu_target(console: Console, name: str, entry: Mapping[str, Any]) -> None:
    """Print accuracy, cost, layers, memory and early exit on one GPU."""
    accuracy, data, simulated = entry["accuracy"], entry["data"], None
    rows = [("runs", f"real numbers in {entry['precision']}, {count(entry['n_timesteps'])} timesteps, as dense passes: "
                     "figures do not depend on what fires")]
    if accuracy is not None:
        simulated = (
            f"run in float32, timestep by timestep, {accuracy['n']} samples of the {data['split']} split of {data['name']}"
        )
        based = share_of(accuracy["n_right"], accuracy["n"], accuracy["interval"])
        rows.insert(0, ("accuracy", f"{percent(accuracy['simulator'])} ({based}), simulated"))
    else:
        rows.insert(0, ("accuracy", MISSING))
    tables.facts(console, f"{name}: {_powers(entry)}", [*rows, ("memory", memory(entry["memory"]))])
    show_gpu_totals(console, entry)
    show_gpu_layers(console, entry)
    if entry["early_exit"] is not None:
        show_early_exit(console, entry["early_exit"])
    show_trust(console, entry, entry["disclaimer"], simulated=simulated)


def _powers(entry: Mapping[str, Any]) -> str:
    return "figures of the board alone" if entry["boundary"] == "board" else "figures of everything behind the plug"


def memory(found: Mapping[str, Any]) -> str:
    """`12.3 MB of 141 GB for a batch of 64`."""
    return f"{si(found['used'], 'B')} of {si(found['limit'], 'B')} for a batch of {count(found['batch'])}"


def show_gpu_totals(console: Console, cost: Mapping[str, Any]) -> None:
    """Energy by term and time, of one sample alone and of each in a batch, with what sets the time."""
    many = cost["batched"]
    columns = ["", "one alone", "share", f"each of {count(many['batch'])}", "share", "status"]
    both = (cost, many)

    def shares(term: str) -> list[str]:
        cells = []
        for c in both:
            joule, total = c["breakdown_j"][term], c["energy_j"]["nominal"]
            cells += [band(joule, "J"), MISSING if joule is None or not total else f"{100 * joule['nominal'] / total:.1f} %"]
        return cells

    time = weakest([e["status"] for n, e in cost["provenance"].items() if n.startswith(("time.", "rates.", "factors."))])
    rows = [
        ["energy", band(cost["energy_j"], "J"), MISSING, band(many["energy_j"], "J"), MISSING, cost["status"]],
        *([f"  {_TERMS[t]}", *shares(t), s or "not available"] for t, s in cost["breakdown_status"].items()),
        ["latency", band(cost["latency_band_s"], "s"), MISSING, band(many["latency_band_s"], "s"), MISSING, time],
        ["time between results", si(cost["interval_s"], "s"), MISSING, si(many["interval_s"], "s"), MISSING,
         "given" if cost.get("interval_source") == "given" else time],
        *([f"  set by {name}", MISSING, f"{100 * cost['limiting'][b]:.1f} %", MISSING, f"{100 * many['limiting'][b]:.1f} %",
           time] for b, name in _BOUNDS.items()),
        ["energy x latency", band(cost["edp_band_js"], "Js"), MISSING, MISSING, MISSING, cost["status"]],
        ["kernels launched", count(cost["counts"]["launches"]), MISSING, MISSING, MISSING, "exported form"],
        ["multiply-accumulates", count(cost["counts"]["macs"]), MISSING, MISSING, MISSING, "exported form"],
        ["bytes moved", count(cost["counts"]["bytes"]), MISSING, MISSING, MISSING, "exported form"],
    ]  # fmt: skip
    note = (
        "nominal (low to high), unrolled form. Energies are a sample's, latencies those of the whole batch. --set gpu.batch=N, "
        "gpu.precision=bf16."
    )
    tables.grid(console, "Cost of one inference", columns, rows, note=note)


def show_gpu_layers(console: Console, cost: Mapping[str, Any]) -> None:
    """The layers that take longest, one sample alone."""
    layers = sorted(cost["layers"], key=lambda layer: -layer["time_s"])[:_N_LAYERS_SHOWN]
    shown = [layer for layer in cost["layers"] if layer in layers]
    total = sum(layer["time_s"] for layer in cost["layers"])
    rows = [
        [
            e["name"], count(e["n_kernels"]), count(e["counts"]["macs"]), count(e["counts"]["bytes"]), si(e["time_s"], "s"),
            f"{100 * e['time_s'] / total:.1f} %", e["bound"], si(e["energy_dynamic_j"]["nominal"], "J"),
        ]
        for e in shown
    ]
    columns = ["layer", "kernels", "MACs", "bytes", "time", "share", "set by", "dynamic"]
    left = len(cost["layers"]) - len(shown)
    note = f"One sample alone, all timesteps.{f' {left} shorter layers with --json.' if left else ''}"
    tables.grid(console, "Layers", columns, rows, note=note, left_also=(6,))

