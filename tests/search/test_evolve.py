"""AutoSNN's evolution: what its fixture says of the released one, and properties over seeds."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from neurodeploy.search.evolve import EvolutionSettings, Scored, is_exhausted, next_round, parents
from neurodeploy.search.space import Genome, Space
from pydantic import ValidationError
from search_fixtures import golden_search, released_searches
from stub_search import load, score

Rounds = list[tuple[Scored, ...]]


def evolve(
    space: Space, settings: EvolutionSettings, seed: int, fitness: Callable[[Genome], float | None]
) -> Rounds:
    rounds: Rounds = []
    while genomes := next_round(space, settings, seed, rounds):
        rounds.append(tuple(Scored(g, fitness(g)) for g in genomes))
    return rounds


def stub_fitness(path: Path) -> tuple[Space, Callable[[Genome], float | None]]:
    space, evaluate = load(path)
    return space, lambda genome: score({**evaluate(genome), "feasible": True})


@pytest.mark.parametrize("seed", range(5))
def test_evolution_reaches_the_optimum_of_the_fixture(seed: int) -> None:
    for path in released_searches():
        check_optimum(path, seed)


def check_optimum(path: Path, seed: int) -> None:
    found = json.loads(path.read_text())
    optimum, ids = found["brute_force_top5_lambda_-0.08"][0]
    best_genome = tuple(found["candidate_blocks"][i] for i in ids if i >= 0)
    space, fitness = stub_fitness(path)
    rounds = evolve(space, EvolutionSettings(budget=400), seed, fitness)
    assert [len(r) for r in rounds] == [20] * 20
    best = parents(1, rounds)[0]
    assert best.genome == best_genome
    # The product of the same doubles in another order.
    assert best.fitness == pytest.approx(optimum, rel=1e-12)
    so_far = [(parents(1, rounds[: i + 1])[0].fitness or 0.0) for i in range(20)]
    assert so_far == sorted(so_far)


def test_random_search_is_unique_and_finds_the_optimum_only_by_chance() -> None:
    space, fitness = stub_fitness(golden_search())
    settings = EvolutionSettings(budget=400, method="random")
    optimum = json.loads(golden_search().read_text())["brute_force_top5_lambda_-0.08"][0][0]
    n_found = 0
    for seed in range(10):
        rounds = evolve(space, settings, seed, fitness)
        assert sum(map(len, rounds)) == len({s.genome for r in rounds for s in r}) == 400
        n_found += (parents(1, rounds)[0].fitness or 0.0) > optimum * (1 - 1e-9)
    # 400 of 3,125 genomes: found with probability 0.128 a seed; five or more of ten have a probability of 0.5 %.
    assert n_found < 5


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    budget=st.integers(1, 90),
    pool=st.integers(1, 24),
    top_k=st.integers(1, 12),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    method=st.sampled_from(["evolution", "random"]),
)
def test_any_search_is_unique_complete_and_pure(
    seed: int, budget: int, pool: int, top_k: int, shares: tuple[float, float], method: Literal["evolution", "random"]
) -> None:
    n_mutations = int(shares[0] * pool)
    n_crossovers = int(shares[1] * (pool - n_mutations)) if top_k > 1 else 0
    settings = EvolutionSettings(
        method=method, budget=budget, pool=pool, top_k=top_k, n_mutations=n_mutations, n_crossovers=n_crossovers
    )
    space = Space((("a", "b", "c"), ("x",), ("p", "q", "r"), ("u", "v", "w", "z")))  # 36 genomes: small budgets end it
    rng = random.Random(seed)
    table: dict[Genome, float | None] = {
        space.genome(i): (None if rng.random() < 0.3 else rng.random()) for i in range(space.size)
    }
    rounds = evolve(space, settings, seed, table.__getitem__)
    genomes = [s.genome for r in rounds for s in r]
    assert len(genomes) == len(set(genomes)) == min(budget, space.size)
    assert is_exhausted(space, rounds) == (budget >= space.size)
    assert all(g in space for g in genomes)
    assert all(len(r) == pool for r in rounds[:-1])
    # Pure: asked again, from copies, in any order, the same answer.
    for i in reversed(range(len(rounds))):
        copied = [[Scored(s.genome, s.fitness) for s in r] for r in rounds[:i]]
        assert next_round(space, settings, seed, copied) == tuple(s.genome for s in rounds[i])


def test_children_descend_from_the_best_of_all_rounds() -> None:
    space = Space.uniform(tuple("abcde"), 8)
    settings = EvolutionSettings(budget=60, pool=30, top_k=4, n_mutations=10, n_crossovers=10)
    values = random.Random(1)
    first = tuple(Scored(g, values.random()) for g in next_round(space, settings, 7, []))
    # A second round worse than the whole first one: the parents must still be the first round's.
    second = tuple(Scored(g, -1.0) for g in next_round(space, settings, 7, [first]))
    best = parents(settings.top_k, [first, second])
    assert {s.genome for s in best} == {s.genome for s in sorted(first, key=lambda s: -(s.fitness or 0))[:4]}
    children = [s.genome for s in second]
    parents_ = [s.genome for s in best]
    for child in children[10:20]:
        assert any(
            child == a[:cut] + b[cut:] for a in parents_ for b in parents_ if a != b for cut in range(1, 8)
        )
    # 8 positions changed with 0.2 each: 5 or more changes have a probability of 1 % (binomial), random genomes 99.9 %.
    distances = [min(sum(x != y for x, y in zip(c, p, strict=True)) for p in parents_) for c in children]
    assert min(distances[:10]) >= 1
    assert sum(d >= 5 for d in distances[:10]) <= 2
    assert sum(distances[:10]) / 10 < 3 < sum(distances[20:]) / 10


def test_the_rate_of_mutation_is_p_per_position() -> None:
    space = Space.uniform(tuple("abcde"), 40)
    settings = EvolutionSettings(budget=400, pool=200, top_k=1, n_mutations=200, n_crossovers=0)
    parent = space.genome(0)
    first = (Scored(parent, 1.0),)
    children = next_round(space, settings, 0, [first])
    changed = [block for child in children for block, old in zip(child, parent, strict=True) if block != old]
    # Binomial(8000, 0.2): mean 1600, standard deviation 36; four of them either way.
    assert len(children) == 200
    assert abs(len(changed) - 1600) < 144
    assert {changed.count(b) > 300 for b in "bcde"} == {True}


def test_infeasible_genomes_are_never_parents_and_none_feasible_means_random() -> None:
    space = Space.uniform(tuple("abcde"), 5)
    settings = EvolutionSettings(budget=100)
    first = tuple(Scored(g, None) for g in next_round(space, settings, 3, []))
    assert parents(10, [first]) == ()
    second = next_round(space, settings, 3, [first])
    assert len(set(second)) == 20
    assert not set(second) & {s.genome for s in first}


def test_other_seeds_ask_for_other_genomes() -> None:
    space = Space.uniform(tuple("abcde"), 5)
    assert len({next_round(space, EvolutionSettings(), seed, []) for seed in range(20)}) == 20


def test_the_sequence_itself_is_fixed() -> None:
    # Stored searches resume only while this holds; a wanted change needs a changelog entry.
    space = Space.uniform(tuple("abcde"), 5)
    first = next_round(space, EvolutionSettings(), 0, [])
    second = next_round(space, EvolutionSettings(), 0, [[Scored(g, float(i)) for i, g in enumerate(first)]])
    assert ["".join(g) for g in first[:3]] == ["aabea", "bdeaa", "ddcbb"]
    assert ["".join(second[i]) for i in (0, 9, 10, 19)] == ["eacad", "bcdcc", "bdded", "beeeb"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": 0},
        {"pool": 0},
        {"top_k": 0},
        {"p_mutation": 0.0},
        {"p_mutation": 1.5},
        {"n_mutations": -1},
        {"pool": 19},
        {"top_k": 1},
        {"method": "annealing"},
        {"poool": 20},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EvolutionSettings.model_validate(wrong)
