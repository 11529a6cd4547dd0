"""The end of a search for an event-driven chip, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import arch, percent, si
from neurodeploy.cli.render_cost import show_trust
from neurodeploy.cli.render_event_accuracy import show_event_accuracy
from neurodeploy.cli.render_event_cost import show_event_layers, show_event_totals
from neurodeploy.cli.render_event_exit import show_event_exit
from neurodeploy.cli.render_event_gap import show_gap
from neurodeploy.cli.render_front import chip_commands, show_files, show_pareto, show_predicted

_N_FLIPS_SHOWN = 4
_WAY = "way through the cores"  # what a chip without timesteps adds to the time of the sample
_ESTIMATED = (
    "Estimated for the search: validation samples in bins, weights shared in the supernet, events of the clocked network."
)
_COMPARED = (
    "Searched: weights shared in the supernet, clocked in real numbers, validation samples. Simulated: trained anew, in "
    "integers, event by event, test samples."
)


def show_event_search(console: Console, data: Mapping[str, Any]) -> None:
    """Print a search's result: what was found, what it costs, how the search saw it, where it lies."""
    test, source = data["test"], data["data"]
    cost = test["cost"]["events"]
    note = (
        f"{source['split'].capitalize()} split of {source['name']}, integer network on the event-driven simulator of "
        f"{data['target']}; 95 % intervals, the change paired. {_quantized(data['validation'])}"
    )
    console.print()
    show_event_accuracy(console, f"Found: {arch(data['best']['genome'])}", test["accuracy"], test["agreement"], note=note)
    show_event_totals(console, cost)
    show_event_layers(console, cost)
    show_gap(console, test["gap"])
    if test["early_exit"] is not None:
        show_event_exit(console, test["early_exit"])
    show_pareto(console, data, estimated=_ESTIMATED, latency=_WAY)
    if data.get("energy_band") is not None:
        tables.say(console, band_sentence(data))
        console.print()
    show_predicted(console, data["best"], cost, test, compared=_COMPARED, latency=_WAY)
    simulated = (
        f"run event by event on a simulator of the chip's integer arithmetic, {test['accuracy']['n']} samples of the "
        f"{source['split']} split of {source['name']}"
    )
    show_trust(console, cost, data["disclaimer"], simulated=simulated)
    decided = f"{si(cost['decision_s'], 's')} until all events are answered"
    show_files(console, data, cost, latency=decided, then=chip_commands(str(data["bundle"]), data["target"]))


def band_sentence(data: Mapping[str, Any]) -> str:
    """Whether the order of the front by energy turns inside the band of the energy per synop; long lists are cut."""
    found = data["energy_band"]
    names = {"-".join(entry["genome"]): arch(entry["genome"]) for entry in data["pareto"]}
    if not found["pairs"]:
        return str(found["sentence"])
    shown = [
        f"{names.get(p['below'], p['below'])} costs less than {names.get(p['above'], p['above'])} below "
        f"{p['e_at_flip_pj']:.3g} pJ, more above"
        for p in found["pairs"][:_N_FLIPS_SHOWN]
    ]
    left = len(found["pairs"]) - len(shown)
    more = f"; {left} more pairs with --json" if left else ""
    return (
        f"The ranking of the front by energy turns inside {found['low_pj']:g} to {found['high_pj']:g} pJ per synop: "
        f"{'; '.join(shown)}{more}. `neurodeploy calibrate` fits the energy per synop to your board."
    )


def _quantized(validation: Mapping[str, Any] | None) -> str:
    if validation is None:
        return ""
    return (
        f"Validation: {percent(validation['accuracy_float'])} clocked in real numbers, "
        f"{percent(validation['accuracy_integer'])} in integers event by event."
    )
