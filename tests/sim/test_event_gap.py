"""The gap between clocked and event-driven runs: where there is none, what makes it, and how it falls."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, Flatten, Iaf, Input, Linear, SumPool2d, Vote
from neurodeploy.ir.votes import predictions
from neurodeploy.sim import clocked, events
from neurodeploy.sim.event_gap import Difference, gap, gap_table, layer_graph
from neurodeploy.sim.event_runs import run_rasters, run_streams
from neurodeploy.sim.events_network import Destination, EventLayer, EventNetwork
from neurodeploy.sim.events_stream import from_raster

SEEN: Counter[str] = Counter()


@st.composite
def layers(draw: st.DrawFn) -> EventLayer:
    """One core; weights at most v_th, or beyond it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(3, 7)), draw(st.integers(3, 7)))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    v_th = draw(st.integers(1, 40))
    top = v_th if draw(st.booleans()) else 3 * v_th + 1
    weight = rng.integers(-v_th, top + 1, (draw(st.integers(1, 3)), shape[0], *kernel))
    return EventLayer(
        "n", weight, shape, v_th, -draw(st.sampled_from([0, 1, v_th, 1000])),
        (draw(st.integers(1, 2)), draw(st.integers(1, 3))), (draw(st.integers(0, 2)), draw(st.integers(0, 2))),
        draw(st.sampled_from(["soft", "hard"])),
    )  # fmt: skip


def one_a_bin(draw_seed: int, shape: tuple[int, int, int], n_bins: int = 60) -> np.ndarray:
    """A raster [T, C, H, W] with at most one event a bin."""
    rng = np.random.default_rng(draw_seed)
    x = np.zeros((n_bins, *shape), dtype=np.int64)
    at = np.flatnonzero(rng.random(n_bins) < 0.8)
    x[at, *(rng.integers(0, n, len(at)) for n in shape)] = 1
    return x


@settings(max_examples=200, deadline=None)
@given(layers(), st.booleans(), st.integers(0, 2**32 - 1))
def compare(layer: EventLayer, multi_spike: bool, seed: int) -> None:
    x = one_a_bin(seed, layer.in_shape)
    driven = events.simulate(EventNetwork(layer.in_shape, (Destination("n"),), (layer,)), from_raster(x))
    run = clocked.simulate(layer_graph(layer, multi_spike), x[:, np.newaxis], record_state=True)
    equal = bool((driven.spikes["n"].raster(len(x)) == run.spikes["n"][:, 0]).all())
    rule = bool((layer.weight <= layer.v_th).all())
    if rule or (layer.reset == "hard" and not multi_spike):
        assert equal
        assert run.v_mem is not None and (run.v_mem["n"][-1, 0] == driven.v_mem["n"]).all()
        SEEN.update(equal=1, fires=driven.n_spikes["n"] > 5, over=not rule)
    else:
        SEEN.update(unequal=not equal)


def test_one_event_a_bin_and_weights_at_most_the_threshold_leave_no_gap():
    SEEN.clear()
    compare()
    assert SEEN["fires"] > 40 and SEEN["over"] > 5  # `over`: beyond the threshold, but reset to 0 and one spike a timestep
    assert SEEN["unequal"] > 10  # beyond it, otherwise


def test_a_weight_beyond_the_threshold_sends_less_on_the_chip():
    """7 at v_th 3: clocked 2 spikes at once, event by event one, and 4 is left; - 5 takes it away."""
    layer = EventLayer("n", np.asarray([[[[7]], [[-5]]]]), (2, 1, 1), 3, -3)
    x = np.zeros((2, 2, 1, 1), dtype=np.int64)
    x[[0, 1], [0, 1]] = 1
    assert clocked.simulate(layer_graph(layer), x[:, np.newaxis]).spikes["n"].ravel().tolist() == [2, 0]
    trace = events.simulate(EventNetwork((2, 1, 1), (Destination("n"),), (layer,)), from_raster(x))
    assert trace.spikes["n"].t.tolist() == [0] and trace.v_mem["n"].item() == -1


def test_order_and_floor_by_hand():
    """Weights 3 and -3 at v_th 3 in one bin: together 0. In this order a spike; the other way round the floor makes one."""
    layer = EventLayer("n", np.asarray([[[[3]], [[-3]]]]), (2, 1, 1), 3, 0)
    together = np.ones((1, 1, 2, 1, 1), dtype=np.int64)
    assert not clocked.simulate(layer_graph(layer), together).spikes["n"].any()
    network = EventNetwork((2, 1, 1), (Destination("n"),), (layer,))
    for channels in ([0, 1], [1, 0]):
        trace = events.simulate(network, np.asarray([[0, c, 0, 0] for c in channels]))
        assert (trace.n_spikes["n"], trace.v_mem["n"].item()) == (1, 0)
    deep = replace(layer, v_min=-100)
    trace = events.simulate(replace(network, layers=(deep,)), np.asarray([[0, 1, 0, 0], [0, 0, 0, 0]]))
    assert trace.n_spikes["n"] == 0  # without the floor only a partial sum above the threshold makes one


@settings(max_examples=60, deadline=None)
@given(layers(), st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_without_a_floor_spikes_are_those_of_the_largest_sum_so_far(layer, seed, per_bin):
    """floor(M / v_th), M the largest sum of weights after each event, or at the ends of bins."""
    layer = replace(layer, weight=np.minimum(layer.weight, layer.v_th), v_min=-(2**15), reset="soft")
    x = one_a_bin(seed, layer.in_shape)
    driven = events.simulate(EventNetwork(layer.in_shape, (Destination("n"),), (layer,)), from_raster(x)).counts["n"]
    binned = np.add.reduceat(x, np.arange(0, len(x), per_bin))
    graph = layer_graph(layer)
    run = clocked.simulate(graph, binned[:, np.newaxis]).spikes["n"].sum(axis=(0, 1))
    silent = replace(graph, nodes=tuple(replace(n, v_th=2**30) if isinstance(n, Iaf) else n for n in graph.nodes))
    sums = clocked.simulate(silent, x[:, np.newaxis], record_state=True).v_mem["n"][:, 0]  # type: ignore[index]
    ends = clocked.simulate(silent, binned[:, np.newaxis], record_state=True).v_mem["n"][:, 0]  # type: ignore[index]
    np.testing.assert_array_equal(driven, np.maximum(0, sums.max(axis=0)) // layer.v_th)
    np.testing.assert_array_equal(run, np.maximum(0, ends.max(axis=0)) // layer.v_th)
    assert (driven >= run).all()


def deep(v_th: int = 40) -> IntGraph:
    """Two convolutions and a linear layer; the second convolution also reads the input, beside the first one's channels."""
    rng = np.random.default_rng(0)
    nodes = (
        Input("x", (2, 8, 8), "graded", 255), Conv2d("c0", rng.integers(-40, 41, (4, 2, 3, 3)), padding=(1, 1)),
        Iaf("n0", (4, 8, 8), v_th, -v_th), Conv2d("c1", rng.integers(-40, 41, (4, 4, 3, 3)), padding=(1, 1)),
        Conv2d("skip", rng.integers(0, 41, (4, 2, 1, 1))), Iaf("n1", (4, 8, 8), 40, -40),
        SumPool2d("p", (4, 4)), Flatten("f"), Linear("fc", rng.integers(-40, 41, (6, 16))), Iaf("n2", (6,), 40, -40),
        Vote("vote", 3, 2),
    )  # fmt: skip
    pairs = [("x", "c0"), ("c0", "n0"), ("n0", "c1"), ("c1", "n1"), ("x", "skip"), ("skip", "n1"), ("n1", "p"), ("p", "f"),
             ("f", "fc"), ("fc", "n2"), ("n2", "vote")]  # fmt: skip
    return IntGraph(nodes, tuple(Edge(*pair) for pair in pairs), 1)


def recordings(n: int = 6, n_events: int = 300) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(n):
        t = np.sort(rng.choice(3200, n_events, replace=False))
        found.append(np.stack([t, rng.integers(0, 2, n_events), rng.integers(0, 8, n_events), rng.integers(0, 8, n_events)], 1))
    return tuple(found)


def test_report_holds_the_figures_of_both_runs(monkeypatch):
    net, x = deep(), recordings()
    report = gap(net, x, (2, 8, 8), 3200, 16)
    driven = run_streams(net, x, duration_us=3200)
    raster = np.stack([np.zeros((16, 2, 8, 8), dtype=np.int64) for _ in x])
    for one, stream in zip(raster, x, strict=True):
        np.add.at(one, (stream[:, 0] // 200, *stream[:, 1:].T), 1)
    run = run_rasters(net, raster, duration_us=3200)
    for layer in report.layers:
        assert layer.total.n_event == driven.n_spikes[layer.name].sum()
        assert layer.total.n_clocked == run.n_spikes[layer.name].sum()
        assert layer.own.n_event == layer.total.n_event > 100
        assert layer.n_over_threshold == 0
        assert abs(layer.total.n_event - layer.total.n_clocked) <= layer.total.sum_abs
    assert report.layers[0].own == report.layers[0].total  # both get the sensor's events
    assert report.layers[1].own != report.layers[1].total
    assert report.agreement == (driven.predictions == run.predictions).mean()
    assert predictions(run.class_counts[np.newaxis])[0].tolist() == run.predictions.tolist()
    assert (report.bin_us, report.n_samples, report.binary) == (200, 6, False)
    monkeypatch.setattr("neurodeploy.sim.event_gap._CHUNK_VALUES", 1)
    assert gap(net, x, (2, 8, 8), 3200, 16) == report


def test_the_gap_falls_with_the_bin_and_to_zero_for_the_first_layer():
    first, second, third, finest = gap_table(deep(), recordings(), (2, 8, 8), 3200, (4, 16, 64, 3200))
    assert [r.n_bins for r in (first, second, third, finest)] == [4, 16, 64, 3200]
    for layer in range(3):
        shares = [r.layers[layer].own.per_neuron for r in (first, second, third)]
        assert shares == sorted(shares, reverse=True) and shares[0] > 0.01
    assert finest.layers[0].total.sum_abs == 0  # one event a bin
    assert finest.layers[2].own.sum_abs > 0  # but several spikes


def test_weights_beyond_the_threshold_are_counted_and_widen_the_gap():
    with_rule, without = (gap(deep(v_th), recordings(), (2, 8, 8), 3200, 3200).layers[0] for v_th in (40, 20))
    assert with_rule.n_over_threshold == 0 and with_rule.total.sum_abs == 0
    assert without.n_over_threshold > 0 and without.total.sum_abs > 0


def test_an_input_of_zeros_and_ones_is_clocked_with_those():
    net = deep()
    binary = replace(net, nodes=(Input("x", (2, 8, 8), "spikes"), *net.nodes[1:]))
    report, counted = (gap(n, recordings(), (2, 8, 8), 3200, 4) for n in (binary, net))
    assert report.binary and report.layers[0].total.n_clocked < counted.layers[0].total.n_clocked
    assert report.layers[0].own == report.layers[0].total


def test_relative_differences_and_plain_values():
    half = Difference(50, 100, 60)
    assert (half.relative, half.per_neuron) == (0.5, 0.6)
    assert Difference(0, 0, 0).relative == 0 == Difference(0, 0, 0).per_neuron
    assert Difference(3, 0, 3).to_dict() == {"n_clocked": 3, "n_event": 0, "sum_abs": 3, "relative": None, "per_neuron": None}
    plain = gap(deep(), recordings(2), (2, 8, 8), 3200, 8).to_dict()
    assert set(plain) == {"n_bins", "bin_us", "n_samples", "binary", "layers", "agreement"}
    assert set(plain["layers"][0]) == {"name", "n_over_threshold", "total", "own"}


def test_bad_input():
    with pytest.raises(UsageError, match="0 samples"):
        gap(deep(), (), (2, 8, 8), 3200, 8)
    with pytest.raises(UsageError, match="Samples last 100 us"):
        gap(deep(), recordings(1), (2, 8, 8), 100, 8)
