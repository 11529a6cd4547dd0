"""The search methods as one pure function: finished rounds in, the next round's genomes out.

Every child depends only on (seed, finished rounds, slot), each slot with a random generator of its own. So a search
that was stopped, or that several workers share, asks for the same genomes as one that ran undisturbed.

"evolution" is AutoSNN's: Na et al., ICML 2022 (arXiv 2201.12738), section 4, and the released code, with two differences:
everything is seeded, and a parent is drawn anew where a mutation changed nothing or met a genome seen before. "nsga2": see
`search/nsga2.py`. The first round of both is that of "random".
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from neurodeploy.search import nsga2
from neurodeploy.search.space import Genome, Space, crossed, draw_index

# Redraws of one child before its slot is filled at random: reached where the parents' surroundings are exhausted.
_REDRAWS = 100


Method = Literal["evolution", "random", "nsga2", "exhaustive"]


class EvolutionSettings(BaseModel):
    """How many genomes are evaluated and how they are chosen; the defaults are the paper's.

    `method` "evolution" looks for the fittest; "nsga2" for the front, with `pool` survivors and children, and uses `p_mutation`
    too; "random" draws every genome uniformly and uses only `budget` and `pool` (the size of a round); "exhaustive" evaluates
    the whole space, `pool` at a time, whatever the `budget`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = "evolution"
    budget: int = Field(default=200, ge=1)
    pool: int = Field(default=20, ge=1)
    top_k: int = Field(default=10, ge=1)
    n_mutations: int = Field(default=10, ge=0)
    n_crossovers: int = Field(default=10, ge=0)
    p_mutation: float = Field(default=0.2, gt=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> EvolutionSettings:
        if self.method == "evolution":
            if self.n_mutations + self.n_crossovers > self.pool:
                raise ValueError(
                    f"n_mutations + n_crossovers = {self.n_mutations + self.n_crossovers} children "
                    f"do not fit a pool of {self.pool}"
                )
            if self.n_crossovers and self.top_k < 2:
                raise ValueError("a crossover needs two distinct parents: top_k must be at least 2")
        return self


@dataclass(frozen=True)
class Scored:
    """An evaluated genome; `fitness` None where it was infeasible.

    "nsga2" alone reads the rest: what it minimises, of a feasible one, and how many limits an infeasible one breaks.
    """

    genome: Genome
    fitness: float | None
    costs: tuple[float, ...] = ()
    n_broken: int = 0


def parents(top_k: int, finished: Sequence[Sequence[Scored]]) -> tuple[Scored, ...]:
    """The best `top_k` feasible genomes of all rounds, best first; the earlier evaluated stands first among equals."""
    feasible = [(s.fitness, s) for scored in finished for s in scored if s.fitness is not None]
    return tuple(s for _, s in sorted(feasible, key=lambda pair: -pair[0])[:top_k])


def next_round(
    space: Space, settings: EvolutionSettings, seed: int, finished: Sequence[Sequence[Scored]]
) -> tuple[Genome, ...]:
    """The genomes of the round after `finished`, in the order of their slots; empty where the search is over.

    Genomes are new: in no finished round and once in this one. A round holds `pool` genomes, the last one what is left
    of the budget. Where the space has fewer unseen genomes than that, the round holds those, and the next is empty.

    "exhaustive" ignores the budget; its last position changes fastest, so that neighbours share most of their blocks.
    """
    if settings.method == "exhaustive":
        done = sum(map(len, finished))
        return tuple(islice(product(*space.positions), done, done + settings.pool))
    seen = {scored.genome for round_ in finished for scored in round_}
    n_round = min(settings.pool, settings.budget - sum(len(round_) for round_ in finished))
    best = parents(settings.top_k, finished) if settings.method == "evolution" else ()
    alive = nsga2.population(finished, settings.pool) if settings.method == "nsga2" else ()
    children: list[Genome] = []
    for slot in range(n_round):
        rng = random.Random(f"neurodeploy search {seed} {len(finished)} {slot}")
        child = _child(space, settings, rng, slot, best, alive, seen)
        if child is None:
            break
        seen.add(child)
        children.append(child)
    return tuple(children)


def is_exhausted(space: Space, finished: Sequence[Sequence[Scored]]) -> bool:
    """Whether every genome of the space has been evaluated."""
    return len({scored.genome for round_ in finished for scored in round_}) >= space.size


def _child(
    space: Space,
    settings: EvolutionSettings,
    rng: random.Random,
    slot: int,
    best: Sequence[Scored],
    alive: Sequence[nsga2.Survivor],
    seen: set[Genome],
) -> Genome | None:
    is_mutation = slot < settings.n_mutations
    is_crossover = not is_mutation and slot < settings.n_mutations + settings.n_crossovers
    if alive or (is_mutation and best) or (is_crossover and len(best) > 1 and space.n_positions > 1):
        for _ in range(_REDRAWS):
            if alive:
                child = nsga2.child(space, settings.p_mutation, rng, alive)
            else:
                child = _mutate(space, settings.p_mutation, rng, best) if is_mutation else _cross(rng, best)
            if child not in seen:
                return child
    return space.draw_unseen(rng, seen)


def _mutate(space: Space, p_mutation: float, rng: random.Random, best: Sequence[Scored]) -> Genome:
    """A parent, uniform of the best, with each position changed to another block with probability `p_mutation`."""
    return space.mutated(best[draw_index(rng, len(best))].genome, p_mutation, rng)


def _cross(rng: random.Random, best: Sequence[Scored]) -> Genome:
    """The head of one parent and the tail of another, cut at one place between two positions."""
    first = draw_index(rng, len(best))
    second = draw_index(rng, len(best) - 1)
    second += second >= first
    return crossed(best[first].genome, best[second].genome, rng)
