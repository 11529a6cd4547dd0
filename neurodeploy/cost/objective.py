"""What the placement optimiser minimises: latency, energy or their product of one inference, from its events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.counts import Counts, count, expected, from_expected
from neurodeploy.cost.model import cost
from neurodeploy.cost.result import Cost
from neurodeploy.cost.schedule import Schedule
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.place.optimise import Goal, Objective, Score
from neurodeploy.place.placement import Placement
from neurodeploy.sim.trace import Trace

_SHARPNESS = 16  # of the norm over cores: high enough that the busiest decide, low enough that the others still count


def of_trace(trace: Trace, profile: Profile, goal: Goal, schedule: Schedule) -> Objective:
    """Objective that counts the events of a trace on each placement: exact for these samples."""
    return _objective(lambda plan: count(trace, plan, profile.zeros), profile, goal, schedule)


def of_rates(
    graph: Graph, rates: Mapping[str, NDArray[Any]], profile: Profile, goal: Goal, schedule: Schedule
) -> Objective:
    """Objective on the counts to expect at firing rates [T, *shape] (`from_rates`)."""
    found = expected(graph, dict(rates))
    return _objective(lambda plan: from_expected(graph, plan, found, profile.zeros), profile, goal, schedule)


def messages_of_trace(trace: Trace) -> dict[str, NDArray[np.float64]]:
    """Mean messages per sample of every element of each layer and input, in its shape."""
    return {name: (raster != 0).sum(axis=0).mean(axis=0) for name, raster in trace.spikes.items()}


def messages_of_rates(graph: Graph, rates: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """The same from rates [T, *shape]; a relay sends what the layer sends that it repeats."""
    found = {name: np.asarray(rate, dtype=np.float64).sum(axis=0) for name, rate in rates.items()}
    relays = graph.metadata.get("relays", {})
    return {**{name: found[origin] for name, origin in relays.items() if origin in found}, **found}


def _objective(measure: Callable[[Placement], Counts], profile: Profile, goal: Goal, schedule: Schedule) -> Objective:
    def score(plan: Placement) -> Score:
        found = cost(measure(plan), plan, profile, schedule)
        value = {"latency": found.latency_s, "energy": found.energy_j, "edp": found.edp_js}[goal].nominal
        limits: dict[str, float] = {}
        for core in found.cores:
            limits[core.node] = limits.get(core.node, 0.0) + core.share_of_steps
        return Score(value=value, smooth=_smooth(found), energy=found.energy_j.nominal, limits=limits, figures=_figures(found))

    return score


def _smooth(found: Cost) -> float:
    busy = np.array([max(core.send_s, core.receive_s) for core in found.cores])
    top = float(busy.max(initial=0.0))
    return top * float(((busy / top) ** _SHARPNESS).sum()) ** (1 / _SHARPNESS) if top else 0.0


def _figures(found: Cost) -> dict[str, Any]:
    return {
        "latency_s": found.latency_s.nominal, "energy_j": found.energy_j.nominal,
        "energy_dynamic_j": found.energy_dynamic_j.nominal, "edp_js": found.edp_js.nominal,
        "messages": found.counts["messages"], "hops": found.counts["hops"], "n_cores": found.n_cores,
        "n_chips": found.n_chips, "limiting": found.limiting.to_dict(), "schedule": found.schedule,
    }
