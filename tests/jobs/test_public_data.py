"""Runs on public datasets: what a run keeps of their names, a part of the images, images that stay bytes in training."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from neurodeploy.data import datasets
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.hw.profile import any_target
from neurodeploy.jobs import candidate, training
from neurodeploy.jobs.data import load_data
from neurodeploy.jobs.event_opened import events_for
from neurodeploy.jobs.event_validate import event_data
from neurodeploy.jobs.export import export
from neurodeploy.jobs.opened import open_model
from neurodeploy.jobs.run import located
from neurodeploy.jobs.train import train
from neurodeploy.models.autosnn import SuperNet
from neurodeploy.search.recipe import Recipe, read
from neurodeploy.train.trainer import real
from neurodeploy.validate import open_event_bundle
from PIL import Image

SMALL = {
    "network.width": 2, "network.n_timesteps": 2, "supernet.epochs": 1, "train.epochs": 1, "train.shift": 0.0,
    "supernet.anchor_hold": 0.0, "supernet.anchor_fade": 0.0, "data.per_class": [4, 2],
}


def write_jpegs(folder: Path, per_class: int = 20) -> Path:
    """A JPEG copy of images in ten classes, darker and lighter ones."""
    rng = np.random.default_rng(1)
    files = []
    for i in range(10 * per_class):
        image = rng.integers(0, 40, (32, 32, 3)) + 20 * (i % 10)
        out = io.BytesIO()
        Image.fromarray(image.astype(np.uint8)).save(out, format="JPEG")
        files.append(out.getvalue())
    folder.mkdir()
    for name in ("train.npz", "test.npz"):
        np.savez_compressed(
            folder / name, jpeg=np.frombuffer(b"".join(files), np.uint8), offsets=np.cumsum([0, *map(len, files)]),
            labels=np.arange(len(files)) % 10,
        )
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_jpegs(tmp_path / "cifar10")
    monkeypatch.setenv("NEURODEPLOY_DATA", str(tmp_path))
    return tmp_path


def test_names_that_a_run_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar10").mkdir()
    monkeypatch.chdir(tmp_path)
    assert located("cifar10") == "cifar10" and located("./cifar10") == str(tmp_path / "cifar10")
    assert located("cifar10:cifar10") == f"cifar10:{tmp_path}/cifar10"


def test_the_key_of_the_recipe() -> None:
    assert read("cifar10_small").data.per_class == (600, 200)
    assert "per_class" not in read("digits").to_dict()["data"], "recipes and model files of before stay as they were"
    assert read("digits", {"data.per_class": 3}).to_dict()["data"]["per_class"] == 3
    for wrong in (0, [4, 0], [1, 2, 3]):
        with pytest.raises(UsageError, match="per_class"):
            read("digits", {"data.per_class": wrong})
    with pytest.raises(UsageError, match="--per-class N"):
        load_data(read("digits_events", {"data.per_class": 3}).data, "events")


def test_a_model_keeps_its_part_of_the_data(root: Path, tmp_path: Path) -> None:
    found = train("cifar10_small", "skip,skip,skip,skip,skip", out=tmp_path / "run", overrides=SMALL)
    opened = open_model(found.model)
    assert opened.graph.metadata["data"] == {"name": "cifar10", "n_levels": 256, "per_class": [4, 2]}
    own, named = opened.dataset(), opened.dataset("cifar10")
    assert own is not None and named is not None
    assert [len(own.splits[k]) for k in ("train", "validation", "test")] == [40, 20, 200]
    assert [len(named.splits[k]) for k in ("train", "validation", "test")] == [160, 40, 200]


def test_a_model_of_images_as_events_keeps_its_part(root: Path, tmp_path: Path) -> None:
    """So does a bundle: what is run again are the same recordings, not all of the dataset's."""
    few = {"network.width": 2, "network.n_timesteps": 4, "train.epochs": 1, "data.name": "cifar10", "data.per_class": [4, 2]}
    found = train("digits_events", "skip,skip,skip", out=tmp_path / "run", overrides=few)
    own = events_for(open_model(found.model), None)
    assert own is not None and own.per_class == (4, 2) and own.camera is not None
    export(found.model, "speck2f", out=tmp_path / "bundle")
    again = event_data(open_event_bundle(tmp_path / "bundle"))
    assert again is not None
    for part in ("train", "validation", "test"):
        assert [len(s) for s in own.split(part)[0]] == [len(s) for s in again.split(part)[0]], "events that occur"
    assert [len(own.splits[part]) for part in ("train", "validation", "test")] == [40, 20, 200]
    named = events_for(open_model(found.model), "cifar10")
    assert named is not None and len(named.splits["train"]) == 160


def test_a_part_that_is_no_number_is_refused(root: Path, tmp_path: Path) -> None:
    found = train("cifar10_small", "skip,skip,skip,skip,skip", out=tmp_path / "run", overrides=SMALL)
    opened = open_model(found.model)
    opened.graph.metadata["data"]["per_class"] = "many"
    with pytest.raises(UnsafeFile, match="per_class is no number"):
        opened.dataset()


def _evaluated(recipe: Recipe, data: datasets.Dataset) -> dict[str, object]:
    torch.manual_seed(0)
    supernet = SuperNet(training.macro_of(recipe, data), recipe.network.blocks)
    evaluate = candidate.Evaluator(supernet, data, recipe, any_target("loihi2"))
    found: dict[str, object] = evaluate(("SCB_k3",) * 5)
    return found


def test_bytes_train_as_their_real_numbers_do(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    assert np.array_equal(real(levels).numpy(), datasets._as_float(levels.numpy(), 256)), "every byte, bit by bit"
    recipe = read("cifar10_small", {**SMALL, "train.shift": 2.0, "train.noise": 0.1})
    data = load_data(recipe.data, "graded")
    assert isinstance(data, datasets.Dataset)
    assert training.labelled(recipe, data, "train")[0].dtype == np.float32
    files, metrics = [], []
    for most in (training._MOST_REAL, 0):
        monkeypatch.setattr(training, "_MOST_REAL", most)
        found = train("cifar10_small", "skip,skip,SCB_k3,skip,skip", out=tmp_path / f"run{most}",
                      overrides={**SMALL, "train.shift": 2.0, "train.noise": 0.1})
        files.append((found.model.read_bytes(), found.accuracy))
        metrics.append(_evaluated(recipe, data))
    assert training.labelled(recipe, data, "train")[0].dtype == np.uint8
    assert files[0] == files[1] and metrics[0] == metrics[1] and metrics[0]["spikes"]


def test_a_candidate_is_judged_in_batches(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = read("cifar10_small", SMALL)
    data = load_data(recipe.data, "graded")
    assert isinstance(data, datasets.Dataset)
    whole = _evaluated(recipe, data)
    monkeypatch.setattr(candidate, "_BATCH", 7)
    parts = _evaluated(recipe, data)
    # Sums of spikes are whole numbers, so everything that follows from them is equal; votes are sums of whole numbers too.
    assert parts == whole and whole["spikes"]
