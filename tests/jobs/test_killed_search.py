"""A search that is killed, interrupted or shared ends as one that was left alone."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from neurodeploy.search.storage import open_storage
from optuna.trial import TrialState

from fork_server import ForkServer
from tiny_search import BUDGET, Tiny, without_seconds

N_KILLS = {"loihi2": 20, "speck2f": 8}
KILLS_OF_A_RUN = 4
MOST_S = 180.0  # a slow machine kills less often, and says how often
STAGES = ("supernet", "search", "training", "deployment", "evaluation")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer() as running:
        yield running


@pytest.fixture(params=["tiny", "tiny_events"])
def searched(request: pytest.FixtureRequest) -> Tiny:
    """A finished search for either kind of chip."""
    found: Tiny = request.getfixturevalue(request.param)
    return found


def stage_of(run: Path) -> str:
    """What a run was doing, from the files that it has finished."""
    if not (run / "journal.log").exists():
        return "supernet"
    if len(finished(run)) < BUDGET:
        return "search"
    if not (run / "model.safetensors").exists():
        return "training"
    return "deployment" if not (run / "bundle").exists() else "evaluation"


def finished(run: Path) -> dict[tuple[int, int], tuple[str, ...]]:
    """Genome by (round, slot) of every finished evaluation; fails where one was finished twice."""
    if not (run / "journal.log").exists():
        return {}
    storage = open_storage(run / "journal.log")
    studies = storage.get_all_studies()
    if not studies:
        return {}
    done = [t for t in storage.get_all_trials(0) if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    slots = {tuple(t.user_attrs["slot"]): tuple(t.user_attrs["genome"]) for t in done}
    assert len(slots) == len(done), "a slot has two results"
    assert len(set(slots.values())) == len(done), "a genome was evaluated twice"
    return slots


def digests(run: Path) -> dict[str, str]:
    """sha256 of the files that a search leaves to its user."""
    files = [run / "model.safetensors", run / "references.json", *(run / "bundle").iterdir()]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def check_equals(run: Path, tiny: Tiny) -> None:
    result = json.loads((run / "result.json").read_text())
    assert without_seconds(result) == without_seconds(tiny.data)
    assert result["n_evaluated"] == BUDGET == len(finished(run))
    assert finished(run) == finished(tiny.run_dir)
    assert digests(run) == digests(tiny.run_dir)
    left = [p.name for p in run.iterdir() if p.name.startswith(".") or p.suffix == ".part"]
    assert not left, "a killed process's unfinished files stay"


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.002)


def test_a_search_killed_at_random_moments_loses_nothing(searched: Tiny, server: ForkServer, tmp_path: Path) -> None:
    rng = random.Random(2024)
    log = tmp_path / "log"
    begin = ("search", "--target", searched.target, "--recipe", searched.recipe, "--out")
    started = time.monotonic()
    assert server.wait(server.start(*begin, tmp_path / "undisturbed", log=log)) == 0, log.read_text()
    seconds: dict[str, float] = json.loads((tmp_path / "undisturbed" / "result.json").read_text())["seconds"]
    check_equals(tmp_path / "undisturbed", searched)
    killed: Counter[str] = Counter()
    n_runs, n_kills = 0, N_KILLS[searched.target]
    while killed.total() < n_kills and time.monotonic() - started < MOST_S:
        run = tmp_path / f"run{n_runs}"
        # The first kill of the runs falls into each fifth of a search in turn, the others anywhere in what is left.
        fifth = n_runs % 5
        delay_s = rng.uniform(fifth / 5, (fifth + 1) / 5) * sum(seconds.values())
        for _ in range(KILLS_OF_A_RUN):
            before = finished(run)
            pid = server.start(*(("search", "--resume", run) if run.exists() else (*begin, run)), log=log)
            wait_for(run / "run.json")
            status = server.wait(pid, delay_s)
            if status is None:
                os.kill(pid, signal.SIGKILL)
                assert server.wait(pid) in (-signal.SIGKILL, 0)
                killed[stage_of(run)] += 1
            else:
                assert status == 0, log.read_text()
            assert before.items() <= finished(run).items(), "a finished evaluation was lost"
            # What follows the training starts over each time.
            first = min(STAGES.index(stage_of(run)), STAGES.index("deployment"))
            delay_s = rng.uniform(0, sum(seconds[stage] for stage in STAGES[first:]))
        assert server.wait(server.start("search", "--resume", run, log=log)) == 0, log.read_text()
        check_equals(run, searched)
        n_runs += 1
    print(f"{killed.total()} kills in {n_runs} runs: {dict(killed)}")
    assert killed.total() >= n_kills // 2, "too slow a machine to show anything"
    assert "supernet" in killed and len(killed) >= n_kills // 7 + 1, killed


def test_ctrl_c_names_the_command_that_resumes(searched: Tiny, server: ForkServer, tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    pid = server.start("search", "--target", searched.target, "--recipe", searched.recipe, "--out", run, log=log)
    # Once while the supernet trains, then while candidates are evaluated, then while the best is trained.
    for marker in ("run.json", "references.json", "model.ckpt"):
        if marker == "model.ckpt":
            end = time.monotonic() + 60
            while len(finished(run)) < BUDGET and time.monotonic() < end:
                time.sleep(0.01)
        else:
            wait_for(run / marker)
        log.write_text("")
        os.kill(pid, signal.SIGINT)
        status = server.wait(pid)
        if marker == "model.ckpt" and status == 0 and (run / "result.json").exists():
            return  # on a busy machine the search may end before the signal reaches it
        assert status == 130, (marker, log.read_text())
        said = log.read_text()
        assert f"neurodeploy search --resume {run}" in said
        assert "Traceback" not in said
        assert not (run / "result.json").exists()
        pid = server.start("search", "--resume", run, log=log)
    assert server.wait(pid) == 0, log.read_text()
    check_equals(run, searched)


def unsearched(tiny: Tiny, run: Path) -> Path:
    """A copy of the run as it was when its supernet was trained."""
    shutil.copytree(tiny.run_dir, run, ignore=shutil.ignore_patterns("journal*", "model*", "bundle", "result.json", "run.lock"))
    return run


def test_workers_share_the_candidates(searched: Tiny, server: ForkServer, tmp_path: Path) -> None:
    for attempt in range(3):  # on a busy machine one worker may be done before the other has started
        run = unsearched(searched, tmp_path / f"run{attempt}")
        logs = [tmp_path / f"log{attempt}{i}" for i in range(2)]
        pids = [server.start("worker", "--run", run, "--json", log=log) for log in logs]
        assert [server.wait(pid) for pid in pids] == [0, 0], logs[0].read_text() + logs[1].read_text()
        shares = [answer(log)["data"]["n_evaluated"] for log in logs]
        assert sum(shares) == BUDGET, shares
        if min(shares) > 0:
            break
    assert min(shares) > 0, shares
    assert server.wait(server.start("search", "--resume", run, log=tmp_path / "log")) == 0
    check_equals(run, searched)


def answer(log: Path) -> dict[str, Any]:
    """The JSON object at the end of what a command printed."""
    text = log.read_text()
    found: dict[str, Any] = json.loads(text[text.index("{\n") :])
    return found


def test_more_workers_give_the_same_result(searched: Tiny, server: ForkServer, tmp_path: Path) -> None:
    run, log = unsearched(searched, tmp_path / "run"), tmp_path / "log"
    assert server.wait(server.start("search", "--resume", run, "--workers", "2", "--json", log=log)) == 0, log.read_text()
    assert answer(log)["warnings"] == []
    check_equals(run, searched)


def test_a_run_that_is_worked_on_is_not_resumed(searched: Tiny, server: ForkServer, tmp_path: Path) -> None:
    run, log = unsearched(searched, tmp_path / "run"), tmp_path / "log"
    pid = server.start("search", "--resume", run, log=log)
    wait_for(run / "run.lock")
    time.sleep(0.05)
    second = tmp_path / "second"
    assert server.wait(server.start("search", "--resume", run, "--json", log=second)) == 2
    (error,) = answer(second)["errors"]
    assert error["code"] == "busy" and "neurodeploy worker --run" in error["remedy"]
    assert server.wait(pid) == 0, log.read_text()
    check_equals(run, searched)
