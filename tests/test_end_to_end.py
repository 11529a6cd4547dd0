"""One command from images to a validated bundle, and every other command on what it leaves."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import neurodeploy as nd
import numpy as np
import pytest
import torch
from neurodeploy.data.datasets import load as load_data
from neurodeploy.jobs.search import SearchResult, search
from neurodeploy.models.files import load_module, save
from neurodeploy.models.macro import BLOCKS

from commands import run, run_json
from tiny_search import BUDGET, Tiny, without_seconds, write_recipe

ENTRY = {
    "genome", "accuracy", "spikes_paper", "spikes", "synops", "energy_j", "latency_s", "n_cores", "fits", "fitness",
}  # fmt: skip


def test_the_result_holds_the_contracts_fields(tiny: Tiny) -> None:
    data = tiny.data
    assert {"run_dir", "n_evaluated", "best", "pareto", "bundle"} <= set(data)
    assert Path(data["run_dir"]) == tiny.run_dir and Path(data["bundle"]) == tiny.bundle
    assert data["n_evaluated"] == BUDGET and data["stopped"] == "budget"
    assert data["pareto"] and data["best"] in data["pareto"]
    for entry in (data["best"], *data["pareto"]):
        assert set(entry) >= ENTRY
        assert len(entry["genome"]) == 5 and set(entry["genome"]) <= set(BLOCKS)
        assert entry["fits"] and entry["spikes"] > 0 and entry["energy_j"] > 0 and 0 < entry["accuracy"] <= 1
    assert data["best"]["fitness"] == max(entry["fitness"] for entry in data["pareto"])
    assert json.loads((tiny.run_dir / "result.json").read_text()) == data
    candidates = json.loads((tiny.run_dir / "candidates.json").read_text())["candidates"]
    assert len(candidates) == BUDGET and all(set(c) >= ENTRY for c in candidates)
    assert all(entry in candidates for entry in data["pareto"])


def test_the_network_works(tiny: Tiny) -> None:
    """Three digits, after seconds: well above chance, which is 1/3; the integers answer as the real numbers do."""
    accuracy = tiny.data["test"]["accuracy"]
    assert accuracy["simulator"] > 0.6
    assert accuracy["n"] == len(load_data(tiny.dataset).splits["test"])
    assert accuracy["interval"][0] < accuracy["simulator"] < accuracy["interval"][1]
    assert tiny.data["test"]["agreement"]["share"] > 0.8
    early = tiny.data["test"]["early_exit"]
    assert sum(early["histogram"]) == accuracy["n"] and 1 <= early["mean_timesteps"] <= 2


def test_the_bundle_validates(tiny: Tiny, tmp_path: Path) -> None:
    code, answer = run_json("validate", str(tiny.bundle), "--out", str(tmp_path))
    verdict = answer["data"]
    assert code == 0, answer["errors"]
    assert verdict["agreement"] == 1 and verdict["first_divergence"] is None and verdict["n_spikes"] > 0
    assert verdict["accuracy"]["simulator"] == tiny.data["test"]["accuracy"]["simulator"]
    assert verdict["accuracy"]["float"] == pytest.approx(tiny.data["test"]["accuracy"]["float"])
    assert verdict["early_exit"]["histogram"] == tiny.data["test"]["early_exit"]["histogram"]
    assert json.loads((tmp_path / "verdict.json").read_text())["ok"]
    shown = run("validate", str(tiny.bundle), "--out", str(tmp_path))
    assert shown[0] == 0 and shown[1].strip()


def test_a_packaged_bundle_is_not_written_to(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = tmp_path / "exports" / "tiny"
    shutil.copytree(tiny.bundle, packaged)
    before = sorted(p.name for p in packaged.iterdir())
    monkeypatch.setattr("neurodeploy.resources.folder", lambda name: tmp_path / name)
    assert run_json("validate", str(packaged))[0] == 0
    assert sorted(p.name for p in packaged.iterdir()) == before


def test_resuming_a_finished_run_answers_at_once(tiny: Tiny, tmp_path: Path) -> None:
    files = {p: p.stat().st_mtime_ns for p in tiny.run_dir.rglob("*")}
    began = time.monotonic()
    code, answer = run_json("search", "--resume", str(tiny.run_dir))
    assert time.monotonic() - began < 2
    assert code == 0 and answer["data"] == tiny.data
    assert {p: p.stat().st_mtime_ns for p in tiny.run_dir.rglob("*")} == files
    moved = tmp_path / "moved"
    shutil.copytree(tiny.run_dir, moved)
    again = search(resume=moved).to_dict()
    assert again["bundle"] == str(moved / "bundle")
    assert without_seconds(again) == without_seconds(tiny.data)


def test_the_same_seed_gives_the_same_result(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(tiny.dataset, "three.npz")
    recipe = write_recipe(tmp_path, "three.npz")
    found: SearchResult = nd.search(recipe, target="loihi", out=tmp_path / "run")
    again = {**found.data, "data": tiny.data["data"]}  # the same images from another folder
    assert without_seconds(again) == without_seconds(tiny.data)
    first, second = (load_module(folder / "model.safetensors").state_dict() for folder in (tiny.run_dir, tmp_path / "run"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "run/bundle/golden.npz").read_bytes() == (tiny.bundle / "golden.npz").read_bytes()
    # A path given relative to one folder is found from another.
    monkeypatch.chdir("/")
    assert run_json("validate", str(tmp_path / "run" / "bundle"))[0] == 0


def test_check(tiny: Tiny) -> None:
    for file in (tiny.model, tiny.bundle, tiny.bundle / "model.nir", tiny.bundle / "graph.npz"):
        code, answer = run_json("check", str(file), "--target", "loihi2")
        assert code == 0, (file, answer["errors"])
        assert answer["data"]["fits"] and answer["data"]["violations"] == []
        assert answer["data"]["n_cores"] == len(answer["data"]["placement"]["cores"]) == tiny.data["best"]["n_cores"]


def test_export_gives_the_bundle_of_the_search(tiny: Tiny, tmp_path: Path) -> None:
    code, answer = run_json("export", str(tiny.model), "--target", "loihi2", "--out", str(tmp_path / "again"))
    assert code == 0, answer["errors"]
    assert {"bundle", "artifact", "quantization", "placement"} <= set(answer["data"])
    assert Path(answer["data"]["artifact"]).is_file()
    for name in ("graph.npz", "golden.npz", "model.nir", "run_on_loihi2.py"):
        assert (tmp_path / "again" / name).read_bytes() == (tiny.bundle / name).read_bytes(), name
    assert run_json("validate", str(tmp_path / "again"))[0] == 0
    # Over its older self, not over anything else.
    assert run_json("export", str(tiny.model), "--target", "loihi2", "--out", str(tmp_path / "again"))[0] == 0


@pytest.mark.parametrize("part", ["", "graph.npz", "model.nir"])
def test_an_exported_network_is_exported_again(tiny: Tiny, tmp_path: Path, part: str) -> None:
    out = tmp_path / "again"
    code, answer = run_json("export", str(tiny.bundle / part), "--target", "loihi2", "--out", str(out))
    assert code == 0, answer["errors"]
    assert run_json("validate", str(out))[0] == 0
    if part != "model.nir":  # which holds real numbers, and is quantized anew
        assert (out / "graph.npz").read_bytes() == (tiny.bundle / "graph.npz").read_bytes()


def test_export_without_data_says_that_nothing_is_calibrated(tiny: Tiny, tmp_path: Path) -> None:
    module = load_module(tiny.model)
    del module.metadata["data"]
    save(module, tmp_path / "bare.safetensors")
    out = tmp_path / "bare"
    code, answer = run_json("export", str(tmp_path / "bare.safetensors"), "--target", "loihi2", "--out", str(out))
    assert code == 0, answer["errors"]
    assert [w["code"] for w in answer["warnings"]] == ["uncalibrated"]
    assert answer["data"]["accuracy"] is None
    code, answer = run_json("validate", str(out))
    assert code == 0 and answer["data"]["accuracy"]["simulator"] is None and answer["data"]["n_spikes"] > 0
    code, answer = run_json("energy", str(tmp_path / "bare.safetensors"), "--target", "loihi2")
    assert code == 2 and answer["errors"][0]["code"] == "missing_data" and "--rate" in answer["errors"][0]["remedy"]


def test_energy(tiny: Tiny) -> None:
    found = {}
    for file in (tiny.model, tiny.bundle):
        code, answer = run_json("energy", str(file), "--target", "loihi2", "--schedule", "pipelined")
        assert code == 0, answer["errors"]
        found[file] = answer["data"]["targets"]["loihi2"]
        assert found[file]["energy_j"] == tiny.data["test"]["cost"]["pipelined"]["energy_j"]
        assert found[file]["counts"]["synops"] > 0 and found[file]["early_exit"]["n"] > 0
    for term in ("fits", "n_cores", "breakdown_j", "latency_s", "edp_js", "layers", "status", "excluded", "provenance"):
        assert found[tiny.model][term] == found[tiny.bundle][term], term


def test_simulate_gives_a_model_and_its_bundle_the_same_spikes(tiny: Tiny, tmp_path: Path) -> None:
    images = load_data(tiny.dataset).split("test")[0][:5]
    np.savez(tmp_path / "images.npz", images)
    given = ("--input", str(tmp_path / "images.npz"), "--layout", "images", "--target", "loihi2")
    found = []
    for name, file in (("model", tiny.model), ("bundle", tiny.bundle)):
        code, answer = run_json("simulate", str(file), *given, "--out", str(tmp_path / f"{name}.npz"))
        assert code == 0, answer["errors"]
        data = answer["data"]
        assert data["fits"] and data["n_samples"] == 5 and sum(data["spikes_per_layer"].values()) > 0
        found.append((tmp_path / f"{name}.npz").read_bytes())
    assert found[0] == found[1]
    code, answer = run_json("energy", str(tiny.bundle), "--target", "loihi2", *given[:4])
    entry = answer["data"]["targets"]["loihi2"]
    assert code == 0 and entry["exact_counts"] and entry["input"]["n_samples"] == 5 and entry["schedule"] == "pipelined"


def test_energy_of_an_assumed_rate(tiny: Tiny) -> None:
    energies = []
    for rate in ("0.05", "0.2"):
        code, answer = run_json("energy", str(tiny.model), "--target", "loihi2", "--rate", rate)
        entry = answer["data"]["targets"]["loihi2"]
        assert code == 0 and entry["status"] == "assumed" and entry["accuracy"] is None
        energies.append(entry["energy_j"]["nominal"])
    assert 0 < energies[0] < energies[1]


def test_train_and_go_on(tiny: Tiny, tmp_path: Path) -> None:
    arch = ",".join(tiny.data["best"]["genome"])
    command = ("train", "--recipe", str(tiny.recipe), "--out", str(tmp_path / "one"), "--arch")
    code, answer = run_json(*command, arch)
    assert code == 0, answer["errors"]
    assert Path(answer["data"]["model"]).read_bytes() == tiny.model.read_bytes(), "the search trains its best the same way"
    assert 0.6 < answer["data"]["accuracy"] <= 1
    assert run_json(*command, arch)[1]["data"] == answer["data"]
    code, refused = run_json(*command, "skip,SCB_k3,skip,skip,SCB_k3")
    assert code == 2 and "arch" in refused["errors"][0]["what"]
    code, refused = run_json(*command, arch, "--seed", "4")
    assert code == 2 and "seed" in refused["errors"][0]["what"]


def test_the_arrows_compose(tiny: Tiny) -> None:
    """What the contract shows of Python, on the model that the search trained."""
    data = load_data(tiny.dataset)
    x = data.split("validation")[0]
    target = nd.target("loihi2")
    net = nd.quantize(nd.load(tiny.model), target, calibration=x)
    plan = nd.place(net, target)
    trace = nd.simulate(net, x, plan)
    assert sum(int(s.sum()) for s in trace.spikes.values()) > 0
    found = nd.cost(trace, plan, target)
    assert found.energy_j.low < found.energy_j.nominal < found.energy_j.high
    assert nd.quantize(net, target) is net
