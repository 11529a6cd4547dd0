"""Bundles for GPUs: what export writes, validate reads, computes again, and asks onnxruntime about."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.datasets import load
from neurodeploy.early_exit.confidence import ConfidencePolicy, exit_steps
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.export import gpu
from neurodeploy.export import run_on_gpu as script
from neurodeploy.export.golden_gpu import GoldenGpu, load_gpu, record_gpu, save_gpu
from neurodeploy.export.onnx_files import read_onnx
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.nodes import Conv2d, Input, Lif, Linear, Vote
from neurodeploy.ir.serialize import same, save
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.models.convert import to_graph
from neurodeploy.models.from_graph import TorchGraph
from neurodeploy.resources import folder as packaged
from neurodeploy.sim.gpu_run import run, run_until, until
from neurodeploy.validate import GpuBundle, open_any, open_gpu_bundle, validate_gpu_bundle
from neurodeploy.validate.gpu_compare import compare
from neurodeploy.validate.gpu_onnx import OnnxSteps, run_form, session_of
from tests.event_nets import chain, residual
from tests.float_networks import values
from tests.models.test_convert import ARCHS, trained
from tests.small_nets import int_chain
from tests.validate.gpu_bundles import METADATA, POLICY, profile, rewrite, write

FILES = ("golden.npz", "graph.npz", "model.nir", "model_scan.onnx", "model_step.onnx", "model_unrolled.onnx", "run_on_h200.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(residual(), tmp_path / "b").path


def recurrent() -> Graph:
    """A loop of one timestep around neurons that restart."""
    nodes = (Input("in", (3,)), Linear("fc", np.full((4, 3), 0.25)), Lif("n", (4,), reset_interval=3),
             Linear("back", np.eye(4) / 4), Vote("vote", 2, 2))  # fmt: skip
    edges = (Edge("in", "fc"), Edge("fc", "n"), Edge("n", "back", 1), Edge("back", "n"), Edge("n", "vote"))
    return Graph(nodes, edges, 5)


def mapped() -> Graph:
    """An answer that is a map of spikes."""
    return chain(Input("in", (1, 3, 2)), Conv2d("c", np.full((2, 1, 2, 2), 0.25)), Lif("n", (2, 2, 1)))


def autosnn() -> Graph:
    """Batch norms, max-pools, leaky neurons that decay their input."""
    return to_graph(trained(ARCHS[0]))


# ---------------------------------------------------------------- export


def test_what_a_bundle_holds(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {*FILES, "manifest.json"}
    manifest = open_any(folder).manifest
    assert (manifest["target"], manifest["seed"], manifest["data"]) == ("h200", 3, METADATA["data"])
    assert manifest["early_exit"] == POLICY.to_dict()
    assert manifest["profile"]["digest"] == profile().digest
    assert manifest["metadata"] == {"recipe": "digits"}
    assert manifest["onnx"]["layers"] == ["n1", "n2", "n3", "n4"]
    assert (manifest["quantization"], manifest["placement"]) == (None, None)
    assert all(manifest["golden"]["n_spikes"].values())


def test_equal_networks_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    other = write(residual(), tmp_path / "c").path
    for name in (*FILES, "manifest.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


def test_golden_spikes_and_the_places_near_the_threshold() -> None:
    graph = chain(Input("in", (2,)), Lif("n", (2,)), T=2)
    x = np.array([[[0.5, 1 + 2e-6]], [[0.5, 0.25]]], dtype=np.float32)
    golden = record_gpu(graph, x)
    assert golden.spikes["n"].tolist() == [[[0, 1]], [[1, 0]]]
    assert golden.near["n"].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert golden.n_spikes == {"n": 2}


def test_golden_vectors_survive_their_file(tmp_path: Path) -> None:
    graph = lower_to_gpu(residual())
    golden = record_gpu(graph, values(graph))
    save_gpu(golden, tmp_path / "g.npz")
    found = load_gpu(tmp_path / "g.npz", graph)
    np.testing.assert_array_equal(found.x, golden.x)
    np.testing.assert_array_equal(found.votes, golden.votes)
    for kind in ("spikes", "near"):
        for name, expected in getattr(golden, kind).items():
            np.testing.assert_array_equal(getattr(found, kind)[name], expected)
    with pytest.raises(UnsafeFile, match="none of this network"):
        load_gpu(tmp_path / "g.npz", replace(graph, n_timesteps=3))


def test_integers_of_a_chip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="integers of a chip"):
        write(int_chain(), tmp_path / "b")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- validation


@pytest.mark.parametrize("make", [residual, recurrent, mapped, autosnn])
@pytest.mark.parametrize("policy", [POLICY, None], ids=["policy", "none"])
def test_a_good_bundle_holds(make: Callable[[], Graph], policy: ConfidencePolicy | None, tmp_path: Path) -> None:
    graph = make()
    folder = write(graph, tmp_path / "b", policy=policy).path
    opened = open_any(folder)
    assert isinstance(opened, GpuBundle)
    assert (opened.differing, opened.policy) == ((), policy)
    assert same(opened.graph, lower_to_gpu(graph)) is None
    verdict = validate_gpu_bundle(opened, oracle="onnxruntime", trace=True)
    assert verdict.ok and all(c.ok for c in verdict.checks)
    assert (verdict.target, verdict.agreement, verdict.time_unit) == ("h200", 1.0, "timestep")
    assert verdict.oracle is not None and verdict.oracle["status"] == "equal"
    assert verdict.oracle["n_spikes"] == verdict.n_spikes > 0
    assert [r["file"] for r in verdict.oracle["routes"]] == ["model_step.onnx", "model_unrolled.onnx", "model_scan.onnx"]
    exits = None if policy is None else {"n_samples": 4, "n_differences": 0}
    assert verdict.oracle["early_exit"] == exits
    json.dumps(verdict.to_dict(), allow_nan=False)
    assert script.main(["--bundle", str(folder), "--provider", "cpu", "--out", str(tmp_path / "lab.json")]) == 0
    assert verdict.trace is not None and all(t["expected"] == t["got"] for t in verdict.trace.values())


def test_accuracy_and_early_exit_on_data(folder: Path) -> None:
    opened = open_gpu_bundle(folder)
    x = values(opened.graph, batch=30, seed=5)
    votes = run(opened.graph, x).votes
    labels = votes.sum(axis=0).argmax(axis=1)
    labels[:3] = (labels[:3] + 1) % 5
    parts = [x[:, :10], x[:, 10:]]
    verdict = validate_gpu_bundle(opened, parts, labels, oracle="onnxruntime", early_exit=lambda histogram: {"energy_j": 1.0})
    assert verdict.ok and verdict.accuracy == {"float": 0.5, "quantized": None, "simulator": 0.9}
    assert verdict.n_samples == 30 and verdict.oracle is not None and verdict.oracle["n_samples"] == 34
    assert verdict.early_exit is not None and verdict.early_exit["energy_j"] == 1.0
    assert verdict.early_exit["mean_timesteps"] == exit_steps(votes, POLICY).mean() < 5
    assert sum(verdict.early_exit["histogram"]) == 30
    whole = validate_gpu_bundle(opened, x, labels)
    assert whole.accuracy == verdict.accuracy and whole.oracle is None
    bad = validate_gpu_bundle(opened, x, labels, float_accuracy=0.95, max_drop=1.0)
    assert [e.error_code for e in bad.errors] == ["accuracy_drop"]
    with pytest.raises(UsageError, match="30 inputs and 29 labels"):
        validate_gpu_bundle(opened, x, labels[1:])


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_or_a_missing_file_is_named(name: str, folder: Path) -> None:
    path = folder / name
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(payload)
    with pytest.raises(UnsafeFile, match=f"{name} was changed"):
        open_any(folder)
    path.unlink()
    with pytest.raises(UnsafeFile, match=f"{name} is missing"):
        open_any(folder)


def test_another_network_in_an_onnx_file_is_found_and_not_run(folder: Path) -> None:
    model = read_onnx(folder / "model_step.onnx")
    weight = next(t for t in model.graph.initializer if t.name == "c2:weight")
    weight.raw_data = bytes(len(weight.raw_data))
    (folder / "model_step.onnx").write_bytes(model.SerializeToString())
    rewrite(folder)
    verdict = validate_gpu_bundle(folder, oracle="onnxruntime")
    assert [(e.error_code, "model_step.onnx" in e.what) for e in verdict.errors] == [("artifact_mismatch", True)]
    assert verdict.oracle is not None
    assert [r["file"] for r in verdict.oracle["routes"]] == ["model_unrolled.onnx", "model_scan.onnx"]


def test_an_onnx_file_of_other_bytes_and_the_same_model_holds(folder: Path) -> None:
    payload = (folder / "model_step.onnx").read_bytes()
    model = read_onnx(folder / "model_step.onnx")
    rest = replace_field_order(payload)
    assert rest != payload and type(model).FromString(rest) == model
    (folder / "model_step.onnx").write_bytes(rest)
    rewrite(folder)
    assert open_gpu_bundle(folder).differing == ()


def replace_field_order(payload: bytes) -> bytes:
    """The first field, the format's version in two bytes, written last: another order of the same message."""
    return payload[2:] + payload[:2]


def test_onnx_files_that_would_read_others_are_refused(folder: Path) -> None:
    model = read_onnx(folder / "model_scan.onnx")
    model.graph.initializer[0].data_location = 1
    (folder / "model_scan.onnx").write_bytes(model.SerializeToString())
    rewrite(folder)
    with pytest.raises(UnsafeFile, match="lies in another file"):
        open_any(folder)


def changed_golden(folder: Path, change: Callable[[GoldenGpu], GoldenGpu]) -> None:
    graph = open_gpu_bundle(folder).graph
    save_gpu(change(load_gpu(folder / "golden.npz", graph)), folder / "golden.npz")
    rewrite(folder)


def test_a_turned_golden_spike_is_located(folder: Path) -> None:
    def turn(golden: GoldenGpu) -> GoldenGpu:
        golden.spikes["n2"][2, 1, 3, 4, 5] += 1
        return golden

    changed_golden(folder, turn)
    verdict = validate_gpu_bundle(folder)
    assert [e.error_code for e in verdict.errors] == ["golden_mismatch", "golden_mismatch"]
    assert verdict.first_divergence is not None and verdict.agreement < 1
    assert verdict.first_divergence.to_dict() | {"expected": 0, "got": 0} == {
        "layer": "n2", "timestep": 2, "neuron": [3, 4, 5], "sample": 1, "expected": 0, "got": 0,
    }


def test_silent_golden_vectors_prove_nothing(tmp_path: Path) -> None:
    folder = write(residual(), tmp_path / "b", golden_inputs=np.zeros((5, 2, 2, 8, 8))).path
    verdict = validate_gpu_bundle(folder)
    assert not verdict.ok and "no spike" in verdict.errors[0].what


def test_a_changed_weight_is_located(folder: Path) -> None:
    graph = open_gpu_bundle(folder).graph
    first = graph["c1"]
    assert isinstance(first, Conv2d)
    save(replace(graph, nodes=tuple(replace(first, weight=first.weight * 1.5) if n is first else n for n in graph.nodes)),
         folder / "graph.npz")
    rewrite(folder)
    verdict = validate_gpu_bundle(folder, oracle="onnxruntime")
    assert verdict.first_divergence is not None and verdict.first_divergence.layer == "n1"
    assert {e.error_code for e in verdict.errors} == {"golden_mismatch", "artifact_mismatch"}
    assert verdict.oracle is not None and verdict.oracle["routes"] == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda m: m["profile"].update(digest="0"), "not the one named by target"),
        (lambda m: m["profile"]["content"]["rates"].clear(), "the profile in it is invalid"),
        (lambda m: m.update(latency=3), "timesteps"),
        (lambda m: m.pop("n_steps"), "missing or damaged"),
        (lambda m: m.update(early_exit={"threshold": "high"}), "early_exit is no policy"),
        (lambda m: m.update(early_exit={"threshold": 0.5, "temperature": -1}), "early_exit is no policy"),
        (lambda m: m.update(early_exit=[1]), "early_exit is no table"),
        (lambda m: m.update(target="a100"), "run_on_a100.py is not among"),
    ],
)
def test_damaged_manifests_are_refused(change: Callable[[dict[str, Any]], object], what: str, folder: Path) -> None:
    rewrite(folder, change)
    with pytest.raises(UnsafeFile, match=what):
        open_any(folder)


def test_a_graph_that_no_gpu_runs_is_refused(folder: Path) -> None:
    save(int_chain(), folder / gpu.GRAPH)
    rewrite(folder)
    with pytest.raises(UnsafeFile, match="not one that a GPU runs"):
        open_any(folder)


# ---------------------------------------------------------------- the network that the search found


def test_the_found_digits_network_on_all_test_images(tmp_path: Path) -> None:
    """Step, unrolled and Scan form against torch in float32 on 540 images: every spike, logits, and the exits."""
    graph = lower_to_gpu(read_nir(packaged("exports") / "digits-loihi2" / "model.nir"))
    images, labels = load("digits").split("test")
    x = chip_input(graph, images).astype(np.float32)
    assert x.shape[1] == 540
    with torch.inference_mode():
        module = {name: y.numpy() for name, y in TorchGraph(graph)(torch.from_numpy(x)).items()}
    ours = run(graph, x, membranes=True)
    rates = {n.name: float(module[n.name].mean()) for n in graph.neurons}
    assert min(rates.values()) > 0.05, rates
    expected = {n.name: module[n.name] for n in graph.neurons}
    assert compare(graph, expected, ours.spikes, ours.membranes).n_differences == 0
    policy = ConfidencePolicy(0.35)
    opened = open_gpu_bundle(write(graph, tmp_path / "b", golden_inputs=x[:, :8], policy=policy).path)
    for form, payload in opened.forms.items():
        found = run_form(form, session_of(payload), graph, x)
        result = compare(graph, expected, found.spikes, ours.membranes)
        assert result.divergence is None, f"{form}: {result.divergence}"
        assert result.n_compared == 540 * 4 * sum(int(np.prod(graph.shapes[name])) for name in expected)
        # Flips would be listed; on the machines tried so far there is none. A tenth of the samples would be suspicious.
        assert result.agreed.mean() > 0.9, result.flips
        apart = np.abs(found.votes.cumsum(0) - module["vote"].cumsum(0))[:, result.agreed]
        assert apart.max() < 1e-5, form
    steps = OnnxSteps(session_of(opened.forms["step"]), graph, 540)
    early = until(steps, x, policy, 0)
    np.testing.assert_array_equal(early.exit_steps, run_until(graph, x, policy).exit_steps)
    np.testing.assert_array_equal(early.exit_steps, exit_steps(module["vote"], policy))
    assert len(early.n_running) == early.exit_steps.max() and min(early.n_running) < 540, "some leave early"
    verdict = validate_gpu_bundle(opened, x, labels, oracle="onnxruntime")
    assert verdict.ok, verdict.errors
    assert verdict.accuracy["simulator"] is not None and verdict.accuracy["simulator"] > 0.97
