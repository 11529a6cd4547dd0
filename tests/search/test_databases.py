"""Searches in a database: shared, killed and cut off, they end as one in a journal; passwords stay out of what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from neurodeploy.errors import Unreachable, UsageError
from neurodeploy.search.database import kept_storage
from neurodeploy.search.storage import check_storage
from search_fixtures import golden_search
from stub_processes import SEED, logged, slots_with_results, start, wait_until_logged
from stub_search import plain, search

from postgres import PASSWORD, Postgres

BUDGET = 50


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def url(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    return postgres.new_database()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return plain(search(tmp_path_factory.mktemp("undisturbed") / "journal.log", golden_search(), SEED, BUDGET))


def test_two_workers_one_of_them_killed(tmp_path: Path, url: str, undisturbed: dict[str, Any]) -> None:
    workers = [start(url, tmp_path, 0.02, str(i), BUDGET) for i in range(2)]  # both make the tables
    wait_until_logged(tmp_path, 30, workers[1])
    workers[1].kill()
    assert workers[1].wait() < 0 and workers[0].wait(timeout=60) == 0
    found = json.loads((tmp_path / "result0").read_text())
    assert 10 < found.pop("n_here") < BUDGET
    assert found == undisturbed
    begun, ended = ([genome for event, genome in logged(tmp_path) if event == which] for which in ("begin", "end"))
    # Twice only what the kill hit: begun before it and not stored.
    assert len(set(ended)) == BUDGET <= len(begun) <= BUDGET + 1
    assert slots_with_results(url) == [1] * BUDGET


def test_a_server_that_goes_away_is_told_and_nothing_is_lost(
    tmp_path: Path, postgres: Postgres, url: str, undisturbed: dict[str, Any]
) -> None:
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        if len(lines) == 41:  # within the 21st evaluation
            postgres.stop()

    try:
        with pytest.raises(Unreachable, match=r"the database fails: .*connection") as caught:
            search(url, golden_search(), SEED, BUDGET, log=stop)
        with pytest.raises(Unreachable, match=r"cannot open the database: .*connection"):
            search(url, golden_search(), SEED, BUDGET)
    finally:
        postgres.start()
    assert PASSWORD not in str(caught.value)
    again = search(url, golden_search(), SEED, BUDGET)
    assert again.n_evaluated_here == BUDGET - 20
    assert plain(again) == undisturbed


def test_a_server_restarted_between_two_looks_is_not_noticed(
    postgres: Postgres, url: str, undisturbed: dict[str, Any]
) -> None:
    n_lines = 0

    def restart(line: str) -> None:
        nonlocal n_lines
        n_lines += 1
        if n_lines == 41:
            postgres.stop()
            postgres.start()

    found = search(url, golden_search(), SEED, BUDGET, log=restart)
    assert found.n_evaluated_here == BUDGET
    assert plain(found) == undisturbed


def test_one_database_holds_several_searches(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    assert search(url, golden_search(), SEED + 1, 5, study="other").n_evaluated_here == 5
    found = search(url, golden_search(), SEED, BUDGET, study="this")
    assert found.n_evaluated_here == BUDGET
    assert plain(found) == undisturbed


def test_a_wrong_password_is_not_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "connection")  # a word of the server's answer
    with pytest.raises(Unreachable, match="password authentication failed") as caught:
        check_storage(url)
    assert "connection" not in str(caught.value)


def test_a_whole_url_may_stand_in_a_variable(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_STORAGE", url.replace("$DB_PASSWORD", "s3cret%2Fp%40ss"))
    assert kept_storage("$LAB_STORAGE") == "$LAB_STORAGE"
    check_storage("${LAB_STORAGE}")
    monkeypatch.delenv("LAB_STORAGE")
    with pytest.raises(UsageError, match="the environment variable LAB_STORAGE is not set"):
        check_storage("$LAB_STORAGE")


@pytest.mark.parametrize("given", [
    "postgresql://lab:hidden@db/x", "postgresql+psycopg://lab@db/x?password=hidden", "mysql://lab:hid%64en@db/x?sslpassword=y",
])
def test_a_password_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(UsageError, match="a password in the URL") as caught:
        kept_storage(given)
    assert "hid" not in str(caught.value)


def test_what_is_no_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="not a database's URL") as caught:
        kept_storage("postgresql://lab:hidden@db:port/x")
    assert "hidden" not in str(caught.value)
    with pytest.raises(UsageError, match="in memory"):
        kept_storage("sqlite://")
    with pytest.raises(UsageError, match=r"pip install 'neurodeploy\[db\]'"):
        check_storage("postgresql+nosuchdriver://lab@db/x")


def test_what_is_kept_of_a_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept_storage("postgresql://lab:$PW@db/x?host=/run/pg") == "postgresql://lab:$PW@db/x?host=/run/pg"
    monkeypatch.chdir(tmp_path)
    assert kept_storage("sqlite:///lab.db") == f"sqlite:///{tmp_path}/lab.db"
    assert kept_storage("lab/journal.log") == f"{tmp_path}/lab/journal.log"
