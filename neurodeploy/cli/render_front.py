"""What the end of a search looks like on every kind of target: the front, what the search saw of the best, where it lies."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, arch, count, percent, points, relative, si

_N_PARETO_SHOWN = 12
_ESTIMATED = "Estimated for the search: validation images, weights shared in the supernet, activity as rates."
_COMPARED = (
    "Searched: weights shared in the supernet, activity as mean rates, validation images. Simulated: trained anew, in "
    "integers, each event counted, test images."
)
_COMPARED_CELL = "Searched: the untrained cell, validation images. Simulated: trained, test images."
_LABELS = {
    "spikes": ("spikes", ""), "synops": ("synaptic operations", ""), "energy_j": ("energy", "J"),
    "energy_dynamic_j": ("  of it dynamic", "J"), "energy_at_exit_j": ("energy with early exit", "J"),
    "latency_s": ("latency", "s"), "n_cores": ("cores", ""),
}


def show_pareto(
    console: Console, data: Mapping[str, Any], *, estimated: str = _ESTIMATED, latency: str = "latency"
) -> None:
    """The candidates that no other beats in every respect, most accurate first."""
    if data.get("method") == "sahd":
        _show_cells(console, data, latency)
        return
    front = sorted(data["pareto"], key=lambda entry: entry["accuracy"], reverse=True)
    shown = front[:_N_PARETO_SHOWN]
    terms = sorted({name for e in shown for name in e.get("terms", {})})  # of the recipe's own
    rows = [
        [
            arch(e["genome"]), percent(e["accuracy"]), count(e["spikes"]), si(e["energy_j"], "J"), si(e["latency_s"], "s"),
            count(e["n_cores"]), *(f"{e['terms'][name]:.4g}" if name in e.get("terms", {}) else MISSING for name in terms),
            MISSING if e["fitness"] is None else f"{e['fitness']:.4f}",
        ]
        for e in shown
    ]
    best = next((i for i, e in enumerate(shown) if e["genome"] == data["best"]["genome"]), None)
    note = f"{estimated} Bold: the fittest."
    if len(front) > len(shown):
        note += f" {len(front) - len(shown)} more with --json."
    title = (
        f"Pareto front: {len(front)} of {data['n_evaluated']} candidates evaluated ({data['n_feasible']} feasible) "
        f"for {data['target']}"
    )
    columns = ["architecture", "accuracy", "spikes", "energy", latency, "cores", *terms, "fitness"]
    tables.grid(console, title, columns, rows, note=note, marked=best)
    if "exact" in data:
        _show_exact(console, data["exact"], data["n_evaluated"])


def _show_cells(console: Console, data: Mapping[str, Any], latency: str) -> None:
    """The cells that no other beats in every respect, highest score first, and why others were left out."""
    front = sorted(data["pareto"], key=lambda entry: entry["score"], reverse=True)
    shown = front[:_N_PARETO_SHOWN]
    rows = [
        [e["cell"], f"{e['score']:.2f}", count(e["spikes"]), si(e["energy_j"], "J"), si(e["latency_s"], "s"),
         count(e["n_cores"]), f"{e['fitness']:.2f}"]
        for e in shown
    ]  # fmt: skip
    best = next((i for i, e in enumerate(shown) if e["cell"] == data["best"]["cell"]), None)
    note = f"{data['untrained']} Bold: the fittest."
    if data["refused"]:
        left_out = ", ".join(f"{n} ({why})" for why, n in data["refused"].items())
        note += f" Left out: {left_out}; candidates.json has the reasons."
    if len(front) > len(shown):
        note += f" {len(front) - len(shown)} more with --json."
    title = f"Pareto front: {len(front)} of {data['n_evaluated']} cells ({data['n_feasible']} feasible) for {data['target']}"
    columns = ["cell", "score", "spikes", "energy", latency, "cores", "fitness"]
    tables.grid(console, title, columns, rows, note=note, marked=best)


def _show_exact(console: Console, exact: Mapping[str, Any], n: int) -> None:
    """What searches with a budget would have found of the whole space."""
    rows = [
        [s["method"], count(s["seed"]), MISSING if s["best"] is None else f"{s['best']:.4f}",
         MISSING if s["regret"] is None else percent(s["regret"]), count(s["rank"]),
         f"{s['front_found']} of {s['n_front']}", MISSING if s["epsilon"] is None else f"{s['epsilon']:.3f}"]
        for s in exact["searches"]
    ]  # fmt: skip
    note = (
        f"All {n} architectures are known, so the other methods were run again on them, with {exact['budget']} evaluations. "
        f"Regret: what the best lacks of the optimum's fitness. Front: over {', '.join(exact['objectives'])}; epsilon: how far "
        "all of it lies from what was found, in units of its range."
    )
    columns = ["method", "seed", "fitness", "regret", "rank", "front met", "epsilon"]
    tables.grid(console, "What a search with a budget misses", columns, rows, note=note)


def show_predicted(
    console: Console, best: Mapping[str, Any], cost: Mapping[str, Any], test: Mapping[str, Any], *, compared: str = _COMPARED,
    latency: str = "latency",
) -> None:
    """What the search saw of the best candidate, beside what came of it."""
    found = {
        "spikes": cost["counts"]["spikes"], "synops": cost["counts"]["synops"], "energy_j": cost["energy_j"]["nominal"],
        "energy_dynamic_j": cost["energy_dynamic_j"]["nominal"], "latency_s": cost["latency_s"], "n_cores": cost["n_cores"],
    }
    if test["early_exit"] is not None:
        found["energy_at_exit_j"] = test["early_exit"]["energy_j"]["nominal"]
    accuracy = test["accuracy"]["simulator"]
    if best["accuracy"] is None:  # of a cell, which was not trained
        rows, compared = [], _COMPARED_CELL
    else:
        rows = [["accuracy", percent(best["accuracy"]), percent(accuracy), f"{points(accuracy - best['accuracy'])} points"]]
    for key, (label, unit) in _LABELS.items():
        if found.get(key) is not None and best.get(key) is not None:
            cells = [si(v, unit) if unit else count(v) for v in (best[key], found[key])]
            rows.append([latency if key == "latency_s" else label, *cells, relative(found[key], best[key])])
    columns = ["", "searched", "simulated", "difference"]
    tables.grid(console, "What the search saw, and what came of it", columns, rows, note=compared)


def show_files(console: Console, data: Mapping[str, Any], cost: Mapping[str, Any], *, latency: str, then: list[str]) -> None:
    """Where everything lies, and the commands that come next; `latency` as the summary names it."""
    seconds = data["seconds"]
    spent = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    costs = f"{si(cost['energy_j']['nominal'], 'J')} and {latency} {cost['status']}"
    accuracy = percent(data["test"]["accuracy"]["simulator"])
    cores = "" if cost["n_cores"] is None else f"; {count(cost['n_cores'])} cores"
    result = f"{arch(data['best']['genome'])}: {accuracy} simulated; {costs}{cores}"
    tables.facts(console, "Files", [
        ("found", result), ("run", str(data["run_dir"])), ("model", str(data["model"])), ("bundle", str(data["bundle"])),
        ("time", f"{sum(seconds.values()):.0f} s: {spent}"),
    ])  # fmt: skip
    bundle, model = shlex.quote(str(data["bundle"])), shlex.quote(str(data["model"]))
    tables.lines(console, "Next", [
        *then,
        f"neurodeploy energy {bundle} --target {data['target']}",
        f"neurodeploy check {model} --target {data['target']}",
    ])  # fmt: skip


def chip_commands(bundle: str, target: str) -> list[str]:
    """How a bundle of an event-driven chip is checked by the vendor's tools and loaded onto a board."""
    folder = shlex.quote(bundle)
    return [
        f"neurodeploy validate {folder}",
        f"neurodeploy validate {folder} --oracle samna",
        f"python {shlex.quote(f'{bundle}/run_on_{target}.py')}",
    ]
