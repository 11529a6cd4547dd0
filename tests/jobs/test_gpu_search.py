"""A search for a GPU by the command line: the model's costs in the fitness, the best as ONNX, resumed like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from neurodeploy.cost.gpu_cost import gpu_cost
from neurodeploy.cost.gpu_work import work_of
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import GpuProfile, any_target
from neurodeploy.jobs.routes import default_recipe, route_of
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.models.convert import to_graph
from neurodeploy.models.files import load_module
from neurodeploy.search.recipe import read

from commands import bare, run, run_json
from tiny_search import BUDGET, Tiny, without_seconds


def profile() -> GpuProfile:
    found = any_target("orin-nano")
    assert isinstance(found, GpuProfile)
    return found


def test_the_best_is_what_the_model_says(tiny_gpu: Tiny) -> None:
    data = tiny_gpu.data
    assert data["n_evaluated"] == BUDGET and data["pareto"] and data["target"] == "orin-nano"
    graph = lower_to_gpu(to_graph(load_module(tiny_gpu.model)))
    wanted = gpu_cost(work_of(graph), profile(), graph.n_timesteps)
    cost = data["test"]["cost"]["dense"]
    assert cost["energy_j"] == wanted.energy_j.to_dict() and cost["latency_s"] == wanted.latency_s.nominal
    assert data["best"]["energy_j"] == wanted.energy_j.nominal, "costs of a candidate are those of its shapes, trained or not"
    assert cost["counts"]["spikes"] > 0 and data["best"]["n_cores"] is None and data["best"]["synops"] is None
    assert data["best"]["energy_at_exit_j"] < data["best"]["energy_j"]
    energies = {tuple(e["genome"]): e["energy_j"] for e in data["pareto"]}
    assert len(energies) == len(data["pareto"])


def test_its_bundle_is_onnx_that_runs(tiny_gpu: Tiny, tmp_path: Path) -> None:
    code, answer = run_json("validate", str(tiny_gpu.bundle), "--oracle", "onnxruntime", "--out", str(tmp_path))
    assert code == 0 and answer["data"]["oracle"]["status"] == "equal" and answer["data"]["n_spikes"] > 0
    assert answer["data"]["accuracy"]["simulator"] == tiny_gpu.data["test"]["accuracy"]["simulator"]


def test_a_person_sees_it(tiny_gpu: Tiny) -> None:
    code, shown = run("search", "--resume", str(tiny_gpu.run_dir))
    assert code == 0
    for words in ("Found:", "set by launches", "Early exit", "Pareto front", "onnxruntime", "one sample alone"):
        assert words in bare(shown), words


def test_resumed_it_ends_the_same(tiny_gpu: Tiny, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    drop = shutil.ignore_patterns("journal*", "model*", "bundle", "result.json", "run.lock", "candidates.json")
    shutil.copytree(tiny_gpu.run_dir, run_dir, ignore=drop)
    code, answer = run_json("search", "--resume", str(run_dir), "--workers", "2")
    assert code == 0 and without_seconds(answer["data"]) == without_seconds(tiny_gpu.data)
    for name in ("model.safetensors", "bundle/model_step.onnx", "bundle/golden.npz", "bundle/manifest.json"):
        assert (run_dir / name).read_bytes() == (tiny_gpu.run_dir / name).read_bytes(), name


def test_events_are_refused_with_the_way_out() -> None:
    assert default_recipe(profile()) == "digits"
    with pytest.raises(UsageError, match="takes images, not streams of events, in a search") as caught:
        route_of(profile(), read("digits_events"))
    assert "digits" in str(caught.value)


def test_a_memory_that_not_even_the_smallest_network_fits(tiny_gpu: Tiny, tmp_path: Path) -> None:
    code, answer = run_json("search", "--target", "orin-nano", "--recipe", str(tiny_gpu.recipe), "--out", str(tmp_path / "run"),
                            "--set", "profile.capacity.memory.value=0.00001")
    assert code == 3 and "GB" in answer["errors"][0]["limit"] + answer["errors"][0]["what"] and not (tmp_path / "run").exists()
