"""What the placement optimiser minimises: latency, energy or their product of one inference, from its events."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.counts import Counts, Expected, count, from_expected
from neurodeploy.cost.model import cost
from neurodeploy.cost.result import Cost
from neurodeploy.cost.schedule import Schedule
from neurodeploy.cost.windows import schedule_for
from neurodeploy.errors import NeurodeployWarning
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.place.optimise import Goal, Objective, Optimised, Score, optimise
from neurodeploy.place.placement import Placement
from neurodeploy.sim.trace import Trace

_SHARPNESS = 16  # of the norm over cores: high enough that the busiest decide, low enough that the others still count
_ROUND_OFF = 1e-9


def optimise_for(
    graph: Graph, profile: Profile, goal: Goal, events: Trace | Expected, *, schedule: Schedule | None = None,
    n_chips: int | None = None, seed: int = 0, budget: int = 300,
) -> Optimised:
    """The placement found that costs least for the events of a trace (counted exactly) or those to expect (`expected`).

    schedule None: pipelined where the network can be, else single. Raises DoesNotFit; warns where the goal costs energy.
    """
    chosen = schedule_for(graph, schedule)
    objective, messages = objective_of(graph, profile, goal, events, chosen), messages_of(events)
    found = optimise(graph, profile, objective, messages, n_chips=n_chips, budget=budget, seed=seed)
    more = found.after["energy_j"] - found.before["energy_j"]
    if more > _ROUND_OFF * found.before["energy_j"]:
        warnings.warn(NeurodeployWarning(
            f"the placement with less {goal} needs {100 * more / found.before['energy_j']:.1f} % more energy",
            code="energy_rises", where=profile.name, remedy="Optimise for energy or edp instead, or give fewer chips",
        ), stacklevel=2)
    return found


def objective_of(
    graph: Graph, profile: Profile, goal: Goal, events: Trace | Expected, schedule: Schedule
) -> Objective:
    """What the goal costs on a placement, from events that no placement changes."""
    if isinstance(events, Trace):
        trace = events
        return _objective(lambda plan: count(trace, plan, profile.zeros), profile, goal, schedule)
    found = events
    return _objective(lambda plan: from_expected(graph, plan, found, profile.zeros), profile, goal, schedule)


def messages_of(events: Trace | Expected) -> dict[str, NDArray[np.float64]]:
    """Mean messages per sample of every element of each layer and input, in its shape."""
    rasters = events.spikes if isinstance(events, Trace) else events.messages
    counted = {name: raster != 0 if isinstance(events, Trace) else raster for name, raster in rasters.items()}
    return {name: raster.sum(axis=0, dtype=np.float64).mean(axis=0) for name, raster in counted.items()}


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
