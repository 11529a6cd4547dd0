"""Many samples at once: totals as those of single runs, votes in windows, clocked runs in the same numbers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, Flatten, Iaf, Input, Linear, Node, SumPool2d, Vote
from neurodeploy.sim import event_runs, events
from neurodeploy.sim.event_runs import rates, run_rasters, run_streams
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.events_network import INPUT
from neurodeploy.sim.readout import readout

from speck_events import networks, streams

DURATION = 10_000


def chain(*nodes: Node) -> IntGraph:
    return IntGraph(nodes, tuple(Edge(a.name, b.name) for a, b in pairwise(nodes)), 1)


def small(group: int = 2) -> IntGraph:
    """A convolution with an odd map under its pool, two layers, three classes."""
    rng = np.random.default_rng(0)
    return chain(
        Input("x", (2, 7, 6), "graded", 255), Conv2d("c0", rng.integers(-9, 20, (3, 2, 3, 3)), padding=(1, 1)),
        Iaf("n0", (3, 7, 6), 24, -24), SumPool2d("p", (2, 2)), Flatten("f"),
        Linear("fc", rng.integers(-9, 15, (3 * group, 27))), Iaf("n1", (3 * group,), 30, -30, v_init=np.full(3 * group, 7)),
        Vote("vote", 3, group),
    )  # fmt: skip


def samples(net: IntGraph, n: int, seed: int = 0) -> list[np.ndarray]:
    """Streams of different lengths, the second one empty."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        n_events = 0 if i == 1 else int(rng.integers(20, 90))
        t = np.sort(rng.integers(0, DURATION, n_events))
        found.append(np.stack([t, *(rng.integers(0, size, n_events) for size in net.inputs[0].shape)], axis=1))
    return found


@pytest.mark.parametrize("chunk", [1, 2**27])
def test_totals_are_those_of_single_runs(chunk, monkeypatch):
    monkeypatch.setattr(event_runs, "_CHUNK_BYTES", chunk)
    net = small()
    x = samples(net, 7)
    runs = run_streams(net, x, duration_us=DURATION)
    network, states = from_graph(net)
    traces = [events.simulate(network, stream, v_init=states) for stream in x]
    assert runs.n_events.tolist() == [len(stream) for stream in x]
    for name in network.index:
        assert runs.n_spikes[name].tolist() == [t.n_spikes[name] for t in traces]
        assert runs.n_synops[name].tolist() == [t.n_synops[name] for t in traces]
        assert runs.n_saturations[name].tolist() == [0] * 7
        assert runs.n_dropped[name].tolist() == [t.n_dropped[name] for t in traces]
        mean = np.mean([t.counts[name] for t in traces], axis=0).reshape(net.shapes[name])
        assert runs.mean_counts[name].shape == net.shapes[name]
        np.testing.assert_allclose(runs.mean_counts[name], mean, atol=1e-12)
        assert runs.n_spikes[name].sum() > 20
    assert runs.n_dropped["n0"].sum() > 0 and runs.n_dropped["x"].tolist() == [0] * 7
    assert runs.mean_counts["x"].sum() == pytest.approx(np.mean(runs.n_events))
    last = [t.counts["n1"].reshape(3, 2).sum(axis=1) for t in traces]
    assert runs.class_counts.tolist() == np.asarray(last).tolist()
    assert runs.predictions.tolist() == np.argmax(last, axis=1).tolist()
    assert len({*runs.predictions.tolist()}) > 1


def test_a_silent_sample_answers_the_lowest_class():
    runs = run_streams(small(), samples(small(), 3), duration_us=DURATION)
    assert runs.predictions[1] == 0 and runs.n_silent == 1 and runs.n_samples == 3


@pytest.mark.parametrize("by", ["event", "time"])
def test_votes_add_up_and_stops_cut_them(by):
    net = small()
    x = samples(net, 6)
    runs = run_streams(net, x, duration_us=DURATION)
    edges = np.arange(0, 100, 10) if by == "event" else np.arange(0, DURATION + 1, 1000)
    votes = runs.votes(edges, by)
    assert votes.shape == (len(edges) - 1, 6, 3) and votes.dtype == np.float64
    np.testing.assert_array_equal(votes.sum(axis=0), runs.class_counts / 2)
    stops = [int(np.searchsorted(s[:, 0], 3000)) if by == "time" else 30 for s in x]
    few = run_streams(net, x, duration_us=DURATION, stop=stops)
    np.testing.assert_array_equal(votes[:3].sum(axis=0), few.class_counts / 2)
    assert 0 < few.class_counts.sum() < runs.class_counts.sum()
    assert (few.n_synops["n0"] <= runs.n_synops["n0"]).all()
    assert few.n_events.tolist() == [min(s, len(e)) for s, e in zip(stops, x, strict=True)]
    assert few.mean_counts["x"].sum() * 6 == pytest.approx(few.n_events.sum())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_synops_are_spikes_times_fan_out(data):
    network = data.draw(networks())
    synops = dict.fromkeys(network.index, 0)
    rows = data.draw(streams(network))
    trace = events.simulate(network, rows)
    counts = {INPUT: np.zeros(network.input_shape, dtype=np.int64), **trace.counts}
    np.add.at(counts[INPUT], tuple(rows[:, 1:].T), 1)
    for source, sent in counts.items():
        for layer, fan_out in network.fan_outs(source):
            synops[layer] += int((sent * fan_out).sum())
    assert synops == trace.n_synops


def test_clocked_runs_count_what_the_chip_would_do(monkeypatch):
    """The first layer gets the same events either way, so it has the same synops; totals do not depend on the chunks."""
    net = small()
    rng = np.random.default_rng(3)
    rasters = rng.poisson(0.05, (5, 8, 2, 7, 6)).astype(np.uint8)
    runs = run_rasters(net, rasters, duration_us=DURATION)
    x = [np.repeat(np.argwhere(r), r[r > 0], axis=0) for r in rasters]
    driven = run_streams(net, x, duration_us=DURATION)
    assert runs.n_events.tolist() == driven.n_events.tolist()
    assert runs.n_synops["n0"].tolist() == driven.n_synops["n0"].tolist()
    np.testing.assert_array_equal(runs.mean_counts["x"], driven.mean_counts["x"])
    network, _ = from_graph(net)
    ((_, fan_out),) = network.fan_outs("n0")
    assert runs.n_synops["n1"].sum() == pytest.approx((runs.mean_counts["n0"] * fan_out).sum() * 5)
    assert runs.votes.shape == (8, 5, 3) and (runs.votes.sum(axis=0) == runs.class_counts / 2).all()
    assert runs.n_spikes["n1"].sum() == runs.class_counts.sum() > 10
    monkeypatch.setattr(event_runs, "_CHUNK_BYTES", 1)
    one_by_one = run_rasters(net, rasters, duration_us=DURATION)
    np.testing.assert_array_equal(one_by_one.votes, runs.votes)
    for name in ("n0", "n1"):
        np.testing.assert_array_equal(one_by_one.peak_synops_per_s[name], runs.peak_synops_per_s[name])


def test_rates_by_hand():
    """4 synops an event: two events within 1 ms, one 5 ms later; 2 samples of 10 ms, the second empty."""
    net = chain(Input("x", (1, 1, 1), "spikes"), Conv2d("c", np.ones((4, 1, 1, 1), dtype=np.int64)), Iaf("n", (4, 1, 1), 9, -9))
    x = [np.asarray([[0, 0, 0, 0], [999, 0, 0, 0], [5999, 0, 0, 0]]), np.zeros((0, 4), dtype=np.int64)]
    (load,) = rates(run_streams(net, x, duration_us=10_000), limit_per_s=8000.0)
    assert (load.name, load.n_synops, load.over) == ("n", 12, False)
    assert load.mean_per_s == pytest.approx(600) and load.peak_per_s == pytest.approx(8000)
    (load,) = rates(run_streams(net, x, duration_us=10_000, window_us=500), limit_per_s=7900.0)
    assert load.peak_per_s == pytest.approx(8000) and load.over
    rasters = np.zeros((2, 4, 1, 1, 1), dtype=np.uint8)
    rasters[0, [0, 1, 2]] = 1
    (load,) = rates(run_rasters(net, rasters, duration_us=4000, window_us=1500))
    assert load.peak_per_s == pytest.approx(8 / 2e-3) and load.mean_per_s == pytest.approx(12 / 8e-3)


def test_classes_behind_pools():
    """Without a Vote each channel is a class; with one, pooled positions are neurons of the vote, and odd edges none."""
    conv = Conv2d("c", np.ones((2, 1, 1, 1), dtype=np.int64))
    channels = readout(chain(Input("x", (1, 2, 3), "spikes"), conv, Iaf("n", (2, 2, 3), 1)))
    assert (channels.n_classes, channels.group, channels.classes.tolist()) == (2, 1, [0] * 6 + [1] * 6)
    pooled = readout(
        chain(Input("x", (1, 3, 4), "spikes"), conv, Iaf("n", (2, 3, 4), 1), SumPool2d("p", (2, 2)), Flatten("f"), Vote("v", 4))
    )
    rows = [[0, 0, 1, 1], [0, 0, 1, 1], [-1] * 4, [2, 2, 3, 3], [2, 2, 3, 3], [-1] * 4]
    assert pooled.classes.reshape(6, 4).tolist() == rows
    net = chain(Input("x", (1, 1, 1), "spikes"), Conv2d("c", np.ones((2, 1, 1, 1), dtype=np.int64)))
    with pytest.raises(NeurodeployError, match="Conv2d with 1 sources"):
        readout(net)


def test_bad_input():
    net = small()
    x = samples(net, 2)
    with pytest.raises(UsageError, match="Samples last 100 us"):
        run_streams(net, x, duration_us=100)
    with pytest.raises(UsageError, match="no samples"):
        run_streams(net, [], duration_us=DURATION)
    with pytest.raises(UsageError, match="1 stops for 2 samples"):
        run_streams(net, x, duration_us=DURATION, stop=[3])
    with pytest.raises(UsageError, match="window_us 0"):
        run_streams(net, x, duration_us=DURATION, window_us=0)
    with pytest.raises(UsageError, match="rasters of shape"):
        run_rasters(net, np.zeros((0, 4, 2, 7, 6)), duration_us=DURATION)
