"""What an inference costs, for a person: totals, terms, layers, cores, with the status of each figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from neurodeploy.cli import tables
from neurodeploy.cli.figures import MISSING, band, count, percent, si
from neurodeploy.hw.profile import Status, weakest

Costs = Mapping[str, dict[str, Any]]  # by schedule, each in the contract's form

_SCHEDULES = {
    "pipelined": "pipelined: a new sample every T steps",
    "single": "single: one sample alone, until its last vote",
}
_COUNTS = {
    "spikes": "spikes", "synops": "synaptic operations", "neuron_updates": "neuron updates", "messages": "messages sent",
    "hops": "router hops",
}
_N_CORES_SHOWN = 5


def show_totals(console: Console, costs: Costs) -> None:
    """Energy, latency and the counts behind them, one column a schedule."""
    entries = list(costs.values())
    exact = all(c["exact_counts"] for c in entries)
    dynamic = weakest([s for term, s in entries[0]["breakdown_status"].items() if s and term not in ("static", "management")])
    time = _time_status(entries[0])

    def row(name: str, values: list[str], status: str) -> list[str]:
        return [name, *values, status]

    rows = [
        row("energy", [band(c["energy_j"], "J") for c in entries], entries[0]["status"]),
        row("  of it dynamic", [band(c["energy_dynamic_j"], "J") for c in entries], dynamic),
        row("latency", [band(c["latency_band_s"], "s") for c in entries], time),
        row("time between results", [si(c["interval_s"], "s") for c in entries],
            "given" if entries[0].get("interval_source") == "given" else time),
        row("energy x latency", [band(c["edp_band_js"], "Js") for c in entries], entries[0]["status"]),
        row("cores", [count(c["n_cores"]) for c in entries], entries[0]["status"]),
    ]
    counted = "simulated" if exact else entries[0]["status"]
    rows += [row(label, [count(c["counts"][key]) for c in entries], counted) for key, label in _COUNTS.items()]
    note = "nominal (low to high). " + "; ".join(_SCHEDULES[name] for name in costs) + "."
    tables.grid(console, "Cost of one inference", ["", *costs, "status"], rows, note=note)


def show_terms(console: Console, costs: Costs) -> None:
    """The energy, term by term; a term that the profile does not know is "not available", never zero."""
    rows: list[list[str]] = []
    for term, status in next(iter(costs.values()))["breakdown_status"].items():
        cells: list[str] = []
        for cost in costs.values():
            joule = cost["breakdown_j"][term]
            total = cost["energy_j"]["nominal"]
            known = joule is not None and total
            cells += [band(joule, "J"), f"{100 * joule['nominal'] / total:.1f} %" if known else MISSING]
        rows.append([term, *cells, status or "not available"])
    columns = ["term", *(cell for name in costs for cell in (name, "share")), "status"]
    tables.grid(console, "Energy by term", columns, rows)


def show_layers(console: Console, cost: Mapping[str, Any]) -> None:
    """One row a layer, and what sets the length of a step."""
    total = cost["energy_dynamic_j"]["nominal"]
    rows: list[list[str]] = []
    marked = None
    limiting = cost["limiting"]
    for layer in cost["layers"]:
        if layer["name"] == limiting["node"]:
            marked = len(rows)
        joule = layer["energy_dynamic_j"]["nominal"]
        rows.append([
            layer["name"], MISSING if layer["is_input"] else count(layer["n_neurons"]),
            MISSING if layer["is_input"] else count(layer["n_cores"]), count(layer["counts"]["n_spikes"]),
            f"{layer['counts']['n_spikes'] / layer['n_neurons']:.3f}" if layer["n_neurons"] else MISSING,
            count(layer["counts"]["n_synops"]),
            f"{joule * 1e9:,.2f}", f"{100 * joule / total:.1f} %" if total else MISSING,
        ])
    columns = ["layer", "neurons", "cores", "spikes", "a neuron", "synops", "dynamic nJ", "share"]
    what = "simulated" if cost["exact_counts"] else f"{cost['status']}, from rates"
    note = f"Per inference, {cost['schedule']}; counts {what}, energy {cost['status']}. a neuron: spikes per neuron. "
    tables.grid(console, "Layers", columns, rows, note=note + _limit(limiting), marked=marked)


def show_cores(console: Console, cost: Mapping[str, Any]) -> None:
    """The cores that work longest."""
    cores = sorted(cost["cores"], key=lambda c: max(c["send_s"], c["receive_s"]), reverse=True)
    rows = [
        [
            str(c["index"]), c["node"], f"{c['chip']}: {c['x']}, {c['y']}", count(c["n_neurons"]),
            f"{c['energy_dynamic_j']['nominal'] * 1e9:,.2f}", f"{c['send_s'] * 1e6:.3g}", f"{c['receive_s'] * 1e6:.3g}",
            f"{100 * c['share_of_steps']:.0f} %",
        ]
        for c in cores[:_N_CORES_SHOWN]
    ]
    columns = ["core", "layer", "chip: x, y", "neurons", "dynamic nJ", "send us", "receive us", "limits steps"]
    note = f"The {len(rows)} that work longest of {len(cores)}; time {_time_status(cost)}. All of them: --json."
    tables.grid(console, "Busiest cores", columns, rows, note=note, left=2)


def show_trust(console: Console, cost: Mapping[str, Any], disclaimer: str | None, *, simulated: str | None) -> None:
    """What the status words mean here, what was left out, and the profile's own warning."""
    statuses = Counter(entry["status"] for entry in cost["provenance"].values())
    listed = ", ".join(f"{n} {status}" for status, n in statuses.most_common())
    none = "" if statuses["measured"] else " None was measured on hardware."
    tables.facts(console, "How far to trust this", [
        *([("simulated", simulated)] if simulated else []),
        (cost["status"], f"counts times constants of the profile ({listed}), the weakest word counts.{none} "
         f"`neurodeploy targets show {cost['target']}` lists each with its source."),
        *([("disclaimer", disclaimer)] if disclaimer else []),
        ("excluded", "; ".join(cost["excluded"])),
    ])  # fmt: skip


def _time_status(cost: Mapping[str, Any]) -> Status:
    """Weakest status behind the times: constants, and counts that were not simulated."""
    used = [entry["status"] for name, entry in cost["provenance"].items() if name.startswith(("time.", "sync."))]
    return weakest(used if cost["exact_counts"] else [*used, cost["status"]])


def _limit(limiting: Mapping[str, Any]) -> str:
    share = f"{100 * limiting['share_of_steps']:.0f} %"
    if limiting["core"] is None:
        return f"The shortest possible step sets the length of {share} of the steps: no core is a bottleneck."
    side = {"send": "sending", "receive": "receiving"}[limiting["side"]]
    return f"Core {limiting['core']} ({limiting['node']}) is the busiest: {side}, it sets the length of {share} of the steps."


def show_proxies(console: Console, found: Mapping[str, Any]) -> None:
    """Figures that papers compare networks with."""
    joule = found["energy_45nm_j"]
    rows = [
        ("effective ACs / MACs", f"{count(found['effective_acs'])} / {count(found['effective_macs'])}"),
        ("dense MACs", f"{count(found['dense_macs'])} ({count(found['dense_macs_per_timestep'])} a timestep)"),
        ("membrane updates", count(found["membrane_updates"])),
        ("activation sparsity", percent(found["activation_sparsity"])),
        ("connection sparsity", f"{percent(found['connection_sparsity'])} of {count(found['n_weights'])} weights are zero"),
        ("spikes per synapse", f"{found['spikes_per_synapse']:.3g}; an ANN breaks even at " + ", ".join(
            f"{line['low']:g} to {line['high']:g} ({name})" if line["low"] != line["high"] else f"{line['low']:g} ({name})"
            for name, line in found["break_even_spikes_per_synapse"].items())),
        ("N-DNS operations", count(found["n_dns_ops"])),
        *((f"45 nm, {kind}", f"{si(e['snn'], 'J')}; a dense pass {si(e['dense_pass'], 'J')} (published constants)")
          for kind, e in joule.items()),
    ]  # fmt: skip
    tables.facts(console, "Proxies", rows, note=found["note"])
