"""The command line with candidates on a Ray cluster: the same result, nothing else on stdout, and no process left."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from neurodeploy.jobs.data import load_data
from neurodeploy.jobs.ray_pool import packed
from neurodeploy.jobs.routes import route_of
from neurodeploy.jobs.run import Run
from neurodeploy.jobs.search import prepare
from neurodeploy.jobs.workers import judge
from neurodeploy.progress import SILENT
from neurodeploy.train.runtime import threads

from ray_cluster import TOKEN, RayCluster
from tiny_search import BUDGET, Tiny, without_seconds


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with RayCluster() as running:
        yield running


def start(*args: str | Path) -> subprocess.Popen[str]:
    """A command as a terminal starts it, in a process group that Ctrl-C reaches as a whole."""
    command = [sys.executable, "-m", "neurodeploy", *map(str, args)]
    env = {**os.environ, **TOKEN}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True)


def unsearched(tiny: Tiny, run: Path) -> Path:
    """A copy of the run as it was when its supernet was trained."""
    shutil.copytree(tiny.run_dir, run, ignore=shutil.ignore_patterns("journal*", "model*", "bundle", "result.json", "run.lock"))
    return run


def check_equals(run: Path, tiny: Tiny) -> None:
    assert without_seconds(json.loads((run / "result.json").read_text())) == without_seconds(tiny.data)
    names = ["candidates.json", "model.safetensors", *(f"bundle/{f.name}" for f in tiny.bundle.iterdir())]
    differ = [name for name in names if (run / name).read_bytes() != (tiny.run_dir / name).read_bytes()]
    assert not differ


@pytest.mark.parametrize("kind", ["tiny", "tiny_events", "tiny_gpu"])
def test_what_judges_candidates_travels(kind: str, request: pytest.FixtureRequest) -> None:
    tiny: Tiny = request.getfixturevalue(kind)
    run = Run.open(tiny.run_dir, "search")
    data = load_data(run.recipe.data, run.recipe.input.kind)
    (first, *_) = json.loads((tiny.run_dir / "candidates.json").read_text())["candidates"]
    with threads(1):
        evaluator, _ = prepare(run, route_of(run.profile, run.recipe), data, SILENT)
        there = pickle.loads(packed(judge(run, evaluator)))
        found = there(tuple(first["genome"]))
    assert found == {key: first[key] for key in found}
    layouts = [{name: v.strides for name, v in vars(e).items() if isinstance(v, np.ndarray)} for e in (evaluator, there)]
    assert layouts[0] and layouts[0] == layouts[1]  # torch's sums depend on it in their last bits


def test_a_search_on_a_cluster(tiny: Tiny, cluster: RayCluster, tmp_path: Path) -> None:
    run = unsearched(tiny, tmp_path / "run")
    executor = ("--set", "executor.kind=ray", "--set", f"executor.address={cluster.address}")
    with start("search", "--resume", run, *executor, "--json") as process:
        out, said = process.communicate(timeout=120)
    assert process.returncode == 0, out + said
    answer = json.loads(out)  # Ray writes nothing beside it
    assert answer["ok"] and answer["warnings"] == []
    check_equals(run, tiny)


def test_ctrl_c_ends_the_cluster_that_was_started(tiny: Tiny, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'neurodeploy[ray]'")
    run = unsearched(tiny, tmp_path / "run")
    with start("search", "--resume", run, "--set", "executor.kind=ray", "--workers", "1") as process:
        journal, end = run / "journal.log", time.monotonic() + 60
        while not journal.exists() or b'"metrics"' not in journal.read_bytes():
            assert process.poll() is None and time.monotonic() < end, "the search does not get there"
            time.sleep(0.005)
        below = descendants(process.pid)
        assert any("raylet" in command for command in below.values())
        os.killpg(process.pid, signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert process.returncode == 130, out + said
    assert out == "" and f"neurodeploy search --resume {run}" in said and "Traceback" not in said
    end = time.monotonic() + 20
    while left := [command for pid, command in below.items() if command_of(pid) == command]:
        assert time.monotonic() < end, left
        time.sleep(0.05)
    n_stored = journal.read_bytes().count(b'"metrics"')
    assert 0 < n_stored < BUDGET
    # Where candidates are evaluated is no part of a search: it goes on here.
    with start("search", "--resume", run, "--json") as process:
        out, said = process.communicate(timeout=120)
    assert process.returncode == 0, out + said
    check_equals(run, tiny)
    assert journal.read_bytes().count(b'"metrics"') == BUDGET


def descendants(pid: int) -> dict[int, str]:
    """The command of every process below one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, above = list[int](), {pid}
    while above := {child for child, parent in parents.items() if parent in above}:
        found += above
    return {child: command_of(child) for child in found}


def command_of(pid: int) -> str:
    """A process's command line; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
