"""The end of a search, for a person: what was found, what it costs, how the search saw it, where it lies."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, arch, count, percent, points, relative, share_of, si
from neurodeploy.cli.render_cost import show_layers, show_terms, show_totals, show_trust
from neurodeploy.cli.render_exit import show_early_exit

_N_PARETO_SHOWN = 12


def show_search(console: Console, data: Mapping[str, Any]) -> None:
    """Print a search's result, the contract's object."""
    test = data["test"]
    costs = {name: test["cost"][name] for name in sorted(test["cost"], key=lambda name: name != data["schedule"])}
    main = costs[data["schedule"]]
    console.print()
    _show_found(console, data)
    show_totals(console, costs)
    show_terms(console, costs)
    show_layers(console, main)
    if test["early_exit"] is not None:
        show_early_exit(console, test["early_exit"])
    show_pareto(console, data)
    _show_predicted(console, data["best"], main, test)
    n = test["accuracy"]["n"]
    simulated = (
        f"run and counted on a simulator of the chip's integer arithmetic, {n} images of the {data['data']['split']} split of "
        f"{data['data']['name']}"
    )
    show_trust(console, main, data["disclaimer"], simulated=simulated)
    _show_paths(console, data, main)


def show_pareto(console: Console, data: Mapping[str, Any]) -> None:
    """The candidates that no other beats in every respect, most accurate first."""
    front = sorted(data["pareto"], key=lambda entry: entry["accuracy"], reverse=True)
    shown = front[:_N_PARETO_SHOWN]
    rows = [
        [
            arch(e["genome"]), percent(e["accuracy"]), count(e["spikes"]), si(e["energy_j"], "J"), si(e["latency_s"], "s"),
            count(e["n_cores"]), MISSING if e["fitness"] is None else f"{e['fitness']:.4f}",
        ]
        for e in shown
    ]
    best = next((i for i, e in enumerate(shown) if e["genome"] == data["best"]["genome"]), None)
    note = "Estimated for the search: validation images, weights shared in the supernet, activity as rates. Bold: the fittest."
    if len(front) > len(shown):
        note += f" {len(front) - len(shown)} more with --json."
    title = (
        f"Pareto front: {len(front)} of {data['n_evaluated']} candidates evaluated ({data['n_feasible']} feasible) "
        f"for {data['target']}"
    )
    columns = ["architecture", "accuracy", "spikes", "energy", "latency", "cores", "fitness"]
    tables.grid(console, title, columns, rows, note=note, marked=best)


def _show_found(console: Console, data: Mapping[str, Any]) -> None:
    accuracy, agreement = data["test"]["accuracy"], data["test"]["agreement"]
    rows = [
        ["accuracy", percent(accuracy["simulator"]), share_of(accuracy["n_right"], accuracy["n"], accuracy["interval"]),
         "simulated"],
        ["accuracy before quantization", percent(accuracy["float"]), "real-valued network in float64", "computed"],
    ]  # fmt: skip
    if agreement is not None:
        paired = accuracy["simulator_minus_float"]
        rows += [
            ["same answer as before", percent(agreement["share"]),
             share_of(agreement["n_same"], agreement["n"], agreement["interval"]), "simulated"],
            ["change by quantization", f"{points(paired['difference'])} points",
             f"{points(paired['low'])} to {points(paired['high'])}; {paired['only_first_right']} gained, "
             f"{paired['only_second_right']} lost", "simulated"],
        ]  # fmt: skip
    note = (
        f"Test split of {data['data']['name']}, integer network on the simulator of {data['target']}; 95 % intervals, "
        f"the change paired. {_quantized(data['validation'])}"
    )
    title = f"Found: {arch(data['best']['genome'])}"
    tables.grid(console, title, ["", "result", "of", "status"], rows, note=note)


def _quantized(validation: Mapping[str, Any] | None) -> str:
    if validation is None:
        return ""
    first = validation.get("before_fine_tuning", validation)
    steps = f"{percent(first['accuracy_float'])} as trained, {percent(first['accuracy_integer'])} in integers"
    if first is not validation:
        steps += f", {percent(validation['accuracy_integer'])} after fine-tuning the integers"
    return f"Validation: {steps}."


def _show_predicted(
    console: Console, best: Mapping[str, Any], cost: Mapping[str, Any], test: Mapping[str, Any]
) -> None:
    found = {
        "spikes": cost["counts"]["spikes"], "synops": cost["counts"]["synops"], "energy_j": cost["energy_j"]["nominal"],
        "energy_dynamic_j": cost["energy_dynamic_j"]["nominal"], "latency_s": cost["latency_s"], "n_cores": cost["n_cores"],
    }
    if test["early_exit"] is not None:
        found["energy_at_exit_j"] = test["early_exit"]["energy_j"]["nominal"]
    accuracy = test["accuracy"]["simulator"]
    rows = [["accuracy", percent(best["accuracy"]), percent(accuracy), f"{points(accuracy - best['accuracy'])} points"]]
    labels = {
        "spikes": ("spikes", ""), "synops": ("synaptic operations", ""), "energy_j": ("energy", "J"),
        "energy_dynamic_j": ("  of it dynamic", "J"), "energy_at_exit_j": ("energy with early exit", "J"),
        "latency_s": ("latency", "s"), "n_cores": ("cores", ""),
    }
    for key, (label, unit) in labels.items():
        if key in found:
            cells = [si(v, unit) if unit else count(v) for v in (best[key], found[key])]
            rows.append([label, *cells, relative(found[key], best[key])])
    note = (
        "Searched: weights shared in the supernet, activity as mean rates, validation images. Simulated: trained anew, in "
        "integers, each event counted, test images."
    )
    columns = ["", "searched", "simulated", "difference"]
    tables.grid(console, "What the search saw, and what came of it", columns, rows, note=note)


def _show_paths(console: Console, data: Mapping[str, Any], cost: Mapping[str, Any]) -> None:
    seconds = data["seconds"]
    spent = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    costs = f"{si(cost['energy_j']['nominal'], 'J')} and {si(cost['latency_s'], 's')} {cost['status']}"
    accuracy = percent(data["test"]["accuracy"]["simulator"])
    result = f"{arch(data['best']['genome'])}: {accuracy} simulated; {costs}; {count(cost['n_cores'])} cores"
    tables.facts(console, "Files", [
        ("found", result), ("run", str(data["run_dir"])), ("model", str(data["model"])), ("bundle", str(data["bundle"])),
        ("time", f"{sum(seconds.values()):.0f} s: {spent}"),
    ])  # fmt: skip
    bundle, model = shlex.quote(str(data["bundle"])), shlex.quote(str(data["model"]))
    tables.lines(console, "Next", [
        f"neurodeploy validate {bundle}",
        f"neurodeploy energy {bundle} --target {data['target']}",
        f"neurodeploy check {model} --target {data['target']}",
    ])  # fmt: skip
