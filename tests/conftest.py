"""Makes the modules beside this file (`oracles`) importable from every test folder, and one small search once."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# The same examples in every run; `pytest --hypothesis-profile=explore` draws new ones.
settings.register_profile("explore", settings.get_profile("default"))
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")

# Before torch is imported, here and in child processes: threads that wait for each other on busy cores spin, and make
# small networks a hundred times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_search import Tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A whole search by the command line, shared by the tests that only read it."""
    import tiny_search

    folder = tmp_path_factory.mktemp("tiny")
    return _searched(folder, tiny_search.write_dataset(folder), "loihi2", tiny_search.RECIPE)


@pytest.fixture(scope="session")
def tiny_events(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The same for an event-driven chip."""
    import tiny_search

    folder = tmp_path_factory.mktemp("tiny_events")
    return _searched(folder, tiny_search.write_events(folder), "speck2f", tiny_search.EVENTS_RECIPE)


@pytest.fixture(scope="session")
def tiny_gpu(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The same for a GPU."""
    import tiny_search

    folder = tmp_path_factory.mktemp("tiny_gpu")
    return _searched(folder, tiny_search.write_dataset(folder), "orin-nano", tiny_search.RECIPE)


def _searched(folder: Path, dataset: Path, target: str, content: str) -> Tiny:
    from neurodeploy.cli.main import main

    import tiny_search

    recipe = tiny_search.write_recipe(folder, dataset, recipe=content)
    out = io.StringIO()
    code = main(["search", "--target", target, "--recipe", str(recipe), "--out", str(folder / "run"), "--json"], out)
    answer = json.loads(out.getvalue())
    assert code == 0, answer["errors"]
    return tiny_search.Tiny(recipe, folder / "run", answer["data"], dataset, target)
