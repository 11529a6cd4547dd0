"""NSGA-II: a population that spreads over the front, instead of the genomes of highest fitness.

Each round's children stem from the survivors of all rounds before: the first `n` of population and children by
constrained domination and crowding. A feasible genome beats an infeasible one, and of two infeasible ones that with fewer
broken limits; so a chip's limits are constraints, not prices.

Source: Deb et al., IEEE Trans. Evolutionary Computation 6(2), 2002 (survival, tournament, constraints, 0.9 crossovers).
Genomes are recombined at one cut, and a mutated position takes another block.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError
from neurodeploy.search.space import Genome, Space, crossed, draw_index

_P_CROSSOVER = 0.9


class Judged(Protocol):
    """An evaluated genome: what is minimised where it is feasible (fitness not None), else how many limits it breaks."""

    @property
    def genome(self) -> Genome: ...
    @property
    def fitness(self) -> float | None: ...
    @property
    def costs(self) -> tuple[float, ...]: ...
    @property
    def n_broken(self) -> int: ...


@dataclass(frozen=True)
class Survivor:
    """A genome, the front it stands on (0 the best), and how alone it stands there."""

    judged: Judged
    front: int
    crowding: float

    @property
    def genome(self) -> Genome:
        return self.judged.genome

    @property
    def order(self) -> tuple[int, float]:
        """Smaller is better."""
        return self.front, -self.crowding


def population(finished: Sequence[Sequence[Judged]], n: int) -> tuple[Survivor, ...]:
    """The survivors of all rounds, best first: after each, the best `n` of the survivors so far and the round's genomes."""
    alive: tuple[Survivor, ...] = ()
    for round_ in finished:
        alive = survivors([*(s.judged for s in alive), *round_], n)
    return alive


def survivors(judged: Sequence[Judged], n: int) -> tuple[Survivor, ...]:
    """The best `n`, best first: whole fronts, and of the first that has no room the least crowded; the earlier of equals."""
    found: list[Survivor] = []
    left = list(judged)
    front = 0
    while left and len(found) < n:
        worse = beaten(left)
        best = [j for j, w in zip(left, worse, strict=True) if not w]
        ranked = [Survivor(j, front, c) for j, c in zip(best, _crowding(best), strict=True)]
        found += sorted(ranked, key=lambda s: s.order)
        left = [j for j, w in zip(left, worse, strict=True) if w]
        front += 1
    return tuple(found[:n])


def child(space: Space, p_mutation: float, rng: random.Random, alive: Sequence[Survivor]) -> Genome:
    """A genome from two tournaments: cut once with probability 0.9, each position changed with `p_mutation`."""
    first, second = (_tournament(rng, alive).genome for _ in range(2))
    if space.n_positions > 1 and rng.random() < _P_CROSSOVER:
        first = crossed(first, second, rng)
    return space.mutated(first, p_mutation, rng)


def _tournament(rng: random.Random, alive: Sequence[Survivor]) -> Survivor:
    a, b = (alive[draw_index(rng, len(alive))] for _ in range(2))
    return b if b.order < a.order else a


def beaten(judged: Sequence[Judged]) -> NDArray[np.bool_]:
    """Which of them another one beats."""
    feasible = np.array([j.fitness is not None for j in judged])
    if not feasible.any():
        broken = np.array([j.n_broken for j in judged])
        return np.asarray(broken > broken.min())
    costs = _costs([j for j in judged if j.fitness is not None])
    found = np.ones(len(judged), dtype=np.bool_)
    found[feasible] = [bool(((costs <= c).all(axis=1) & (costs < c).any(axis=1)).any()) for c in costs]
    return found


def _crowding(front: Sequence[Judged]) -> list[float]:
    """Of each, the sum over objectives of the distance between its neighbours, of the front's range; infinite at the ends."""
    if front[0].fitness is None:
        return [0.0] * len(front)
    costs = _costs(front)
    found = np.zeros(len(front))
    for values in costs.T:
        order = np.argsort(values, kind="stable")
        spread = values[order[-1]] - values[order[0]]
        found[order[[0, -1]]] = np.inf
        if spread > 0:
            found[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / spread
    return [float(c) for c in found]


def _costs(judged: Sequence[Judged]) -> NDArray[np.float64]:
    rows = [j.costs for j in judged]
    if not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise NeurodeployError(
            f"candidates with {sorted({len(row) for row in rows})} objectives", where="nsga2",
            limit="All feasible candidates have the same ones, at least one",
        )
    return np.array(rows)
