"""`export` to event-driven chips: from a trained network to a bundle that says how right it is; all that cannot go there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.data.event_sources import load_events
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UsageError
from neurodeploy.export.golden_events import load_events as load_golden
from neurodeploy.hw.profile import EventProfile, any_target
from neurodeploy.ir.serialize import load_int
from neurodeploy.jobs.event_deploy import deploy_events
from neurodeploy.jobs.event_evaluate import evaluate_events
from neurodeploy.jobs.export import export
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.quantize.iaf_network import quantize_events
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim.event_runs import run_streams
from tests import event_models, event_nets
from tests.event_models import EventModel

from commands import run_json


@pytest.fixture
def model(tmp_path: Path) -> EventModel:
    return event_models.write(tmp_path)


def weights(bundle: Path) -> dict[str, Any]:
    return {n.name: n.weight for n in load_int(bundle / "graph.npz").nodes if n.is_synapse}


def test_a_model_is_quantized_evaluated_and_written(model: EventModel, tmp_path: Path) -> None:
    code, answer = run_json("export", str(model.path), "--target", "speck", "--out", str(tmp_path / "b"))
    assert code == 0, answer["errors"]
    data = answer["data"]
    assert data["aliases"] == {"speck": "speck2f"} and Path(data["artifact"]).name == "speck.json"
    net, (streams, labels) = load_int(tmp_path / "b" / "graph.npz"), model.recordings.split("test")
    runs = run_streams(net, streams, duration_us=100_000)
    accuracy = data["accuracy"]
    assert accuracy["simulator"] == float((runs.predictions == labels).mean()) > 0.7 and accuracy["float"] > 0.7
    assert accuracy["sinabs_rule"] is not None and accuracy["agreement"]["n"] == len(labels)
    assert [table["n_bins"] for table in data["gap"]] == [16, 32, 64]
    for table in data["gap"]:
        assert [layer["name"] for layer in table["layers"]] == ["n1", "out"]
        assert table["layers"][0]["total"]["n_event"] == runs.n_spikes["n1"].sum() > 0
    assert data["early_exit"]["n"] == len(labels) and data["placement_source"] == "placed"
    assert data["quantization"]["rule"] == "mismatch" and data["quantization"]["calibrated"]
    assert {use["node"] for use in data["placement"]["cores"]} == {"n1", "out"}
    code, answer = run_json("validate", str(tmp_path / "b"), "--max-drop", "100")
    assert code == 0, answer["errors"]
    assert answer["data"]["accuracy"]["simulator"] == accuracy["simulator"]


def test_sinabs_integers_that_do_not_run_are_no_figure(model: EventModel) -> None:
    """A floor that leaves sinabs' rule a threshold of 0: the user's own integers are evaluated, unwarned of sinabs' ones."""
    profile = any_target("speck2f")
    assert isinstance(profile, EventProfile)
    graph = event_nets.changed(model.graph, n1={"v_min": -1e5}, out={"v_min": -1e5})
    lowered = lower_to_events(graph, profile)
    with pytest.raises(DoesNotFit, match="rounds to 0"):
        quantize_events(lowered, profile, rule="sinabs")
    with pytest.warns(NeurodeployWarning, match="floor"):
        found = deploy_events(lowered, profile, DeploySettings(), model.recordings)
    final = evaluate_events(lowered, found.net, found.plan, profile, None, model.recordings, with_gap=False)
    assert final.accuracy["sinabs_rule"] is None and final.accuracy["simulator"] > 0.7


def test_a_bundle_is_written_again_as_it_is(model: EventModel, tmp_path: Path) -> None:
    first = export(model.path, "speck2f", out=tmp_path / "a")
    again = export(tmp_path / "a", "speck2f", out=tmp_path / "b")
    assert again.placement == first.placement and again.placement_source == "bundle"
    assert again.accuracy is not None and first.accuracy is not None
    assert again.accuracy["simulator"] == first.accuracy["simulator"] and again.accuracy["float"] is None
    for name in ("graph.npz", "speck.json", "speck_arrays.npz", "golden.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    other = export(tmp_path / "a", "speck2e", out=tmp_path / "c", data=str(model.data))
    assert all(np.array_equal(w, weights(tmp_path / "a")[name]) for name, w in weights(other.bundle).items())


def test_the_rule_of_sinabs(model: EventModel, tmp_path: Path) -> None:
    profile = any_target("speck2f")
    assert isinstance(profile, EventProfile)
    found = export(model.path, "speck2f", out=tmp_path / "b", overrides={"quantize.rule": "sinabs"})
    wanted = quantize_events(lower_to_events(model.graph, profile), profile, rule="sinabs")
    assert found.quantization["rule"] == "sinabs"
    assert all(np.array_equal(w, wanted[name].weight) for name, w in weights(found.bundle).items())  # type: ignore[union-attr]


def test_without_recordings_it_is_uncalibrated_and_golden_events_are_random(model: EventModel, tmp_path: Path) -> None:
    for name in ("a", "b"):
        with pytest.warns(NeurodeployWarning, match="weights alone") as caught:
            found = export(model.unnamed, "speck2f", out=tmp_path / name)
        assert "uncalibrated" in {w.message.code for w in caught if isinstance(w.message, NeurodeployWarning)}
        assert found.accuracy is None and found.gap is None and not found.quantization["calibrated"]
    golden = load_golden(tmp_path / "a" / "golden.npz")
    assert min(golden.n_spikes.values()) > 0 and golden.n_samples > 1
    assert (tmp_path / "a" / "golden.npz").read_bytes() == (tmp_path / "b" / "golden.npz").read_bytes()


def test_golden_events_may_be_given(model: EventModel, tmp_path: Path) -> None:
    with pytest.warns(NeurodeployWarning, match="weights alone"):
        export(model.unnamed, "speck2f", out=tmp_path / "b", given=model.data)
    golden, wanted = load_golden(tmp_path / "b" / "golden.npz"), load_events(model.data).streams
    assert golden.n_samples == len(wanted) and np.array_equal(golden.events[3], wanted[3])
    with pytest.raises(UsageError, match="golden events come from the dataset"):
        export(model.path, "speck2f", out=tmp_path / "c", given=model.data)
    assert not (tmp_path / "c").exists()


def test_output_channels_spread_out_for_the_readout_block(model: EventModel, tmp_path: Path) -> None:
    found = export(model.path, "speck2f", out=tmp_path / "b", overrides={"place.readout": "padded"})
    with np.load(found.bundle / "speck_arrays.npz") as arrays:
        channels = [arrays[name].shape[0] for name in arrays.files if name.endswith("weights")]
    assert sorted(channels) == [2, 5], "4 * (2 - 1) + 1 channels"
    with pytest.raises(UsageError, match="no readout block"):
        export(model.path, "dynapcnn", out=tmp_path / "c", overrides={"place.readout": "padded"})


def test_every_reason_why_a_network_of_timesteps_cannot_go_there(tmp_path: Path) -> None:
    leaky = event_models.write_leaky(tmp_path)
    code, answer = run_json("export", str(leaky), "--target", "speck", "--out", str(tmp_path / "b"))
    assert code == 3 and not (tmp_path / "b").exists()
    assert {e["rule"] for e in answer["errors"]} == {"input_values", "leak", "no_floor", "max_pool", "bias"}
    assert all(e["remedy"] for e in answer["errors"])


def test_events_on_a_chip_with_timesteps(model: EventModel, tmp_path: Path) -> None:
    code, answer = run_json("export", str(model.path), "--target", "loihi2", "--out", str(tmp_path / "b"))
    assert code == 2 and len(answer["errors"]) == 1
    assert answer["errors"][0]["code"] == "other_arithmetic" and "streams of events" in answer["errors"][0]["what"]


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"n_timesteps": 4}, "--timesteps"), ({"layout": "lava"}, "--layout"), ({"data": "nowhere"}, "no events 'nowhere'"),
        ({"data": "digits-events"}, "16, 16"), ({"overrides": {"quantize.rule": "best"}}, "quantize.rule"),
    ],
)  # fmt: skip
def test_wrong_requests(model: EventModel, tmp_path: Path, asked: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        export(model.path, "speck2f", out=tmp_path / "b", **asked)
    assert not (tmp_path / "b").exists()


def test_a_network_that_is_too_long_names_all_of_its_layers(tmp_path: Path) -> None:
    from neurodeploy.ir.nir import write_nir
    from tests.event_nets import plain

    write_nir(plain(10), tmp_path / "ten.nir")
    with pytest.raises(DoesNotFit, match="10 layers of neurons"):
        export(tmp_path / "ten.nir", "speck2f", out=tmp_path / "b")
