"""Ranges of what spiking chains do not have: per-neuron constants, initial states, delays, exponents, loops, sigma-delta."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import NeurodeployError
from neurodeploy.fixedpoint import decay_toward_zero, shift_signed
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Delta, Input, Linear, Node, Sigma, SigmaDelta
from neurodeploy.ir.reference import evaluate, walk
from neurodeploy.quantize.ranges import LayerRange, analyse

import oracles
from loihi_networks import translate

HALF = 2**23
RECORDED = [
    pytest.param(path, id=path.stem) for path in sorted((oracles.GOLDEN / "loihi").glob("*.npz"))
    if "layers" in json.loads(str(oracles.npz(path).get("meta", "{}")))
]


def within(value: int, bound: int) -> bool:
    return bound == -1 or value <= bound


@pytest.mark.parametrize("path", RECORDED)
def test_no_recorded_run_leaves_its_bounds(path: Path) -> None:
    arrays = oracles.npz(path)
    graph, x = translate(json.loads(str(arrays["meta"])), arrays)
    ranges, violations = analyse(graph)
    bounds = {r.layer: r for r in ranges}
    broken = {v.where for v in violations}
    assert set(bounds) == {n.name for n in graph.neurons}
    for moment in walk(graph, x, len(x)):
        for node in graph.neurons:
            bound, a, after = bounds[node.name], moment.total[node.name], moment.after[node.name]
            wraps = any(e.src in broken for e in graph.incoming(node.name))
            if bound.a_min is not None and bound.a_max is not None and not wraps:
                assert bound.a_min <= a.min() and a.max() <= bound.a_max
            assert within(int(np.abs(moment.output[node.name]).max()), bound.message_bound)
            if isinstance(node, CubaLif):
                assert node.name in broken or within(int(np.abs(after["i_syn"]).max()), bound.i_syn_bound)
                if node.name not in broken and not wraps:
                    before = moment.before[node.name]["v_mem"]
                    if node.reset_interval and (moment.t + 1) % node.reset_interval == node.reset_offset % node.reset_interval:
                        before = np.zeros_like(before)
                    v = decay_toward_zero(before, node.v_decay) + after["i_syn"] + shift_signed(node.bias_mant, node.bias_exp)
                    assert within(int(np.abs(v).max()), bound.v_mem_bound)
            else:
                reached = max(int(np.abs(after[name]).max()) for name in ("sigma", "act") if name in after)
                assert within(reached, bound.v_mem_bound)


def one(*nodes: Node, **edges: Any) -> LayerRange:
    """Bounds of the last neuron of a chain in which every synapse takes a timestep."""
    wired = tuple(Edge(a.name, b.name, int(b.is_synapse)) for a, b in pairwise(nodes))
    ranges, violations = analyse(IntGraph(nodes, wired, 2))
    assert violations == ()
    return ranges[-1]


X = Input("x", shape=(2,), kind="spikes")


def test_the_neuron_that_forgets_least_counts() -> None:
    found = one(X, Linear("s", weight=np.array([[4, 2], [4, 2]])),
                CubaLif("n", shape=(2,), i_decay=np.array([4096, 2048]), v_decay=4096))
    assert (found.a_max, found.i_syn_bound) == (6, 2 * 6 * 64)
    weak = one(X, Linear("s", weight=np.array([[4, 2]])),
               CubaLif("n", shape=(1,), v_decay=np.array([0]), v_th=np.array([10]), i_decay=4096))
    assert weak.v_mem_bound == 10 * 64 + 6 * 64


def test_initial_states_count() -> None:
    synapse = Linear("s", weight=np.array([[4, 2]]))
    start = np.array([-10000])
    assert one(X, synapse, CubaLif("n", shape=(1,), i_init=start, i_decay=2048, v_decay=4096)).i_syn_bound == 5000 + 384
    assert one(X, synapse, CubaLif("n", shape=(1,), i_init=start, v_decay=4096)).i_syn_bound == 384  # forgotten at once
    # The membrane keeps all of it, and falls by nothing: no input is negative.
    assert one(X, synapse, CubaLif("n", shape=(1,), v_init=start, v_th=1)).v_mem_bound == 10000


def test_exponents_and_delays() -> None:
    weight = np.array([[5, -7, 6]])
    source = Input("x", shape=(3,), kind="spikes")
    neuron = CubaLif("n", shape=(1,), v_decay=4096)

    def drive(**fields: Any) -> tuple[int | None, int | None]:
        found = one(source, Linear("s", weight=weight, **fields), neuron)
        return found.a_min, found.a_max

    assert drive() == (-7, 11)
    assert drive(weight_exp=2) == (-28, 44)
    assert drive(weight_exp=-1) == (-4, 5)  # floors
    # 5 and 6 arrive apart and are floored apart: 2 + 3; -7 -> -4.
    assert drive(weight_exp=-1, delays=np.array([[0, 0, 3]])) == (-4, 5)
    assert drive(weight_exp=-3, delays=np.array([[0, 1, 2]])) == (-1, 0)
    graded = Input("x", shape=(3,), kind="graded", max_value=100)
    assert one(graded, Linear("s", weight=weight, binary=True), neuron).a_max == 11
    assert one(graded, Linear("s", weight=weight), neuron).a_max == 1100
    signed = Input("x", shape=(3,), kind="graded", max_value=100, signed=True)
    assert one(signed, Linear("s", weight=weight), neuron).a_max == 1800


def test_a_loop_of_spiking_neurons_is_bounded() -> None:
    nodes = (X, Linear("s", weight=np.full((2, 2), 10)), CubaLif("n", shape=(2,), v_decay=4096),
             Linear("r", weight=np.full((2, 2), 3)))
    edges = (Edge("x", "s", 1), Edge("s", "n"), Edge("n", "r", 1), Edge("r", "n"))
    (found,), violations = analyse(IntGraph(nodes, edges, 2))
    assert (found.a_max, found.i_syn_bound, violations) == (26, 26 * 64, ())


def sigma_delta(v_th: int = 0, **fields: Any) -> list[Node]:
    return [
        Input("x", shape=(2,), kind="graded", max_value=10, signed=True),
        Delta("d", shape=(2,), v_th=v_th, spike_exp=6, state_exp=6),
        Linear("s", weight=np.array([[3, -2]])), SigmaDelta("n", shape=(1,), v_th=1, spike_exp=6, state_exp=6, **fields),
    ]


def chained(nodes: list[Node]) -> IntGraph:
    edges = tuple(Edge(a.name, b.name, int(b.is_synapse)) for a, b in pairwise(nodes))
    return IntGraph(tuple(nodes), edges, 2)


def test_messages_of_a_delta_add_up_to_what_it_saw() -> None:
    graph = chained([*sigma_delta(bias_mant=np.array([4])), Linear("t", weight=np.array([[1]])), Sigma("out", shape=(1,))])
    (delta, neuron, out), violations = analyse(graph)
    # Delta: act within 10 << 12, a change of at most 20 << 12, sent as 20 << 6.
    assert (delta.v_mem_bound, delta.message_bound) == (10 << 12, 20 << 6)
    # Its messages add up to act >> 6, so sigma stays within 50 << 6, whatever the number of timesteps; the bias is 4 << 12.
    assert neuron.v_mem_bound == (50 << 6) + (4 << 12)
    assert (neuron.a_min, neuron.a_max) == (-5 * (20 << 6), 5 * (20 << 6))
    # SigmaDelta's own messages are floored by state_exp: their sum drifts, nothing is known.
    assert (out.v_mem_bound, out.message_bound) == (-1, -1) and violations == ()
    x = np.array([[[10, -10]]] * 3 + [[[-10, 10]]] * 3)
    assert int(evaluate(graph, x, 7)["d"].max()) == 20 << 6
    assert max(int(m.after["n"]["act"].max()) for m in walk(graph, x, 5)) == neuron.v_mem_bound


def test_what_a_delta_keeps_back_widens_the_bounds() -> None:
    (delta, neuron), _ = analyse(chained(sigma_delta(v_th=3)))
    kept = (3 << 12) - 1
    assert delta.message_bound == -(-((20 << 12) + kept) // 64)
    assert neuron.v_mem_bound >= 50 << 6


def test_without_floors_a_chain_of_sigma_delta_layers_is_bounded() -> None:
    nodes: list[Node] = [
        Input("x", shape=(1,), kind="graded", max_value=10), Delta("d", shape=(1,)), Linear("s", weight=np.array([[2]])),
        SigmaDelta("n", shape=(1,), activation="unit", bias_mant=np.array([-50])), Linear("t", weight=np.array([[-3]])),
        Sigma("out", shape=(1,)),
    ]
    (_, neuron, out), violations = analyse(chained(nodes))
    assert (neuron.v_mem_bound, out.v_mem_bound, violations) == (50, 150, ())  # act in -50..-30 or 0


def test_spikes_into_a_sigma_are_unknown_and_no_violation() -> None:
    found = one(X, CubaLif("l", shape=(2,)), Linear("s", weight=np.array([[1, 1]])), Sigma("n", shape=(1,)))
    assert (found.v_mem_bound, found.message_bound, found.a_max) == (-1, -1, 2)
    # Nor is it known what a spiking neuron behind it receives.
    behind = one(X, Sigma("g", shape=(2,)), Linear("s", weight=np.array([[1, 1]])), CubaLif("n", shape=(1,)))
    assert (behind.a_max, behind.i_syn_bound, behind.v_mem_bound, behind.clip_reachable) == (None, -1, -1, True)


def test_a_state_that_some_input_overruns_is_a_violation() -> None:
    nodes = sigma_delta()
    nodes[2] = Linear("s", weight=np.full((1, 2), 2**22))
    _, (violation,) = analyse(chained(nodes))
    reach = 2 * 10 * 2**28
    assert violation.where == "n" and f"reach {reach}" in violation.what and str(2**31 - 1) in violation.limit
    x = np.full((2, 1, 2), 10)
    with pytest.raises(NeurodeployError, match=f"n: its state reaches {reach}"):
        evaluate(chained(nodes), x, 3)


def test_a_convolution_with_its_own_width() -> None:
    source = Input("x", shape=(1, 1, 1), kind="graded", max_value=100)
    nodes = (source, Conv2d("c", weight=np.full((1, 1, 1, 1), 2), sum_bits=8), CubaLif("n", shape=(1, 1, 1), v_decay=4096))
    edges = (Edge("x", "c", 1), Edge("c", "n"))
    _, (violation,) = analyse(IntGraph(nodes, edges, 1))
    assert violation.where == "c" and "reach 200" in violation.what and "127" in violation.limit
    assert int(evaluate(IntGraph(nodes, edges, 1), np.full((1, 1, 1, 1, 1), 100), 2)["c"].min()) == 200 - 256


def test_a_reset_that_never_comes_takes_no_time() -> None:
    neuron = CubaLif("n", shape=(1,), i_decay=1, v_decay=4096, reset_interval=2**60)
    found = one(X, Linear("s", weight=np.array([[4, 2]])), neuron)
    assert found.i_syn_bound == 383 * 4096 + 1  # loses ceil(x / 4096) = 384 = 6 * 64 in a step, what it gains
