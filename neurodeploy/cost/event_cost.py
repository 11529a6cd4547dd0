"""Energy and latency of a sample on an event-driven chip: synops times an energy each, static rails times time.

    P = P_static + e * synops/s, so E = e * synops + P_static * interval

Static power runs whether events come or not, so `interval_s`, the time from one sample to the next, is part of the
answer; it is the sample's own duration unless given. The chip has no timesteps: what it adds to the last event of a
sample is the way through its cores, depth * time.core. A term whose entry the profile lacks is None, "not available", and
named under `excluded`, never zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from neurodeploy.cost.band import Band, total
from neurodeploy.cost.event_activity import EventActivity
from neurodeploy.cost.event_result import EventCoreCost, EventCost, EventLayerCost
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import EventProfile, Quantity, Status, weakest
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.sim.events_network import INPUT


def event_cost(
    activity: EventActivity, plan: CorePlan, profile: EventProfile, *, interval_s: float | None = None, sensor: bool = False,
    limit: float | None = None,
) -> EventCost:
    """Mean cost of one sample of this activity.

    `sensor` adds the rails of the camera on the chip; without it they are listed under `excluded`. `limit` is the
    number of synops per second that a core can do, where the profile's is not wanted or it has none. Raises UsageError for
    an interval shorter than the sample, a limit that is not positive, and a plan of another network.
    """
    held = activity.duration_s if interval_s is None else interval_s
    if not activity.duration_s <= held < math.inf:
        raise UsageError(f"interval_s is {interval_s}", limit=f"At least the {activity.duration_s:g} s that a sample lasts",
                         remedy="Leave it out for samples that follow each other at once")
    loads = core_loads(activity, plan, core_limit(profile, limit))
    synop = profile.energy.get("synop")
    layers = _layers(activity, plan, synop)
    breakdown: dict[str, Band | None] = {
        "synapse": None if synop is None else Band(*synop.si).scaled(activity.synops),
        "static": _rails(profile, profile.static_rails, held),
    }
    if sensor:
        breakdown["sensor"] = _rails(profile, profile.sensor_rails, held)
    energy_j = total(breakdown.values())
    core = profile.time.get("core")
    latency_s = None if core is None else Band(*core.si).scaled(activity.depth)
    decision_s = None if latency_s is None else _later(latency_s, activity.duration_s)
    used = _used(profile, sensor)
    counted: list[Status] = [] if activity.exact else ["estimated"]
    rails = {"static": profile.static_rails, "sensor": profile.sensor_rails}
    behind = {"synapse": ["energy.synop"], **{term: [f"power.{r}" for r in names] for term, names in rails.items()}}
    return EventCost(
        target=profile.name, n_cores=plan.n_cores, energy_j=energy_j,
        energy_dynamic_j=total([breakdown["synapse"]]), breakdown_j=breakdown, latency_s=latency_s, decision_s=decision_s,
        duration_s=activity.duration_s, interval_s=held, interval_given=interval_s is not None,
        power_w=energy_j.scaled(1 / held), edp_js=None if decision_s is None else energy_j.times(decision_s),
        counts={
            "synops": activity.synops, "neuron_updates": None, "spikes": activity.spikes, "messages": None, "hops": None,
            "events_in": activity.n_events_in,
        },
        synops_per_s=activity.synops_per_s, layers=layers,
        cores=tuple(
            EventCoreCost(
                index=load.core, node=load.node, n_neurons=activity.n_neurons[load.node], n_synops=activity.n_synops[load.node],
                synops_per_s=load.synops_per_s, share=load.share, limit_synops_per_s=load.limit, over_limit=load.over_limit,
                busiest=load.busiest,
            )
            for load in loads
        ),
        status=weakest([*(quantity.status for quantity in used.values()), *counted]),
        breakdown_status={
            term: None if band is None else weakest([
                *(used[name].status for name in behind[term]), *(counted if term == "synapse" else []),
            ])
            for term, band in breakdown.items()
        },
        excluded=_excluded(breakdown, profile, plan, sensor, loads),
        provenance={name: quantity.model_dump() for name, quantity in used.items()}, exact_counts=activity.exact,
    )  # fmt: skip


@dataclass(frozen=True)
class CoreLoad:
    """One core's work while a sample lasts: the higher of the mean rate and that of the busiest window, where one is known.

    share: of all synops of the sample. over_limit is None where no limit is known.
    """

    core: int
    node: str
    synops_per_s: float
    share: float
    limit: float | None
    over_limit: bool | None
    busiest: bool


def core_loads(activity: EventActivity, plan: CorePlan, limit: float | None) -> tuple[CoreLoad, ...]:
    """Every core of the plan, beside a limit of synops per second. Raises UsageError for a plan of another network."""
    nodes = [use.node for use in plan.cores]
    if set(nodes) != set(activity.n_synops):
        raise UsageError(f"cores of {', '.join(sorted(nodes))}", where=plan.target,
                         limit=f"Activity of {', '.join(sorted(activity.n_synops))}", remedy="Place the network that was run")
    mean = {name: n / activity.duration_s for name, n in activity.n_synops.items()}
    peak = activity.peak_synops_per_s or mean
    rates = {name: max(rate, peak[name]) for name, rate in mean.items()}
    top = max(nodes, key=lambda name: rates[name])  # the first of the plan where several are equal
    return tuple(
        CoreLoad(
            use.core, use.node, rates[use.node], activity.n_synops[use.node] / activity.synops if activity.synops else 0.0,
            limit, None if limit is None else rates[use.node] > limit, use.node == top,
        )
        for use in plan.cores
    )


def core_limit(profile: EventProfile, given: float | None = None) -> float | None:
    """Synops per second that one core can do: the number given, else the profile's rate, else what its time per synop
    allows, else None. Raises UsageError for a number that is not positive."""
    if given is not None:
        if not 0 < given < math.inf:
            raise UsageError(f"{given:g} synops per second", where="limit of a core", limit="A positive number")
        return given
    if "synops_per_core" in profile.rates:
        return profile.rates["synops_per_core"].si[1]
    return 1 / profile.time["synop"].si[1] if "synop" in profile.time else None


def _rails(profile: EventProfile, rails: tuple[str, ...], seconds: float) -> Band | None:
    return total(Band(*profile.power[rail].si) for rail in rails).scaled(seconds) if rails else None


def _later(band: Band, seconds: float) -> Band:
    return Band(band.low + seconds, band.nominal + seconds, band.high + seconds)


def _layers(activity: EventActivity, plan: CorePlan, synop: Quantity | None) -> tuple[EventLayerCost, ...]:
    peak = activity.peak_synops_per_s
    entry = EventLayerCost(INPUT, True, 0, None, activity.n_events_in, 0.0, 0.0, None, Band(0.0, 0.0, 0.0))
    return (entry, *(
        EventLayerCost(
            name, False, n_neurons, plan.core_of(name), activity.n_spikes[name], activity.n_synops[name],
            activity.n_synops[name] / activity.duration_s, None if peak is None else peak[name],
            None if synop is None else Band(*synop.si).scaled(activity.n_synops[name]),
        )
        for name, n_neurons in activity.n_neurons.items()
    ))  # fmt: skip


def _used(profile: EventProfile, sensor: bool) -> dict[str, Quantity]:
    """Every entry of the profile that a figure rests on, by its dotted name."""
    rails = (*profile.static_rails, *(profile.sensor_rails if sensor else ()))
    wanted = [("energy", "synop"), *(("power", rail) for rail in rails), ("time", "core")]
    tables = {"energy": profile.energy, "power": profile.power, "time": profile.time}
    return {f"{table}.{name}": tables[table][name] for table, name in wanted if name in tables[table]}


def _excluded(
    breakdown: dict[str, Band | None], profile: EventProfile, plan: CorePlan, sensor: bool, loads: tuple[CoreLoad, ...]
) -> tuple[str, ...]:
    found = ["host computer and its link to the chip", "loading the configuration, reading spikes or the readout"]
    if not sensor and profile.sensor_rails:
        power = total(Band(*profile.power[rail].si) for rail in profile.sensor_rails).nominal
        found.append(f"the camera on the chip (rails {', '.join(profile.sensor_rails)}, {power * 1e3:.3g} mW)")
    for rail in profile.power:
        if rail not in (*profile.static_rails, *profile.sensor_rails):
            found.append(f"rail {rail} ({profile.power[rail].si[1] * 1e3:.3g} mW at rest), neither processor nor camera")
    if breakdown["synapse"] is None:
        found.append(f"synapse: not available, {profile.name} has no energy.synop")
    if breakdown["static"] is None:
        found.append(f"static: not available, {profile.name} names no static_rails")
    if sensor and breakdown["sensor"] is None:
        found.append(f"sensor: not available, {profile.name} names no sensor_rails")
    if "core" not in profile.time:
        found.append(f"latency: not available, {profile.name} has no time.core")
    if any(use.bias_words for use in plan.cores):
        found.append("biases that a slow clock adds to every neuron: no energy of such an update is published")
    if all(load.limit is None for load in loads):
        found.append(f"whether a core is too slow for its synops: not available, {profile.name} has no rates.synops_per_core")
    return tuple(found)
