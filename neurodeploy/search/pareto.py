"""The Pareto front: the candidates that no other candidate beats in every respect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from neurodeploy.errors import UsageError

Objectives = Mapping[str, Literal["max", "min"]]

OBJECTIVES: Objectives = {
    "accuracy": "max",
    "energy_j": "min",
    "latency_s": "min",
    "spikes": "min",
    "n_cores": "min",
}


def objectives_with(terms: Mapping[str, float]) -> Objectives:
    """OBJECTIVES and one's own terms of the fitness, {name: exponent}, in the direction of their exponents; with 0 none."""
    return {**OBJECTIVES, **own_objectives(terms)}


def own_objectives(terms: Mapping[str, float]) -> Objectives:
    """One's own terms as objectives."""
    return {f"terms.{name}": "max" if exponent > 0 else "min" for name, exponent in terms.items() if exponent}


def costs(candidate: Mapping[str, Any], objectives: Objectives) -> tuple[float, ...]:
    """What a candidate has of every objective, turned so that less is better; without those that are None on its target.
    Raises UsageError as `pareto_front`."""
    return tuple(_cost(0, candidate, name, objectives) for name in objectives if candidate.get(name, 0) is not None)


def pareto_front(candidates: Sequence[Mapping[str, Any]], objectives: Objectives = OBJECTIVES) -> tuple[int, ...]:
    """Indices, ascending, of the candidates on the front.

    A candidate is beaten by another that is at least as good in every objective and better in one; equals stay
    together. `candidates` are metrics by name and must hold a finite number for every objective, else UsageError:
    leave infeasible candidates out before; a dot in a name leads into a mapping. What is None for all of them, as cores on a
    target without cores, is no objective.
    """
    if not candidates:
        return ()
    known = [name for name in objectives if any(c.get(name, 0) is not None for c in candidates)]
    costs = np.array([[_cost(i, c, name, objectives) for name in known] for i, c in enumerate(candidates)])
    front = []
    for i, cost in enumerate(costs):
        beaten = (costs <= cost).all(axis=1) & (costs < cost).any(axis=1)
        if not beaten.any():
            front.append(i)
    return tuple(front)


def _cost(index: int, candidate: Mapping[str, Any], name: str, objectives: Objectives) -> float:
    value: Any = candidate
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(
            f"{name} is {value!r}, not a finite number",
            where=f"Pareto front, candidate {index}",
            remedy="Leave infeasible candidates out, or name the objectives that the evaluation delivers",
        )
    return -float(value) if objectives[name] == "max" else float(value)
