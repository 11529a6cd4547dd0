"""What a sample costs on an event-driven chip, for a person: totals and their terms, layers and their cores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, band, count, si
from neurodeploy.hw.profile import weakest

_TERMS = {"synapse": "synapses, an energy each", "static": "static rails", "sensor": "camera on the chip"}


def show_event_totals(console: Console, cost: Mapping[str, Any]) -> None:
    """Print energy by term, power, the time until the decision and the counts behind them, each with its status."""
    total, counted = cost["energy_j"]["nominal"], "simulated" if cost["exact_counts"] else cost["status"]
    rows = [["energy", band(cost["energy_j"], "J"), MISSING, cost["status"]]]
    for term, joule in cost["breakdown_j"].items():
        share = MISSING if joule is None or not total else f"{100 * joule['nominal'] / total:.1f} %"
        rows.append([f"  {_TERMS.get(term, term)}", band(joule, "J"), share, cost["breakdown_status"][term] or "not available"])
    core = cost["provenance"].get("time.core")
    way = "not available" if core is None else str(core["status"])
    both = way if core is None else weakest([cost["status"], core["status"]])
    held = "given" if cost["interval_source"] == "given" else "its duration"
    rows += [
        ["power", band(cost["power_w"], "W"), MISSING, cost["status"]],
        ["time until all events are answered", si(cost["decision_s"], "s"), MISSING, way],
        ["  the sample's events", si(cost["duration_s"], "s"), MISSING, "given"],
        ["  the last one, through the cores", band(cost["latency_band_s"], "s"), MISSING, way],
        ["time between samples", si(cost["interval_s"], "s"), MISSING, held],
        ["energy x time", band(cost["edp_band_js"], "Js"), MISSING, both],
        ["cores", count(cost["n_cores"]), MISSING, "placed"],
        ["events in", count(cost["counts"]["events_in"]), MISSING, counted],
        ["spikes", count(cost["counts"]["spikes"]), MISSING, counted],
        ["synaptic operations (synops)", count(cost["counts"]["synops"]), MISSING, counted],
        ["synops per second", si(cost["synops_per_s"], ""), MISSING, counted],
    ]
    note = "nominal (low to high), mean of the samples. Static power runs from one sample to the next, work or no work."
    tables.grid(console, "Cost of one sample", ["", "result", "share", "status"], rows, note=note)


def show_event_layers(console: Console, cost: Mapping[str, Any]) -> None:
    """Print one row a layer with its core; a core that would have to do more synops per second than it can is marked."""
    by_node = {core["node"]: core for core in cost["cores"]}
    limits = {core["limit_synops_per_s"] for core in cost["cores"]} - {None}
    total, marked = cost["energy_dynamic_j"]["nominal"], None
    rows: list[list[str]] = []
    for layer in cost["layers"]:
        core, joule, n = by_node.get(layer["name"]), layer["energy_dynamic_j"], layer["counts"]["n_spikes"]
        if core is not None and core["busiest"]:
            marked = len(rows)
        rows.append([
            layer["name"], MISSING if core is None else str(core["index"]),
            MISSING if layer["is_input"] else count(layer["n_neurons"]), count(n),
            *([] if limits else [f"{n / layer['n_neurons']:.3f}" if layer["n_neurons"] else MISSING]),
            count(layer["counts"]["n_synops"]),
            si(layer["synops_per_s"], ""), MISSING if core is None else si(core["synops_per_s"], ""),
            MISSING if joule is None else f"{joule['nominal'] * 1e9:,.2f}",
            MISSING if joule is None or not total else f"{100 * joule['nominal'] / total:.1f} %",
            *([MISSING if core is None else _of_limit(core)] if limits else []),
        ])
    columns = ["layer", "core", "neurons", "spikes", *([] if limits else ["a neuron"]), "synops", "synops/s", "peak", "nJ",
               "share", *(["of limit"] if limits else [])]  # fmt: skip
    known = cost["exact_counts"] and any(layer["peak_synops_per_s"] is not None for layer in cost["layers"])
    what = "simulated" if cost["exact_counts"] else f"{cost['status']}, not simulated event by event"
    note = (
        f"Per sample; counts {what}. {'' if limits else 'a neuron: spikes per neuron. '}peak: synops per second "
        f"{'in the busiest window of the busiest sample' if known else 'on average, no busier window was looked at'}. "
        f"nJ: dynamic energy, {cost['breakdown_status']['synapse'] or 'not available'}. Bold: the busiest core."
    )
    if not limits:
        note += " How many synops per second a core can do is not published: --set cost.synops_per_core=N flags those above."
    tables.grid(console, "Layers", columns, rows, note=note, marked=marked)
    for core in cost["cores"]:
        if core["over_limit"]:
            tables.say(console, _over(core), style="bold red")
            console.print()


def _of_limit(core: Mapping[str, Any]) -> str:
    if core["limit_synops_per_s"] is None:
        return MISSING
    share = f"{100 * core['synops_per_s'] / core['limit_synops_per_s']:.3g} %"
    return f"{share} OVER" if core["over_limit"] else share


def _over(core: Mapping[str, Any]) -> str:
    return (
        f"Core {core['index']} ({core['node']}) is over the limit: {si(core['synops_per_s'], '')} synops per second, "
        f"{si(core['limit_synops_per_s'], '')} are possible. What the chip does then is undefined (events wait or are lost): "
        "use fewer channels, a larger stride or pool before this layer, or slower input."
    )
