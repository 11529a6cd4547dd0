"""The search's way to event-driven chips: its space is the profile's, its candidates cost what the chip would cost."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from neurodeploy.cost.event_activity import expected_activity
from neurodeploy.cost.event_cost import event_cost
from neurodeploy.data.event_dataset import EventDataset, rasterize
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UsageError
from neurodeploy.hw.profile import EventProfile, any_target
from neurodeploy.ir.nodes import Iaf
from neurodeploy.jobs.data import load_data
from neurodeploy.jobs.event_candidate import EventEvaluator
from neurodeploy.jobs.event_deploy import deploy_events
from neurodeploy.jobs.event_route import EventRoute
from neurodeploy.jobs.routes import default_recipe, route_of
from neurodeploy.jobs.search import search
from neurodeploy.jobs.training import labelled, macro_of
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.models import event_run
from neurodeploy.models.autosnn import SuperNet
from neurodeploy.models.convert import to_graph
from neurodeploy.models.event_run import run_in_bins
from neurodeploy.place.event_cores import check
from neurodeploy.quantize.iaf_network import quantize_events
from neurodeploy.search.recipe import Recipe, read

FEW = {"network.width": 4, "network.n_timesteps": 8, "supernet.adapt_epochs": 0, "network.gain": 2.0}
ARCH = ("SRB_k3", "skip_connect", "SCB_k3")


def profile(**overrides: object) -> EventProfile:
    found = any_target("speck2f", {k.replace("__", "."): v for k, v in overrides.items()})
    assert isinstance(found, EventProfile)
    return found


@cache
def recipe() -> Recipe:
    return read("digits_events", FEW)


@cache
def data() -> EventDataset:
    found = load_data("digits-events", "events")
    assert isinstance(found, EventDataset)
    few = {name: index[:40] for name, index in found.splits.items()}
    return EventDataset(
        found.name, found.streams, found.y, found.n_classes, found.sensor, found.duration_us, few, found.camera
    )


@cache
def evaluator() -> EventEvaluator:
    torch.manual_seed(0)
    return EventEvaluator(SuperNet(macro_of(recipe(), data())), data(), recipe(), profile())


def test_the_space_is_what_the_profile_can_do() -> None:
    everything = EventRoute(profile()).choices(recipe(), data())
    assert [len(blocks) for blocks in everything] == [5, 5, 5]
    without = EventRoute(profile(arithmetic__residual="none")).choices(recipe(), data())
    assert set(without) == {("skip_connect", "SCB_k3", "SCB_k5")}
    small = EventRoute(profile(capacity__kernel_size_max__value=4)).choices(recipe(), data())
    assert all("SCB_k3" in blocks and "SCB_k5" not in blocks and "SRB_k5" not in blocks for blocks in small)
    with pytest.raises(DoesNotFit, match="sum pool"):
        EventRoute(profile(arithmetic__pools=["average"])).choices(recipe(), data())


def test_what_no_candidate_could_be_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(DoesNotFit, match="batch norm leaves biases"):
        EventRoute(profile()).choices(read("digits_events", {**FEW, "network.norm": "batch"}), data())
    for anchor, what in ((["SRB_k3"], "1 blocks"), (["SRB_k3", "SRB_k4", "SRB_k3"], "SRB_k4")):
        with pytest.raises(UsageError, match=what):
            search(target="speck2f", out=tmp_path / "run", overrides={"supernet.anchor": anchor})
    assert not (tmp_path / "run").exists()


def test_a_recipe_for_the_other_kind_of_chip_is_refused() -> None:
    with pytest.raises(UsageError, match="such as digits_events"):
        route_of(profile(), read("digits"))
    with pytest.raises(UsageError, match="such as digits"):
        route_of(any_target("loihi2"), recipe())
    assert default_recipe(profile()) == "digits_events" and default_recipe(any_target("loihi1")) == "digits"


def test_a_candidate_is_a_pure_function_of_its_architecture() -> None:
    judge = evaluator()
    first = judge(ARCH)
    other = judge(("skip_connect",) * 3)
    assert judge(ARCH) == first != other
    assert first["fits"] and first["n_cores"] == 7 and other["n_cores"] == 4
    assert first["synops"] > other["synops"] > 0 and first["energy_j"] > other["energy_j"]


def test_costs_are_those_of_the_clocked_network() -> None:
    """Synops and energies from the candidate's own spikes, as the final report makes them from the chip's."""
    judge = evaluator()
    network = judge.network(ARCH)
    metrics = judge.metrics(network)
    lowered = lower_to_events(to_graph(network), profile())
    streams = data().split("validation")[0]
    run = run_in_bins(lowered, streams, data().sensor, data().duration_us)
    entry = labelled(recipe(), data(), "validation")[0].mean(axis=0, dtype=np.float64).sum(axis=0)
    counts = {name: c.mean(axis=0) for name, c in run.counts.items()} | {"input": entry}
    activity = expected_activity(lowered, counts, data().duration_us / 1e6)
    # the supernet computes in float32, the lowered network in float64: a spike may move at a tie
    assert metrics.synops == pytest.approx(activity.synops, rel=1e-3) and activity.synops > 1000
    plan = check(lowered, profile()).plan
    assert plan is not None
    cost = event_cost(activity, plan, profile())
    assert metrics.energy_j == pytest.approx(cost.energy_j.nominal, rel=1e-3)
    assert metrics.latency_s == pytest.approx(7 * profile().time["core"].si[1])  # each core is on the longest path
    assert metrics.energy_at_exit_j is not None and metrics.energy_j is not None
    assert 0 < metrics.energy_at_exit_j <= metrics.energy_j


def test_long_or_wide_networks_run_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered, streams = lower_to_events(to_graph(evaluator().network(ARCH)), profile()), data().split("validation")[0][:7]
    whole = run_in_bins(lowered, streams, data().sensor, data().duration_us)
    monkeypatch.setattr(event_run, "_BATCH_BYTES", 2 * 8 * 8 * max(math.prod(shape) for shape in lowered.shapes.values()))
    sizes: list[int] = []
    monkeypatch.setattr(event_run, "rasterize", lambda part, *rest: (sizes.append(len(part)), rasterize(part, *rest))[1])
    parts = run_in_bins(lowered, streams, data().sensor, data().duration_us)
    assert sizes == [2, 2, 2, 1]
    assert np.array_equal(parts.votes, whole.votes) and all(np.array_equal(parts.counts[n], c) for n, c in whole.counts.items())


def test_what_does_not_fit_has_reasons_and_no_energy() -> None:
    judge = EventEvaluator(evaluator().supernet, data(), recipe(), profile(capacity__kernel_size_max__value=4))
    found = judge(("SCB_k5", "skip_connect", "skip_connect"))
    assert not found["fits"] and found["energy_j"] is None and "kernel" in found["violations"][0]["rule"]


def test_candidates_adapt_the_weights_they_took() -> None:
    settings = read("digits_events", {**FEW, "supernet.adapt_epochs": 1})
    judge = EventEvaluator(evaluator().supernet, data(), settings, profile())
    before = evaluator().network(ARCH).state_dict()
    after, again = judge.network(ARCH).state_dict(), judge.network(ARCH).state_dict()
    assert all(torch.equal(after[k], again[k]) for k in after)
    assert not all(torch.equal(after[k], before[k]) for k in after)
    assert all(torch.equal(p, q) for p, q in zip(  # the supernet itself stays
        before.values(), evaluator().network(ARCH).state_dict().values(), strict=True))


def test_layers_that_are_silent_on_data_are_warned_of() -> None:
    """Weights alone do not show it: the thresholds are beyond what any sample reaches, or the sums beyond 16 bits."""
    lowered = lower_to_events(to_graph(evaluator().network(ARCH)), profile())
    neurons = {n.name for n in lowered.neurons}
    high = replace(lowered, nodes=tuple(
        replace(n, weight=n.weight * 1e-5) if n.name == "classifier.linear" else n for n in lowered.nodes))
    with pytest.warns(NeurodeployWarning) as caught:
        deploy_events(high, profile(), recipe().deploy, data())
    found = {(w.message.code, w.message.where) for w in caught if w.message.code in ("silent_layer", "saturated_layer")}
    assert found == {("silent_layer", "classifier.neuron")} and len(neurons) == 7


def test_candidates_can_be_quantized() -> None:
    net = quantize_events(lower_to_events(to_graph(evaluator().network(ARCH)), profile()), profile(), rule="sinabs")
    assert all(isinstance(n, Iaf) and n.v_th > 0 for n in net.neurons)
