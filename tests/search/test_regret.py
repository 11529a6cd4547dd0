"""What a search misses of a space that is known as a whole, by hand and as the search itself would have run."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from neurodeploy.search.evolve import EvolutionSettings, Scored
from neurodeploy.search.fitness import FitnessSettings
from neurodeploy.search.regret import Regret, regrets, replay
from neurodeploy.search.space import Genome, Space
from neurodeploy.search.standing import Standing
from neurodeploy.search.study import StudyResult, run
from search_fixtures import golden_search
from stub_search import OBJECTIVES, load, score, search, standing
from test_fitness import GOOD

SPACE = Space.uniform("ab", 2)


def known(**fitnesses: tuple[float | None, float, float]) -> dict[Genome, Scored]:
    return {tuple(g): Scored(tuple(g), f, () if f is None else costs) for g, (f, *costs) in fitnesses.items()}  # type: ignore[arg-type]


def test_by_hand() -> None:
    table = known(aa=(4.0, -4.0, 10.0), ab=(3.0, -3.0, 4.0), ba=(1.0, -2.0, 6.0), bb=(2.0, -2.0, 0.0))
    (whole,) = regrets(SPACE, EvolutionSettings(budget=4), [7], table, ["random"])
    # ba is beaten by ab and by bb
    assert whole == Regret("random", 7, 4, 4.0, 1, 0.0, 3, 3, 0.0)
    settings = EvolutionSettings(budget=1)
    for seed in range(20):
        (one,) = regrets(SPACE, settings, [seed], table, ["random"])
        (met,) = replay(SPACE, settings.model_copy(update={"method": "random"}), seed, table)
        # Ranges of the front: 2 and 10. From ab: aa lacks 1/2 of accuracy, bb 4/10 of cost.
        expected = {
            "aa": (4.0, 1, 0.0, 1, 1.0), "ab": (3.0, 2, 0.25, 1, 0.5),
            "bb": (2.0, 3, 0.5, 1, 1.0), "ba": (1.0, 4, 0.75, 0, 1.0),
        }["".join(met.genome)]
        assert (one.best, one.rank, one.regret, one.front_found, one.epsilon) == expected


def test_a_search_that_meets_nothing_feasible() -> None:
    table = known(aa=(4.0, 1.0, 1.0), ab=(None, 0, 0), ba=(None, 0, 0), bb=(None, 0, 0))
    found = [regrets(SPACE, EvolutionSettings(budget=1), [seed], table)[0] for seed in range(12)]
    assert {(r.best, r.rank, r.regret, r.front_found, r.epsilon) for r in found} == {
        (4.0, 1, 0.0, 1, 0.0), (None, None, None, 0, None),
    }  # fmt: skip


@pytest.mark.parametrize("method", ["evolution", "nsga2", "random"])
def test_a_replay_is_the_search_itself(tmp_path: Path, method: str) -> None:
    space, evaluate = load(golden_search())
    table = {g: Scored(g, score(evaluate(g)), *standing(evaluate(g))) for g in map(space.genome, range(space.size))}
    ran = search(tmp_path / "journal.log", golden_search(), 3, 50, method=method)
    settings = EvolutionSettings(budget=50, method=method)
    assert [s.genome for s in replay(space, settings, 3, table)] == [e.genome for e in ran.evaluations]
    assert ran.best is not None
    (row,) = regrets(space, EvolutionSettings(budget=50, method="exhaustive"), [3], table, [method])
    assert row.best == ran.best.fitness and row.n_evaluated == 50


def test_the_whole_space_in_order(tmp_path: Path) -> None:
    space, (_, evaluate) = Space.uniform(("skip_connect", "SCB_k3", "SRB_k5"), 5), load(golden_search())
    settings = EvolutionSettings(method="exhaustive", budget=2, pool=50)
    n_asked = 0

    def count() -> bool:
        nonlocal n_asked
        n_asked += 1
        return n_asked > 120

    def go(should_stop: Callable[[], bool]) -> StudyResult:
        journal = tmp_path / "journal.log"
        return run(journal, settings, space, 3, evaluate, score, objectives=OBJECTIVES, should_stop=should_stop)

    assert len(go(count).evaluations) == 120
    found = go(lambda: False)
    assert found.stopped == "exhausted" and found.n_evaluated_here == 243 - 120
    genomes = [e.genome for e in found.evaluations]
    assert set(genomes) == {space.genome(i) for i in range(243)} and len(genomes) == 243
    assert sum(a[:4] == b[:4] for a, b in pairwise(genomes)) == 162, "two of three differ only at the end"
    assert found.best is not None and found.best.fitness == max(score(evaluate(g)) or 0.0 for g in genomes)


def test_what_counts_of_a_candidate() -> None:
    settings = FitnessSettings(energy="dynamic", terms={"area": -1.0, "reuse": 1.0, "seen": 0.0})
    stands = Standing(settings, 10)
    assert list(stands.objectives) == ["accuracy", "energy_dynamic_j", "latency_s", "n_cores", "terms.area", "terms.reuse"]
    metrics = {**GOOD.to_dict(), "terms": {"area": 2.0, "reuse": 3.0, "seen": 1.0}}
    assert stands(metrics) == ((-0.9, 1e-5, 1e-3, 7.0, 2.0, -3.0), 0)
    assert stands({**metrics, "n_cores": None}) == ((-0.9, 1e-5, 1e-3, 2.0, -3.0), 0), "a target without cores"
    assert stands({**metrics, "accuracy": 0.1, "silent_layers": ["a", "b"]}) == ((), 3)
