"""Searches on a stand-in GPU (`tests.stand_in_gpu`): no tensor stays behind, and the result is that of the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from neurodeploy import commands
from neurodeploy.errors import UsageError
from neurodeploy.search.recipe import read
from tests.stand_in_gpu import stand_in_gpu
from tests.tiny_search import EVENTS_RECIPE, RECIPE, without_seconds, write_dataset, write_events, write_recipe

SMALL = {"network.layout": [1, 0, 2, 0], "network.blocks": ["skip_connect", "SCB_k3"], "supernet.n_references": 2}
CASES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "exhaustive and fine-tuned": ("loihi2", "exhaustive", SMALL | {"supernet.epochs": 6, "train.epochs": 20, "train.lr": 0.03}),
    "GPU as target": ("orin-nano", "random", SMALL | {"supernet.epochs": 6, "train.epochs": 8, "train.lr": 0.03}),
    "events and adaptation": ("speck2f", None, {"supernet.epochs": 5, "supernet.adapt_epochs": 1, "train.epochs": 3}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_search_on_a_device_equals_one_on_the_cpu(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, method, changes = CASES[case]
    events = target == "speck2f"
    dataset = write_events(tmp_path) if events else write_dataset(tmp_path)
    recipe = str(write_recipe(tmp_path, dataset, budget=2, recipe=EVENTS_RECIPE if events else RECIPE))
    cpu = commands.search(recipe, target, method=method, out=tmp_path / "cpu", overrides={**changes, "device": "cpu"})
    with stand_in_gpu(monkeypatch) as gpu:
        found = commands.search(recipe, target, method=method, out=tmp_path / "gpu", overrides=changes)
    assert gpu.calls > 5000  # training, candidates and, where it happened, fine-tuning took place there
    assert without_seconds(found.data) == without_seconds(cpu.data)
    assert cpu.data["best"]["spikes"] > 0
    assert cpu.data["fine_tuned"] is (case == "exhaustive and fine-tuned")


def test_a_recipe_names_its_device_and_keeps_its_form_without() -> None:
    assert "device" not in read("digits").to_dict() and read("digits").device == "auto"
    assert read("digits", {"device": "cuda:1"}).to_dict()["device"] == "cuda:1"
    for bad in ("gpu", "cuda:", "CUDA", 0):
        with pytest.raises(UsageError, match="device"):
            read("digits", {"device": bad})
