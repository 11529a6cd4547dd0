"""The end of a search for a GPU, for a person."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import arch, percent, share_of, si
from neurodeploy.cli.render_cost import show_trust
from neurodeploy.cli.render_exit import show_early_exit
from neurodeploy.cli.render_front import show_files, show_pareto, show_predicted
from neurodeploy.cli.render_gpu import show_gpu_layers, show_gpu_totals

_ESTIMATED = (
    "Estimated for the search, one sample alone: validation images, weights shared in the supernet; costs are exact sums."
)
_COMPARED = "Searched: weights shared in the supernet, validation images. Simulated: trained anew, in float32, test images."


def show_gpu_search(console: Console, data: Mapping[str, Any]) -> None:
    """Print a search's result: what was found, what it costs, how the search saw it, where it lies."""
    test, source = data["test"], data["data"]
    cost, accuracy = test["cost"]["dense"], test["accuracy"]
    simulated = (
        f"run in float32, timestep by timestep, {accuracy['n']} images of the {source['split']} split of {source['name']}"
    )
    rows = [["accuracy", percent(accuracy["simulator"]), share_of(accuracy["n_right"], accuracy["n"], accuracy["interval"]),
             "simulated"]]  # fmt: skip
    console.print()
    tables.grid(console, f"Found: {arch(data['best']['genome'])}", ["", "result", "of", "status"], rows,
                note=f"{simulated[0].upper()}{simulated[1:]}; 95 % interval.")
    show_gpu_totals(console, cost)
    show_gpu_layers(console, cost)
    if test["early_exit"] is not None:
        show_early_exit(console, test["early_exit"])
    show_pareto(console, data, estimated=_ESTIMATED)
    show_predicted(console, data["best"], cost, test, compared=_COMPARED)
    show_trust(console, cost, data["disclaimer"], simulated=simulated)
    then = [f"neurodeploy validate {shlex.quote(str(data['bundle']))} --oracle onnxruntime"]
    show_files(console, data, cost, latency=si(cost["latency_s"], "s"), then=then)
