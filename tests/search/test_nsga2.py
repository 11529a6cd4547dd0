"""NSGA-II by hand, as a pure function, and as one result however many workers share it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from neurodeploy.errors import NeurodeployError
from neurodeploy.search.evolve import EvolutionSettings, Scored, next_round
from neurodeploy.search.nsga2 import child, population, survivors
from neurodeploy.search.regret import regrets
from neurodeploy.search.space import Space
from search_fixtures import golden_search
from stub_search import load, plain, score, search, standing

SETTINGS = EvolutionSettings(method="nsga2", budget=100)


def scored(name: str, *costs: float) -> Scored:
    return Scored((name,), 1.0, costs)


def names(genomes: object) -> str:
    return "".join(s.genome[0] for s in genomes)  # type: ignore[attr-defined]


def test_fronts_and_crowding_by_hand() -> None:
    # Front 0: a (0, 4), b (1, 2), c (2, 1.5), d (4, 0). Front 1: e (2, 3), beaten by b and c; f (5, 1), by d. Front 2: g.
    everyone = [scored("g", 6, 6), scored("e", 2, 3), scored("d", 4, 0), scored("c", 2, 1.5), scored("b", 1, 2),
                scored("a", 0, 4), scored("f", 5, 1)]  # fmt: skip
    found = survivors(everyone, 7)
    assert {s.genome[0]: s.front for s in found} == {"a": 0, "b": 0, "c": 0, "d": 0, "e": 1, "f": 1, "g": 2}
    crowding = {s.genome[0]: s.crowding for s in found}
    # Neighbours of b: a and c: (2 - 0)/4 + (4 - 1.5)/4; of c: b and d: (4 - 1)/4 + (2 - 0)/4.
    assert crowding["b"] == 1.125 and crowding["c"] == 1.25
    assert crowding["a"] == crowding["d"] == float("inf")
    assert names(survivors(everyone, 3)) == "dac", "the ends, in the order they came, then the lonelier one"
    assert names(survivors(everyone, 5))[:4] == "dacb"


def test_limits_come_before_any_cost() -> None:
    broken = [Scored(("x",), None, (), 3), Scored(("y",), None, (), 1), Scored(("z",), None, (), 1)]
    found = survivors([*broken, scored("a", 9, 9)], 4)
    assert names(found) == "ayzx" and [s.front for s in found] == [0, 1, 1, 2]
    assert names(survivors(broken, 2)) == "yz"


def test_equal_genomes_and_flat_objectives_stay_together() -> None:
    found = survivors([scored("a", 1, 7), scored("b", 1, 7), scored("c", 1, 7)], 3)
    assert [s.front for s in found] == [0, 0, 0] and names(found) == "acb"
    with pytest.raises(NeurodeployError, match=r"objectives.*same"):
        survivors([scored("a", 1), scored("b", 1, 2)], 2)
    with pytest.raises(NeurodeployError, match="at least one"):
        survivors([Scored(("a",), 1.0)], 1)


def test_a_population_forgets_what_was_crowded_out() -> None:
    rounds = [[scored("a", 0, 4), scored("b", 1, 3)], [scored("c", 0, 3), scored("d", 4, 0)], [scored("e", 5, 5)]]
    assert names(population(rounds, 2)) == "cd"
    assert population([], 2) == ()


def test_children_stem_from_two_survivors() -> None:
    space = Space.uniform(tuple("abcde"), 6)
    alive = survivors([Scored(tuple("aaaaaa"), 1.0, (0, 1)), Scored(tuple("bbbbbb"), 1.0, (1, 0))], 2)
    children = [child(space, 0.1, random.Random(i), alive) for i in range(400)]
    changed = sum(block not in "ab" for c in children for block in c)
    # A position changes with 0.1 and then to one of "cde" in three of four cases: binomial(2400, 0.075), 180, deviation 13.
    assert 128 < changed < 232
    whole = sum(len(set(c)) == 1 for c in children)
    assert 50 < whole < 350, "crossed in about half of the cases, for both parents may be the same"
    assert child(Space.uniform("ab", 1), 1.0, random.Random(0), survivors([scored("a", 1)], 1)) == ("b",)


def test_rounds_are_unique_complete_and_pure() -> None:
    space, evaluate = load(golden_search())
    rounds: list[tuple[Scored, ...]] = []
    while genomes := next_round(space, SETTINGS, 5, rounds):
        rounds.append(tuple(Scored(g, score(evaluate(g)), *standing(evaluate(g))) for g in genomes))
    asked = [s.genome for r in rounds for s in r]
    assert [len(r) for r in rounds] == [20] * 5 and len(set(asked)) == 100
    for i in reversed(range(5)):
        assert next_round(space, SETTINGS, 5, [list(r) for r in rounds[:i]]) == tuple(s.genome for s in rounds[i])
    assert next_round(space, SETTINGS, 5, []) == next_round(space, EvolutionSettings(), 5, [])


def test_the_sequence_itself_is_fixed() -> None:
    # Stored searches resume only while this holds; a wanted change needs a changelog entry.
    space = Space.uniform(tuple("abcde"), 5)
    first = next_round(space, SETTINGS, 0, [])
    second = next_round(space, SETTINGS, 0, [[Scored(g, 1.0, (float(i), float(i * 7 % 20))) for i, g in enumerate(first)]])
    assert ["".join(second[i]) for i in (0, 9, 10, 19)] == ["bdede", "bceee", "aedcd", "aacea"]


def test_it_comes_nearer_to_all_of_the_front_than_the_others() -> None:
    space, evaluate = load(golden_search())
    genomes = [space.genome(i) for i in range(space.size)]
    known = {g: Scored(g, score(evaluate(g)), *standing(evaluate(g))) for g in genomes}
    found = regrets(space, EvolutionSettings(budget=100), range(5), known)
    met = {m: sum(r.front_found for r in found if r.method == m) for m in ("nsga2", "evolution", "random")}
    epsilon = {m: sum(r.epsilon or 0.0 for r in found if r.method == m) for m in met}
    assert found[0].n_front == 66 and met["nsga2"] > 2 * met["random"] > 0
    assert 0 < epsilon["nsga2"] < 0.9 * min(epsilon["evolution"], epsilon["random"])


def test_two_workers_and_a_kill_give_the_undisturbed_result(tmp_path: Path) -> None:
    alone = plain(search(tmp_path / "alone.log", golden_search(), 4, 60, method="nsga2"))
    assert alone["stopped"] == "budget" and len(alone["evaluations"]) == 60
    assert alone != plain(search(tmp_path / "evolution.log", golden_search(), 4, 60))
    program = str(Path(__file__).with_name("stub_search.py"))

    def start(name: str) -> subprocess.Popen[bytes]:
        paths = [str(tmp_path / "journal.log"), str(golden_search()), str(tmp_path / "log"), str(tmp_path / name)]
        return subprocess.Popen([sys.executable, program, *paths, "4", "60", "0.01", "nsga2"])

    first = start("first")
    while not (tmp_path / "log").exists() or (tmp_path / "log").read_text().count("end") < 25:
        assert first.poll() is None
    first.kill()
    first.wait()
    workers = [start(name) for name in ("a", "b")]
    assert [w.wait(timeout=60) for w in workers] == [0, 0]
    for name in ("a", "b"):
        found = json.loads((tmp_path / name).read_text())
        assert found.pop("n_here") > 0
        assert found == alone
