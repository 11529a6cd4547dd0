"""GPUs in the commands: what they answer for networks of either kind, for integers, and where they refuse."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.cost.gpu_cost import gpu_cost
from neurodeploy.cost.gpu_exit import exit_costs
from neurodeploy.cost.gpu_work import work_of
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.hw.profile import GpuProfile, any_target
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import CubaLif, Input, Linear
from neurodeploy.ir.serialize import save
from neurodeploy.jobs.compare import compare
from neurodeploy.jobs.energy import energy
from neurodeploy.jobs.export import export
from neurodeploy.jobs.gpu_input import read_values
from neurodeploy.jobs.gpu_opened import lowered_for_gpu, samples_for
from neurodeploy.jobs.gpu_run import run_split
from neurodeploy.jobs.opened import open_model
from neurodeploy.jobs.simulate import simulate
from neurodeploy.jobs.validate import validate
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.files import save as save_module
from neurodeploy.models.from_torch import from_torch
from neurodeploy.models.macro import MacroConfig
from neurodeploy.sim.gpu_run import run
from neurodeploy.validate import open_gpu_bundle, validate_gpu_bundle
from tests import event_models
from tests.event_models import EventModel
from tests.tiny_search import write_dataset

from commands import bare, run_json
from commands import run as run_command

GPU = "orin"


@pytest.fixture
def events(tmp_path: Path) -> EventModel:
    return event_models.write(tmp_path)


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """An untrained network of PLIF neurons, batch norms and max-pools that fires; it names no data."""
    torch.manual_seed(5)
    config = MacroConfig(in_channels=1, image_size=(8, 8), n_classes=3, width=4, n_timesteps=2, group=2)
    module = AutoSnn(config, ["skip_connect", "SRB_k3", "skip_connect", "skip_connect", "skip_connect"])
    for norm in (m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.constant_(norm.bias, 1.0)
    torch.nn.init.normal_(module.classifier.linear.weight, 0.5, 1.0)
    save_module(module, tmp_path / "leaky.safetensors")
    return tmp_path / "leaky.safetensors"


@pytest.fixture
def three(tmp_path: Path) -> str:
    return str(write_dataset(tmp_path))


def profile() -> GpuProfile:
    found = any_target(GPU)
    assert isinstance(found, GpuProfile)
    return found


def test_energy_is_that_of_the_model_and_the_data(leaky: Path, three: str) -> None:
    report = energy(leaky, [GPU], data=three)
    entry = report.targets[GPU]
    graph = lowered_for_gpu(open_model(leaky))
    assert entry["energy_j"] == gpu_cost(work_of(graph), profile(), graph.n_timesteps).energy_j.to_dict()
    batched = gpu_cost(work_of(graph), profile(), graph.n_timesteps, batch=64)
    assert entry["batched"]["energy_j"] == batched.energy_j.to_dict() and entry["batched"]["batch"] == 64
    samples = samples_for(open_model(leaky), graph, three)
    assert samples is not None
    runs = run_split(samples, "test")
    assert entry["accuracy"] == runs.accuracy() and sum(runs.n_spikes.values()) > 0
    exits = entry["early_exit"]
    wanted = exit_costs(work_of(graph), profile(), exits["histogram"])
    assert exits["energy_j"] == wanted.stopping.energy_j.to_dict() and sum(exits["histogram"]) == len(runs.labels)
    assert exits["energy_full_j"] == wanted.all_unrolled.energy_j.to_dict()
    assert report.proxies is not None and report.proxies["effective_acs"] > 0
    assert entry["memory"]["used"] > 0 and entry["n_cores"] is None and entry["boundary"] in ("board", "wall")


def test_one_alone_launches_as_often_as_a_batch(leaky: Path) -> None:
    """Launches do not depend on how many samples there are, so a batch spreads them: alone, most of the time is theirs."""
    entry = energy(leaky, [GPU]).targets[GPU]
    assert entry["limiting"]["launch"] > 0.8
    assert entry["batched"]["energy_j"]["nominal"] < entry["energy_j"]["nominal"] / 10
    assert entry["data"] is None and entry["accuracy"] is None, "a GPU needs no data to tell what a dense pass costs"


def test_settings_of_gpus(leaky: Path) -> None:
    with pytest.warns(UserWarning, match="costs are those of int8"):
        other = energy(leaky, [GPU], overrides={"gpu.batch": 3, "gpu.precision": "int8"}).targets[GPU]
    assert other["batched"]["batch"] == 3 and other["precision"] == "int8"
    with pytest.raises(UsageError, match="batch"):
        energy(leaky, [GPU], overrides={"gpu.batch": 0})
    assert energy(leaky, [GPU], n_timesteps=6).targets[GPU]["n_timesteps"] == 6
    assert energy(leaky, [GPU], interval_s=0.5).targets[GPU]["interval_source"] == "given"


@pytest.mark.parametrize(
    ("asked", "what"), [({"schedule": "pipelined"}, "--schedule"), ({"rate": 0.1, "data": "digits"}, "at once")]
)
def test_what_has_no_meaning(leaky: Path, asked: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        energy(leaky, [GPU], **asked)


def test_a_memory_that_is_too_small(leaky: Path) -> None:
    code, answer = run_json("check", str(leaky), "--target", GPU, "--set", "profile.capacity.memory.value=0.0005")
    assert code == 3
    (violation,) = answer["data"]["violations"]
    assert violation["rule"] == "gpu_memory" and "batch of at most" in violation["remedy"]
    code, answer = run_json("energy", str(leaky), "--target", GPU, "--set", "profile.capacity.memory.value=0.0005")
    assert code == 3 and answer["data"]["targets"][GPU]["violations"] == [violation]
    assert run_command("export", str(leaky), "--target", GPU, "--set", "profile.capacity.memory.value=0.0005")[0] == 3
    code, answer = run_json("check", str(leaky), "--target", GPU)
    assert code == 0 and answer["data"]["utilisation"]["memory"]["batch"] == 64


def test_events_are_counted_in_the_bins_of_training(events: EventModel) -> None:
    graph = lowered_for_gpu(open_model(events.path))
    samples = samples_for(open_model(events.path), graph, None)
    assert samples is not None
    runs = run_split(samples, "test")
    assert runs.accuracy()["simulator"] > 0.9, "the network tells which half of the sensor sent more"
    x = samples.values("test", slice(0, 3))
    streams = events.recordings.split("test")[0][:3]
    assert x.shape == (graph.n_timesteps, 3, *graph.inputs[0].shape)
    assert [int(v) for v in x.sum(axis=(0, 2, 3, 4))] == [len(s) for s in streams]


@pytest.mark.parametrize("bundle", ["digits-loihi2", "digits-speck2f"])
def test_a_chips_bundle_runs_as_the_network_that_it_was_made_from(bundle: str) -> None:
    opened = open_model(Path("exports") / bundle)
    assert isinstance(opened.graph, IntGraph)
    graph = lowered_for_gpu(opened)
    assert not isinstance(graph, IntGraph) and not any(e.delay for e in graph.edges)
    samples = samples_for(opened, graph, None)
    assert samples is not None and opened.bundle is not None
    assert run_split(samples, "test").accuracy()["simulator"] == pytest.approx(
        opened.bundle.manifest["accuracy"]["float"], abs=2 / 540  # computed in float64; a sample at a tie may differ
    )


def dense_int(folder: Path) -> tuple[Path, IntGraph]:
    graph = IntGraph(
        (Input("input", (4,), kind="spikes"), Linear("fc", np.full((3, 4), 64)), CubaLif("out", (3,), v_th=1)),
        (Edge("input", "fc", 1), Edge("fc", "out")), 5,
    )  # fmt: skip
    save(graph, folder / "net.npz")
    return folder / "net.npz", graph


def test_integers_stand_for_a_dense_pass(tmp_path: Path) -> None:
    path, graph = dense_int(tmp_path)
    with pytest.warns(UserWarning, match="dense pass of the same layers"):
        entry = energy(path, [GPU]).targets[GPU]
    assert entry["energy_j"] == gpu_cost(work_of(graph), profile(), 5).energy_j.to_dict()
    np.savez(tmp_path / "in.npz", input=np.ones((7, 2, 4), dtype=np.int64))
    with pytest.warns(UserWarning, match="dense pass"):
        entry = energy(path, [GPU], given=tmp_path / "in.npz").targets[GPU]
    assert entry["n_timesteps"] == 7 and entry["input"]["n_samples"] == 2
    with pytest.raises(UsageError, match="integers of a chip"):
        export(path, GPU, out=tmp_path / "bundle")


def test_exported_validated_and_run_by_onnxruntime(leaky: Path, three: str, tmp_path: Path) -> None:
    result = export(leaky, GPU, out=tmp_path / "bundle", data=three)
    assert result.artifact.name == "model_step.onnx" and result.placement is None and result.quantization is None
    assert result.accuracy is not None and result.early_exit is not None
    verdict = validate(result.bundle, oracle="onnxruntime", trace=True)
    assert verdict.ok and verdict.n_spikes > 0 and verdict.oracle is not None
    assert verdict.accuracy["simulator"] == result.accuracy["simulator"]
    n = len(energy(leaky, [GPU], data=three).targets[GPU]["early_exit"]["accuracy_fixed"])
    assert verdict.early_exit is not None and len(verdict.early_exit["histogram"]) == n
    assert verdict.early_exit["histogram"] == result.early_exit["histogram"]
    assert verdict.early_exit["energy_j"] == result.early_exit["energy_j"]
    again = energy(result.bundle, [GPU]).targets[GPU]
    assert again["accuracy"]["simulator"] == verdict.accuracy["simulator"]
    with pytest.raises(UsageError, match="does not run bundles for GPUs"):
        validate(result.bundle, oracle="samna")
    (tmp_path / "bundle" / "model_step.onnx").write_bytes(b"other")
    with pytest.raises(UnsafeFile, match=r"model_step\.onnx"):
        validate(result.bundle)


def test_exported_without_data(events: EventModel, tmp_path: Path) -> None:
    result = export(events.unnamed, GPU, out=tmp_path / "bundle")
    assert result.accuracy is None and result.early_exit is None
    assert validate(result.bundle, oracle="onnxruntime").ok
    code, shown = run_command("export", str(events.unnamed), "--target", GPU, "--out", str(tmp_path / "again"))
    assert code == 0 and "--oracle onnxruntime" in shown and "unknown: no data" in bare(shown)


def test_simulated_in_float32(leaky: Path, tmp_path: Path) -> None:
    graph = lowered_for_gpu(open_model(leaky))
    images = np.random.default_rng(1).random((2, *graph.inputs[0].shape)).astype(np.float32)
    np.savez(tmp_path / "in.npz", input=images)
    for reference in (False, True):
        result = simulate(
            leaky, tmp_path / "in.npz", tmp_path / "out.npz", target=GPU, layout="images", use_reference=reference
        )
        assert sum(result.spikes_per_layer.values()) > 0
        x = np.repeat(images[np.newaxis], graph.n_timesteps, axis=0)
        wanted = run(graph, x)
        with np.load(tmp_path / "out.npz") as out:
            for name, spikes in wanted.spikes.items():
                np.testing.assert_array_equal(out[f"spikes/{name}"], spikes)
            np.testing.assert_array_equal(out["votes"], wanted.votes)
    with pytest.raises(UsageError, match="--layout"):
        simulate(leaky, tmp_path / "in.npz", tmp_path / "out.npz", target=GPU, layout="lava")


def test_values_that_are_given(leaky: Path, events: EventModel, tmp_path: Path) -> None:
    graph = lowered_for_gpu(open_model(leaky))  # T = 2, input [1, 8, 8]
    shape, path = graph.inputs[0].shape, tmp_path / "v.npz"

    def read(values: Any, layout: Any = "torch") -> Any:
        np.savez(path, input=values)
        return read_values(path, graph, layout)

    assert read(np.zeros((2, 5, *shape))).shape == (2, 5, *shape)
    assert read(np.zeros((2, *shape))).shape == (2, 1, *shape)
    assert read(np.ones((3, *shape)), "images").shape == (2, 3, *shape)
    assert read(np.ones(shape), "images").shape == (2, 1, *shape)
    with pytest.raises(UsageError, match=r"float32 in 0\.\.1"):
        read(np.full((3, *shape), 2.0), "images")
    for wrong in (np.zeros((3, 5, *shape)), np.zeros(shape), np.zeros((2, 5, 4, 8, 8)), np.zeros((3, *shape))):
        with pytest.raises(UsageError, match="the array has shape"):
            read(wrong)
    with pytest.raises(UsageError, match="no finite float32"):
        read(np.full((2, 1, *shape), 1e300))
    counted = read_values(events.data, lowered_for_gpu(open_model(events.path)))
    assert counted.sum() == sum(len(s) for s in events.recordings.streams)


def test_side_by_side_with_chips(leaky: Path, three: str) -> None:
    found = compare(leaky, ["loihi2", GPU, "h200", "speck2f"], data=three)
    rows = {row["target"]: row for row in found.rows}
    assert rows["loihi2"]["fits"] and rows[GPU]["fits"] and not rows["speck2f"]["fits"] and rows["speck2f"]["reason"]
    best = found.best["energy_j"]
    assert best is not None and best["target"] == "loihi2"
    assert rows[GPU]["accuracy"]["simulator"] == rows["h200"]["accuracy"]["simulator"], "the same network, run once"
    json.dumps(found.to_dict(), allow_nan=False)
    code, shown = run_command("compare", str(leaky), "--target", f"loihi2,{GPU}", "--data", three)
    assert code == 0 and GPU in shown and "one sample alone" in bare(shown)


def test_a_pipeline_is_taken_back(leaky: Path) -> None:
    graph = open_model(leaky).graph
    shifted = replace(
        graph, edges=tuple(Edge(e.src, e.dst, 1 if graph[e.dst].is_synapse else 0) for e in graph.edges)
    )
    assert not any(e.delay for e in lower_to_gpu(shifted).edges) or not shifted.is_balanced
    looped = Graph(graph.nodes, graph.edges, graph.n_timesteps, graph.metadata, host=graph)
    with pytest.raises(UsageError, match="moved to a host"):
        lower_to_gpu(looped)


def test_a_network_without_neurons_has_logits_alone(tmp_path: Path, three: str) -> None:
    torch.manual_seed(2)
    layers = [torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AvgPool2d(2), torch.nn.Flatten()]
    graph = from_torch(torch.nn.Sequential(*layers, torch.nn.Linear(64, 3)), (1, 8, 8), n_classes=3)
    save(graph, tmp_path / "ann.npz")
    result = export(tmp_path / "ann.npz", GPU, out=tmp_path / "bundle", data=three)
    assert result.early_exit is None, "one timestep leaves nothing to stop"
    verdict = validate(result.bundle, oracle="onnxruntime")
    assert verdict.ok and verdict.n_spikes == 0 and verdict.accuracy["simulator"] == result.accuracy["simulator"]
    assert any(c.name == "golden logits, reference simulator" and c.ok for c in verdict.checks)
    with pytest.MonkeyPatch.context() as patch:  # other logits than the simulators' are noticed
        opened = open_gpu_bundle(result.bundle)
        golden = replace(opened.golden, votes=opened.golden.votes + 1)
        patch.setattr(sys.modules[open_gpu_bundle.__module__], "load_gpu", lambda *_: golden)
        wrong = validate_gpu_bundle(open_gpu_bundle(result.bundle))
    assert not wrong.ok and wrong.errors[0].exit_code == 4
    assert energy(result.bundle, [GPU]).targets[GPU]["early_exit"] is None


def test_given_values_are_what_proxies_count(leaky: Path, tmp_path: Path) -> None:
    graph = lowered_for_gpu(open_model(leaky))
    np.savez(tmp_path / "in.npz", input=np.random.default_rng(1).random((2, 3, *graph.inputs[0].shape)))
    report = energy(leaky, [GPU], given=tmp_path / "in.npz")
    assert report.targets[GPU]["input"]["n_samples"] == 3 and report.targets[GPU]["accuracy"] is None
    assert report.proxies is not None and report.proxies["effective_acs"] > 0
    with pytest.raises(UsageError, match="the array has shape"):
        energy(leaky, [GPU], given=tmp_path / "in.npz", n_timesteps=5)


def test_gpus_side_by_side_need_no_data(leaky: Path, tmp_path: Path) -> None:
    code, shown = run_command("compare", str(leaky), "--target", f"{GPU},h200")
    assert code == 0 and "no data: its shapes alone" in bare(shown)
    graph = lowered_for_gpu(open_model(leaky))
    np.savez(tmp_path / "in.npz", input=np.zeros((2, 3, *graph.inputs[0].shape)))
    code, answer = run_json("compare", str(leaky), "--target", f"{GPU},h200", "--input", str(tmp_path / "in.npz"))
    assert code == 0 and [row["input"]["n_samples"] for row in answer["data"]["rows"]] == [3, 3]
    code, shown = run_command("compare", str(leaky), "--target", f"{GPU},h200", "--input", str(tmp_path / "in.npz"))
    assert code == 0 and "shapes alone" not in bare(shown)
