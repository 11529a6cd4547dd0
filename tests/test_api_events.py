"""The arrows of `import neurodeploy as nd` on event-driven chips give what the commands give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
from neurodeploy.cost.event_result import EventCost
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UsageError
from neurodeploy.export.golden_events import load_events as load_golden
from neurodeploy.hw.profile import EventProfile
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.serialize import load_int
from neurodeploy.jobs.energy import energy
from neurodeploy.jobs.export import export
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.sim.event_runs import EventRuns, run_streams
from tests import event_models
from tests.event_models import EventModel
from tests.event_nets import residual


@pytest.fixture
def model(tmp_path: Path) -> EventModel:
    return event_models.write(tmp_path)


def test_the_arrows_are_the_commands(model: EventModel, tmp_path: Path) -> None:
    target = nd.target("speck")
    assert isinstance(target, EventProfile) and target.name == "speck2f"
    net = nd.quantize(nd.load(model.path), target, calibration=model.recordings)
    plan = nd.place(net, target)
    streams = list(model.recordings.split("test")[0])
    runs = nd.simulate(net, streams, plan)
    cost = nd.cost(runs, plan, target)
    assert isinstance(plan, CorePlan) and isinstance(runs, EventRuns) and isinstance(cost, EventCost)
    by_command = export(model.path, "speck2f", out=tmp_path / "c")
    assert plan.to_dict() == by_command.placement
    exported = load_int(tmp_path / "c" / "graph.npz")
    assert all(np.array_equal(a.weight, b.weight) for a, b in zip(net.nodes, exported.nodes, strict=True) if a.is_synapse)
    wanted = run_streams(net, streams, duration_us=100_000)
    assert np.array_equal(runs.class_counts, wanted.class_counts) and runs.class_counts.any() and runs.duration_us == 100_000
    assert cost.energy_j.to_dict() == energy(model.path, ["speck2f"]).targets["speck2f"]["energy_j"]
    bundle = nd.export(net, plan, target, tmp_path / "b")
    assert load_golden(tmp_path / "b" / "golden.npz").n_samples == 4
    assert isinstance(nd.load(bundle.path), IntGraph)
    verdict = nd.validate(bundle)
    assert verdict.ok and verdict.accuracy["simulator"] == float((runs.predictions == model.recordings.split("test")[1]).mean())


def test_calibration_may_be_bare_streams(model: EventModel) -> None:
    graph, streams = nd.load(model.path), model.recordings.split("validation")[0]
    bare, of_data = (nd.quantize(graph, "speck2f", calibration=c) for c in (streams, model.recordings))
    assert all(np.array_equal(a.weight, b.weight) for a, b in zip(bare.nodes, of_data.nodes, strict=True) if a.is_synapse)
    lowered = nd.lower(graph, "speck2f")
    assert lowered.metadata["input"] == "events" and nd.place(lowered, "speck2f") == nd.place(bare, "speck2f")
    with pytest.warns(NeurodeployWarning, match="weights alone"):
        nd.quantize(lowered, "speck2f")


def test_an_integer_network_passes_unchanged(model: EventModel, tmp_path: Path) -> None:
    with pytest.warns(NeurodeployWarning, match="weights alone"):
        net = nd.quantize(nd.load(model.unnamed), "speck2f")
    assert nd.quantize(net, "speck2f") is net and nd.quantize(net, "dynapcnn") is net
    plan = nd.place(net, "speck2f")
    nd.export(net, plan, "speck2f", tmp_path / "random")
    nd.export(net, plan, "speck2f", tmp_path / "given", golden_inputs=model.recordings.streams[:2])
    golden = load_golden(tmp_path / "given" / "golden.npz")
    assert [s.tolist() for s in golden.events] == [s.tolist() for s in model.recordings.streams[:2]]
    assert min(load_golden(tmp_path / "random" / "golden.npz").n_spikes.values()) > 0


def test_breadth_first_and_lengths_of_samples(model: EventModel) -> None:
    with pytest.warns(NeurodeployWarning, match="weights alone"):
        net = nd.quantize(nd.load(model.unnamed), "speck2f")
    stream = model.recordings.streams[0]
    assert nd.simulate(net, [stream]).duration_us == stream[-1, 0] + 1
    assert nd.simulate(net, [stream], duration_us=200_000).duration_us == 200_000
    depth, breadth = nd.simulate(net, [stream]), nd.simulate(net, [stream], order="breadth")
    assert np.array_equal(depth.class_counts, breadth.class_counts), "a chain"
    raster = np.zeros((3, 1, 2, 4, 4), dtype=np.int64)
    raster[0, 0, 0] = 2
    assert nd.simulate(net, raster).n_spikes["n1"] > 0, "chip input over timesteps still runs clocked"


WRONG: dict[str, Callable[[IntGraph, Any, Any, Any], Any]] = {
    "n_chips or optimise": lambda net, plan, runs, x: nd.place(net, "speck2f", optimise="energy", events=0.1),
    "event-driven chip": lambda net, plan, runs, x: nd.optimise_placement(net, "speck2f", "edp", 0.1),
    "no timesteps": lambda net, plan, runs, x: nd.simulate(net, [x], plan, n_steps=3),  # type: ignore[call-overload]
    "a stream of shape": lambda net, plan, runs, x: nd.simulate(net, [x[0]], plan),
    "The target is loihi2": lambda net, plan, runs, x: nd.cost(runs, plan, "loihi2"),
    "golden inputs of type ndarray": lambda net, plan, runs, x: nd.export(net, plan, "speck2f", "b", golden_inputs=x),
    "streams of events": lambda net, plan, runs, x: nd.export(net, plan, "speck2f", "b", golden_images=x),
    "made for 'speck2f'": lambda net, plan, runs, x: nd.export(net, plan, "speck2e", "b"),
    "another chip": lambda net, plan, runs, x: nd.quantize(net, "loihi2"),
}


@pytest.mark.parametrize("what", WRONG)
def test_values_of_another_kind_of_chip(model: EventModel, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net = nd.quantize(nd.load(model.path), "speck2f", calibration=model.recordings)
    plan, x = nd.place(net, "speck2f"), model.recordings.streams[0]
    with pytest.raises(UsageError, match=what) as caught:
        WRONG[what](net, plan, nd.simulate(net, [x]), x)
    assert caught.value.remedy and not Path("b").exists()


def test_networks_of_the_other_kind(model: EventModel, tmp_path: Path) -> None:
    graph = nd.load(model.path)
    with pytest.raises(UsageError, match="streams of events"):
        nd.lower(graph, "loihi2")
    with pytest.raises(UsageError, match="images"):
        nd.quantize(graph, "loihi2", calibration=model.recordings)
    with pytest.raises(UsageError, match="takes streams"):
        nd.quantize(graph, "speck2f", calibration=np.zeros((3, 2, 4, 4)))
    leaky = nd.load(event_models.write_leaky(tmp_path))
    for arrow in (nd.lower, nd.quantize):
        with pytest.raises(DoesNotFit) as caught:
            arrow(leaky, "speck2f", **({} if arrow is nd.lower else {"calibration": model.recordings}))
        assert {"leak", "max_pool"} <= {v.rule for v in caught.value.violations}
    with pytest.raises(UsageError, match="another network"):
        net = nd.quantize(graph, "speck2f", calibration=model.recordings)
        nd.simulate(net, list(model.recordings.streams), nd.place(nd.lower(residual(), "speck2f"), "speck2f"))
