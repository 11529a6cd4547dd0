"""The event-driven simulators: hand-worked vectors, the fast one against the slow one, cuts, orders, errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.sim import events, events_reference
from neurodeploy.sim.events_load import core_loads
from neurodeploy.sim.events_network import Destination, EventLayer, EventNetwork
from neurodeploy.sim.events_stream import from_raster, rows
from neurodeploy.sim.events_trace import first_difference

from speck_events import networks, streams

BOTH = pytest.mark.parametrize("simulate", [events_reference.simulate, events.simulate], ids=["reference", "fast"])
ORDERS = pytest.mark.parametrize("order", ["depth", "breadth"])


def point(weights: list[list[int]], v_th: int, **more: object) -> EventLayer:
    """A layer of neurons at one position; weights [O][I]."""
    weight = np.asarray(weights, dtype=np.int64)[..., np.newaxis, np.newaxis]
    given_ = {"name": "a", "v_min": -v_th, **more}
    return EventLayer(weight=weight, in_shape=(weight.shape[1], 1, 1), v_th=v_th, **given_)  # type: ignore[arg-type]


def alone(layer: EventLayer, bits: int = 16) -> EventNetwork:
    return EventNetwork(layer.in_shape, (Destination(layer.name),), (layer,), bits)


def on_channels(*channels: int) -> np.ndarray:
    """One event a time step, on these channels of a sensor of one pixel."""
    return np.asarray([[t, c, 0, 0] for t, c in enumerate(channels)], dtype=np.int64).reshape(-1, 4)


@BOTH
def test_one_spike_per_update_and_the_rest_waits(simulate):
    """v = 7 - 3 = 4 >= 3, silent; + 0 = 4, a spike, 1; - 9 is clipped to -3; + 0 at exactly the threshold fires."""
    net = alone(point([[7, 0, -9, 6]], 3))
    for n, (v, spikes) in enumerate([(4, 1), (1, 2), (-3, 2), (0, 3)], start=1):
        trace = simulate(net, on_channels(0, 1, 2, 3), stop=n)
        assert (trace.v_mem["a"].item(), len(trace.spikes["a"])) == (v, spikes)
    assert trace.spikes["a"].t.tolist() == [0, 1, 3]


@BOTH
def test_hard_reset_forgets_what_was_above_the_threshold(simulate):
    trace = simulate(alone(point([[7, 0]], 3, reset="hard")), on_channels(0, 1))
    assert (trace.v_mem["a"].item(), len(trace.spikes["a"])) == (0, 1)


@BOTH
def test_additions_saturate_and_are_counted(simulate):
    """4 bits: -8..7. 5 + 5 saturates to 7, and 7 - 6 = 1 after the spike; 1 - 8 stays inside; - 8 again leaves."""
    net = alone(point([[5, -8]], 6, v_min=-8), bits=4)
    trace = simulate(net, on_channels(0, 0, 1, 1))
    assert (trace.v_mem["a"].item(), len(trace.spikes["a"]), trace.n_saturations["a"]) == (-8, 1, 2)


@BOTH
def test_positions_go_row_by_row_then_channels(simulate):
    layer = EventLayer("a", np.ones((2, 1, 2, 3), dtype=np.int64), (1, 4, 4), 1, 0, padding=(1, 1))
    trace = simulate(alone(layer), np.asarray([[5, 0, 1, 1]]))
    assert trace.spikes["a"].tcyx.tolist() == [
        [5, f, oy, ox] for oy in (1, 2) for ox in (0, 1, 2) for f in (0, 1)
    ]  # fmt: skip
    assert trace.n_synops == {"a": 12}


@BOTH
def test_asymmetric_kernel_is_a_correlation(simulate):
    """Neuron (oy, ox) sees the event at (1, 2) through weight [1 - oy, 2 - ox]."""
    weight = np.arange(1, 7).reshape(1, 1, 2, 3)
    trace = simulate(alone(EventLayer("a", weight, (1, 3, 4), 100, -100)), np.asarray([[0, 0, 1, 2]]))
    assert trace.v_mem["a"].tolist() == [[[6, 5], [3, 2]]]


def crossing(second_first: bool) -> EventNetwork:
    """The input excites `up` (two spikes, weight 4 each at the end) and `down` (two spikes, weight -4 each)."""
    up = point([[1], [1]], 1, name="up", destinations=(Destination("end"),))
    down = replace(up, name="down", destinations=(Destination("end", feature_shift=2),))
    end = point([[4, 4, -4, -4]], 4, name="end", v_min=-2)
    entry = (Destination("down"), Destination("up")) if second_first else (Destination("up"), Destination("down"))
    return EventNetwork((1, 1, 1), entry, (up, down, end))


@BOTH
def test_orders_differ_only_where_paths_meet(simulate):
    """Depth first the input's first destination decides; breadth first it is the order of the layers."""
    one = on_channels(0)
    wanted = {(False, "depth"): (-2, 2), (False, "breadth"): (-2, 2), (True, "depth"): (2, 1), (True, "breadth"): (-2, 2)}
    for (swapped, order), (v, n_spikes) in wanted.items():
        trace = simulate(crossing(swapped), one, order=order)
        assert (trace.v_mem["end"].item(), trace.n_spikes["end"]) == (v, n_spikes)


@BOTH
@ORDERS
def test_ticks_add_the_bias_before_events_of_their_time(simulate, order):
    """Interval 10: ticks at 10 and 20 before the event at 20, at 30 and 40 after the last. 3 per tick, threshold 6."""
    net = alone(point([[1]], 6, bias=np.asarray([3])))
    stream = np.asarray([[9, 0, 0, 0], [20, 0, 0, 0]])
    trace = simulate(net, stream, order=order, tick_interval=10, t_end=45)
    # 1, 4, 7 -> spike, 1, event 2, tick 5, tick 8 -> spike, 2
    assert trace.spikes["a"].t.tolist() == [20, 40]
    assert trace.spikes["a"].cause.tolist() == [1, 2]
    assert (trace.v_mem["a"].item(), trace.n_tick_updates["a"], trace.n_synops["a"]) == (2, 4, 2)
    assert not simulate(net, stream, order=order).n_spikes["a"]


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_fast_equals_reference(data):
    net = data.draw(networks())
    stream = data.draw(streams(net))
    how = {
        "order": data.draw(st.sampled_from(["depth", "breadth"])),
        "tick_interval": data.draw(st.sampled_from([None, 3, 7])),
        "t_end": data.draw(st.sampled_from([None, 100])),
    }
    slow = events_reference.simulate(net, stream, **how)
    fast = events.simulate(net, stream, **how)
    assert first_difference(slow, fast) is None
    assert slow.synops_by_event is not None
    assert dict(zip(net.index, slow.synops_by_event.sum(axis=0).tolist(), strict=True)) == slow.n_synops


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_run_in_two_parts_is_the_whole_run(data):
    net = data.draw(networks())
    stream = data.draw(streams(net))
    cut = data.draw(st.integers(0, len(stream)))
    how = {"order": data.draw(st.sampled_from(["depth", "breadth"])), "tick_interval": 3, "t_end": 60}
    whole = events.simulate(net, stream, **how)
    if cut == len(stream):
        return
    one = events.simulate(net, stream, stop=cut, **how)
    two = events.simulate(net, stream, first=cut, v_init=one.v_mem, **how)
    for name in net.index:
        joined = [np.concatenate([getattr(p.spikes[name], k) for p in (one, two)]) for k in ("t", "cause", "neuron")]
        for mine, k in zip(joined, ("t", "cause", "neuron"), strict=True):
            np.testing.assert_array_equal(mine, getattr(whole.spikes[name], k))
        np.testing.assert_array_equal(two.v_mem[name], whole.v_mem[name])
        assert one.n_synops[name] + two.n_synops[name] == whole.n_synops[name]


def small_chain() -> tuple[EventNetwork, np.ndarray]:
    """Two layers that both fire, and a stream."""
    rng = np.random.default_rng(3)
    one = EventLayer("one", rng.integers(-20, 60, (4, 2, 3, 3)), (2, 8, 8), 60, -60, padding=(1, 1),
                     destinations=(Destination("two", (2, 2)),))  # fmt: skip
    two = EventLayer("two", rng.integers(-20, 40, (3, 4, 4, 4)), (4, 4, 4), 90, -90)
    stream = np.stack([np.arange(200) // 3, *(rng.integers(0, n, 200) for n in (2, 8, 8))], axis=1)
    return EventNetwork((2, 8, 8), (Destination("one"),), (one, two)), stream


def test_batch_equals_single_runs_and_stops_each_sample():
    net, stream = small_chain()
    streams_ = [stream, stream[50:], stream[:120], np.zeros((0, 4), dtype=np.int64)]
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        traces = events.simulate_batch(net, streams_, stop=[200, 60, 10, 5], by_event=True)
    finally:
        torch.set_num_threads(threads)
    for x, stop, trace in zip(streams_, (200, 60, 10, 5), traces, strict=True):
        assert first_difference(trace, events_reference.simulate(net, x, stop=stop)) is None
    assert traces[0].n_spikes["two"] > traces[1].n_spikes["two"] > 0
    assert events.simulate_batch(net, []) == []
    with pytest.raises(UsageError, match="3 stops for 4"):
        events.simulate_batch(net, streams_, stop=[1, 2, 3])


def test_recording_changes_nothing_else():
    net, stream = small_chain()
    full, lean = events.simulate(net, stream), events.simulate(net, stream, record=["two"], by_event=False)
    assert list(lean.spikes) == ["two"] and lean.synops_by_event is None
    np.testing.assert_array_equal(full.spikes["two"].tcyx, lean.spikes["two"].tcyx)
    assert full.n_synops == lean.n_synops and full.n_spikes == lean.n_spikes
    assert first_difference(full, lean) == "spikes of one recorded in only one of the runs"


def test_votes_and_rasters_count_every_spike_once():
    net, stream = small_chain()
    trace = events.simulate(net, stream)
    spikes = trace.spikes["two"]
    raster = spikes.raster(67)
    np.testing.assert_array_equal(raster.sum(axis=0), trace.counts["two"])
    assert raster.sum() == len(spikes) > 10
    votes = spikes.votes(np.arange(0, 201, 20), "event")
    assert votes.shape == (10, 3)
    for n in (20, 100):
        cut = events.simulate(net, stream, stop=n).counts["two"][:, 0, 0]
        np.testing.assert_array_equal(votes[: n // 20].sum(axis=0), cut)
    np.testing.assert_array_equal(spikes.votes(np.arange(68), "time"), raster[:, :, 0, 0])
    assert spikes.votes([0, 100], "event").sum() < len(spikes)
    with pytest.raises(UsageError, match="a spike at time"):
        spikes.raster(3)


def test_raster_to_events_and_back():
    x = np.zeros((2, 1, 2, 2), dtype=np.uint8)
    x[0, 0, 1, 0], x[1, 0, 0, 1], x[0, 0, 0, 1] = 2, 1, 1
    assert from_raster(x).tolist() == [[0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 1]]
    with pytest.raises(UsageError, match="a raster of shape"):
        from_raster(x.astype(np.float32))


def test_load_by_hand():
    """Events at 0, 1 and 10 us with 2 synops each: 4 synops in 2 us, 6 in 11 us."""
    net = alone(point([[1], [1]], 9))
    trace = events.simulate(net, np.asarray([[0, 0, 0, 0], [1, 0, 0, 0], [10, 0, 0, 0]]))
    (load,) = core_loads([trace], 1e-6, 2e-6, limit_per_s=1.5e6)
    assert (load.name, load.n_synops, load.over) == ("a", 6, True)
    assert load.peak_per_s == pytest.approx(2e6) and load.mean_per_s == pytest.approx(6 / 11e-6)  # rounding of the units
    assert not core_loads([trace, trace], 1e-6, 10e-6, limit_per_s=1.5e6, duration_s=1.0)[0].over
    assert core_loads([trace, trace], 1e-6, 10e-6, duration_s=1.0)[0].mean_per_s == 6
    with pytest.raises(UsageError, match="by_event"):
        core_loads([events.simulate(net, on_channels(0), by_event=False)], 1e-6, 1e-6)
    with pytest.raises(UsageError, match="no samples"):
        core_loads([], 1e-6, 1e-6)
    with pytest.raises(UsageError, match="window_s 0"):
        core_loads([trace], 1e-6, 0)


@BOTH
def test_streams_that_are_none(simulate):
    net, stream = small_chain()
    for bad, what in (
        (stream[:, [0, 2, 3, 1]], "lie outside the sensor"),
        (stream[::-1], "time 65 after 66"),
        (stream - [1, 0, 0, 0], "first event is at time -1"),
        (stream[:, :3], "events of shape"),
        (stream.astype(float), "events of shape"),
    ):
        with pytest.raises(UsageError, match=what):
            simulate(net, bad)
    with pytest.raises(UsageError, match="events 9 to 3"):
        simulate(net, stream, first=9, stop=3)
    with pytest.raises(UsageError, match="tick_interval is 0"):
        simulate(net, stream, tick_interval=0)
    with pytest.raises(NeurodeployError, match="one: no initial states"):
        simulate(net, stream, v_init={})
    with pytest.raises(UsageError, match="order 'deep'"):
        simulate(net, stream, order="deep")


def test_unknown_recorded_layer():
    with pytest.raises(UsageError, match="no layer nowhere"):
        events.simulate(*small_chain(), record=["nowhere"])


def test_networks_that_are_none():
    ok = point([[1]], 1, destinations=(Destination("b"),))
    loop = point([[1]], 1, name="b", destinations=(Destination("a"),))
    entry = (Destination("a"),)
    for layers, what in (
        ((ok, loop), "events would run in a circle"),
        ((ok,), "an unknown destination"),
        ((ok, replace(ok)), "names of their own"),
        ((), "no layer"),
        ((replace(ok, destinations=()), point([[1, 1]], 1, name="b")), None),
        ((replace(ok, destinations=(Destination("b", (1, 1), 1),)), point([[1]], 1, name="b")), "channels 1..1"),
        ((replace(ok, weight=np.ones((1, 1, 2, 2), dtype=np.int64)),), "does not fit the input map"),
        ((replace(ok, weight=np.full((1, 1, 1, 1), 40000)),), "beyond 16 bits"),
        ((replace(ok, weight=np.ones((1, 1, 1, 1))),), "type float64"),
        ((replace(ok, weight=np.ones((1, 2, 1, 1), dtype=np.int64)),), "1 input channels for weights of 2"),
        ((replace(ok, v_th=-1),), "v_th -1"),
        ((replace(ok, v_min=1),), "v_min 1"),
        ((replace(ok, v_th=0, v_min=0),), "every update would fire"),
        ((replace(ok, stride=(0, 1)),), "stride"),
        ((replace(ok, reset="sub"),), "reset 'sub'"),
        ((replace(ok, bias=np.ones(2, dtype=np.int64)),), "bias has shape"),
    ):
        if what is None:
            EventNetwork((1, 1, 1), entry, layers)
            continue
        with pytest.raises(NeurodeployError, match=what):
            EventNetwork((1, 1, 1), entry, layers)
    with pytest.raises(NeurodeployError, match="meets an input map"):
        EventNetwork((1, 4, 4), (Destination("a", (2, 2)),), (replace(ok, destinations=()),))
    with pytest.raises(NeurodeployError, match="state_bits is 17"):
        EventNetwork((1, 1, 1), entry, (replace(ok, destinations=()),), 17)


def test_rows_put_ticks_where_they_belong():
    net, _ = small_chain()
    stream = np.asarray([[3, 0, 0, 0], [3, 1, 0, 0], [9, 0, 1, 1]])
    found = rows(net, stream, tick_interval=4, t_end=13)
    assert found.t.tolist() == [3, 3, 4, 8, 9, 12]
    assert found.cause.tolist() == [0, 1, 2, 2, 2, 3]
    assert (found.cyx[:, 0] < 0).tolist() == [False, False, True, True, False, True]
