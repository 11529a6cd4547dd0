"""The whole space evaluated: layers shared between architectures change no bit, and what other methods miss is said."""

from __future__ import annotations

import io
import json
import random
import runpy
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from neurodeploy.cli.render_search import show_search
from neurodeploy.data.datasets import load
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.hw.profile import any_target
from neurodeploy.jobs.candidate import ImageEvaluator
from neurodeploy.jobs.routes import route_of
from neurodeploy.jobs.search import search
from neurodeploy.jobs.shared_prefixes import SharedPrefixes
from neurodeploy.jobs.training import macro_of
from neurodeploy.models.autosnn import SuperNet
from neurodeploy.search.recipe import Recipe, read
from neurodeploy.train.runtime import threads
from rich.console import Console

from tiny_search import Tiny, without_seconds, write_dataset, write_recipe

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL: dict[str, Any] = {"network.layout": [1, 0, 2], "network.blocks": ["skip_connect", "SCB_k3", "SRB_k3", "SRB_k5"]}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threads(1):  # as in a search: equal numbers are promised for a count of threads
        yield


def evaluator(folder: Path, target: str, **overrides: Any) -> tuple[ImageEvaluator, Recipe]:
    """Of a supernet as it was initialised, which fires as its batch norms make it."""
    recipe = read(write_recipe(folder, write_dataset(folder)), {"network.blocks": SMALL["network.blocks"], **overrides})
    data = load(recipe.data.name)
    torch.manual_seed(1)
    supernet = SuperNet(macro_of(recipe, data), recipe.network.blocks)
    found = route_of(any_target(target), recipe).evaluator(supernet, data, recipe)
    assert isinstance(found, ImageEvaluator)
    return found, recipe


@pytest.mark.parametrize("target", ["loihi2", "h200"])
def test_shared_layers_change_no_bit(tmp_path: Path, target: str) -> None:
    alone, recipe = evaluator(tmp_path, target, **{"network.layout": [1, 0, 2, 2], "supernet.recalibration_batch_size": 16})
    shared = SharedPrefixes(alone)
    in_order = list(product(recipe.network.blocks, repeat=3))
    some = [*in_order[5:14], *random.Random(0).sample(in_order, 6), in_order[0], in_order[0]]
    found = [shared(arch) for arch in some]
    assert found == [alone(arch) for arch in some]
    assert all(m["spikes"] > 0 and m["energy_j"] > 0 for m in found)
    assert len({m["spikes"] for m in found}) == len(set(some)), "each candidate's figures are its own"
    shared = SharedPrefixes(alone)
    (everything,) = shared._parts
    shared._parts, shared._is_checked = list(everything.split(7)), True
    # Convolutions of a smaller batch may add in another order, so only counts are compared: no spike changed here.
    assert [shared(arch)["spikes_paper"] for arch in some[:3]] == [m["spikes_paper"] for m in found[:3]]


def test_networks_that_share_otherwise_are_refused(tmp_path: Path) -> None:
    alone, _ = evaluator(tmp_path, "loihi2", **{"network.layout": [1, 0, 2]})
    shared = SharedPrefixes(alone)
    shared._batches = [x[:8] for x in shared._batches]
    with pytest.raises(NeurodeployError, match=r"spikes, .* of SCB_k3,SRB_k3 differ when layers are shared"):
        shared(("SCB_k3", "SRB_k3"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A search of the whole space, with one worker."""
    folder = tmp_path_factory.mktemp("whole")
    dataset = write_dataset(folder)
    recipe = write_recipe(folder, dataset, 6)
    found = search(recipe, method="exhaustive", out=folder / "run", overrides=SMALL)
    return Tiny(recipe, found.run_dir, found.data, dataset)


def candidates_of(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "candidates.json").read_text())["candidates"]
    return found


def test_the_whole_space_and_what_others_miss(
    tmp_path: Path, whole: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"a budget of 6.*whole space.*Leave the budget out"):
        search(whole.recipe, method="exhaustive", budget=6, out=tmp_path / "run", overrides=SMALL)
    found = whole.data
    assert found["n_evaluated"] == 16 and found["stopped"] == "exhausted"
    candidates = candidates_of(whole.run_dir)
    assert [tuple(c["genome"]) for c in candidates] == list(product(SMALL["network.blocks"], repeat=2))
    optimum = max(c["fitness"] for c in candidates if c["fitness"] is not None)
    assert found["best"]["fitness"] == optimum

    exact = found["exact"]
    assert exact["budget"] == 6 and exact["objectives"] == ["accuracy", "energy_j", "latency_s", "n_cores"]
    assert [(s["method"], s["seed"]) for s in exact["searches"]] == list(product(("evolution", "nsga2", "random"), (3, 4, 5)))
    ran = search(whole.recipe, method="nsga2", out=tmp_path / "nsga2", overrides=SMALL).data
    row = next(s for s in exact["searches"] if s["method"] == "nsga2")
    assert (row["n_evaluated"], row["best"]) == (6, ran["best"]["fitness"]), "what that search finds when it is run"
    assert row["regret"] == pytest.approx(1 - row["best"] / optimum) and "exact" not in ran

    said = io.StringIO()
    show_search(Console(file=said, width=128), found)
    text = " ".join(said.getvalue().split())
    assert "What a search with a budget misses" in text and "All 16 architectures are known" in text
    assert text.count("nsga2") == 3
    for script, expected in (
        ("search_regret.py", [f"16 architectures, {found['n_feasible']} feasible", "nsga2         5"]),
        ("lambda_sweep.py", [",".join(found["best"]["genome"]), "0 architectures were evaluated anew"]),
    ):
        seeds = ["--seeds", "5"] if script == "search_regret.py" else ["--seed", "5"]
        monkeypatch.setattr(sys, "argv", [script, str(whole.run_dir), "--budget", "16", *seeds])
        capsys.readouterr()
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
        printed = capsys.readouterr().out
        assert all(part in printed for part in expected)
    again = search(resume=whole.run_dir).data
    assert without_seconds(again) == without_seconds(found)


def test_two_workers_find_the_same_of_the_whole_space(tmp_path: Path, whole: Tiny) -> None:
    search(whole.recipe, method="exhaustive", out=tmp_path / "two", overrides=SMALL, workers=2)
    assert candidates_of(tmp_path / "two") == candidates_of(whole.run_dir)
