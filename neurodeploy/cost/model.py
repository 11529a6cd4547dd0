"""Energy of one inference: one term a line, counts times entries of the profile, plus power times time.

Layers carry the dynamic terms, the chip carries static and management. A term whose entry the profile does not have is
None, "not available", and is named under `excluded`; it is never zero. `events` has the terms.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.band import Band, total
from neurodeploy.cost.counts import Counts, LayerCounts
from neurodeploy.cost.events import TERMS, Prices, Term
from neurodeploy.cost.mapping import MappedCore, Plan
from neurodeploy.cost.result import CoreCost, Cost, LayerCost, Limiting
from neurodeploy.cost.schedule import Schedule, apply_schedule
from neurodeploy.cost.timing import Timing, time_steps
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import Profile, Quantity, Status, weakest
from neurodeploy.place.placement import Placement

Floats = NDArray[np.float64]


POWER_TERMS = {"static": "static", "management": "management"}  # term -> entry of the power table, x chips x time


def cost(
    counts: Counts, plan: Plan, profile: Profile, schedule: Schedule = "single", *, units: Mapping[str, str] | None = None,
    interval_s: float | None = None,
) -> Cost:
    """Mean cost of one sample: energy split with bands, latency, counts, layers, cores, provenance.

    `units` names the kind of synapse memory of single synapse nodes, where the profile has several. `interval_s` is the
    time between samples where it is known, from a measured rate of inferences: static and management power then run for
    that long instead of the predicted time.
    Raises UsageError for a schedule that the counts do not cover, for a profile without the times of `timing`, for units
    that the profile does not have, and for an interval that is not positive.
    """
    if interval_s is not None and not 0 < interval_s < float("inf"):
        raise UsageError(f"interval_s is {interval_s}", limit="A positive number of seconds between samples")
    prices = Prices(profile, counts, units)
    scheduled = apply_schedule(counts, schedule)
    timing = time_steps(scheduled, profile, prices)
    # Static power runs while the sample holds the chip: until its last output, or until the next sample enters.
    latency_s = timing.total_s if schedule == "single" else timing.total_s.scaled(_n_chip_steps(counts) / counts.n_timesteps)
    held_s = timing.total_s if interval_s is None else Band(interval_s, interval_s, interval_s)
    layers = tuple(_layer_cost(layer, prices, counts.n_timesteps) for layer in scheduled.layers.values())
    breakdown: dict[str, Band | None] = {
        term.name: total(layer.breakdown_j.get(term.name) for layer in layers) if prices.has(term) else None
        for term in TERMS
    }
    energy_dynamic_j = total(breakdown.values())
    for name, entry in POWER_TERMS.items():
        power = profile.power.get(entry)
        breakdown[name] = Band(*power.si).times(held_s).scaled(plan.n_chips) if power is not None else None
    energy_j = total(breakdown.values())
    used = _used(profile, prices)
    common = _behind_counts(plan, profile, counts.exact)
    return Cost(
        target=profile.name, schedule=schedule, n_cores=len(counts.mapping.cores), n_chips=plan.n_chips, energy_j=energy_j,
        energy_dynamic_j=energy_dynamic_j, breakdown_j=breakdown, latency_s=latency_s,
        interval_s=held_s, edp_js=energy_j.times(latency_s),
        latency_steps_s=tuple(float(s) for s in timing.steps_s), counts=_totals(scheduled), layers=layers,
        cores=_core_costs(scheduled, prices, timing), limiting=_limiting(scheduled, timing),
        status=weakest([*(quantity.status for quantity in used.values()), *common, prices.status]),
        breakdown_status={
            name: None if band is None else weakest([*_behind(name, used, prices, interval_s is None), *common])
            for name, band in breakdown.items()
        },
        excluded=_excluded(breakdown, counts, plan, prices),
        provenance={name: quantity.model_dump() for name, quantity in used.items()}, exact_counts=counts.exact,
    )


def _n_chip_steps(counts: Counts) -> int:
    """Steps from a sample's first input to its last output, even where the trace went on for longer."""
    assert counts.latencies is not None  # a pipeline: `apply_schedule` has refused a network without windows
    return counts.n_timesteps + max(counts.latencies[name] for name in counts.activity)


def _per_core(layer: LayerCounts, term: Term, prices: Prices, i: int) -> Floats:
    """Joule per core of the layer, mean of the samples, at the low (0), nominal (1) or high (2) constants."""
    sums: list[Floats] = [
        count.sum(axis=0).mean(axis=0) * quantity.si[i] for count, quantity in prices.energy(term, layer)
    ]
    return sum(sums[1:], sums[0])


def _layer_cost(layer: LayerCounts, prices: Prices, n_timesteps: int) -> LayerCost:
    breakdown: dict[str, Band | None] = {}
    for term in TERMS:
        if term.applies(layer):
            breakdown[term.name] = (
                Band(*(float(_per_core(layer, term, prices, i).sum()) for i in range(3))) if prices.has(term) else None
            )
    n = _sums(layer)
    return LayerCost(
        name=layer.name, is_input=layer.is_input, n_neurons=layer.n_neurons,
        n_cores=0 if layer.columns is None else len(layer.columns),
        spike_rate=n["n_spikes"] / (layer.n_neurons * n_timesteps) if layer.n_neurons else None,
        energy_dynamic_j=total(breakdown.values()), breakdown_j=breakdown, counts=n,
    )


_KEYS = (
    "n_synops", "n_updates_active", "n_updates_inactive", "n_spikes", "n_packets_in", "n_packets_out", "n_hops_ew", "n_hops_ns",
)


def _sums(layer: LayerCounts) -> dict[str, float]:
    """Counts of a layer per sample."""
    return {key: float(getattr(layer, key).sum(axis=(0, 2)).mean()) for key in _KEYS}


def _totals(counts: Counts) -> dict[str, float]:
    """Counts of the network per sample; spikes are those of neurons, messages those of neurons and inputs."""
    every = {layer.name: _sums(layer) for layer in counts.layers.values()}
    neurons = [every[name] for name in counts.n_neurons]
    inputs = [n for name, n in every.items() if name not in counts.n_neurons]
    active = sum(n["n_updates_active"] for n in neurons)
    return {
        "synops": sum(n["n_synops"] for n in neurons),
        "neuron_updates": active + sum(n["n_updates_inactive"] for n in neurons),
        "neuron_updates_active": active,
        "spikes": sum(n["n_spikes"] for n in neurons),
        "messages": sum(n["n_packets_out"] for n in every.values()),
        "messages_input": sum(n["n_packets_out"] for n in inputs),
        "hops": sum(n["n_hops_ew"] + n["n_hops_ns"] for n in every.values()),
        "host_writes": float(sum(counts.n_host_writes.values())),
    }


def _core_costs(counts: Counts, prices: Prices, timing: Timing) -> tuple[CoreCost, ...]:
    joule = np.zeros((3, len(counts.mapping.cores)))
    for layer in counts.layers.values():
        terms = [t for t in TERMS if t.applies(layer) and prices.has(t)]
        if layer.columns is not None and terms:
            joule[:, layer.columns] += np.array(
                [np.sum([_per_core(layer, t, prices, i) for t in terms], axis=0) for i in range(3)]
            )
    limits = timing.share_send + timing.share_receive
    busiest = int(limits.argmax()) if limits.any() else int(np.maximum(timing.send_s, timing.receive_s).argmax())
    return tuple(
        CoreCost(
            index=core.index, chip=core.chip, x=core.x, y=core.y, node=_names(core), n_neurons=core.n_neurons,
            energy_dynamic_j=Band(*(float(e) for e in joule[:, k])), send_s=float(timing.send_s[k]),
            receive_s=float(timing.receive_s[k]), share_of_steps=float(limits[k]), busiest=k == busiest,
        )
        for k, core in enumerate(counts.mapping.cores)
    )


def _names(core: MappedCore) -> str:
    """The layers of a core in one word."""
    return " + ".join(core.nodes)


def _limiting(counts: Counts, timing: Timing) -> Limiting:
    """The core and side that set the length of most steps; the floor where it does."""
    shares = np.concatenate([timing.share_send, timing.share_receive])
    k, n = int(shares.argmax()), len(timing.share_send)
    floor = 1.0 - float(shares.sum())
    if shares[k] <= floor:
        return Limiting(core=None, node=None, side="floor", share_of_steps=floor)
    core = counts.mapping.cores[k % n]
    return Limiting(
        core=core.index, node=_names(core), side="send" if k < n else "receive", share_of_steps=float(shares[k])
    )


def _used(profile: Profile, prices: Prices) -> dict[str, Quantity]:
    """Every entry of the profile that a figure rests on, by its dotted name."""
    wanted = [("energy", e) for term in TERMS for e in prices.entries(term)]
    wanted += [("power", e) for e in POWER_TERMS.values()] + [("time", e) for e in prices.times()]
    sync = profile.sync_of(prices.n_tiles)
    wanted += [("sync", sync[0])] if sync is not None else []
    return {
        f"{table}.{entry}": getattr(profile, table)[entry] for table, entry in wanted if entry in getattr(profile, table)
    }


def _behind(term: str, used: dict[str, Quantity], prices: Prices, predicted_time: bool) -> list[Status]:
    """Of the entries that a term rests on: energies per event, or a power and the times that it runs for."""
    if term in POWER_TERMS:
        times = [q.status for name, q in used.items() if name.startswith(("time.", "sync."))] if predicted_time else []
        return [used[f"power.{POWER_TERMS[term]}"].status, *times, *([prices.status] if times else [])]
    own = [used[f"energy.{entry}"].status for t in TERMS if t.name == term for entry in prices.entries(t)]
    return [*own, prices.status] if term == "synapse" else own


def _behind_counts(plan: Plan, profile: Profile, exact: bool) -> list[Status]:
    """Of the counts: how layers are cut into cores, where that was not given neuron by neuron, and rates for spikes."""
    cut: list[Status] = [profile.partition.status] if isinstance(plan, Placement) else []
    return cut if exact else [*cut, "estimated"]


def _excluded(breakdown: dict[str, Band | None], counts: Counts, plan: Plan, prices: Prices) -> tuple[str, ...]:
    profile = prices.profile
    found = [
        "host computer and its link to the chip", "off-chip memory (DRAM)", "sensor and its interface",
        "loading weights and configuration, reading the votes out",
    ]
    for term in (t for t in TERMS if breakdown[t.name] is None):
        absent = [f"energy.{e}" for e in prices.entries(term) if e not in profile.energy]
        found.append(f"{term.name}: not available, {profile.name} has no {', '.join(absent)}")
    for name, entry in POWER_TERMS.items():
        if breakdown[name] is None:
            found.append(f"{name}: not available, {profile.name} has no power.{entry}")
    if counts.n_host_writes:
        n = sum(counts.n_host_writes.values())
        found.append(f"{n} bias values that the host writes per sample: the energy of a write is not public")
    if counts.has_host_graph:
        found.append("the first operations of the network, which the host computes")
    if plan.n_chips > 1:
        found.append("links between chips beyond the router hops, and chips of the system that hold no core")
    return tuple(found)
