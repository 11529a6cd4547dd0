"""A search evaluated on a Ray cluster is the search of one process, also where workers of the cluster are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from neurodeploy.errors import EnvironmentMissing, Unreachable, UsageError
from neurodeploy.jobs.ray_pool import ray_pool, require_ray
from neurodeploy.search.recipe import ExecutorSettings
from search_fixtures import golden_search
from stub_processes import SEED, slots_with_results
from stub_search import plain, search

from ray_cluster import TOKEN, RayCluster

BUDGET = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with RayCluster() as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return plain(search(tmp_path_factory.mktemp("undisturbed") / "journal.log", golden_search(), SEED, BUDGET))


def start(cluster: RayCluster, folder: Path) -> subprocess.Popen[str]:
    program = str(Path(__file__).with_name("stub_ray.py"))
    paths = [str(folder / "journal.log"), str(golden_search()), str(folder / "log"), str(folder / "result")]
    command = [sys.executable, program, cluster.address, *paths, str(SEED), str(BUDGET), "0.1"]
    env = {**os.environ, **TOKEN, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def logged(folder: Path) -> list[tuple[str, int, str]]:
    """(begin | end, process, genome) so far."""
    log = folder / "log"
    rows = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(event, int(pid), genome) for event, pid, genome in rows]


def kill_one(folder: Path, search: subprocess.Popen[str], after: int) -> str:
    """Kill a process of the cluster in the middle of an evaluation, once `after` have ended; the genome."""
    end = time.monotonic() + 60
    while True:
        assert search.poll() is None and time.monotonic() < end, "the search does not get there"
        rows = logged(folder)
        over = {genome for event, _, genome in rows if event == "end"}
        running = [(pid, genome) for event, pid, genome in rows if event == "begin" and genome not in over]
        if len(over) >= after and running:
            pid, genome = running[-1]
            os.kill(pid, signal.SIGKILL)
            return genome
        time.sleep(0.005)


def test_killed_workers_lose_nothing(cluster: RayCluster, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with start(cluster, tmp_path) as process:
        killed = [kill_one(tmp_path, process, after) for after in (5, 30)]
        out, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert out == "", "Ray wrote where data goes"
    found = json.loads((tmp_path / "result").read_text())
    assert found.pop("n_here") == BUDGET
    assert found == undisturbed
    rows = logged(tmp_path)
    ended = Counter(genome for event, _, genome in rows if event == "end")
    begun = Counter(genome for event, _, genome in rows if event == "begin")
    assert len(ended) == BUDGET and set(begun) == set(ended)
    # Begun again only what a kill hit, and its result stored once.
    assert {genome for genome, n in begun.items() if n > 1} <= set(killed) and sum(begun.values()) == BUDGET + len(killed)
    assert slots_with_results(tmp_path / "journal.log") == [1] * BUDGET
    assert len({pid for _, pid, _ in rows}) >= 3, "two at once, and one in the place of each that was killed"


def test_a_killed_search_goes_on_without_what_it_stored(
    cluster: RayCluster, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    with start(cluster, tmp_path) as process:
        end = time.monotonic() + 60
        while sum(event == "end" for event, _, _ in logged(tmp_path)) < 10:
            assert process.poll() is None and time.monotonic() < end, "the search does not get there"
            time.sleep(0.01)
        process.kill()
    with start(cluster, tmp_path) as again:
        _, said = again.communicate(timeout=120)
        assert again.returncode == 0, said
    found = json.loads((tmp_path / "result").read_text())
    assert BUDGET - 14 <= found.pop("n_here") < BUDGET
    assert found == undisturbed
    assert slots_with_results(tmp_path / "journal.log") == [1] * BUDGET


def test_without_ray_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentMissing, match=r"pip install 'neurodeploy\[ray\]'"):
        require_ray()


def test_a_cluster_that_is_not_there_is_named() -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'neurodeploy[ray]'")
    settings = ExecutorSettings(kind="ray", address="nowhere")
    with pytest.raises(UsageError, match=r"no cluster at 'nowhere': .*ray start --head"), ray_pool(settings, dict, 1):
        pass


def test_a_cluster_that_goes_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # Stands in for the process that speaks to Ray, which Ray ends at once when the cluster is gone.
    program = "import pickle, sys; pickle.load(sys.stdin.buffer); sys.stdout.buffer.write(pickle.dumps((1, None))); " \
              "sys.stdout.flush(); pickle.load(sys.stdin.buffer)"
    monkeypatch.setattr("neurodeploy.jobs.ray_pool._PROGRAM", program)
    monkeypatch.setattr("neurodeploy.jobs.ray_pool.require_ray", lambda: None)
    with ray_pool(ExecutorSettings(kind="ray"), dict, 1) as pool:
        with pytest.raises(Unreachable, match="the cluster went away"):
            pool.submit(("skip_connect",)).result(timeout=30)
        with pytest.raises(Unreachable, match="the cluster went away"):
            pool.submit(("skip_connect",))
