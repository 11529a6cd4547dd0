"""Searches of `stub_search` as processes that tests kill, and what they leave."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from neurodeploy.search.storage import close_storage, open_storage
from optuna.trial import TrialState
from search_fixtures import golden_search

BUDGET = 150
SEED = 4


def start(
    storage: Path | str, folder: Path, sleep_s: float, name: str = "", budget: int = BUDGET
) -> subprocess.Popen[bytes]:
    """A search in a process of its own, which logs to `folder` and writes its result there."""
    program = str(Path(__file__).with_name("stub_search.py"))
    paths = [str(storage), str(golden_search()), str(folder / "log"), str(folder / f"result{name}")]
    return subprocess.Popen([sys.executable, program, *paths, str(SEED), str(budget), str(sleep_s)])


def logged(folder: Path) -> list[list[str]]:
    """[begin | end, genome] of each evaluation so far."""
    log = folder / "log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def wait_until_logged(folder: Path, n_lines: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while len(logged(folder)) < n_lines and process.poll() is None:
        assert time.monotonic() < deadline, "the search does not start"
        time.sleep(0.002)


def slots_with_results(storage: Path | str) -> list[int]:
    """How many results each slot has."""
    opened = open_storage(storage)
    trials = opened.get_all_trials(opened.get_all_studies()[0]._study_id)
    close_storage(opened)
    finished = [tuple(t.user_attrs["slot"]) for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    return [finished.count(slot) for slot in set(finished)]
