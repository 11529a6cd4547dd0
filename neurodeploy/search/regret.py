"""What a search misses, where the whole space has been evaluated: the methods are run again on the known evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.search.evolve import EvolutionSettings, Method, Scored, next_round
from neurodeploy.search.nsga2 import beaten
from neurodeploy.search.space import Genome, Space

METHODS: tuple[Method, ...] = ("evolution", "nsga2", "random")


@dataclass(frozen=True)
class Regret:
    """One search of `n_evaluated` candidates beside the whole space.

    best: its highest fitness, None where it met no feasible candidate; rank: its best's place in the whole
    space, 1 the optimum; regret: what its best lacks of the optimum's fitness, as a share of it (0 the optimum).
    front_found: how many of the exact front it met, of `n_front`; epsilon: the additive epsilon indicator, the least that must
    be added to everything found, each objective in units of the exact front's range, so that all of the exact front is reached
    (0: all met). Source: Zitzler et al., IEEE Trans. Evolutionary Computation 7(2), 2003.
    """

    method: str
    seed: int
    n_evaluated: int
    best: float | None
    rank: int | None
    regret: float | None
    front_found: int
    n_front: int
    epsilon: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return asdict(self)


def replay(space: Space, settings: EvolutionSettings, seed: int, known: Mapping[Genome, Scored]) -> tuple[Scored, ...]:
    """What a search would evaluate, in its order; `known` holds every genome of the space."""
    finished: list[tuple[Scored, ...]] = []
    while genomes := next_round(space, settings, seed, finished):
        finished.append(tuple(known[genome] for genome in genomes))
    return tuple(scored for round_ in finished for scored in round_)


def regrets(
    space: Space, settings: EvolutionSettings, seeds: Sequence[int], known: Mapping[Genome, Scored],
    methods: Sequence[Method] = METHODS,
) -> tuple[Regret, ...]:
    """Each method's regret for each seed, with the budget and rounds of `settings`. At least one genome must be feasible."""
    front = [s for s, worse in zip(known.values(), beaten(list(known.values())), strict=True) if not worse]
    fitnesses = sorted((s.fitness for s in known.values() if s.fitness is not None), reverse=True)
    found = []
    for method in methods:
        # validated: what fits one method need not fit another
        asked = EvolutionSettings.model_validate({**settings.model_dump(), "method": method})
        for seed in seeds:
            found.append(_regret(method, seed, replay(space, asked, seed, known), fitnesses, front))
    return tuple(found)


def _regret(
    method: str, seed: int, searched: Sequence[Scored], fitnesses: Sequence[float], front: Sequence[Scored]
) -> Regret:
    feasible = [s for s in searched if s.fitness is not None]
    best = max((s.fitness for s in feasible if s.fitness is not None), default=None)
    genomes = {s.genome for s in searched}
    return Regret(
        method=method, seed=seed, n_evaluated=len(searched), best=best,
        rank=None if best is None else 1 + sum(f > best for f in fitnesses),
        regret=None if best is None else 1 - best / fitnesses[0],
        front_found=sum(s.genome in genomes for s in front), n_front=len(front),
        epsilon=_epsilon(_costs(front), _costs(feasible)) if feasible else None,
    )


def _epsilon(exact: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    spread = exact.max(axis=0) - exact.min(axis=0)
    spread[spread == 0] = 1.0
    return max(float(((found - point) / spread).max(axis=1).min()) for point in exact)


def _costs(scored: Sequence[Scored]) -> NDArray[np.float64]:
    return np.array([s.costs for s in scored])
