from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, Mismatch, UnsafeFile, UsageError
from neurodeploy.export.bundle import write_manifest
from neurodeploy.export.golden import Golden, load, save
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.net import write_net
from neurodeploy.ir.nodes import CubaLif, Input, Linear, Vote
from neurodeploy.sim.reference import simulate
from neurodeploy.validate import Verdict, open_bundle, validate
from tests.export.hand_bundles import write
from tests.ir.hand_graphs import chain, inputs, residual

FILES = ["manifest.json", "graph.npz", "network.net", "model.nir", "golden.npz", "run_on_loihi2.py"]


def re_sign(folder: Path, change: Callable[[dict[str, Any]], None] = lambda m: None) -> None:
    """Write the manifest anew over the files as they are: a change that hides itself."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    write_manifest(folder, {k: v for k, v in manifest.items() if k not in ("files", "sha256", "format", "schema_version")})


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.ok]


@pytest.mark.parametrize("graph", [chain("graded"), residual("bias")], ids=["chain", "residual"])
def test_a_good_bundle_holds(graph: IntGraph, tmp_path: Path) -> None:
    verdict = validate(write(graph, tmp_path / "b").path)
    assert verdict.ok
    assert (verdict.agreement, verdict.first_divergence, verdict.accuracy["simulator"]) == (1.0, None, None)
    assert verdict.n_spikes > 100
    names = ["files", "golden spikes, fast simulator", "golden spikes, reference simulator", "placement", "artifacts"]
    assert [(c.name, c.ok) for c in verdict.checks] == [(name, True) for name in names]
    found = json.loads(json.dumps(verdict.to_dict()))
    assert {"accuracy", "agreement", "first_divergence", "early_exit", "oracle"} <= set(found)


def test_opening_gives_back_what_was_exported(tmp_path: Path) -> None:
    graph = chain()
    opened = open_bundle(write(graph, tmp_path / "b").path)
    assert serialize.same(opened.net, graph) is None
    assert opened.plan.n_cores == len(graph.neurons)
    np.testing.assert_array_equal(opened.golden.x, inputs(graph, 2))


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_found_and_named(name: str, tmp_path: Path) -> None:
    path = write(chain(), tmp_path / "b").path / name
    good = path.read_bytes()
    for at in (0, len(good) // 3, len(good) // 2, len(good) - 1):
        damaged = bytearray(good)
        damaged[at] ^= 4
        path.write_bytes(bytes(damaged))
        with pytest.raises(UnsafeFile) as caught:
            validate(path.parent)
        assert name in str(caught.value)
        assert caught.value.exit_code == 6
    path.write_bytes(good)
    assert validate(path.parent).ok


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    path = write(chain(), tmp_path / "b").path / name
    path.unlink()
    with pytest.raises(UsageError if name == "manifest.json" else UnsafeFile, match="is missing") as caught:
        validate(path.parent)
    assert name in str(caught.value)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"manifest\.json is missing"):
        validate(tmp_path / "nothing")


def test_a_changed_weight_is_located(tmp_path: Path) -> None:
    """The weights of `conv` are changed and the manifest signed again: layers before it agree, it is named."""
    graph = residual()
    folder = write(graph, tmp_path / "b").path
    conv = graph["c.conv"]
    other = replace(graph, nodes=tuple(
        replace(conv, weight=conv.weight[::-1]) if n.name == "c.conv" else n  # type: ignore[call-arg, attr-defined]
        for n in graph.nodes
    ))
    serialize.save(other, folder / "graph.npz")
    re_sign(folder)
    verdict = validate(folder)
    assert not verdict.ok
    assert 0 < verdict.agreement < 1
    first = verdict.first_divergence
    assert first is not None
    assert first.layer == "c"
    was, now = (simulate(g, inputs(graph, 2)).spikes["c"] for g in (graph, other))
    at = (first.timestep, first.sample, *first.neuron)
    assert (was[at], now[at]) == (first.expected, first.got)
    assert np.array_equal(was[: first.timestep], now[: first.timestep])
    assert [type(e) for e in verdict.errors] == [Mismatch, Mismatch]  # both simulators
    assert {e.exit_code for e in verdict.errors} == {4}


def test_a_turned_golden_spike_is_located(tmp_path: Path) -> None:
    folder = write(chain(), tmp_path / "b").path
    vectors = load(folder / "golden.npz")
    vectors.spikes["pool"][5, 1, 3, 2, 0] ^= 1
    save(vectors, folder / "golden.npz")
    re_sign(folder)
    first = validate(folder).first_divergence
    assert first is not None
    assert (first.layer, first.timestep, first.sample, first.neuron) == ("pool", 5, 1, (3, 2, 0))


def test_silent_golden_vectors_prove_nothing(tmp_path: Path) -> None:
    graph = chain()
    quiet = replace(graph, nodes=tuple(replace(n, v_th=100_000) if n.is_neuron else n for n in graph.nodes))  # type: ignore[call-arg]
    verdict = validate(write(quiet, tmp_path / "b").path)
    assert verdict.agreement == 1
    assert "hold no spike" in str(verdict.errors[0])
    assert failed(verdict) == ["golden spikes, fast simulator", "golden spikes, reference simulator"]


def test_another_net_file_is_found(tmp_path: Path) -> None:
    graph = chain()
    folder = write(graph, tmp_path / "b").path
    other = replace(graph, nodes=tuple(replace(n, v_th=n.v_th + 1) if n.name == "out" else n for n in graph.nodes))  # type: ignore[call-arg, attr-defined]
    write_net(other, folder / "network.net")
    re_sign(folder)
    assert "network.net and graph.npz disagree at layer/5/v_th" in str(validate(folder).errors[0])
    (folder / "network.net").unlink()
    re_sign(folder)
    verdict = validate(folder)
    assert "network.net is missing" in str(verdict.errors[0])
    assert failed(verdict) == ["artifacts"]


def test_another_placement_is_found(tmp_path: Path) -> None:
    folder = write(chain(), tmp_path / "b").path
    re_sign(folder, lambda m: m["placement"]["cores"][1].update(n_words=1))
    verdict = validate(folder)
    (error,) = verdict.errors
    assert isinstance(error, Mismatch)
    assert (error.error_code, error.where) == ("placement_mismatch", "core 1")
    assert failed(verdict) == ["placement"]


def test_a_profile_that_it_does_not_fit_is_found(tmp_path: Path) -> None:
    from neurodeploy.hw.profile import Profile

    def shrink(manifest: dict[str, Any]) -> None:
        content = manifest["profile"]["content"]
        content["capacity"]["cores_per_chip"]["value"] = 2
        content["systems"] = {"one": 1}
        manifest["profile"]["digest"] = Profile.model_validate(content).digest

    folder = write(chain(), tmp_path / "b").path
    re_sign(folder, shrink)
    assert any(isinstance(e, DoesNotFit) for e in validate(folder).errors)


@pytest.mark.parametrize(
    ("change", "what"),
    [(lambda m: m.pop("placement"), "placement"), (lambda m: m["profile"].update(digest="0"), "digest"),
     (lambda m: m.update(n_chip_steps=3), "target and timesteps"), (lambda m: m["profile"].update(content={}), "profile"),
     (lambda m: m.update(target="../x"), "is not among the files")],
)
def test_damaged_manifests_are_refused(change: Callable[[dict[str, Any]], None], what: str, tmp_path: Path) -> None:
    folder = write(chain(), tmp_path / "b").path
    re_sign(folder, change)
    with pytest.raises(UnsafeFile, match=what):
        open_bundle(folder)


def test_golden_vectors_of_another_network_are_refused(tmp_path: Path) -> None:
    folder = write(chain(), tmp_path / "b").path
    vectors = load(folder / "golden.npz")
    save(Golden(vectors.x, {k: v for k, v in vectors.spikes.items() if k != "out"}), folder / "golden.npz")
    re_sign(folder)
    with pytest.raises(UnsafeFile, match="do not belong"):
        open_bundle(folder)


def labelled() -> tuple[IntGraph, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Two classes: which half of a picture of four pixels is bright; images [N, 4, 1, 1] in 0..1."""
    nodes = (
        Input("input", shape=(4,), kind="graded", max_value=15, value_scale=15.0),
        Linear("fc", weight=np.array([[20, 20, -20, -20], [-20, -20, 20, 20]])),
        CubaLif("out", shape=(2,), v_th=100, reset_interval=4, reset_offset=2), Vote("vote", n_classes=2),
    )
    edges = (Edge("input", "fc", 1), Edge("fc", "out"), Edge("out", "vote"))
    images = np.random.default_rng(0).random((40, 4))
    labels = (images[:, 2:].sum(axis=1) > images[:, :2].sum(axis=1)).astype(int)
    return IntGraph(nodes, edges, 4, target="loihi2"), images, labels


def test_accuracy_and_early_exit_on_data(tmp_path: Path) -> None:
    graph, images, labels = labelled()
    folder = write(graph, tmp_path / "b").path
    seen = {}

    def exits(votes: Any, given: Any) -> dict[str, Any]:
        seen["votes"] = votes.shape
        np.testing.assert_array_equal(given, labels)
        return {"policy": "confidence", "threshold": 0.9}

    verdict = validate(folder, images, labels, early_exit=exits, oracle={"name": "lava"})
    assert seen["votes"] == (4, 40, 2)
    assert verdict.early_exit == {"policy": "confidence", "threshold": 0.9}
    assert verdict.oracle == {"name": "lava"}
    assert verdict.accuracy["float"] == 0.9
    found = verdict.accuracy["simulator"]
    assert found is not None
    assert found > 0.85  # brightness decides; only near-equal halves are missed
    wrong = validate(folder, images, 1 - labels)
    assert [e.error_code for e in wrong.errors] == ["accuracy_drop"]
    assert failed(wrong) == ["accuracy"]
    assert validate(folder, images, 1 - labels, max_drop=100).ok
