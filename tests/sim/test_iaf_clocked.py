"""DYNAP-CNN's neuron on both simulators: equal on random networks, counts and updates worked by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, Iaf, Input, Linear, Node, SumPool2d, Vote
from neurodeploy.sim import clocked, reference
from neurodeploy.sim.exit import simulate_until
from neurodeploy.sim.trace import first_difference

from random_graphs import iaf_graphs, inputs_for

SEEN: Counter[str] = Counter()
both = pytest.mark.parametrize("simulate", [reference.simulate, clocked.simulate], ids=["reference", "clocked"])


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def compare(data: st.DataObject) -> None:
    """One random network on both simulators, the fast one in windows and chunks of a drawn size."""
    graph = data.draw(iaf_graphs())
    x = data.draw(inputs_for(graph))
    n_steps = data.draw(st.none() | st.integers(1, 9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clocked, "_WORKING_SET", data.draw(st.sampled_from([1, 50, 300, 2**21])))
        try:
            slow = reference.simulate(graph, x, n_steps, True)
        except NeurodeployError as error:
            with pytest.raises(NeurodeployError) as refused:
                clocked.simulate(graph, x, n_steps, True)
            assert error.error_code == refused.value.error_code == "overflow"
            SEEN.update(graphs=1, overflowing=1)
            return
        fast = clocked.simulate(graph, x, n_steps, True)
    assert first_difference(slow, fast) is None
    assert slow.n_spikes == fast.n_spikes
    SEEN.update(graphs=1, recurrent=not graph.is_acyclic, voting=bool(slow.votes.sum() > 0))
    SEEN.update(idle=any(not flags.all() for flags in slow.updated.values()))
    for node in graph.nodes:
        SEEN.update(pools=isinstance(node, SumPool2d) and node.kernel != (1, 1))
        if isinstance(node, Iaf):
            spikes = slow.spikes[node.name]
            assert spikes.min() >= 0 and (node.multi_spike or spikes.max() <= 1)
            SEEN.update(fires=spikes.any(), several=spikes.max() > 1, hard=node.reset == "hard" and spikes.any())
            SEEN.update(single=not node.multi_spike and spikes.any(), no_floor=node.v_min is None)
            SEEN.update(on_the_floor=node.v_min is not None and bool((slow.v_mem[node.name] == node.v_min).any()))  # type: ignore[index]


def test_equal_on_random_networks() -> None:
    SEEN.clear()
    compare()
    assert SEEN["graphs"] >= 200
    assert SEEN["fires"] > SEEN["graphs"] / 2
    for feature in ("recurrent", "voting", "pools", "several", "hard", "single", "no_floor", "on_the_floor", "idle"):
        assert SEEN[feature] > 10, SEEN


def test_samples_may_be_dropped() -> None:
    graph, x = pooled_net(), np.random.default_rng(2).integers(0, 4, (5, 6, 2, 4, 5))
    whole = reference.simulate(graph, x, 5)
    network = clocked.Clocked(graph, 6)
    alive = np.arange(6)
    for t in range(5):
        spikes = network.step(x[t, alive])
        for name, values in spikes.items():
            assert np.array_equal(values, whole.spikes[name][t, alive])
        for name, flags in network.updated.items():
            assert np.array_equal(flags, whole.updated[name][t, alive])
        mask = np.ones(len(alive), dtype=bool)
        mask[t % len(alive)] = False
        network.keep(mask)
        alive = alive[mask]
    assert whole.spikes["m"].max() > 1


def pooled_net() -> IntGraph:
    rng = np.random.default_rng(1)
    nodes = (
        Input("in", shape=(2, 4, 5), kind="graded", max_value=3),
        Conv2d("c", weight=rng.integers(-60, 90, (3, 2, 3, 3)), padding=(1, 1)),
        Iaf("n", shape=(3, 4, 5), v_th=50, v_min=-50), SumPool2d("p", kernel=(2, 2)),
        Conv2d("d", weight=rng.integers(-30, 90, (2, 3, 1, 1))), Iaf("m", shape=(2, 2, 2), v_th=40, v_min=-40),
    )
    edges = (Edge("in", "c"), Edge("c", "n"), Edge("n", "p"), Edge("p", "d"), Edge("d", "m"))
    return IntGraph(nodes, edges, 5)


def dense(weight: list[list[int]], top: int = 9, **neuron: Any) -> IntGraph:
    w = np.array(weight)
    nodes: tuple[Node, ...] = (
        Input("in", shape=(w.shape[1],), kind="graded", max_value=top), Linear("fc", weight=w),
        Iaf("n", **{"shape": (len(w),), "v_th": 10, **neuron}), Vote("vote", n_classes=len(w)),
    )
    return IntGraph(nodes, (Edge("in", "fc"), Edge("fc", "n"), Edge("n", "vote")), 3)


@both
def test_spikes_are_counted_not_messages(simulate: Any) -> None:
    trace = simulate(dense([[7, 0], [0, -1]]), np.array([[[3, 2]], [[0, 0]], [[9, 1]]]), record_state=True)
    # 21: two spikes, 1 stays; nothing; 1 + 63 = 64: six spikes.
    assert trace.spikes["n"][:, 0].tolist() == [[2, 0], [0, 0], [6, 0]]
    assert trace.v_mem["n"][:, 0].tolist() == [[1, -2], [1, -2], [4, -3]]
    assert trace.n_spikes == {"in": 15, "n": 8}
    assert trace.votes[:, 0].tolist() == [[2, 0], [0, 0], [6, 0]]
    assert trace.i_syn == {}


@both
def test_a_state_alone_updates_nothing(simulate: Any) -> None:
    x = np.array([[[1, 0]], [[0, 0]], [[0, 1]]])
    updated = simulate(dense([[7, 0], [0, 0]]), x).updated["n"][:, 0].tolist()
    assert updated == [[True, True], [False, False], [True, True]]  # the event comes through a weight of zero as well
    biased = simulate(dense([[7, 0], [0, 0]], bias=np.array([0, 3])), x).updated["n"][:, 0].tolist()
    assert biased == [[True, True], [False, True], [True, True]]
    # 3 x 7 = 21 at one spike a step: what is left fires again, and that is an update.
    again = simulate(dense([[7, 0]], multi_spike=False), 3 * x)
    assert again.spikes["n"][:, 0].tolist() == [[1], [1], [0]]
    assert again.updated["n"][:, 0].tolist() == [[True], [True], [True]]


def test_early_exit_on_counts() -> None:
    graph = dense([[7, 1], [2, 9]])
    x = np.random.default_rng(4).integers(0, 4, (3, 20, 2))
    trace = clocked.simulate(graph, x)
    never, at_once = (simulate_until(graph, x, ConfidencePolicy(threshold=t)) for t in (2.0, 0.0))
    assert np.array_equal(never.answers, trace.logits[-1].argmax(axis=1)) and set(never.exit_steps) == {3}
    assert np.array_equal(at_once.answers, trace.logits[0].argmax(axis=1)) and set(at_once.exit_steps) == {1}
    assert trace.spikes["n"].max() > 1 and len(set(never.answers)) == 2


@both
def test_an_event_passes_a_pool(simulate: Any) -> None:
    nodes = (
        Input("in", shape=(1, 3, 4), kind="graded", max_value=9), SumPool2d("p", kernel=(2, 2)),
        Conv2d("c", weight=np.array([[[[0]]]])), Iaf("n", shape=(1, 1, 2)),
    )
    graph = IntGraph(nodes, (Edge("in", "p"), Edge("p", "c"), Edge("c", "n")), 2)
    x = np.zeros((2, 1, 1, 3, 4), dtype=np.int64)
    x[0, 0, 0, 1, 2] = 5
    x[1, 0, 0, 2, 0] = 5  # in the odd last row: dropped
    assert simulate(graph, x).updated["n"].reshape(2, 2).tolist() == [[False, True], [False, False]]


@both
def test_a_state_beyond_32_bits_is_refused(simulate: Any) -> None:
    x = np.full((3, 1, 1), 9)
    graph = dense([[2**26]], multi_spike=False, v_init=np.array([2**31 - 1 - 9 * 2**26]))
    assert simulate(graph, x, 1).spikes["n"].tolist() == [[[1]]]
    with pytest.raises(NeurodeployError, match="its state reaches") as caught:
        simulate(graph, x)
    assert caught.value.where == "n" and "several spikes" in str(caught.value)
    assert simulate(dense([[2**26]]), x).n_spikes["n"] == 27 * 2**26 // 10


@both
def test_counts_stay_within_the_input(simulate: Any) -> None:
    for value in (-1, 10):
        with pytest.raises(UsageError, match="input values span"):
            simulate(dense([[1]]), np.full((3, 1, 1), value))
