"""`validate` on bundles of event-driven chips with the data that their manifests name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from neurodeploy.data.datasets import load as load_images
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.data.event_files import save_events
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.export.golden_events import GoldenEvents, load_events
from neurodeploy.export.golden_events import save_events as save_golden
from neurodeploy.ir.nir import read_nir, write_nir
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.event_deploy import float_run
from neurodeploy.jobs.validate import validate
from neurodeploy.sim.event_runs import run_streams
from neurodeploy.validate import open_any
from tests.commands import bare, run, run_json
from tests.export import hand_bundles
from tests.ir.hand_graphs import chain
from tests.validate.event_bundles import DURATION, exported, re_sign, recordings, sides

POLICY = {"by": "event", "step": 20, "confidence": {"threshold": 0.999}}


@pytest.fixture
def events() -> EventDataset:
    return recordings()


@pytest.fixture
def file(events: EventDataset, tmp_path: Path) -> Path:
    path = tmp_path / "events.npz"
    save_events(path, events)
    return path


def named(file: Path, **more: Any) -> dict[str, Any]:
    return {"name": str(file), "duration_us": DURATION, "sensor": [2, 4, 4], **more}


def test_accuracy_of_both_networks_and_early_exit(events: EventDataset, file: Path, tmp_path: Path) -> None:
    folder = exported(sides(), tmp_path / "b", data=named(file), early_exit=POLICY, accuracy={"float": 0.1})
    code, answer = run_json("validate", str(folder), "--max-drop", "100")
    assert code == 0, answer["errors"]
    data = answer["data"]
    streams, labels = events.split("test")
    real = predictions(float_run(read_nir(folder / "model.nir"), streams, events).votes)[-1]
    assert data["accuracy"]["float"] == float((real == labels).mean()) > 0.7, "computed, not copied from the manifest"
    assert data["accuracy"]["simulator"] > 0.7
    assert (data["n_samples"], data["checks"][-1]["name"]) == (len(labels), "accuracy")
    found = data["early_exit"]
    assert {"policy", "threshold", "accuracy", "mean_timesteps", "mean_chip_timesteps", "histogram", "energy_j"} <= set(found)
    assert (found["policy"], found["n"]) == ({**POLICY, "confidence": {**found["policy"]["confidence"]}}, len(labels))
    assert 0 < found["mean_events"] <= 40 and sum(found["histogram"]) == len(labels)
    shown = bare(run("validate", str(folder), "--max-drop", "100")[1])
    assert f"% of {len(labels)} samples" in shown and "Early exit" in shown and "VALID" in shown


def test_the_split_and_duration_are_those_of_the_manifest(events: EventDataset, file: Path, tmp_path: Path) -> None:
    half = {**named(file, split="train"), "duration_us": DURATION // 2}
    found = validate(exported(sides(), tmp_path / "b", data=half), max_drop=100, out=tmp_path / "out")
    assert found.n_samples == len(events.split("train")[1])
    streams, labels = events.split("train")
    short = tuple(x[x[:, 0] < DURATION // 2] for x in streams)
    answers = run_streams(open_any(tmp_path / "b").net, short, duration_us=DURATION // 2).predictions
    assert found.accuracy["simulator"] == float((answers == labels).mean())
    given = validate(exported(sides(), tmp_path / "c", data=half), events, max_drop=100, out=tmp_path / "out")
    assert given.n_samples == len(events.split("test")[1]) and given.accuracy["simulator"] != found.accuracy["simulator"]


def test_a_drop_of_accuracy(events: EventDataset, tmp_path: Path) -> None:
    folder = exported(sides(), tmp_path / "b")
    (folder / "model.nir").unlink()
    re_sign(folder, lambda m: m.update(nir={"file": None, "reason": "none"}, accuracy={"float": 0.7}))
    assert validate(folder, events).ok
    found = validate(folder, replace(events, y=1 - events.y))
    assert [e.error_code for e in found.errors] == ["accuracy_drop"] and found.errors[0].exit_code == 4


def test_without_data(tmp_path: Path) -> None:
    folder = exported(sides(), tmp_path / "b")
    code, answer = run_json("validate", str(folder), "--trace")
    assert (code, answer["data"]["accuracy"]["simulator"], answer["data"]["early_exit"]) == (0, None, None)
    trace = answer["data"]["trace"]
    assert list(trace) == ["out"] and all(len(e["expected"]) == 3 and e["expected"] == e["got"] for e in trace.values())
    assert sum(sum(e["got"]) for e in trace.values()) == answer["data"]["n_spikes"]
    shown = bare(run("validate", str(folder), "--trace")[1])
    assert "spikes in each sample" in shown and "not run: no data" in shown
    assert json.loads((folder / "verdict.json").read_text())["ok"] is True


def test_a_divergence_is_shown(tmp_path: Path) -> None:
    folder = exported(sides(), tmp_path / "b")
    golden = load_events(folder / "golden.npz")
    first_sample, *others = golden.spikes["out"]
    changed = first_sample.copy()
    changed[4, 1] = 1 - changed[4, 1]
    save_golden(GoldenEvents(golden.events, {"out": (changed, *others)}), folder / "golden.npz")
    re_sign(folder)
    code, answer = run_json("validate", str(folder))
    first = answer["data"]["first_divergence"]
    assert (code, first["layer"], first["index"], first["sample"]) == (4, "out", 4, 0)
    assert first["timestep"] == int(changed[4, 0]) and answer["data"]["time_unit"] == "us"
    shown = bare(run("validate", str(folder))[1])
    assert f"time {first['timestep']} us" in shown and "FAILED: golden spikes, fast simulator" in shown


def test_data_of_another_kind_are_refused(events: EventDataset, file: Path, tmp_path: Path) -> None:
    folder = exported(sides(), tmp_path / "b")
    wide = replace(events, sensor=(2, 9, 8))
    more = replace(events, n_classes=3)
    for bad in (wide, more, load_images("digits")):
        with pytest.raises(UsageError) as caught:
            validate(folder, bad)
        assert caught.value.error_code == "wrong_data"
    assert run_json("validate", str(folder), "--data", "digits")[0] == 2
    assert run_json("validate", str(folder), "--data", str(tmp_path / "none.npz"))[0] == 2
    with pytest.raises(UsageError, match="streams of events"):
        validate(hand_bundles.write(chain(), tmp_path / "loihi"), events)
    re_sign(folder, lambda m: m.update(data={"name": str(file), "duration_us": "long"}))
    with pytest.raises(UnsafeFile, match="duration_us"):
        validate(folder)
    re_sign(folder, lambda m: m.update(data={"name": str(file), "split": "holdout"}))
    with pytest.raises(UsageError, match="no split 'holdout'"):
        validate(folder)


def test_a_network_in_real_numbers_that_is_the_integer_one(events: EventDataset, tmp_path: Path) -> None:
    """Where `model.nir` holds the integers, there is no accuracy before quantization."""
    folder = exported(sides(), tmp_path / "b")
    write_nir(open_any(folder).net, folder / "model.nir")
    re_sign(folder)
    found = validate(folder, events)
    assert found.ok and found.accuracy["float"] is None and found.accuracy["simulator"] is not None
