"""early_exit.method = "policy" in the commands, on every kind of target: trained, written, believed only where it still decides
so, used without training again, charged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from neurodeploy.cost.band import Band
from neurodeploy.cost.policy_cost import decider_of, policy_on_gpu, runs_on, waiting
from neurodeploy.data.event_sources import load_events
from neurodeploy.early_exit.event_windows import EventExitPolicy, PlannedExit, Readings
from neurodeploy.early_exit.planned import FILE, PlannedPolicy
from neurodeploy.early_exit.policy import StepPolicy
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.export.bundle import write_manifest
from neurodeploy.hw.profile import GpuProfile, any_target
from neurodeploy.jobs import exits
from neurodeploy.jobs.compare import compare
from neurodeploy.jobs.energy import energy
from neurodeploy.jobs.event_exit import views_of
from neurodeploy.jobs.export import export
from neurodeploy.jobs.opened import open_model
from neurodeploy.jobs.simulate import simulate
from neurodeploy.jobs.validate import validate
from neurodeploy.search.recipe import DeploySettings, ExitSettings, PolicySettings
from neurodeploy.validate.event_bundle import open_any
from pydantic import ValidationError
from tests import event_models
from tests.tiny_search import Tiny

from commands import bare, run, run_json

FAST = {"early_exit.method": "policy", "early_exit.policy.epochs": 4, "early_exit.policy.betas": [0.5, 4.0]}
DIGITS = Path(__file__).parents[2] / "exports" / "digits-loihi2"


@pytest.fixture(scope="module")
def on_chip(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planned") / "b"
    export(tiny.model, "loihi2", out=out, overrides=FAST)
    return out


@pytest.fixture(scope="module")
def on_gpu(tiny_gpu: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planned") / "b"
    export(tiny_gpu.model, "orin-nano", out=out, overrides={**FAST, "gpu.batch": 4})
    return out


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "train_for", lambda *a, **k: pytest.fail("a policy was trained again"))


def planned(bundle: Path) -> PlannedPolicy:
    opened = open_any(bundle)
    found = open_model(bundle).policy or getattr(opened, "policy", None)
    found = found.planned if isinstance(found, PlannedExit) else found
    assert isinstance(found, PlannedPolicy)
    return found


def check_figures(found: dict[str, Any], n: int) -> None:
    """What every target's report has."""
    assert len(found["exit_steps"]) == found["n"] == n and sum(found["histogram"]) == n
    assert found["mean_timesteps"] == pytest.approx(np.mean(found["exit_steps"])) and found["threshold"] is None
    assert found["oracle"]["accuracy"] >= found["accuracy"] and found["oracle"]["mean_timesteps"] >= 1
    parts = found["energy_j"]["nominal"], found["decider"]["energy_j"]["nominal"], found["energy_waiting_j"]["nominal"]
    assert found["energy_with_policy_j"]["nominal"] == pytest.approx(sum(parts), rel=1e-12) and parts[1] > 0
    saved = 1 - sum(parts) / found["energy_full_j"]["nominal"]
    assert found["energy_saved_with_policy"] == pytest.approx(saved, rel=1e-9) and saved < found["energy_saved"]


def test_a_chip_with_timesteps(on_chip: Path, no_training: None, tmp_path: Path) -> None:
    policy, data = planned(on_chip), open_model(on_chip).dataset()
    assert data is not None and policy.network.lengths == (1, 2)
    images, labels = data.split("test")
    steps = policy.steps(images)
    verdict = validate(on_chip, out=tmp_path)
    assert verdict.ok and verdict.early_exit is not None
    check_figures(verdict.early_exit, len(labels))
    assert verdict.early_exit["exit_steps"] == steps.tolist()
    assert [c.ok for c in verdict.checks if c.name == "early-exit policy decides"] == [True]
    report = energy(on_chip, ["loihi2"]).targets["loihi2"]["early_exit"]
    assert report == verdict.early_exit
    row = compare(on_chip, ["loihi2"]).rows[0]["early_exit"]
    assert row["energy_j"] == report["energy_with_policy_j"] and row["energy_saved"] == report["energy_saved_with_policy"]
    golden = np.load(on_chip / "golden.npz")["x"]
    np.savez(tmp_path / "in.npz", input=golden)
    found = simulate(on_chip, tmp_path / "in.npz", tmp_path / "out.npz")
    assert found.exit_steps == steps[: golden.shape[1]].tolist()
    golden[1:] = 0
    np.savez(tmp_path / "other.npz", input=golden)
    with pytest.warns(NeurodeployWarning, match="was not asked"):
        assert simulate(on_chip, tmp_path / "other.npz", tmp_path / "out.npz").exit_steps is None
    code, out = run("energy", str(on_chip), "--target", "loihi2")
    assert code == 0 and "the policy itself" in out and "energy with the policy" in out and "no rule does better" in out


def test_the_bundle_is_written_again_as_it_is(on_chip: Path, no_training: None, tmp_path: Path) -> None:
    export(on_chip, "loihi2", out=tmp_path / "c")
    assert (tmp_path / "c" / FILE).read_bytes() == (on_chip / FILE).read_bytes()


def test_another_exit_may_be_asked_of_a_bundle(on_chip: Path, tiny: Tiny) -> None:
    changed = energy(on_chip, ["loihi2"], overrides={"early_exit.method": "confidence"}).targets["loihi2"]["early_exit"]
    assert "decider" not in changed and changed["threshold"] is not None and "oracle" in changed
    wished = energy(tiny.bundle, ["loihi2"], overrides={"early_exit.mean_timesteps": 1}).targets["loihi2"]["early_exit"]
    assert wished["mean_timesteps"] == 1.0
    host = {**FAST, "early_exit.policy.energy_per_mac_j": 2e-12, "early_exit.policy.source": "a round number"}
    priced = energy(on_chip, ["loihi2"], overrides=host).targets["loihi2"]["early_exit"]
    n_macs = priced["decider"]["n_macs"]
    assert priced["decider"]["energy_j"]["nominal"] == pytest.approx(2e-12 * n_macs) and priced["energy_waiting_j"]["high"] == 0
    with pytest.raises(UsageError, match="is no GPU"):
        energy(on_chip, ["loihi2"], overrides={**FAST, "early_exit.policy.host": "loihi1"})


def test_a_policy_that_decides_otherwise_is_a_mismatch(on_chip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in on_chip.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    tensors = safetensors.torch.load((copy / FILE).read_bytes())
    tensors["golden.steps"] = 3 - tensors["golden.steps"]
    (copy / FILE).write_bytes(safetensors.torch.save(tensors))
    code, answer = run_json("validate", str(copy))
    assert code == 6 and answer["errors"][0]["code"] == "tampered"
    manifest = json.loads((copy / "manifest.json").read_text())
    keep = {k: v for k, v in manifest.items() if k not in ("files", "sha256", "format", "schema_version")}
    write_manifest(copy, keep)
    code, answer = run_json("validate", str(copy))
    assert code == 4 and [e["code"] for e in answer["errors"]] == ["policy_mismatch"]
    (copy / FILE).unlink()
    write_manifest(copy, keep)
    code, answer = run_json("validate", str(copy))
    assert code == 6 and FILE in answer["errors"][0]["what"]


def test_a_gpu(on_gpu: Path, tiny_gpu: Tiny, no_training: None, tmp_path: Path) -> None:
    profile = any_target("orin-nano")
    assert isinstance(profile, GpuProfile)
    policy = planned(on_gpu)
    verdict = validate(on_gpu, oracle="onnxruntime", out=tmp_path)
    assert verdict.ok and verdict.early_exit is not None and verdict.oracle is not None
    found = energy(on_gpu, ["orin-nano"], overrides={"gpu.batch": 4}).targets["orin-nano"]["early_exit"]
    check_figures(found, verdict.early_exit["n"])
    assert found["exit_steps"] == verdict.early_exit["exit_steps"] and found["energy_waiting_j"]["nominal"] == 0
    assert verdict.oracle["early_exit"] == {"n_samples": found["n"] + 8, "n_differences": 0}
    own = policy_on_gpu(policy.network, profile, batch=4)
    grouped = found["batched"]["grouped"]["energy_j"]["nominal"]
    assert found["batched"]["energy_with_policy_j"]["nominal"] == pytest.approx(grouped + own.energy_j.nominal, rel=1e-12)
    assert grouped <= found["batched"]["compacted"]["energy_j"]["nominal"] * (1 + 1e-12)
    x = np.load(on_gpu / "golden.npz")["x"]
    np.savez(tmp_path / "in.npz", input=x)
    assert simulate(on_gpu, tmp_path / "in.npz", tmp_path / "out.npz").exit_steps == found["exit_steps"][:8]
    code, out = run("validate", str(on_gpu), "--out", str(tmp_path))
    assert code == 0 and "equal steps together" in bare(out)


def test_an_event_driven_chip_whose_policy_sees_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = event_models.write(tmp_path)
    settings = {**FAST, "early_exit.windows": 8, "early_exit.policy.choices": 4}
    export(model.path, "speck2f", out=tmp_path / "b", overrides=settings)
    monkeypatch.setattr(exits, "train_for", lambda *a, **k: pytest.fail("a policy was trained again"))
    policy = planned(tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())["early_exit"]
    assert (policy.sees, policy.network.shape, manifest["step"]) == ("events", (2, 4, 4), 5) and policy.network.lengths[-1] == 8
    data = model.recordings
    views = views_of(data, "test", Readings("event", 5), "events")
    assert views.shape == (20, 2, 4, 4) and (views.sum(axis=(1, 2, 3)) == 5).all()
    verdict = validate(tmp_path / "b", max_drop=100)
    assert verdict.ok and verdict.early_exit is not None
    check_figures(verdict.early_exit, 20)
    assert verdict.early_exit["exit_steps"] == policy.steps(views).tolist()
    assert verdict.early_exit["energy_waiting_j"]["nominal"] > 0
    assert energy(tmp_path / "b", ["speck2f"]).targets["speck2f"]["early_exit"] == verdict.early_exit
    found = simulate(tmp_path / "b", model.data, tmp_path / "out.npz")
    assert found.exit_steps is not None and len(found.exit_steps) == len(data.streams)
    assert found.exit_steps[40:] == verdict.early_exit["exit_steps"], "the test split is the last third"
    export(tmp_path / "b", "speck2f", out=tmp_path / "c")
    assert (tmp_path / "c" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()
    code, out = run("energy", str(tmp_path / "b"), "--target", "speck2f")
    assert code == 0 and "sees the events of the first reading" in bare(out) and "energy with the policy" in bare(out)


def test_in_front_of_the_camera_the_host_has_the_image() -> None:
    few = load_events("digits-events", per_class=2)
    images = views_of(few, "test", Readings("event", 16), "image")
    assert images.shape[1:] == (1, 8, 8) and 0 < images.max() <= 1 and few.images is not None
    whole = load_events("digits-events")
    assert whole.images is not None and (whole.images_of("test") == load_events("digits-events").images_of("test")).all()  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="recordings of events"):
        views_of(event_models.recordings(), "test", Readings("event", 16), "image")


def test_who_decides_is_paid() -> None:
    network = StepPolicy((1, 8, 8), 4, (4,))
    chip, gpu, speck = any_target("loihi2"), any_target("orin-nano"), any_target("speck2f")
    assert isinstance(gpu, GpuProfile)

    def run_by(**who: Any) -> PlannedPolicy:
        settings = ExitSettings(policy=PolicySettings(**who))
        return PlannedPolicy(network, 1.0, "image", np.zeros((1, 1, 8, 8), np.float32), settings)

    default, named = run_by(), run_by(host="h200")
    assert decider_of(default, chip) == decider_of(default, gpu) == policy_on_gpu(network, gpu)
    assert runs_on(default, gpu) and not runs_on(default, chip) and not runs_on(named, gpu)
    assert decider_of(named, gpu).where.startswith("h200")
    second = Band(1.0, 1.0, 1.0)
    assert waiting(gpu, 1, second).nominal == gpu.power["idle"].si[1] > 0
    rails = sum(speck.power[r].si[1] for r in speck.static_rails)  # type: ignore[union-attr]
    assert waiting(speck, 1, second).nominal == pytest.approx(rails) and rails > 0
    stated = run_by(host="controller", energy_per_mac_j=1e-12, time_per_mac_s=1e-9, source="its data sheet")
    found = decider_of(stated, chip)
    assert found.where == "controller" and found.latency_s.nominal == pytest.approx(1e-9 * found.n_macs)


def test_settings() -> None:
    assert not {"method", "policy"} & set(DeploySettings().to_dict()["early_exit"])
    changed = DeploySettings(early_exit=ExitSettings(method="policy", policy=PolicySettings(epochs=2)))
    plain = changed.to_dict()["early_exit"]
    assert plain["method"] == "policy" and plain["policy"]["epochs"] == 2 and DeploySettings(**changed.to_dict()) == changed
    for wrong in ({"energy_per_mac_j": 1e-12}, {"source": "x"}, {"time_per_mac_s": 1e-9}, {"betas": []}, {"channels": [0]}):
        with pytest.raises(ValidationError):
            PolicySettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there are no data"):
        exits.require_data(changed, None)
    assert isinstance(EventExitPolicy.from_dict({"by": "event", "step": 4, "confidence": {"threshold": 0.5}}), Readings)
