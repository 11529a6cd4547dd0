"""The end of a search, for a person: what was found, what it costs, how the search saw it, where it lies."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import arch, percent, points, share_of, si
from neurodeploy.cli.render_cost import show_layers, show_terms, show_totals, show_trust
from neurodeploy.cli.render_event_search import show_event_search
from neurodeploy.cli.render_exit import show_early_exit
from neurodeploy.cli.render_front import show_files, show_pareto, show_predicted
from neurodeploy.cli.render_gpu_search import show_gpu_search


def show_search(console: Console, data: Mapping[str, Any]) -> None:
    """Print a search's result, the contract's object."""
    test = data["test"]
    if "events" in test["cost"]:
        show_event_search(console, data)
        return
    if "dense" in test["cost"]:
        show_gpu_search(console, data)
        return
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
    show_predicted(console, data["best"], main, test)
    n = test["accuracy"]["n"]
    simulated = (
        f"run and counted on a simulator of the chip's integer arithmetic, {n} images of the {data['data']['split']} split of "
        f"{data['data']['name']}"
    )
    show_trust(console, main, data["disclaimer"], simulated=simulated)
    validate = f"neurodeploy validate {shlex.quote(str(data['bundle']))}"
    show_files(console, data, main, latency=si(main["latency_s"], "s"), then=[validate])


def show_stopped(console: Console, data: Mapping[str, Any]) -> None:
    """Print where a search stopped that was asked to stop behind a stage."""
    best = data.get("best")
    rows = [("run", str(data["run_dir"])), ("finished stage", str(data["until"]))]
    if best is not None:
        rows += [("best architecture", arch(best["genome"])), ("its fitness", f"{best['fitness']:.4f}")]
    if "accuracy_validation" in data:
        rows.append(("accuracy, validation", percent(data["accuracy_validation"])))
    console.print()
    tables.facts(console, "Stopped as asked", rows)
    tables.lines(console, "Next", [str(data["resume"])])


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
