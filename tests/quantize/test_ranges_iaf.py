"""Bounds of DYNAP-CNN's neurons: those of the clocked simulation, and those of single events on the chip."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from neurodeploy.errors import NeurodeployError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.intervals import Intervals
from neurodeploy.ir.nodes import Conv2d, Iaf, Input, Lif, Linear, SumPool2d
from neurodeploy.ir.reference import evaluate, walk
from neurodeploy.quantize import quantize
from neurodeploy.quantize.event_ranges import EventRange, event_ranges
from neurodeploy.quantize.ranges import LayerRange, analyse

from random_graphs import iaf_graphs, inputs_for


def dense(weight: list[list[int]], top: int = 3, **neuron: Any) -> IntGraph:
    w = np.array(weight)
    nodes = (
        Input("x", shape=(w.shape[1],), kind="graded", max_value=top), Linear("s", weight=w),
        Iaf("n", **{"shape": (len(w),), "v_th": 10, "v_min": -10, **neuron}),
    )
    return IntGraph(nodes, (Edge("x", "s"), Edge("s", "n")), 4)


def bounds(**fields: Any) -> LayerRange:
    (found,), violations = analyse(dense([[6, -4]], **fields))
    assert not violations  # a clocked state is the simulation's, not the chip's
    return found


def test_bounds_by_hand() -> None:
    assert bounds() == LayerRange("n", -12, 18, 0, 2**15 - 1, 27, 2**15 - 1, clip_reachable=False, message_bound=2)
    assert bounds(v_init=np.array([15])).v_mem_bound == 15 + 18 and bounds(v_init=np.array([15])).message_bound == 3
    assert bounds(bias=np.array([5])).v_mem_bound == 9 + 18 + 5
    assert bounds(v_min=-60).v_mem_bound == 72
    # Without a floor it sinks, at one spike a step and 18 in it rises; a reset to zero forgets what is left.
    assert bounds(v_min=None).v_mem_bound == bounds(multi_spike=False).v_mem_bound == -1
    assert bounds(multi_spike=False, reset="hard").v_mem_bound == 27 and bounds(multi_spike=False).message_bound == 1
    assert bounds(multi_spike=False, v_th=18).v_mem_bound == 17 + 18
    assert bounds(v_th=2**15 - 17).clip_reachable and not bounds(v_th=2**15 - 18).clip_reachable


def test_the_bounds_are_reached() -> None:
    graph = dense([[6, -4]])
    x = np.array([[[3, 0]], [[0, 3]], [[0, 3]]])
    spikes = evaluate(graph, x)["n"][:, 0, 0].tolist()
    assert spikes == [1, 0, 0]
    # 9 before the last step, and 18 more: two spikes.
    assert evaluate(graph, np.array([[[1, 0]], [[1, 1]], [[3, 3]], [[3, 0]]]))["n"].max() == bounds().message_bound == 2


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_run_leaves_its_bounds(data: st.DataObject) -> None:
    graph = data.draw(iaf_graphs())
    x = data.draw(inputs_for(graph))
    ranges, violations = analyse(graph)
    assert {v.where for v in violations} <= {n.name for n in graph.nodes if isinstance(n, Conv2d)}
    values = Intervals(graph)
    by_name = {r.layer: r for r in ranges}
    try:
        moments = list(walk(graph, x))
    except NeurodeployError as error:
        assume(error.error_code != "overflow")
        raise
    for moment in moments:
        for node in graph.nodes:
            interval, out = values.output(node.name), moment.output[node.name]
            if interval is not None and node.name != "vote":
                assert interval[0] <= out.min() and out.max() <= interval[1]
            if isinstance(node, Iaf):
                found = by_name[node.name]
                v = moment.before[node.name]["v_mem"] + moment.total[node.name] + node.bias
                assert found.a_max is None or (found.a_min <= moment.total[node.name].min())  # type: ignore[operator]
                assert found.a_max is None or moment.total[node.name].max() <= found.a_max
                assert found.v_mem_bound < 0 or np.abs(v).max() <= found.v_mem_bound
                assert found.message_bound < 0 or out.max() <= found.message_bound


def test_messages_grow_through_pools() -> None:
    nodes = (
        Input("x", shape=(1, 4, 4), kind="spikes"), SumPool2d("p", kernel=(2, 4)), Conv2d("c", weight=np.array([[[[3]]]])),
        Iaf("n", shape=(1, 2, 1), v_th=5), SumPool2d("q", kernel=(2, 1)), Conv2d("d", weight=np.array([[[[-2]]]])),
        Iaf("m", shape=(1, 1, 1), v_min=-1),
    )
    edges = tuple(Edge(a.name, b.name) for a, b in pairwise(nodes))
    graph = IntGraph(nodes, edges, 3)
    values = Intervals(graph)
    # 8 spikes through 3, on top of 4: 28 // 5 spikes each, two of them behind the second pool.
    assert [values.output(n) for n in ("p", "c", "n", "q", "d", "m")] == [(0, 8), (0, 24), (0, 5), (0, 10), (-20, 0), (0, 0)]
    assert values.total("m") == (0, 0) and values.total("n") is None
    out = evaluate(graph, np.ones((3, 1, 1, 4, 4), dtype=np.int64))
    assert out["n"].max() == 5


def event_range(weight: list[list[int]], **fields: Any) -> EventRange:
    (found,) = event_ranges(dense(weight, **fields))
    return found


def test_events_by_hand() -> None:
    assert event_range([[6, -4]]) == EventRange("n", 10, -4, 6, -10, 9, below_threshold=True, saturates=False)
    assert event_range([[10, -4]]).below_threshold and not event_range([[11, -4]]).below_threshold
    above = event_range([[11, -4]])
    assert (above.v_high, above.saturates) == (2**15 - 1, True)
    assert event_range([[11, -4]], reset="hard").v_high == 9
    assert event_range([[1, 0]]).v_low == 0
    assert event_range([[-1, 0]], v_min=None) == EventRange("n", 10, -1, 0, -(2**15), 9, below_threshold=True, saturates=True)
    assert event_range([[6, -4]], v_min=-(2**15) + 4).saturates is False
    assert event_range([[6, -4]], v_min=-(2**15) + 3).saturates
    assert event_range([[6, -4]], v_th=2**15 - 6).saturates is False and event_range([[6, -4]], v_th=2**15 - 5).saturates
    assert not event_range([[6, -4]], v_th=2**15).below_threshold  # no state reaches it
    assert not event_range([[6, -4]], v_init=np.array([10])).below_threshold
    assert event_range([[6, -4]], bias=np.array([-7])).add_min == -7
    assert event_range([[6, -4]]) == event_range([[6, -4], [0, 0]])
    assert event_range([[6, -4]]).to_dict()["add_max"] == 6


@given(
    st.lists(st.integers(-60, 60), min_size=1, max_size=4), st.integers(1, 60), st.none() | st.integers(-60, 0),
    st.sampled_from(["soft", "hard"]), st.integers(4, 7), st.integers(0, 2**32 - 1),
)
def test_no_events_leave_their_bounds(
    weights: list[int], v_th: int, v_min: int | None, reset: str, bits: int, seed: int
) -> None:
    found = event_range([weights], v_th=v_th, v_min=v_min, reset=reset, state_bits=bits)
    top = 2 ** (bits - 1) - 1
    v, saturated = 0, False
    for w in np.random.default_rng(seed).choice(weights, size=80).tolist():
        saturated |= not -top - 1 <= v + w <= top
        v = min(max(v + w, -top - 1), top)
        if v >= v_th:
            v = 0 if reset == "hard" else v - v_th
        v = v if v_min is None else max(v, v_min)
        assert found.v_low <= v <= found.v_high
        assert v < v_th or not found.below_threshold
    assert found.saturates or not saturated


@pytest.mark.parametrize(("fields", "what"), [({"multi_spike": True}, "several spikes"), ({"v_min": -1.0}, "a floor of -1")])
def test_loihi_does_not_quantize_them(fields: dict[str, Any], what: str) -> None:
    nodes = (Input("x", shape=(2,), kind="spikes"), Linear("s", weight=np.ones((1, 2))), Lif("n", shape=(1,), **fields))
    graph = Graph(nodes, (Edge("x", "s", 1), Edge("s", "n")), 2)
    with pytest.raises(NeurodeployError, match=what) as caught:
        quantize(graph, target("loihi2"))
    assert caught.value.where == "n" and caught.value.error_code == "cannot_quantize" and caught.value.remedy
