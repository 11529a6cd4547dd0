from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.export import export, golden
from neurodeploy.export.bundle import check_files, read_manifest
from neurodeploy.ir.net import differences, net_layers, read_net
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.serialize import load_int, same
from neurodeploy.place import place
from neurodeploy.sim.reference import simulate
from tests.export.hand_bundles import METADATA, PROFILE, write
from tests.ir.hand_graphs import chain, inputs, residual


def test_a_chain_has_every_file(tmp_path: Path) -> None:
    graph = chain("graded")
    bundle = write(graph, tmp_path / "deep" / "b")
    names = {p.name for p in bundle.path.iterdir()}
    assert names == {"manifest.json", "graph.npz", "network.net", "model.nir", "golden.npz", "run_on_loihi2.py"}
    assert same(load_int(bundle.path / "graph.npz"), graph) is None
    assert differences(read_net(bundle.path / "network.net"), net_layers(graph)) == []
    assert same(read_nir(bundle.path / "model.nir"), graph) is None
    manifest = bundle.manifest
    assert manifest["profile"]["digest"] == PROFILE.digest
    assert (manifest["data"], manifest["seed"], manifest["metadata"]) == (METADATA["data"], 3, {"recipe": "digits"})
    assert manifest["netx"] == {
        "file": "network.net", "reason": None,
        "kwargs": {"input_message_bits": 4, "reset_interval": 6, "reset_offset": 1},
    }
    assert (manifest["n_timesteps"], manifest["n_chip_steps"]) == (6, 10)
    assert manifest["placement"] == place(graph, PROFILE).to_dict()
    assert set(manifest["files"]) == names - {"manifest.json"}
    assert not list(tmp_path.glob("deep/.*")), "temporary folders stay behind"


def test_a_residual_network_says_why_it_has_no_net(tmp_path: Path) -> None:
    manifest = write(residual(), tmp_path / "b").manifest
    assert "network.net" not in manifest["files"]
    assert "a has several sources or destinations" in manifest["netx"]["reason"]


@pytest.mark.parametrize("kind", ["spikes", "graded", "bias"])
def test_golden_spikes_are_those_of_the_reference(kind: str, tmp_path: Path) -> None:
    graph = residual(kind)  # type: ignore[arg-type]
    bundle = write(graph, tmp_path / "b")
    vectors = golden.load(bundle.path / "golden.npz")
    np.testing.assert_array_equal(vectors.x, inputs(graph, 2))
    trace = simulate(graph, vectors.x, graph.n_chip_steps)
    assert set(vectors.spikes) == {n.name for n in graph.neurons}
    for name, raster in vectors.spikes.items():
        np.testing.assert_array_equal(raster, trace.spikes[name])
        assert raster.any(), name
    assert bundle.manifest["golden"] == {"n_samples": 2, "n_spikes": vectors.n_spikes}


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    one, other = write(chain(), tmp_path / "a"), write(chain(), tmp_path / "b")
    for path in sorted(one.path.iterdir()):
        assert path.read_bytes() == (other.path / path.name).read_bytes(), path.name


def test_an_older_bundle_with_its_reports_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "b"
    write(chain(), out)
    (out / "verdict.json").write_text("{}")
    bundle = write(residual(), out)
    assert {p.name for p in out.iterdir()} == {*bundle.manifest["files"], "manifest.json"}
    assert "network.net" not in bundle.manifest["files"]
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_other_files_are_never_deleted(tmp_path: Path) -> None:
    out = tmp_path / "b"
    write(chain(), out)
    (out / "lab.json").write_text("{}")
    with pytest.raises(UsageError, match=r"the folder holds lab\.json"):
        write(chain(), out)
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"thesis\.tex") as caught:
        write(chain(), other)
    assert caught.value.exit_code == 2
    assert (other / "thesis.tex").read_text() == "x"
    (other / "manifest.json").write_text('{"files": 3}')
    with pytest.raises(UsageError, match=r"manifest\.json, thesis\.tex"):
        write(chain(), other)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert write(chain(), tmp_path / "b").manifest["target"] == "loihi2"


def test_unwritable_places_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "b"):
        with pytest.raises(UsageError) as caught:
            write(chain(), out)
        assert caught.value.exit_code == 2
        assert str(out) in caught.value.where
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot write the bundle"):
        write(chain(), tmp_path / "b")
    tmp_path.chmod(0o700)


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    graph = chain()
    bad = replace(graph, quantization={"x": float("nan")})
    with pytest.raises(Exception, match="JSON"):
        write(bad, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_the_same_arithmetic_becomes_one_of_the_target(tmp_path: Path) -> None:
    graph = chain()
    for name, target in (("a", graph.target), ("b", "loihi1"), ("c", "")):
        write(replace(graph, target=target), tmp_path / name)
        assert (tmp_path / name / "graph.npz").read_bytes() == (tmp_path / "a" / "graph.npz").read_bytes()


def test_other_placements_and_shapes_are_refused(tmp_path: Path) -> None:
    graph = chain()
    plan = place(graph, PROFILE)
    with pytest.raises(UsageError, match="was made for"):
        export(graph, replace(plan, target="loihi1"), PROFILE, tmp_path / "b", golden_inputs=inputs(graph), metadata={})
    with pytest.raises(UsageError, match="golden inputs have shape"):
        export(graph, plan, PROFILE, tmp_path / "b", golden_inputs=inputs(graph)[:2], metadata={})
    assert not (tmp_path / "b").exists()


def test_any_changed_byte_of_the_manifest_is_found(tmp_path: Path) -> None:
    bundle = write(chain(), tmp_path / "b")
    path = bundle.path / "manifest.json"
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in [0, len(good) - 1, good.index(b'"sha256": ') + 14, *rng.integers(0, len(good), 200)]:
        for bit in (1, 32):
            damaged = bytearray(good)
            damaged[at] ^= bit
            path.write_bytes(bytes(damaged))
            with pytest.raises(UnsafeFile, match=r"manifest\.json"):
                read_manifest(bundle.path)
    path.write_bytes(good + b" ")
    with pytest.raises(UnsafeFile, match=r"manifest\.json was changed"):
        read_manifest(bundle.path)
    path.write_bytes(good)
    assert read_manifest(bundle.path) == json.loads(good)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    bundle = write(chain(), tmp_path / "b")
    moved = tmp_path / "elsewhere.npz"
    (bundle.path / "golden.npz").rename(moved)
    (bundle.path / "golden.npz").symlink_to(moved)
    with pytest.raises(UnsafeFile, match=r"golden\.npz is missing"):
        check_files(bundle.path, bundle.manifest)
