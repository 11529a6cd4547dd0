"""Every bundle in `exports/` is what it claims, on the machine and versions at hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from neurodeploy.data.event_sources import load_events
from neurodeploy.resources import folder
from neurodeploy.sim.event_gap import gap_table
from neurodeploy.validate import open_event_bundle, validate_event_bundle
from neurodeploy.validate import validate as validate_bundle

from commands import run_json

BUNDLES = sorted(p.parent for p in folder("exports").glob("*/manifest.json"))


def test_there_are_bundles() -> None:
    assert BUNDLES


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_reference_bundle_validates(bundle: Path, tmp_path: Path) -> None:
    before = sorted(p.name for p in bundle.iterdir())
    code, answer = run_json("validate", str(bundle), "--out", str(tmp_path))
    if [e["code"] for e in answer["errors"]] == ["missing_data"]:  # of a public dataset: the golden samples lie in the bundle
        golden = (validate_event_bundle if (bundle / "speck.json").is_file() else validate_bundle)(bundle)
        assert not golden.errors and golden.agreement == 1 and golden.n_spikes > 0
        return
    verdict = answer["data"]
    assert code == 0, answer["errors"]
    assert verdict["agreement"] == 1 and verdict["n_spikes"] > 0 and verdict["first_divergence"] is None
    # Golden spikes are integers and must come out everywhere; accuracy is theirs too. A GPU's network is in real numbers: there
    # a spike within 1e-5 of its threshold may flip on another machine, which `agreement` would show above.
    claimed = verdict["accuracy"]["quantized"]
    assert verdict["accuracy"]["simulator"] == (verdict["accuracy"]["float"] if claimed is None else claimed)
    assert sorted(p.name for p in bundle.iterdir()) == before


# Those of packaged data: of others nothing can be run again here.
EVENT_BUNDLES = [b for b in BUNDLES if (b / "speck.json").is_file() and b.name.startswith("digits")]


@pytest.mark.parametrize("bundle", EVENT_BUNDLES, ids=lambda path: path.name)
def test_clocked_simulation_is_near_the_chip_s(bundle: Path) -> None:
    """The gap in the manifest is today's, shrinks with the bins in every layer, and is as small as docs/speck.md says."""
    opened = open_event_bundle(bundle)
    data = load_events(opened.manifest["data"]["name"])
    streams, _ = data.split("test")
    found = gap_table(opened.net, streams, data.sensor, data.duration_us, (16, 32, 64))
    assert [report.to_dict() for report in found] == opened.manifest["metadata"]["gap"]
    for coarse, fine in pairwise(found):
        for a, b in zip(coarse.layers, fine.layers, strict=True):
            assert 0 < b.total.relative < a.total.relative, a.name
    at_32 = found[1]
    first, last = at_32.layers[0].total, at_32.layers[-1].total
    assert all(layer.n_over_threshold == 0 for layer in at_32.layers)
    assert first.relative <= 0.04 and last.relative <= 0.08 and at_32.agreement >= 0.98 and at_32.n_samples == 540


GPU_BUNDLES = [b for b in BUNDLES if (b / "model_step.onnx").is_file()]


@pytest.mark.parametrize("bundle", GPU_BUNDLES, ids=lambda path: path.name)
def test_onnxruntime_computes_every_spike_of_every_layer(bundle: Path, tmp_path: Path) -> None:
    """All forms, all timesteps, all 540 test images; what differs is listed and lies within 1e-5 of its threshold."""
    code, answer = run_json("validate", str(bundle), "--oracle", "onnxruntime", "--out", str(tmp_path))
    oracle = answer["data"]["oracle"]
    assert code == 0 and oracle["status"] == "equal" and oracle["n_samples"] >= 540 and oracle["n_spikes"] > 10**5
    assert {r["file"] for r in oracle["routes"]} == {"model_step.onnx", "model_unrolled.onnx", "model_scan.onnx"}
    assert all(abs(flip["v"] - flip["v_th"]) < 1e-5 for flip in oracle["flips"])
    assert oracle["early_exit"]["n_differences"] == 0 and oracle["early_exit"]["n_samples"] >= 540
