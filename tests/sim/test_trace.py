"""Updated neurons and votes, worked by hand, for both simulators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Linear, Sigma, Vote
from neurodeploy.sim import clocked, reference
from neurodeploy.sim.trace import first_difference

both = pytest.mark.parametrize("simulate", [reference.simulate, clocked.simulate], ids=["reference", "clocked"])


def dense(weight: list[list[int]], **neuron: Any) -> IntGraph:
    w = np.array(weight)
    n = len(weight)
    return IntGraph(
        (Input("in", shape=(w.shape[1],), kind="spikes"), Linear("fc", weight=w),
         CubaLif("n", **{"shape": (n,), "v_decay": 4096, "v_th": 63, **neuron}), Vote("vote", n_classes=n)),
        (Edge("in", "fc", 1), Edge("fc", "n"), Edge("n", "vote")), 3,
    )


@both
def test_updates(simulate: Any) -> None:
    graph = dense([[64, 0], [1, -1], [0, 0]])
    x = np.array([[[1, 0]], [[0, 0]], [[0, 0]]])
    trace = simulate(graph, x, 5)
    # Step 1: an event arrives everywhere, through zero weights too. Step 2: u of neurons 0 and 1 still holds the
    # current of step 1 (and v of neuron 1); neuron 2 is at rest. Step 3: v of neuron 1 decayed in step 2, all is quiet.
    assert trace.updated["n"][:, 0].tolist() == [
        [False, False, False], [True, True, True], [True, True, False], [False, False, False], [False, False, False]]
    assert trace.spikes["n"][:, 0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


@both
def test_an_event_counts_although_the_sum_is_zero(simulate: Any) -> None:
    graph = dense([[64, -64]])
    trace = simulate(graph, np.array([[[1, 1]], [[0, 0]], [[0, 0]]]))
    assert trace.updated["n"][:, 0, 0].tolist() == [False, True, False, False]
    assert trace.n_spikes == {"in": 2, "n": 0}


@both
def test_kernels_reach_their_window_only(simulate: Any) -> None:
    graph = IntGraph(
        (Input("in", shape=(2, 1, 5), kind="graded", max_value=7),
         Conv2d("c", weight=np.zeros((2, 1, 1, 2), dtype=np.int64), groups=2),
         CubaLif("n", shape=(2, 1, 4))), (Edge("in", "c", 1), Edge("c", "n")), 1,
    )
    x = np.zeros((1, 1, 2, 1, 5), dtype=np.int64)
    x[..., 1, 0, 1] = 7
    flags = simulate(graph, x).updated["n"][1, 0, :, 0]
    assert flags.tolist() == [[False] * 4, [True, True, False, False]]


@both
def test_a_bias_updates_always(simulate: Any) -> None:
    graph = dense([[0], [0]], bias_mant=np.array([5, 0]))
    assert simulate(graph, np.zeros((3, 1, 1), dtype=np.int64)).updated["n"][:, 0].tolist() == [[True, False]] * 4


@both
def test_bias_inputs_update_where_they_are_not_zero(simulate: Any) -> None:
    graph = IntGraph((Input("in", shape=(3,), kind="bias", max_value=99), CubaLif("n", shape=(3,), v_th=63, v_decay=4096)),
                     (Edge("in", "n"),), 2)
    trace = simulate(graph, np.array([[[0, -9, 64]]] * 2), 4)
    assert trace.updated["n"][:, 0].tolist() == [[False, True, True]] * 4
    assert trace.spikes["n"][:, 0].tolist() == [[0, 0, 1]] * 4


@both
def test_votes_are_in_model_time(simulate: Any) -> None:
    graph = IntGraph(
        (Input("in", shape=(1, 2, 2), kind="spikes"), Conv2d("c", weight=np.full((1, 1, 1, 1), 64)),
         CubaLif("n", shape=(1, 2, 2), v_decay=4096, v_th=63), Flatten("f"),
         Linear("fc", weight=64 * np.eye(4, dtype=np.int64)),
         CubaLif("o", shape=(4,), v_decay=4096, v_th=63), Vote("vote", n_classes=2, group=2)),
        (Edge("in", "c", 1), Edge("c", "n"), Edge("n", "f"), Edge("f", "fc", 1), Edge("fc", "o"), Edge("o", "vote")), 3,
    )
    x = np.zeros((3, 2, 1, 2, 2), dtype=np.int64)
    x[0, 0, 0, 0] = 1  # class 0 in full at model step 0
    x[2, 1, 0, 1, 1] = 1  # half of class 1 at model step 2, sample 1
    trace = simulate(graph, x)
    assert trace.n_steps == 5 and trace.batch == 2 and trace.votes.shape == (3, 2, 2)
    assert trace.votes[:, 0].tolist() == [[1, 0], [0, 0], [0, 0]]
    assert trace.votes[:, 1].tolist() == [[0, 0], [0, 0], [0, 0.5]]
    assert trace.logits[:, 0].tolist() == [[1, 0]] * 3
    assert simulate(graph, x, 1).votes.shape == (0, 2, 2)  # the pipeline has not delivered anything yet
    assert simulate(graph, x, 3).votes.shape == (1, 2, 2)


@both
def test_states_are_those_after_the_reset(simulate: Any) -> None:
    trace = simulate(dense([[64], [-3]]), np.ones((3, 1, 1), dtype=np.int64), 3, record_state=True)
    assert trace.v_mem["n"][:, 0].tolist() == [[0, 0], [0, -192], [0, -192]]
    assert trace.i_syn["n"][:, 0].tolist() == [[0, 0], [4096, -192], [4096, -192]]
    assert simulate(trace.graph, np.ones((3, 1, 1), dtype=np.int64)).v_mem is None


@both
def test_refusals(simulate: Any) -> None:
    graph = dense([[64]])
    ones = np.ones((3, 1, 1), dtype=np.int64)
    for x in (2 * ones, 1.0 * ones, np.concatenate([ones, ones], axis=2), ones[:0], ones[0]):
        with pytest.raises(UsageError):
            simulate(graph, x)
    with pytest.raises(UsageError, match="n_steps"):
        simulate(graph, np.ones((3, 1, 1), dtype=np.int64), 0)


def test_first_difference() -> None:
    graph = dense([[64, 0], [0, 64]])
    x = np.zeros((3, 1, 2), dtype=np.int64)
    a = reference.simulate(graph, x)
    x[1, 0, 1] = 1
    b = reference.simulate(graph, x)
    assert first_difference(a, a) is None
    assert (first_difference(a, b) or "").startswith("spikes of in: 0 != 1 at timestep 1, sample 0, neuron (1,)")
    assert first_difference(a, reference.simulate(graph, x, 2)) == "4 timesteps != 2"


def test_clocked_refuses_what_it_cannot_do_exactly() -> None:
    graph = dense([[2**60]])
    with pytest.raises(NeurodeployError, match="exact below"):
        clocked.Clocked(graph, 1)
    loop = IntGraph(
        (Input("in", shape=(1,), kind="spikes"), Linear("a", weight=np.array([[2]])), CubaLif("n", shape=(1,))),
        (Edge("in", "a"), Edge("a", "a", 1), Edge("a", "n")), 2,
    )
    with pytest.raises(NeurodeployError, match="loop without neurons"):
        clocked.Clocked(loop, 1)
    heavy = IntGraph((Input("in", shape=(1,), kind="graded", max_value=2**14), CubaLif("n", shape=(1,))), (Edge("in", "n"),), 1)
    large = replace(heavy, nodes=(replace(heavy.inputs[0], max_value=2**50), heavy.nodes[1]))
    clocked.Clocked(heavy, 1)
    with pytest.raises(NeurodeployError, match="its input reaches"):
        clocked.Clocked(large, 1)


def test_unbounded_messages_are_refused_when_they_get_too_large() -> None:
    """What a sigma-delta neuron sends has no bound before it is sent: the refusal comes with the value."""
    graph = IntGraph(
        (Input("in", shape=(1,), kind="graded", max_value=2**15), Sigma("s", shape=(1,)),
         Linear("fc", weight=np.array([[2**38]])), CubaLif("n", shape=(1,))),
        (Edge("in", "s"), Edge("s", "fc", 1), Edge("fc", "n")), 2,
    )
    assert clocked.simulate(graph, np.full((2, 1, 1), 2**5)).n_spikes["s"] == 3
    for value, where, what in ((2**8, "n", "its input reaches"), (2**15, "fc", "exact below")):
        with pytest.raises(NeurodeployError, match=what) as refused:
            clocked.simulate(graph, np.full((2, 1, 1), value))
        assert refused.value.where == where


def test_clocked_checks_its_arguments() -> None:
    network = clocked.Clocked(dense([[64]]), 2)
    with pytest.raises(UsageError):
        network.step(np.ones((3, 1), dtype=np.int64))
    with pytest.raises(UsageError):
        network.keep(np.array([True]))
    with pytest.raises(UsageError):
        network.keep(np.array([1, 0]))
