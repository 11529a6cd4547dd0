"""Post-training quantization of whole networks: recomputed slowly, and what calibration may claim."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from neurodeploy.data.chip_input import chip_input
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Input, Lif, Linear
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower import lower
from neurodeploy.place import check
from neurodeploy.quantize import ptq, quantize
from neurodeploy.quantize.formats import largest_scale, layer_of, snap
from neurodeploy.sim.clocked import simulate
from neurodeploy.sim.trace import Trace

from deployable import ARCHS, autosnn, images

CHIP = target("loihi2")
X = images(6)
CASES = [(ARCHS[0], False, "graded"), (ARCHS[1], True, "bias"), (ARCHS[0], True, "rate")]


@cache
def quantized(case: int) -> tuple[Graph, IntGraph]:
    arch, decay_input, kind = CASES[case]
    lowered = lower(autosnn(arch, decay_input), CHIP, kind, n_levels=17)
    return lowered, quantize(lowered, CHIP, X)


@cache
def traced(case: int) -> Trace:
    net = quantized(case)[1]
    return simulate(net, chip_input(net, X))


def window(net: IntGraph, name: str, raster: Any) -> Any:
    return raster[net.latencies[name] : net.latencies[name] + net.n_timesteps]


@pytest.mark.parametrize("case", range(3))
def test_every_number_equals_a_slow_recomputation(case: int) -> None:
    lowered, net = quantized(case)
    scales = net.quantization["scales"]
    assert scales.keys() == {n.name for n in lowered.neurons}
    n_saturated = 0
    for neuron in lowered.neurons:
        scale, real, found = scales[neuron.name], lowered[neuron.name], net[neuron.name]
        assert isinstance(real, Lif) and isinstance(found, CubaLif)
        bias = 0.0
        for edge in lowered.incoming(neuron.name):
            synapse = lowered[edge.src]
            if isinstance(synapse, Input):
                assert net.inputs[0].value_scale == scale and net.inputs[0].max_value == 4095
                continue
            slow = [min(254, max(-256, 2 * round(w * scale / 2))) for w in synapse.weight.ravel().tolist()]  # type: ignore[attr-defined]
            assert net[edge.src].weight.ravel().tolist() == slow  # type: ignore[attr-defined]
            n_saturated += sum(abs(2 * round(w * scale / 2)) > 254 for w in synapse.weight.ravel().tolist())  # type: ignore[attr-defined]
            bias = bias + (0.0 if synapse.bias is None else synapse.bias)  # type: ignore[attr-defined]
        wanted = np.clip(np.rint(bias * scale * np.ones(neuron.shape[0])), -4095, 4095)  # type: ignore[attr-defined]
        assert found.bias_mant.ravel().tolist() == wanted.tolist()
        gain = real.inv_tau if real.decay_input else 1.0
        threshold = real.v_th / gain * scale
        exact = real.inv_tau == 1.0 and not real.decay_input
        assert found.v_th == (round(threshold) - 1 if exact else round(threshold))
        assert abs(threshold - round(threshold)) < 1e-6  # snapped
        assert (found.v_decay, found.i_decay) == (round(4096 * real.inv_tau), 4096)
        assert (found.reset_interval, found.reset_offset) == (real.reset_interval, real.reset_offset)
    reports = net.quantization["layers"]
    assert sum(r["n_saturated"] for r in reports) >= n_saturated  # biases count too
    assert (net.edges, net.n_timesteps, net.target) == (lowered.edges, lowered.n_timesteps, "loihi2")
    assert check(net, CHIP).violations == ()


@pytest.mark.parametrize("case", range(3))
def test_calibration_runs_each_layer_as_the_chip_will(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layer by layer in model time, on quantized spikes, equals the whole integer network on the simulated chip."""
    lowered, net = quantized(case)
    seen: dict[str, Any] = {}
    original = ptq._run_layer

    def run(graph: Graph, neuron: CubaLif, *rest: Any) -> Any:
        seen[neuron.name], n_ties = original(graph, neuron, *rest)
        return seen[neuron.name], n_ties

    monkeypatch.setattr(ptq, "_run_layer", run)
    again = quantize(lowered, CHIP, X, scales=net.quantization["scales"])
    trace = traced(case)
    real = evaluate(lowered, chip_input(lowered, X))
    reports = {r["layer"]: r for r in net.quantization["layers"]}
    assert net.quantization["calibrated"] and again.quantization["layers"] == net.quantization["layers"]
    for neuron in net.neurons:
        chip, wanted = (window(net, neuron.name, r[neuron.name]) for r in (trace.spikes, real))
        assert 0 < chip.sum() < chip.size
        assert np.array_equal(seen[neuron.name], chip), neuron.name
        assert reports[neuron.name]["n_mismatches"] == int((chip != wanted).sum())
        assert reports[neuron.name]["n_spikes"] == int(wanted.sum())


@pytest.mark.parametrize("case", [0, 1])
def test_the_chosen_scale_is_no_worse_than_the_largest(case: int) -> None:
    lowered, net = quantized(case)
    chosen = net.quantization["scales"]
    better = 0
    for i, neuron in enumerate(lowered.neurons):
        assert isinstance(neuron, Lif)
        layer = layer_of(lowered, neuron)
        first = {**chosen, neuron.name: snap(layer, largest_scale(layer, CHIP.arithmetic))}
        report = quantize(lowered, CHIP, X, scales=first).quantization["layers"][i]
        own = net.quantization["layers"][i]
        assert report["layer"] == own["layer"] == neuron.name
        assert own["n_mismatches"] <= report["n_mismatches"]
        better += own["n_mismatches"] < report["n_mismatches"]
    assert better > 0


def test_integers_stay_close_to_the_real_network() -> None:
    for case in range(3):
        _, net = quantized(case)
        reports = net.quantization["layers"]
        # Random weights have small margins, and each layer inherits the mismatches of those before it.
        assert sum(r["n_mismatches"] for r in reports) < 0.2 * sum(r["n_spikes"] for r in reports)
        assert reports[0]["n_mismatches"] < 0.02 * reports[0]["n_spikes"]
        relays = [r for r in reports if "relay" in r["layer"] or r["layer"] in ("layers.1", "layers.4", "layers.7")]
        assert relays and all(r["n_ties"] == 0 for r in relays)


def test_without_images_the_largest_unsaturated_scales_serve() -> None:
    lowered, _ = quantized(0)
    net = quantize(lowered, CHIP)
    assert not net.quantization["calibrated"]
    for report, neuron in zip(net.quantization["layers"], lowered.neurons, strict=True):
        assert isinstance(neuron, Lif)
        layer = layer_of(lowered, neuron)
        assert report["scale"] == snap(layer, largest_scale(layer, CHIP.arithmetic))
        assert (report["n_spikes"], report["n_mismatches"], report["n_ties"], report["n_saturated"]) == (None, None, None, 0)
    trace = simulate(net, chip_input(net, X))
    assert trace.votes.sum() > 0
    assert check(net, CHIP).violations == ()


def test_given_scales_reproduce_the_network() -> None:
    lowered, net = quantized(1)
    again = quantize(lowered, CHIP, scales=net.quantization["scales"])
    for node in net.nodes:
        for name, value in vars(node).items():
            assert np.array_equal(value, getattr(again[node.name], name)), (node.name, name)
    incomplete = dict(list(net.quantization["scales"].items())[1:])
    with pytest.raises(UsageError, match="no scale is given"):
        quantize(lowered, CHIP, scales=incomplete)
    with pytest.raises(NeurodeployError, match="already CubaLif"):
        quantize(net, CHIP)


def test_ties_are_counted_where_the_comparison_differs() -> None:
    """Leak 0.5 and weight 1 = threshold: the first spike brings the membrane exactly to the threshold."""
    x = np.ones((5, 1, 1, 1))
    nodes = (Input("x", (1, 1, 1), kind="spikes"), Conv2d("s", weight=np.ones((1, 1, 1, 1))),
             Lif("n", shape=(1, 1, 1), inv_tau=0.5, reset_interval=4, reset_offset=2))
    as_map = Graph(nodes, (Edge("x", "s", 1), Edge("s", "n")), 4)
    report = quantize(as_map, CHIP, x, scales={"n": 254.0}).quantization["layers"][0]
    # Training fires at every step; the chip ties at the first, fires at the second (1 + 0.5), ties again ...
    assert (report["n_spikes"], report["n_ties"], report["n_mismatches"]) == (20, 10, 10)
    # Left to choose, calibration finds a scale at which rounding lifts the weight above the threshold.
    assert quantize(as_map, CHIP, x).quantization["layers"][0]["n_mismatches"] == 0
    exact = replace(as_map, nodes=(*as_map.nodes[:2], replace(as_map["n"], inv_tau=0.0)))  # type: ignore[type-var]
    report = quantize(exact, CHIP, x).quantization["layers"][0]
    assert (report["n_spikes"], report["n_ties"], report["n_mismatches"]) == (20, 0, 0)


def test_outliers_may_saturate_and_are_counted() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(0.1, 0.15, size=(8, 8, 1, 1))
    weight[0, 0] = 9.0
    nodes = (Input("x", (8, 2, 2), kind="spikes"), Conv2d("s", weight=weight, bias=rng.normal(0, 0.1, 8)),
             Lif("n", shape=(8, 2, 2), inv_tau=0.3, reset_interval=4, reset_offset=2))
    graph = Graph(nodes, (Edge("x", "s", 1), Edge("s", "n")), 4)
    net = quantize(graph, CHIP, rng.random((40, 8, 2, 2)))
    report = net.quantization["layers"][0]
    assert report["n_saturated"] == 1 and report["weight_max"] == 254
    assert report["scale"] > 254 / 9


@pytest.mark.parametrize("calibrated", [True, False])
def test_thresholds_far_above_the_weights_stay_in_their_format(calibrated: bool) -> None:
    nodes = (Input("x", (3, 1, 1), kind="spikes"), Conv2d("s", weight=np.full((2, 3, 1, 1), 1e-6)),
             Lif("n", shape=(2, 1, 1), inv_tau=0.3, reset_interval=4, reset_offset=2))
    graph = Graph(nodes, (Edge("x", "s", 1), Edge("s", "n")), 4)
    net = quantize(graph, CHIP, np.ones((2, 3, 1, 1)) if calibrated else None)
    neuron = net["n"]
    assert isinstance(neuron, CubaLif) and neuron.v_th == CHIP.arithmetic.v_th_max
    assert check(net, CHIP).violations == ()


def test_a_wide_layer_is_scaled_so_that_its_current_cannot_wrap() -> None:
    """3,000 spikes through weights of one sign: at full scale 3,000 * 254 * 64 would exceed 24 bits six times over."""
    rng = np.random.default_rng(1)
    weight = np.abs(rng.normal(0.01, 0.003, size=(4, 3000)))
    nodes = (Input("x", (3000,), kind="spikes"), Linear("s", weight=weight), Lif("n", shape=(4,), inv_tau=0.5))
    net = quantize(Graph(nodes, (Edge("x", "s", 1), Edge("s", "n")), 4), CHIP)
    found = net.quantization["ranges"][0]
    assert 0.9 * found["i_syn_limit"] < found["i_syn_bound"] <= found["i_syn_limit"]
    trace = simulate(net, np.ones((4, 1, 3000), dtype=np.int64), record_state=True)
    assert trace.i_syn is not None and trace.i_syn["n"].max() == found["i_syn_bound"]


def test_two_sources_of_one_synapse_add() -> None:
    """A synapse that reads a sum of spike maps: calibration and range analysis see both."""
    rng = np.random.default_rng(2)
    a, b, c = (Linear(n, weight=rng.normal(0.3, 0.5, (6, 6))) for n in "abc")
    lifs = [Lif(f"{n}.n", shape=(6,), inv_tau=0.5) for n in "abc"]
    nodes = (Input("x", (6,)), a, lifs[0], b, lifs[1], c, lifs[2])
    edges = (Edge("x", "a"), Edge("a", "a.n"), Edge("a.n", "b"), Edge("b", "b.n"), Edge("b.n", "c"), Edge("a.n", "c"),
             Edge("c", "c.n"))
    lowered = lower(Graph(nodes, edges, 4), CHIP, "rate")
    assert lowered.metadata["relays"] == {"a.n.relay1": "a.n"}
    net = quantize(lowered, CHIP)
    ranges = {r["layer"]: r for r in net.quantization["ranges"]}
    weight = net["c"].weight  # type: ignore[attr-defined]
    assert ranges["c.n"]["a_max"] == 2 * np.maximum(weight, 0).sum(1).max()
    x = rng.integers(0, 2, size=(4, 5, 6))
    trace = simulate(net, x)
    spikes = {n: window(net, n, trace.spikes[n]).astype(np.int64) for n in ("a.n.relay1", "b.n", "c.n")}
    layer = layer_of(lowered, lowered["c.n"])  # type: ignore[arg-type]
    found, _ = ptq._run_layer(lowered, net["c.n"], (net["c"],), spikes)  # type: ignore[arg-type]
    assert layer.synapses[0].name == "c" and spikes["c.n"].sum() > 0
    assert np.array_equal(found, spikes["c.n"])


def test_edges_keep_their_order() -> None:
    lowered, net = quantized(0)
    assert all(a == b for a, b in zip(lowered.edges, net.edges, strict=True))
    assert [n.name for n in lowered.nodes] == [n.name for n in net.nodes]
    assert all(a.name != b.name for a, b in pairwise(net.nodes))
