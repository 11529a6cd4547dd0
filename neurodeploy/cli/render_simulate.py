"""What a simulation did, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, count, si


def show_simulation(console: Console, data: Mapping[str, Any]) -> None:
    """Print how much fired in each layer and what was written."""
    if "n_events" in data:
        _show_events(console, data)
        return
    n, steps = data["n_samples"], data["n_timesteps"]
    on_chip = "n_input_timesteps" in data
    length, how = str(steps), "real numbers in float32"
    if on_chip:
        given, how = data["n_input_timesteps"], "integer arithmetic"
        length = f"{steps} of the chip; the input {'is written once, as biases' if given is None else f'has {given}'}"
    console.print()
    tables.facts(console, "Simulated", [
        ("samples", f"{n}, each from zero state"), ("timesteps", length), ("simulator", f"{data['simulator']}, {how}"),
        *_exit(data, "timesteps"),
    ])  # fmt: skip
    rows = []
    for layer, spikes in data["spikes_per_layer"].items():
        neurons = data["neurons_per_layer"][layer]
        shape = data["arrays"][f"spikes/{layer}"]
        rows.append([
            layer, count(neurons), count(spikes), f"{spikes / (neurons * n * steps):.4f}" if neurons else MISSING,
            " x ".join(map(str, shape)),
        ])  # fmt: skip
    columns = ["layer", "neurons", "spikes", "rate", "recorded as"]
    order = "maps (W, H, C), time last" if data.get("layout") == "lava" else "time first, maps (C, H, W)"
    note = f"spikes: non-zero outputs of all samples. rate: per neuron and timestep. recorded as: {order}."
    tables.grid(console, "Layers", columns, rows, note=note)
    tables.lines(console, "Written", [f"{data['out']}: {', '.join(_kinds(data['arrays']))}"])


def _exit(data: Mapping[str, Any], unit: str) -> list[tuple[str, str]]:
    """What the bundle's policy for early exit says of the samples, where it has one that could be asked."""
    steps = data.get("exit_steps")
    if steps is None:
        return []
    shown = ", ".join(map(str, steps[:16])) + (", ..." if len(steps) > 16 else "")
    return [("early exit", f"the policy lets them run {shown} {unit} (mean {sum(steps) / len(steps):.2f}); all are recorded")]


def _show_events(console: Console, data: Mapping[str, Any]) -> None:
    n, until = data["n_samples"], "" if data["duration_from"] == "file" else ", up to the last event"
    console.print()
    tables.facts(console, "Simulated", [
        ("samples", f"{n} of {si(data['duration_us'] * 1e-6, 's')}{until}, each from its first states"),
        ("events", f"{count(data['n_events'])} into {data['input']}"),
        ("simulator", f"{data['simulator']}, event by event, {data['order']} first, integer arithmetic"),
        *_exit(data, "readings of the vote"),
    ])  # fmt: skip
    rows = [
        [
            layer, count(data["neurons_per_layer"][layer]), count(spikes), count(data["synops_per_layer"][layer]),
            si(data["synops_per_s"][layer]["mean"], "/s"), si(data["synops_per_s"][layer]["peak"], "/s"),
            count(data["n_saturations"][layer]), count(data["n_dropped"][layer]),
        ]
        for layer, spikes in data["spikes_per_layer"].items()
    ]
    columns = ["layer", "neurons", "spikes", "synops", "mean", "peak", "saturated", "dropped"]
    note = "Of all samples. mean, peak: synops per second, over the whole time and in the busiest 1 ms. saturated: additions " \
           "beyond the states' width. dropped: spikes that a pool carries out of the next map."
    tables.grid(console, "Layers", columns, rows, note=note)
    tables.lines(console, "Written", [f"{data['out']}: {', '.join(_kinds(data['arrays']))}"])


def _kinds(arrays: Mapping[str, Any]) -> list[str]:
    kinds = dict.fromkeys(name.partition("/")[0] for name in arrays)
    return [f"{kind}/<layer>" if any("/" in n for n in arrays if n.startswith(kind)) else kind for kind in kinds]
