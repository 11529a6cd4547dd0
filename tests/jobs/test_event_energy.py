"""`energy` on event-driven chips: synops counted event by event, rates assumed, static power until the next sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.hw import profile
from neurodeploy.hw.profile import EventProfile, any_target
from neurodeploy.jobs.energy import energy
from neurodeploy.jobs.export import export
from neurodeploy.validate.event_bundle import open_event_bundle
from tests import event_models
from tests.event_models import EventModel

from commands import run_json

FIELDS = {
    "fits", "n_cores", "energy_j", "breakdown_j", "latency_s", "edp_js", "counts", "layers", "cores", "early_exit", "status",
    "excluded", "provenance",
}


@pytest.fixture
def model(tmp_path: Path) -> EventModel:
    return event_models.write(tmp_path)


def entry(found: Any, target: str = "speck2f") -> dict[str, Any]:
    assert not found.errors
    result: dict[str, Any] = found.targets[target]
    return result


def joule(synops: float, seconds: float) -> float:
    profile = any_target("speck2f")
    assert isinstance(profile, EventProfile)
    static = sum(profile.power[rail].si[1] for rail in profile.static_rails)
    return float(synops * profile.energy["synop"].si[1] + static * seconds)


def test_events_of_the_models_own_data(model: EventModel) -> None:
    found = entry(energy(model.path, ["speck2f"]))
    assert set(found) >= FIELDS and found["exact_counts"] and found["data"] == {"name": "events", "split": "test"}
    # an event meets 2 neurons of n1, whose spike meets the 2 of out
    counts = {layer["name"]: layer["counts"] for layer in found["layers"]}
    assert counts["n1"]["n_synops"] == 2 * 40 and counts["out"]["n_synops"] == 2 * counts["n1"]["n_spikes"] > 0
    assert found["counts"]["synops"] == counts["n1"]["n_synops"] + counts["out"]["n_synops"]
    assert found["energy_j"]["nominal"] == pytest.approx(joule(found["counts"]["synops"], 0.1))
    assert found["accuracy"]["simulator"] > 0.7 and found["early_exit"]["energy_j"]["nominal"] < found["energy_j"]["nominal"]
    assert found["status"] == "estimated" and found["placement_source"] == "placed"


def test_a_bundle_costs_what_its_model_does(model: EventModel, tmp_path: Path) -> None:
    export(model.path, "speck2f", out=tmp_path / "b")
    of_model, of_bundle = (entry(energy(path, ["speck2f"])) for path in (model.path, tmp_path / "b"))
    assert of_bundle["placement_source"] == "bundle" and of_bundle["accuracy"]["float"] is None
    assert of_bundle["energy_j"] == of_model["energy_j"] and of_bundle["layers"] == of_model["layers"]
    assert of_bundle["early_exit"] == of_model["early_exit"]
    assert open_event_bundle(tmp_path / "b").policy is not None


def test_events_that_are_given(model: EventModel, tmp_path: Path) -> None:
    streams = model.recordings.split("test")[0]
    offsets = np.cumsum([0, *map(len, streams)])
    np.savez(tmp_path / "in.npz", events=np.concatenate(streams), offsets=offsets, duration_us=100_000)
    export(model.path, "speck2f", out=tmp_path / "b")
    wanted = entry(energy(tmp_path / "b", ["speck2f"]))
    found = entry(energy(tmp_path / "b", ["speck2f"], given=tmp_path / "in.npz"))
    assert found["energy_j"] == wanted["energy_j"] and found["layers"] == wanted["layers"]
    assert found["input"] == {
        "file": str(tmp_path / "in.npz"), "n_samples": 20, "n_events": 800, "duration_us": 100_000, "duration_from": "file",
    }
    assert found["accuracy"] is None and found["data"] is None
    with pytest.raises(UsageError, match="no dataset to quantize it with"):
        energy(model.unnamed, ["speck2f"], given=tmp_path / "in.npz")


def test_an_assumed_rate(model: EventModel) -> None:
    found = entry(energy(model.path, ["speck2f"], rate=0.25))
    n_bins = model.graph.n_timesteps
    # every of 32 addresses and of 32 neurons sends 0.25 * T events, an event of the input meets 2 neurons, a spike 2
    assert found["counts"]["events_in"] == 32 * 0.25 * n_bins
    assert found["counts"]["synops"] == 2 * (32 * 0.25 * n_bins) * 2
    assert found["status"] == "assumed" and set(found["breakdown_status"].values()) == {"assumed"}
    assert not found["exact_counts"] and found["n_timesteps"] == n_bins and found["duration_s"] == 0.1
    longer = entry(energy(model.path, ["speck2f"], rate=0.25, n_timesteps=2 * n_bins))
    assert longer["counts"]["synops"] == 2 * found["counts"]["synops"] and longer["n_timesteps_from"] == "argument"


def test_a_rate_needs_to_know_how_long_a_sample_lasts(model: EventModel) -> None:
    with pytest.raises(UsageError, match="how long a sample lasts") as caught:
        energy(model.unnamed, ["speck2f"], rate=0.1)
    assert "--interval" in caught.value.remedy
    assert entry(energy(model.unnamed, ["speck2f"], rate=0.1, interval_s=0.5))["duration_s"] == 0.5


def test_static_power_runs_until_the_next_sample(model: EventModel) -> None:
    once, rarely = (entry(energy(model.path, ["speck2f"], interval_s=s)) for s in (None, 2.0))
    assert once["interval_source"] == "duration" and rarely["interval_source"] == "given"
    assert rarely["energy_j"]["nominal"] == pytest.approx(joule(once["counts"]["synops"], 2.0))
    assert rarely["energy_dynamic_j"] == once["energy_dynamic_j"]
    with pytest.raises(UsageError, match="interval"):
        energy(model.path, ["speck2f"], interval_s=0.01)


def test_cores_over_a_limit_are_flagged(model: EventModel) -> None:
    with pytest.warns(NeurodeployWarning, match="synops per second") as caught:
        found = entry(energy(model.path, ["speck2f"], overrides={"cost.synops_per_core": 100.0}))
    codes = [w.message.code for w in caught if isinstance(w.message, NeurodeployWarning)]
    assert codes.count("core_overloaded") == 2 and all(core["over_limit"] for core in found["cores"])
    with pytest.raises(UsageError, match="synops_per_core"):
        energy(model.path, ["speck2f"], overrides={"cost.synops_per_core": -1.0})


def test_numbers_of_the_profile_may_be_changed(model: EventModel) -> None:
    dear = {f"profile.energy.synop.{key}": value for key, value in (("value", 60.0), ("low", 60.0), ("high", 60.0))}
    before, after = (entry(energy(model.path, ["speck2f"], overrides=o)) for o in ({}, dear))
    assert after["breakdown_j"]["synapse"]["nominal"] == pytest.approx(after["counts"]["synops"] * 60e-12)
    assert after["breakdown_j"]["static"] == before["breakdown_j"]["static"]


def test_all_targets(model: EventModel, tmp_path: Path) -> None:
    code, answer = run_json("energy", str(model.path), "--target", "all", "--rate", "0.1")
    targets = answer["data"]["targets"]
    assert code == 0, "that other chips compute otherwise is no fault where all of them were asked for"
    gpus = {name for name in profile.names() if isinstance(profile.any_target(name), profile.GpuProfile)}
    assert {name for name, t in targets.items() if t["fits"]} == {"speck2e", "speck2f", "dynapcnn", *gpus}
    for name in ("loihi1", "loihi2"):
        assert "streams of events" in targets[name]["reason"] and set(targets[name]) >= FIELDS
    assert answer["data"]["proxies"] is None and answer["data"]["proxies_reason"]
    assert run_json("energy", str(model.path), "--target", "loihi2,speck2f", "--rate", "0.1")[0] == 2
    code, answer = run_json("energy", str(event_models.write_leaky(tmp_path)), "--target", "all", "--rate", "0.1")
    targets = answer["data"]["targets"]
    assert code == 3 and targets["loihi2"]["fits"] and answer["data"]["proxies"]
    for name in ("speck2e", "speck2f", "dynapcnn"):
        assert not targets[name]["fits"] and targets[name]["n_cores"] == 5 and set(targets[name]) >= FIELDS
        assert {"leak", "max_pool", "bias"} <= {v["rule"] for v in targets[name]["violations"]}


@pytest.mark.parametrize(
    ("asked", "what"),
    [({"schedule": "pipelined"}, "--schedule"), ({"n_timesteps": 4}, "timesteps"), ({"layout": "lava"}, "--layout"),
     ({"rate": 0.1, "data": "digits-events"}, "at once"), ({"interval_s": 0.0}, "interval")],
)  # fmt: skip
def test_what_has_no_meaning(model: EventModel, asked: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        energy(model.path, ["speck2f"], **asked)
