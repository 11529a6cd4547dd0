"""Our search against the fixtures of AutoSNN's released one: every `*_search.json` of the folder."""

from __future__ import annotations

import json
from typing import Any

import pytest
from neurodeploy.models.macro import BLOCKS
from neurodeploy.search.evolve import EvolutionSettings, Scored
from neurodeploy.search.regret import regrets, replay
from neurodeploy.search.space import Genome, Space

import oracles

RTOL = 1e-12  # a handful of products and one power of doubles, in another order


def fixtures() -> list[Any]:
    paths = sorted(oracles.folder("seeds").glob("*_search.json"))
    return [pytest.param(json.loads(p.read_text(encoding="utf-8")), id=p.stem) for p in paths]


def test_fixtures_are_there() -> None:
    oracles.require(fixtures(), "*_search.json", "seeds")


def ids_of(found: dict[str, Any], genome: Genome) -> list[int]:
    return [found["candidate_blocks"].index(block) for block in genome]


def table(found: dict[str, Any]) -> tuple[Space, dict[Genome, Scored]]:
    """The space, and every genome by the fixture's formula."""
    space = Space.uniform(found["candidate_blocks"], found["num_TBD"])
    stub = found["stub_eval"]
    weights = [w for w in stub["position_weight"] if w]

    def scored(genome: Genome) -> Scored:
        ids = ids_of(found, genome)
        accuracy = sum(stub["acc_table"][i] * w for i, w in zip(ids, weights, strict=True)) / len(ids)
        spikes = 40000 + sum(stub["spike_table"][i] * w for i, w in zip(ids, weights, strict=True))
        return Scored(genome, accuracy * (spikes / 110_000) ** -0.08, (-accuracy, spikes))

    return space, {genome: scored(genome) for genome in map(space.genome, range(space.size))}


@pytest.mark.parametrize("found", fixtures())
def test_candidates_stand_in_the_order_of_the_release(found: dict[str, Any]) -> None:
    assert tuple(found["candidate_blocks"]) == BLOCKS
    space, _ = table(found)
    assert space.size == found["search_space_size"] == len(BLOCKS) ** found["num_TBD"]
    assert len(found["decode_arch_id_little_endian_base5"]) >= 10
    for number, ids in found["decode_arch_id_little_endian_base5"].items():
        assert ids_of(found, space.genome(int(number))) == [i for i in ids if i >= 0]


@pytest.mark.parametrize("found", fixtures())
def test_the_best_five_of_the_whole_space(found: dict[str, Any]) -> None:
    space, known = table(found)
    best = sorted(known.values(), key=lambda s: -(s.fitness or 0.0))[:5]
    assert [ids_of(found, s.genome) for s in best] == [
        [i for i in ids if i >= 0] for _, ids in found["brute_force_top5_lambda_-0.08"]
    ]
    assert [s.fitness for s in best] == pytest.approx([f for f, _ in found["brute_force_top5_lambda_-0.08"]], rel=RTOL)
    everything = replay(space, EvolutionSettings(method="exhaustive"), 0, known)
    assert len(everything) == len(set(everything)) == space.size


@pytest.mark.parametrize("found", fixtures())
@pytest.mark.parametrize(("kind", "method"), [("evolution", "evolution"), ("random", "random")])
def test_searches_are_as_good_as_the_released_ones(found: dict[str, Any], kind: str, method: Any) -> None:
    space, known = table(found)
    optimum = found["brute_force_top5_lambda_-0.08"][0][0]
    reached = 0
    released = found[f"{kind}_runs_defaults_20iter_pool20"]
    assert len(released) == 5
    for run in released:
        searched = replay(space, EvolutionSettings(method=method, budget=run["evaluations"]), run["seed"], known)
        assert len(searched) == len({s.genome for s in searched}) == run["unique"] == 400
        so_far = [max(s.fitness or 0.0 for s in searched[: 20 * (i + 1)]) for i in range(20)]
        assert so_far == sorted(so_far) and run["best_fitness_per_iter"] == sorted(run["best_fitness_per_iter"])
        reached += so_far[-1] == pytest.approx(optimum, rel=RTOL)
        for ids, accuracy, spikes, fitness in run["best3_arch_acc_spikes_fitness"]:
            ours = known[tuple(found["candidate_blocks"][i] for i in ids if i >= 0)]
            assert (*ours.costs, ours.fitness) == pytest.approx((-accuracy, spikes, fitness), rel=RTOL)
        for ids in run.get("evaluated_in_order", []):
            assert tuple(found["candidate_blocks"][i] for i in ids if i >= 0) in known
    theirs = sum(r["best_fitness_per_iter"][-1] == pytest.approx(optimum, rel=RTOL) for r in released)
    if kind == "evolution":
        assert (reached, theirs) == (5, 5)
    else:  # 400 of 3,125: met with probability 0.128 a seed, by four of five or more in 0.1 % of all cases
        assert reached <= 3 and theirs == 0


@pytest.mark.parametrize("found", fixtures())
def test_regret_says_the_same(found: dict[str, Any]) -> None:
    space, known = table(found)
    rows = regrets(space, EvolutionSettings(budget=400), range(5), known)
    assert [r.regret for r in rows if r.method == "evolution"] == [0.0] * 5
    assert all(r.rank == 1 for r in rows if r.method == "evolution")
    assert all((r.regret == 0) == (r.rank == 1) for r in rows)
    assert sum((r.regret or 0.0) > 0 for r in rows if r.method == "random") >= 2
    nearer = {m: sum(r.epsilon or 0.0 for r in rows if r.method == m) for m in ("nsga2", "evolution", "random")}
    assert nearer["nsga2"] < nearer["random"] < nearer["evolution"], "evolution looks for one optimum"
