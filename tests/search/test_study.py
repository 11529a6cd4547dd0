"""A search is one result, whoever evaluates it, however often it is killed, wherever it is stored."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.search.evolve import EvolutionSettings
from neurodeploy.search.lease import Owner
from neurodeploy.search.space import Space
from neurodeploy.search.storage import open_storage
from neurodeploy.search.study import run
from neurodeploy.search.trials import Evaluation, Trials
from optuna.trial import TrialState
from search_fixtures import golden_search
from stub_processes import BUDGET, SEED, logged, slots_with_results, start, wait_until_logged
from stub_search import OBJECTIVES, load, plain, score, search, settings


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = search(tmp_path_factory.mktemp("undisturbed") / "journal.log", golden_search(), SEED, BUDGET)
    assert found.n_evaluated_here == BUDGET
    assert 0 < sum(e.fitness is None for e in found.evaluations) < BUDGET / 2
    assert found.best is not None
    return plain(found)


def stored(journal: Path) -> set[str]:
    """Genomes whose metrics a journal holds; read from a copy, because opening one mends it."""
    copy = journal.with_name("copy.log")
    shutil.copy(journal, copy)
    storage = open_storage(copy)
    trials = [t for study in storage.get_all_studies() for t in storage.get_all_trials(study._study_id)]
    return {"-".join(t.user_attrs["genome"]) for t in trials if "metrics" in t.user_attrs}


def test_killed_at_twenty_moments_and_resumed(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    journal = tmp_path / "run" / "journal.log"
    rng = random.Random(0)
    n_stored = []
    for kill in range(20):
        before = logged(tmp_path)
        done = stored(journal) if journal.exists() else set()
        n_stored.append(len(done))
        process = start(journal, tmp_path, sleep_s=0.005)
        if kill % 5 != 4:  # every fifth falls somewhere in the start or before the first evaluation
            wait_until_logged(tmp_path, len(before) + 1, process)
        time.sleep(rng.uniform(0.0, 0.06))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the search ended before it could be killed twenty times"
        assert not done & {genome for _, genome in logged(tmp_path)[len(before) :]}
    assert n_stored[-1] > 20
    assert n_stored == sorted(n_stored)
    began = time.monotonic()
    assert start(journal, tmp_path, sleep_s=0.0).wait() == 0
    # Leases and locks of the dead must not be waited for (Optuna's own lock would hold for 30 s).
    assert time.monotonic() - began < 20
    found = json.loads((tmp_path / "result").read_text())
    found.pop("n_here")
    assert found == undisturbed
    genomes = ["-".join(row[2:7]) for row in found["evaluations"]]
    assert len(genomes) == len(set(genomes)) == BUDGET
    # Evaluated again is only what a kill hit before it was stored: at most one each time.
    begun = [genome for event, genome in logged(tmp_path) if event == "begin"]
    assert set(begun) == set(genomes)
    assert len(begun) <= BUDGET + 20
    assert set(slots_with_results(journal)) == {1}


@pytest.mark.parametrize(("kind", "budget"), [("journal", BUDGET), ("sqlite", 50)])
def test_three_workers_one_of_them_killed(tmp_path: Path, kind: str, budget: int) -> None:
    expected = plain(search(tmp_path / "alone" / "journal.log", golden_search(), SEED, budget))
    storage = tmp_path / "journal.log" if kind == "journal" else f"sqlite:///{tmp_path}/search.db"
    if kind == "sqlite":
        open_storage(storage)  # makes the tables, as `search` does before it starts workers
    workers = [start(storage, tmp_path, 0.004, str(i), budget) for i in range(3)]
    wait_until_logged(tmp_path, 20, workers[2])
    workers[2].kill()
    workers[2].wait()
    assert [w.wait(timeout=60) for w in workers[:2]] == [0, 0]
    results = [json.loads((tmp_path / f"result{i}").read_text()) for i in range(2)]
    shares = [r.pop("n_here") for r in results]
    assert results == [expected, expected]
    assert min(shares) > budget // 10
    ended = [genome for event, genome in logged(tmp_path) if event == "end"]
    # Twice only where the kill fell between the end of an evaluation and its storing.
    assert len(set(ended)) == budget <= len(ended) <= budget + 1
    assert set(slots_with_results(storage)) == {1}


def test_a_finished_search_evaluates_nothing_again(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    journal = tmp_path / "journal.log"
    search(journal, golden_search(), SEED, BUDGET)
    seen: list[Evaluation] = []
    again = search(journal, golden_search(), SEED, BUDGET, log=pytest.fail, on_result=seen.append)
    assert plain(again) == undisturbed
    assert again.n_evaluated_here == 0
    assert tuple(seen) == again.evaluations


def test_a_torn_last_line_is_cut_and_its_evaluation_made_again(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    journal = tmp_path / "journal.log"
    search(journal, golden_search(), SEED, BUDGET)
    whole = journal.read_bytes()
    for cut in (len(whole) // 3, len(whole) // 2, len(whole) - 1):
        journal.write_bytes(whole[:cut])
        # What Optuna's own lock would leave behind, and wait 30 s for.
        lock = tmp_path / "journal.log.lock"
        lock.unlink(missing_ok=True)
        lock.symlink_to(journal)
        began = time.monotonic()
        assert plain(search(journal, golden_search(), SEED, BUDGET)) == undisturbed
        assert time.monotonic() - began < 20


def test_a_line_torn_while_another_worker_runs_is_cut(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    journal = tmp_path / "journal.log"

    def tear(line: str) -> None:
        with journal.open("ab") as file:
            file.write(b'{"op_code": 8, "half')

    assert plain(search(journal, golden_search(), SEED, BUDGET, log=tear)) == undisturbed


def test_a_damaged_journal_is_named_with_its_line(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    search(journal, golden_search(), SEED, 5)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[6] = lines[6][:20] + b"\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(NeurodeployError, match=r"journal\.log: line 7 is not a journal record"):
        search(journal, golden_search(), SEED, 5)


def test_metrics_stored_before_a_kill_are_not_evaluated_again(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    journal = tmp_path / "journal.log"
    search(journal, golden_search(), SEED, BUDGET)
    lines = journal.read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if b'"metrics"' in line)
    journal.write_bytes(b"".join(lines[: last + 1]))
    again = search(journal, golden_search(), SEED, BUDGET, log=pytest.fail)
    assert plain(again) == undisturbed


def test_an_error_of_the_evaluation_frees_its_slot(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    journal = tmp_path / "journal.log"
    n_begun = 0

    def fail_sometimes(line: str) -> None:
        nonlocal n_begun
        n_begun += line.startswith("begin")
        if n_begun in (1, 33):
            n_begun += 1
            raise MemoryError("no room")

    for _ in range(2):
        with pytest.raises(MemoryError, match="no room"):
            search(journal, golden_search(), SEED, BUDGET, log=fail_sometimes)
    assert plain(search(journal, golden_search(), SEED, BUDGET, log=fail_sometimes)) == undisturbed


def test_asked_to_stop_it_stops_and_goes_on_later(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    journal = tmp_path / "journal.log"
    seen: list[Evaluation] = []
    part = search(
        journal, golden_search(), SEED, BUDGET, on_result=seen.append, should_stop=lambda: len(seen) >= 33
    )
    assert part.stopped == "interrupted"
    assert len(part.evaluations) == 33
    assert part.best is not None
    assert part.pareto
    assert plain(search(journal, golden_search(), SEED, BUDGET)) == undisturbed


def test_a_worker_elsewhere_is_waited_for_until_its_heartbeat_stands_still(
    tmp_path: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal.log"
    search(journal, golden_search(), SEED, BUDGET, should_stop=lambda: True)
    space, _ = load(golden_search())
    first = tuple(undisturbed["evaluations"][0][2:7])
    identity = open_storage(journal).get_study_user_attrs(0)["search"]
    with Owner() as owner:
        monkeypatch.setattr(owner, "lease", lambda: {"machine": "elsewhere", "pid": 1, "started": "1", "token": "x"})
        trials = Trials(open_storage(journal), identity, space, score, lease_s=1.0)
        assert trials.claim(owner, (0, 0), first) is not None
    order: list[str] = []
    began = time.monotonic()
    found = search(journal, golden_search(), SEED, BUDGET, log=order.append, lease_s=0.4)
    assert plain(found) == undisturbed
    assert time.monotonic() - began > 0.4
    # The others of the round first, then the slot that was held.
    assert [i for i, line in enumerate(order) if line.split()[1] == "-".join(first)] == [38, 39]


def test_a_long_evaluation_keeps_its_lease_by_heartbeats(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    search(journal, golden_search(), SEED, 2, sleep_s=0.3, lease_s=0.2)
    trials = open_storage(journal).get_all_trials(0)
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 2
    assert all(t.user_attrs["heartbeat"] >= 2 for t in trials)


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    space, evaluate = load(golden_search())

    def again(
        wanted: EvolutionSettings | None = None, space: Space = space, seed: int = SEED, target: str = "loihi2"
    ) -> None:
        wanted = wanted or settings(3)
        run(journal, wanted, space, seed, evaluate, score, context={"target": target}, objectives=OBJECTIVES)

    again()
    again()
    with pytest.raises(UsageError, match="seed: 4 before, 5 now"):
        again(seed=5)
    with pytest.raises(UsageError, match=r"settings\.budget: 3 before, 4 now"):
        again(settings(4))
    with pytest.raises(UsageError, match=r"settings\.top_k: 10 before, 9 now.*"):
        again(EvolutionSettings(budget=3, top_k=9))
    with pytest.raises(UsageError, match="space: "):
        again(space=Space.uniform(space.positions[0][:4], 5))
    with pytest.raises(UsageError, match=r'context\.target: "loihi2" before, "speck2f" now'):
        again(target="speck2f")


def test_a_small_space_ends_the_search_early_and_says_so(tmp_path: Path) -> None:
    space = Space.uniform(("a", "b"), 3)
    found = run(
        tmp_path / "journal.log",
        EvolutionSettings(budget=100),
        space,
        0,
        lambda genome: {"accuracy": genome.count("a")},
        lambda metrics: float(metrics["accuracy"]),
        objectives={"accuracy": "max"},
    )
    assert found.stopped == "exhausted"
    assert {e.genome for e in found.evaluations} == {space.genome(i) for i in range(8)}
    assert found.best is not None
    assert found.best.genome == ("a", "a", "a")
    assert found.pareto == (found.best,)


@pytest.mark.parametrize("metrics", [{"accuracy": float("nan")}, {"accuracy": {1, 2}}])
def test_metrics_that_json_cannot_hold_are_refused(tmp_path: Path, metrics: dict[str, Any]) -> None:
    with pytest.raises(NeurodeployError, match="not plain JSON"):
        run(
            tmp_path / "journal.log", settings(2), Space.uniform("ab", 3), 0, lambda genome: metrics, lambda _: 1.0
        )


def test_a_place_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot open the journal"):
        open_storage(tmp_path / "file" / "journal.log")
    with pytest.raises(UsageError, match="cannot open the database"):
        open_storage("nosuchdatabase://somewhere/x")


def test_a_process_not_yet_reaped_holds_nothing() -> None:
    from neurodeploy.search.lease import LeaseWatch, _started, machine

    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lease = {"machine": machine(), "pid": process.pid, "started": _started(process.pid), "token": "x"}
    watch = LeaseWatch(1e9)
    assert watch.is_live(0, lease, 0)
    assert not watch.is_live(0, {**lease, "started": "1"}, 0)  # its id used again by another process
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not watch.is_live(0, lease, 0)
    process.communicate()
    assert not watch.is_live(0, lease, 0)
    own = {**lease, "pid": os.getpid(), "started": _started(os.getpid())}
    assert not watch.is_live(0, own, 0)
    with Owner() as owner:
        assert watch.is_live(0, owner.lease(), 0)
    assert not watch.is_live(0, owner.lease(), 0)
