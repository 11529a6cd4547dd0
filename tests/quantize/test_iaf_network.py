"""Whole networks in the integers of event-driven cores: both rules, prefixes, judges, reports and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UsageError
from neurodeploy.hw.profile import EventProfile, any_target
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, Iaf, Lif, Linear
from neurodeploy.ir.reference import evaluate
from neurodeploy.ir.serialize import from_bytes, same, to_bytes
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.quantize.iaf_core import FloatCore
from neurodeploy.quantize.iaf_network import quantize_events
from neurodeploy.quantize.iaf_sinabs import quantize_sinabs
from neurodeploy.sim.event_mismatch import Mismatch
from neurodeploy.sim.event_runs import run_streams

import event_nets

pytestmark = pytest.mark.filterwarnings("ignore::neurodeploy.errors.NeurodeployWarning")


def profile() -> EventProfile:
    found = any_target("speck2f")
    assert isinstance(found, EventProfile)
    return found


def lowered() -> Graph:
    return lower_to_events(event_nets.residual(), profile())


def streams(n: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    found = []
    for _ in range(n):
        t = np.sort(rng.integers(0, 5000, 150))
        found.append(np.stack([t, *(rng.integers(0, k, 150) for k in (2, 8, 8))], axis=1))
    return found


def test_sinabs_rule_core_by_core() -> None:
    """The residual core's kernel and its identity shortcut share one scale, that of all their weights together."""
    graph = lowered()
    net = quantize_events(graph, profile(), rule="sinabs")
    assert isinstance(net, IntGraph) and net.target == "speck2f" and net.metadata["input"] == "events"
    for neuron in graph.neurons:
        assert isinstance(neuron, Lif)
        synapses = [s for s, _ in graph.sources(neuron.name)]
        weights = np.concatenate([s.weight.reshape(len(s.weight), -1) for s in synapses], axis=1)
        wanted = quantize_sinabs(
            FloatCore(neuron.name, weights[:, :, None, None].astype(np.float32), None, neuron.v_th, neuron.v_min)
        ).ints
        found = net[neuron.name]
        assert isinstance(found, Iaf)
        assert (found.v_th, found.v_min, found.reset, found.state_bits) == (wanted.v_th, wanted.v_min, "soft", 16)
        ints = np.concatenate([net[s.name].weight.reshape(len(weights), -1) for s in synapses], axis=1)
        np.testing.assert_array_equal(ints, wanted.weight[:, :, 0, 0])
    assert len([n for n in net.nodes if isinstance(n, Conv2d | Linear)]) == 5
    assert same(net, from_bytes(to_bytes(net))) is None


@pytest.mark.parametrize("rule", ["mismatch", "sinabs"])
def test_the_integers_do_what_the_network_does(rule: str) -> None:
    """Scaled by 1 / threshold, weights are those of the network to half a step of the grid."""
    graph = lowered()
    net = quantize_events(graph, profile(), rule=rule)
    assert not net.quantization["calibrated"] and net.quantization["rule"] == rule
    for neuron in graph.neurons:
        v_th = net[neuron.name].v_th
        for synapse, _ in graph.sources(neuron.name):
            error = np.abs(net[synapse.name].weight / v_th - np.minimum(synapse.weight, 1.0))
            # half a step, and for sinabs the rounding of the threshold itself
            assert error.max() <= (0.5 if rule == "mismatch" else 1.0) / v_th + 1e-9
    assert [layer["layer"] for layer in net.quantization["layers"]] == [n.name for n in graph.neurons]
    x = np.random.default_rng(0).poisson(0.4, (5, 2, 2, 8, 8))
    spikes = evaluate(net, x)
    assert all(spikes[n.name].any() for n in net.neurons)


def test_the_judge_sees_prefixes_and_decides() -> None:
    graph = lowered()
    seen: dict[str, list[IntGraph]] = {}

    def judge(net: IntGraph, layer: str) -> float:
        seen.setdefault(layer, []).append(net)
        return abs(net[layer].v_th - 40.0)  # wants a threshold of 40, whatever that does

    net = quantize_events(graph, profile(), judge=judge)
    assert net.quantization["calibrated"]
    order = [n.name for n in graph.neurons]
    assert list(seen) == order
    for i, name in enumerate(order):
        assert all([n.name for n in part.neurons] == order[: i + 1] for part in seen[name])
        for earlier in order[:i]:  # what was chosen stays
            assert {part[earlier].v_th for part in seen[name]} == {net[earlier].v_th}
        tried = {part[name].v_th for part in seen[name]}
        assert net[name].v_th == min(tried, key=lambda v: abs(v - 40.0))
        assert len(tried) > 5


def test_mismatch_counts_spikes() -> None:
    graph = lowered()
    net = quantize_events(graph, profile())
    found = run_streams(net, streams(), duration_us=5000)
    own = {name: np.broadcast_to(c, (4, *c.shape)) for name, c in found.mean_counts.items()}
    one = run_streams(net, streams(1), duration_us=5000).mean_counts
    assert Mismatch(streams(1), {n: c[np.newaxis] for n, c in one.items()})(net, "n4") == 0
    doubled = {n: 2 * c[np.newaxis] for n, c in one.items()}
    assert Mismatch(streams(1), doubled)(net, "n1") == 0.5 and one["n1"].sum() > 0
    assert Mismatch(streams(), own)(net, "n1") > 0  # the mean of samples is none of them
    assert Mismatch(streams(1), {n: 0 * c[np.newaxis] for n, c in one.items()})(net, "n1") == one["n1"].sum()


def test_mismatch_never_chooses_worse_than_sinabs() -> None:
    graph = lowered()
    wanted = {
        name: c.sum(axis=0).astype(np.float64)
        for name, c in evaluate(graph, _raster(streams())).items() if name in {n.name for n in graph.neurons}
    }
    judge = Mismatch(streams(), wanted)
    own, rule = quantize_events(graph, profile(), judge=judge), quantize_events(graph, profile(), rule="sinabs")
    first = graph.neurons[0].name
    assert judge(_prefix(own, first), first) <= judge(_prefix(rule, first), first)


def _raster(samples: list[np.ndarray]) -> np.ndarray:
    x = np.zeros((5, len(samples), 2, 8, 8))
    for i, s in enumerate(samples):
        np.add.at(x, (s[:, 0] // 1000, i, *s[:, 1:].T), 1)
    return x


def _prefix(net: IntGraph, layer: str) -> IntGraph:
    kept = {net.inputs[0].name, layer, *(s.name for s, _ in net.sources(layer))}
    edges = tuple(e for e in net.edges if {e.src, e.dst} <= kept)
    return replace(net, nodes=tuple(n for n in net.nodes if n.name in kept), edges=edges)


def test_refusals() -> None:
    graph = lowered()
    with pytest.raises(UsageError, match="Known: mismatch, sinabs"):
        quantize_events(graph, profile(), rule="other")
    with pytest.raises(UsageError, match="not lowered"):
        quantize_events(event_nets.residual(), profile())
    with pytest.raises(UsageError, match="not lowered"):
        quantize_events(quantize_events(graph, profile()), profile())
    lost = event_nets.changed(graph, c1={"weight": 1000 * graph["c1"].weight})
    with pytest.raises(DoesNotFit, match="rounds to 0"):
        quantize_events(lost, profile(), rule="sinabs")
    with pytest.raises(DoesNotFit, match="no floor"):
        lower_to_events(event_nets.changed(event_nets.residual(), n1={"v_min": None}), profile())


def test_silent_cores_are_warned_of() -> None:
    graph = event_nets.changed(lowered(), c2={"weight": -np.abs(event_nets.conv("c2", 4, 4).weight)})
    with pytest.warns(NeurodeployWarning) as caught:
        quantize_events(graph, profile(), rule="sinabs")
    assert ("iaf_silent", "n2") in {(w.message.code, w.message.where) for w in caught}
