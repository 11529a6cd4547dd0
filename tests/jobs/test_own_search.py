"""Whole searches with data, blocks and fitness terms of somebody else's, and how they are refused, stopped and resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
import torch
from neurodeploy.data.datasets import load
from neurodeploy.data.event_sources import load_events
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.hw.profile import EventProfile, any_target
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.event_route import EventRoute
from neurodeploy.jobs.search import search, worker
from neurodeploy.search.fitness import Metrics
from neurodeploy.search.recipe import parse, read
from PIL import Image
from torch import nn

from own_packages import REGISTRIES, Single, weights
from tiny_search import EVENTS_RECIPE, without_seconds, write_dataset, write_events, write_recipe

SPACE: dict[str, Any] = {"network.blocks": ["skip_connect", "SRB_k3", "single_k3"], "fitness.terms.weights": -0.1}
COUNTED = {"fitness.terms.count": -0.1}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_registered", {})
        monkeypatch.setattr(registry, "_loaded", {})
    nd.register_block("single_k3")(Single)
    nd.register_fitness("weights")(weights)
    yield


def images(folder: Path) -> Path:
    """The first digits 0, 1 and 2 as pictures of two sizes."""
    digits = load("digits")
    for label in range(3):
        (folder / str(label)).mkdir(parents=True)
        for i, index in enumerate(np.flatnonzero(digits.y == label)[:40]):
            picture = Image.fromarray(np.rint(digits.x[index, 0] * 255).astype(np.uint8))
            (picture if i % 4 else picture.resize((10, 10))).save(folder / str(label) / f"{i}.png")
    return folder


def test_digits_recipe_on_a_folder_of_images(tmp_path: Path) -> None:
    changes = {"data.name": str(images(tmp_path / "pictures")), "network.width": 4, "supernet.epochs": 12, "train.epochs": 25,
               "train.batch_size": 30, "fitness.chance_margin": 0.0}
    with pytest.raises(UsageError, match=r"2 sizes.*data\.size=8"):
        search("digits", budget=4, out=tmp_path / "run", overrides=changes)
    assert not (tmp_path / "run").exists()
    found = search("digits", budget=4, out=tmp_path / "run", overrides={**changes, "data.size": 8}).data
    assert found["test"]["accuracy"]["n"] == 36 and found["data"]["name"] == "pictures"
    assert json.loads((tmp_path / "run/run.json").read_text())["recipe"]["data"] == {"name": changes["data.name"], "size": 8}
    verdict = nd.validate(found["bundle"], max_drop=100.0)
    assert verdict.ok and verdict.to_dict()["accuracy"]["simulator"] == found["test"]["accuracy"]["simulator"], (
        "the network says to what size the folder is brought"
    )
    assert search(resume=tmp_path / "run").data["best"] == found["best"]


def test_a_chip_of_events_with_all_three(tmp_path: Path) -> None:
    sides = load_events(write_events(tmp_path))
    nd.register_dataset("sides")(lambda: sides)
    recipe = write_recipe(tmp_path, "sides", 6, EVENTS_RECIPE)
    own = {"network.blocks": ["SCB_k3", "single_k3"], "fitness.terms.weights": -0.1, "supernet.adapt_epochs": 0,
           "train.epochs": 12}
    found = search(recipe, "speck2f", out=tmp_path / "run", overrides=own).data
    candidates = json.loads((tmp_path / "run/candidates.json").read_text())["candidates"]
    assert len(candidates) == 4, "all of the space"
    assert {b for c in candidates for b in c["genome"]} == {"SCB_k3", "single_k3"}
    own_terms = {tuple(c["genome"]): c["terms"]["weights"] for c in candidates if c["fits"]}
    single, double = "single_k3", "SCB_k3"
    assert len(own_terms) == 4 and own_terms[single, single] < own_terms[single, double] < own_terms[double, double]
    assert found["test"]["accuracy"]["simulator"] > 0.6 and found["references"]["terms"]["weights"] > 0
    assert nd.validate(found["bundle"]).ok


def test_positions_without_any_block_are_said() -> None:
    """A block that no core can hold, and no other to choose."""
    @nd.register_block("huge")
    class Huge(Single):
        def __init__(self, c_in: int, c_out: int, layers: Any) -> None:
            super().__init__(c_in, c_out, layers)
            self.conv = layers.conv(c_in, c_out, 31)

    profile = any_target("speck2f")
    assert isinstance(profile, EventProfile)
    recipe = read("digits_events", {"network.blocks": ["huge"], "supernet.anchor": ["huge"] * 3})
    with pytest.raises(DoesNotFit, match="kernel"):
        EventRoute(profile).choices(recipe, load_events("digits-events"))


def tiny(tmp_path: Path, more: dict[str, Any], name: str = "run", workers: int = 1) -> dict[str, Any]:
    recipe = write_recipe(tmp_path, write_dataset(tmp_path), 5)
    return search(recipe, out=tmp_path / name, overrides=SPACE | more, workers=workers).data


def test_a_term_that_fails_stops_the_search_which_goes_on_when_it_is_mended(tmp_path: Path) -> None:
    mended: list[bool] = []

    def count(metrics: Metrics, graph: Graph) -> float:
        n = float(weights(metrics, graph))
        if n < 3000 and not mended:
            raise RuntimeError("cannot count")
        return n

    nd.register_fitness("count")(count)
    with pytest.raises(UsageError, match=r"term 'count' of candidate [\w,]+: raised RuntimeError: cannot count"):
        tiny(tmp_path, COUNTED)
    mended.append(True)
    resumed = search(resume=tmp_path / "run").data
    assert resumed["n_evaluated"] == 5 and without_seconds(resumed) == without_seconds(tiny(tmp_path, COUNTED, "undisturbed"))


def test_who_lacks_a_name_refuses_and_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="block 'single_k3', fitness term 'weights' are registered in this process alone"):
        tiny(tmp_path, {}, workers=2)
    assert not (tmp_path / "run").exists()
    tiny(tmp_path, {})
    run = tmp_path / "run"
    (run / "result.json").unlink()

    def content() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in run.rglob("*") if p.is_file()}

    before = content()
    with pytest.raises(UsageError, match="in this process alone"):
        search(resume=run, workers=2)
    for registry, missing in ((REGISTRIES[1], "no block 'single_k3'"), (REGISTRIES[2], "no fitness term 'weights'")):
        with monkeypatch.context() as lacking:
            lacking.setattr(registry, "_registered", {})
            for attempt in (lambda: worker(run), lambda: search(resume=run), lambda: tiny(tmp_path, {}, "new")):
                with pytest.raises(UsageError, match=missing):
                    attempt()
    assert content() == before and not (tmp_path / "new").exists()
    monkeypatch.setattr(REGISTRIES[1], "_registered", {})

    @nd.register_block("single_k3")
    class Changed(Single):
        def __init__(self, c_in: int, c_out: int, layers: Any) -> None:
            super().__init__(c_in, c_out, layers)
            self.gain = nn.Parameter(torch.ones(()))

    with pytest.raises(UsageError, match="parameters differ"):
        worker(run)
    assert content() == before


def test_train_takes_a_block_of_one_s_own(tmp_path: Path) -> None:
    from neurodeploy.jobs.train import train

    dataset = write_dataset(tmp_path)
    recipe = write_recipe(tmp_path, dataset)
    found = train(recipe, "single_k3,skip,single_k3,skip,skip", out=tmp_path / "out", overrides={"train.epochs": 15})
    graph = nd.load(found.model)
    assert graph.metadata["arch"][:3] == ["single_k3", "skip_connect", "single_k3"] and found.accuracy > 0.5
    target = nd.target("loihi2")
    net = nd.quantize(graph, target, calibration=load(dataset).split("validation")[0])
    assert nd.place(net, target).n_cores > 0
    with pytest.raises(UsageError, match=r"unknown block 'double_k3'.*single_k3"):
        train(recipe, "double_k3,skip,skip,skip,skip", out=tmp_path / "other")


def test_anchors_are_of_the_recipe_s_blocks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'SCB_k3' is not in this network's list"):
        tiny(tmp_path, {"supernet.anchor": ["SCB_k3"] * 5})
    with pytest.raises(UsageError, match=r"data\.size"):
        search("digits_events", "speck2f", overrides={"data.size": 8}, out=tmp_path / "run")
    assert parse(read("digits").to_dict(), {"network.blocks": ["single_k3"]}).network.blocks == ("single_k3",)
    assert not (tmp_path / "run").exists()
