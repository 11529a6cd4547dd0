"""Which neurons are updated, and what is read out, where layers delay, keep graded states or start with one; by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import CubaLif, Delta, Input, Linear, Node, Sigma, SigmaDelta
from neurodeploy.sim import clocked, reference
from neurodeploy.sim.trace import first_difference

both = pytest.mark.parametrize("simulate", [reference.simulate, clocked.simulate], ids=["reference", "clocked"])


def chain(*nodes: Node) -> IntGraph:
    edges = tuple(Edge(a.name, b.name, int(b.is_synapse)) for a, b in pairwise(nodes))
    return IntGraph(nodes, edges, 3)


def once(n: int, *values: int) -> np.ndarray:
    """`values` in the first timestep, then nothing for n - 1."""
    x = np.zeros((n, 1, len(values)), dtype=np.int64)
    x[0, 0] = values
    return x


@both
def test_a_delayed_event_updates_when_it_is_due(simulate: Any) -> None:
    delays = np.array([[0, 2], [1, 1], [3, 0]])
    weight = np.array([[64, 64], [0, 0], [1, 64]])  # an event through a weight of zero is an event
    graph = chain(
        Input("x", shape=(2,), kind="spikes"), Linear("s", weight=weight, delays=delays),
        CubaLif("n", shape=(3,), v_decay=4096, v_th=63),
    )
    first = simulate(graph, once(6, 1, 0), 6).updated["n"][:, 0].T.tolist()
    # Neuron 0: at step 1, and at 2 because the current of the spike is still there (it forgets in step 2). Neuron 2 gets
    # its event at step 4, below the threshold: current and membrane are there at 5.
    assert first == [[False, True, True, False, False, False], [False, False, True, False, False, False],
                     [False, False, False, False, True, True]]
    second = simulate(graph, once(6, 0, 1), 6)
    assert second.spikes["n"][:, 0].T.tolist() == [[0, 0, 0, 1, 0, 0], [0] * 6, [0, 1, 0, 0, 0, 0]]
    assert second.updated["n"][:, 0].T.tolist() == [
        [False, False, False, True, True, False], [False, False, True, False, False, False],
        [False, True, True, False, False, False]]


@both
def test_a_state_at_the_start_is_updated(simulate: Any) -> None:
    graph = chain(
        Input("x", shape=(1,), kind="spikes"), Linear("s", weight=np.array([[2]] * 3)),
        CubaLif("n", shape=(3,), v_decay=4096, v_th=63, i_init=np.array([8, 0, 0]), v_init=np.array([0, -5, 0])),
    )
    trace = simulate(graph, once(3, 0), 3, record_state=True)
    assert trace.updated["n"][:, 0].T.tolist() == [[True, False, False], [True, False, False], [False] * 3]
    assert trace.v_mem["n"][:, 0].T.tolist() == [[0] * 3] * 3  # i_decay 4096 forgets 8 before it is added


@both
def test_updates_of_sigma_delta_layers(simulate: Any) -> None:
    graph = chain(
        Input("x", shape=(2,), kind="graded", max_value=9, signed=True), Delta("d", shape=(2,), v_th=5),
        Linear("s", weight=np.array([[2, 0]])), SigmaDelta("n", shape=(1,), v_th=1), Linear("t", weight=np.array([[-1]])),
        Sigma("o", shape=(1,)),
    )
    trace = simulate(graph, once(5, 5, -4), 5, record_state=True)
    # Step 1 takes 5 back; -4 is kept as a residue, and 4 back then meets it: nothing to send.
    assert trace.spikes["d"][:, 0].T.tolist() == [[5, -5, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert trace.updated["d"][:, 0].T.tolist() == [[True, True, False, False, False], [True, True, False, False, False]]
    assert trace.v_mem["d"][:, 0].T.tolist() == [[5, 0, 0, 0, 0], [-4, 0, 0, 0, 0]]
    assert trace.spikes["n"][:, 0, 0].tolist() == [0, 10, -10, 0, 0]
    assert trace.updated["n"][:, 0, 0].tolist() == [False, True, True, False, False]
    assert trace.spikes["o"][:, 0, 0].tolist() == trace.v_mem["o"][:, 0, 0].tolist() == [0, 0, -10, 0, 0]
    assert trace.updated["o"][:, 0, 0].tolist() == [False, False, True, True, False]
    assert trace.spikes["d"].dtype == np.int32 and "d" not in trace.i_syn
    assert trace.n_spikes == {"x": 2, "d": 2, "n": 2, "o": 1}  # messages, whatever they hold


@both
def test_a_bias_updates_a_sigma_delta_layer_for_ever(simulate: Any) -> None:
    graph = chain(
        Input("x", shape=(1,), kind="graded", max_value=9), Linear("s", weight=np.array([[1], [1]])),
        SigmaDelta("n", shape=(2,), v_th=9, bias_mant=np.array([-1, 0])),
    )
    assert simulate(graph, once(3, 0), 3).updated["n"][:, 0].T.tolist() == [[True] * 3, [False] * 3]


@both
def test_read_outs(simulate: Any) -> None:
    graph = chain(
        Input("x", shape=(1,), kind="spikes"), Linear("s", weight=np.array([[64]])),
        CubaLif("n", shape=(1,), i_decay=2048, v_decay=0, v_th=63), Linear("t", weight=np.array([[1]])), Sigma("o", shape=(1,)),
    )
    x = once(4, 1)
    lava, chip = (simulate(graph, x, 4, record_state=True, v_readout=name) for name in ("lava", "loihi2"))
    # 4096 > 4032 fires; the current stays: 2048, 1024 into an empty membrane.
    assert lava.spikes["n"][:, 0, 0].tolist() == [0, 1, 0, 0]
    assert lava.v_mem["n"][:, 0, 0].tolist() == [0, 0, 2048, 3072]
    assert chip.v_mem["n"][:, 0, 0].tolist() == [0, 128, 2048, 3072]
    assert (first_difference(lava, chip) or "").startswith("v_mem of n: 0 != 128 at timestep 1")
    for kind in ("spikes", "updated", "i_syn"):
        assert all(np.array_equal(a, getattr(chip, kind)[name]) for name, a in getattr(lava, kind).items())
    assert np.array_equal(lava.v_mem["o"], chip.v_mem["o"]) and lava.v_mem["o"].any()
    assert simulate(graph, x, 4, v_readout="loihi2").v_mem is None
    assert simulate(graph, x, 4, record_state=True).v_mem["n"][1, 0, 0] == 0  # Lava's is the default


@both
def test_a_read_out_nobody_knows_is_refused(simulate: Any) -> None:
    graph = chain(Input("x", shape=(1,), kind="spikes"), CubaLif("n", shape=(1,)))
    with pytest.raises(UsageError, match="loihi1") as caught:
        simulate(graph, once(1, 0), v_readout="loihi1")
    assert caught.value.error_code == "unknown_readout" and "lava" in caught.value.remedy
    with pytest.raises(UsageError, match="unknown target"):
        simulate(graph, once(1, 0), v_readout="elsewhere")


@both
def test_states_beyond_32_bits_are_an_error(simulate: Any) -> None:
    source = Input("x", shape=(1,), kind="graded", max_value=2**20)
    graph = chain(source, Linear("s", weight=np.array([[2**10]])), Sigma("n", shape=(1,)))
    x = np.full((4, 1, 1), 2**20)
    assert simulate(graph, x, 2).spikes["n"].max() == 2**30
    with pytest.raises(NeurodeployError, match="n: its state reaches") as caught:
        simulate(graph, x, 3)
    assert caught.value.error_code == "overflow"
