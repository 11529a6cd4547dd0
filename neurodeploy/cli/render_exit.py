"""Early exit for a person: what it saves on the chip, beside networks of fixed length, and why it may save little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.exit_rows import oracle, rule, with_policy
from neurodeploy.cli.figures import band, percent, points, si
from neurodeploy.cli.render_event_exit import show_event_exit

_BAR = 24  # characters of the largest bar of the histogram
_WORTH_LESS = 0.5  # share of the spared timesteps below which the energy saved is called small


def show_early_exit(console: Console, found: Mapping[str, Any]) -> None:
    """Accuracy against mean timesteps, chip timesteps, histogram, energy of one sample alone; of an event-driven chip, which
    has no timesteps, those in events and time."""
    if "by" in found:
        show_event_exit(console, found)
        return
    n_timesteps, pipeline = len(found["histogram"]), found["pipeline_timesteps"]
    difference = points(found["accuracy"] - found["accuracy_fixed_at_mean"])
    said = f", {found['status']}"
    fixed_length = f"{percent(found['accuracy_fixed_at_mean'])} (interpolated): early exit {difference} points"
    dynamic = f"{band(found['energy_dynamic_j'], 'J')} instead of {band(found['energy_dynamic_full_j'], 'J')}"
    rows = [
        rule(found["policy"]),
        ("accuracy", f"{percent(found['accuracy'])} of {found['n']}, simulated"),
        ("fixed length, same mean", fixed_length),
        ("model timesteps", f"{found['mean_timesteps']:.2f} of {n_timesteps} on average"),
        *([("chip timesteps", f"{found['mean_chip_timesteps']:.2f} of {n_timesteps + pipeline}: "
            f"{pipeline} more for the pipeline of {pipeline} synapse layers")] if pipeline else []),
        ("energy, one sample", f"{band(found['energy_j'], 'J')} instead of {band(found['energy_full_j'], 'J')}{said}"),
        ("  of it dynamic", f"{dynamic}{said}"),
        ("latency", f"{si(found['latency_s'], 's')} instead of {si(found['latency_full_s'], 's')}{said}"),
        ("energy saved", percent(found["energy_saved"])),
        *with_policy(found),
        *_batched(found.get("batched")),
        oracle(found),
    ]  # fmt: skip
    tables.facts(console, "Early exit", rows)
    largest = max(found["histogram"])
    bars = [
        [str(t), f"{n} ({100 * n / found['n']:.1f} %)", "█" * round(_BAR * n / largest), percent(fixed)]
        for t, (n, fixed) in enumerate(zip(found["histogram"], found["accuracy_fixed"], strict=True), start=1)
    ]
    columns = ["timestep", "samples that stop", "", "accuracy of all, stopped here"]
    tables.grid(console, "", columns, bars, left_also=(2,), note=verdict(found))


def _batched(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Of a batch on a GPU, what stopping is worth where it waits for the slowest, and where it goes on with the others."""
    if found is None:
        return []
    waits, goes_on, full = found["stopping"], found["compacted"], found["all_unrolled"]
    rows = [
        (f"each of {found['batch']}", f"{band(full['energy_j'], 'J')} for all timesteps, unrolled"),
        ("  the batch waits", f"{band(waits['energy_j'], 'J')}: it runs until its slowest sample, "
                              f"{waits['n_timesteps']:.2f} timesteps"),
        ("  the batch shrinks", f"{band(goes_on['energy_j'], 'J')}: it goes on with the samples that are left"),
    ]
    if "grouped" in found:
        rows += [
            ("  equal steps together", f"{band(found['grouped']['energy_j'], 'J')}: each batch holds samples of one length"),
            ("    with the policy", f"{band(found['energy_with_policy_j'], 'J')}, saved "
                                    f"{percent(found['energy_saved_with_policy'])}"),
        ]
    return rows


def verdict(found: Mapping[str, Any]) -> str:
    """One sentence on what stopping early is worth here."""
    n_timesteps = len(found["histogram"])
    spared, saved = 1 - found["mean_timesteps"] / n_timesteps, found["energy_saved"]
    if spared == 0:
        return (
            "No sample stops early: every rule that does so costs more accuracy on validation than the recipe allows. "
            "Early exit saves nothing here."
        )
    head = f"Stopping early spares {100 * spared:.0f} % of the model's timesteps and {100 * saved:.0f} % of the energy"
    if saved >= _WORTH_LESS * spared:
        return f"{head}."
    if not found["pipeline_timesteps"]:
        return f"{head}. That is small because running step by step costs more than all timesteps in one go."
    return (
        f"{head}. That is small because the depth of the network eats it: a vote needs {found['pipeline_timesteps']} chip "
        f"timesteps through the synapse layers, however early the sample stops."
    )
