"""The command line with a search's trials in PostgreSQL: the same result, whoever helps from wherever, and through a loss."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from neurodeploy.search.storage import close_storage, open_storage
from optuna.trial import TrialState

from fork_server import ForkServer
from postgres import PASSWORD, Postgres
from tiny_search import BUDGET, Tiny, without_seconds

INPUTS = ("run.json", "supernet.ckpt", "references.json")  # what a worker on another machine needs of a run


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def server(postgres: Postgres) -> Iterator[ForkServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DB_PASSWORD", PASSWORD)
        with ForkServer() as running:
            yield running


@pytest.fixture
def url(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    return postgres.new_database()


def n_finished(url: str) -> int:
    opened = open_storage(url)
    states = [t.state for study in opened.get_all_studies() for t in opened.get_all_trials(study._study_id)]
    close_storage(opened)
    return sum(state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.002)


def check_equals(run: Path, tiny: Tiny) -> None:
    assert without_seconds(json.loads((run / "result.json").read_text())) == without_seconds(tiny.data)
    names = ["references.json", "candidates.json", "model.safetensors", *(f"bundle/{f.name}" for f in tiny.bundle.iterdir())]
    differ = [name for name in names if (run / name).read_bytes() != (tiny.run_dir / name).read_bytes()]
    assert not differ


def begin(tiny: Tiny, url: str, run: Path) -> tuple[str | Path, ...]:
    return ("search", "--target", tiny.target, "--recipe", tiny.recipe, "--storage", url, "--out", run)


def answer(log: Path) -> dict[str, Any]:
    text = log.read_text()
    found: dict[str, Any] = json.loads(text[text.index("{\n") :])
    return found


def test_a_search_in_a_database_with_two_workers(tiny: Tiny, server: ForkServer, url: str, tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    assert server.wait(server.start(*begin(tiny, url, run), "--workers", "2", "--json", log=log)) == 0, log.read_text()
    assert answer(log)["warnings"] == []
    check_equals(run, tiny)
    assert not (run / "journal.log").exists()
    assert n_finished(url) == BUDGET
    assert json.loads((run / "run.json").read_text())["arguments"]["storage"] == url
    kept = b"".join(path.read_bytes() for path in [log, *run.rglob("*")] if path.is_file())
    assert PASSWORD.encode() not in kept and b"s3cret" not in kept


def test_a_lost_database_is_told_with_the_command_that_resumes(
    tiny: Tiny, server: ForkServer, postgres: Postgres, url: str, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    pid = server.start(*begin(tiny, url, run), "--workers", "2", log=log)
    wait_for(run / "references.json")
    end = time.monotonic() + 60
    while n_finished(url) < 1 and time.monotonic() < end:
        time.sleep(0.01)
    postgres.stop()
    try:
        assert server.wait(pid) == 5, log.read_text()
    finally:
        postgres.start()
    said = log.read_text()
    assert said.count("Error:") == 1 and "Warning" not in said and "Traceback" not in said and "s3cret" not in said
    assert f"What is finished is kept. Resume with `neurodeploy search --resume {run}`" in said
    kept = n_finished(url)
    assert 0 < kept < BUDGET
    # Then a worker that has the run's inputs alone, as on a machine that reaches the database and not the folder.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in INPUTS:
        shutil.copy(run / name, elsewhere)
    second = tmp_path / "second"
    assert server.wait(server.start("worker", "--run", elsewhere, "--json", log=second)) == 0, second.read_text()
    assert answer(second)["data"]["n_evaluated"] == BUDGET - kept
    assert sorted(path.name for path in elsewhere.iterdir()) == sorted(INPUTS)
    assert server.wait(server.start("search", "--resume", run, log=log)) == 0, log.read_text()
    check_equals(run, tiny)
    assert n_finished(url) == BUDGET


def test_the_storage_cannot_change_on_resume(tiny: Tiny, server: ForkServer, url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for changed in (("--storage", url), ("--set", "evolution.budget=3")):
        assert server.wait(server.start("search", "--resume", tiny.run_dir, *changed, log=log)) == 2
    said = log.read_text()
    assert "storage cannot change on resume" in said and "--set cannot change on resume" in said
