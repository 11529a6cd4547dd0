"""Bounds that no input exceeds, that the worst input attains, and a violation wherever something could wrap."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neurodeploy.errors import DoesNotFit
from neurodeploy.fixedpoint import decay_toward_zero, shift_signed
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Lif, Linear, MaxPool2d
from neurodeploy.ir.reference import walk
from neurodeploy.lower import lower
from neurodeploy.quantize import quantize
from neurodeploy.quantize.ranges import LayerRange, analyse

from random_graphs import int_graphs

CHIP = target("loihi2")
HALF = 2**23


def dense(weight: Any, *, kind: Any = "spikes", top: int = 1, T: int = 3, **neuron: Any) -> IntGraph:
    weight = np.asarray(weight, dtype=np.int64)
    nodes = (Input("x", (weight.shape[1],), kind=kind, max_value=top), Linear("s", weight=weight),
             CubaLif("n", shape=(len(weight),), **neuron))
    return IntGraph(nodes, (Edge("x", "s", 1), Edge("s", "n")), T, target="loihi2")


def extremes(graph: IntGraph, x: np.ndarray, n_steps: int | None = None) -> dict[str, tuple[int, int, int]]:
    """Per neuron layer what a run reached: smallest and largest drive, largest membrane before clip and reset."""
    found = {n.name: (0, 0, 0, 0) for n in graph.neurons}
    for moment in walk(graph, x, n_steps):
        for node in graph.neurons:
            assert isinstance(node, CubaLif)
            a, before, u = moment.total[node.name], moment.before[node.name]["v_mem"], moment.after[node.name]["i_syn"]
            if node.reset_interval and (moment.t + 1) % node.reset_interval == node.reset_offset % node.reset_interval:
                before = np.zeros_like(before)
            v = decay_toward_zero(before, node.v_decay) + u + shift_signed(node.bias_mant, node.bias_exp)
            low, high, i, m = found[node.name]
            found[node.name] = (
                min(low, int(a.min())), max(high, int(a.max())), max(i, int(np.abs(u).max())), max(m, int(np.abs(v).max()))
            )
    return found  # type: ignore[return-value]


decays = st.sampled_from([0, 1, 700, 2048, 4095, 4096])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), i_decay=decays, v_decay=decays, v_th=st.sampled_from([0, 30, 400, 131071]),
    bias=st.sampled_from([0, 5, -300]), interval=st.sampled_from([None, 1, 2, 3]), top=st.sampled_from([1, 7, 255]),
)
def test_the_worst_of_all_inputs_attains_the_bounds_of_a_tiny_layer(
    seed: int, i_decay: int, v_decay: int, v_th: int, bias: int, interval: int | None, top: int
) -> None:
    """All 8^3 sequences of three elements at 0 or their largest value (every quantity is monotone in each of them)."""
    rng = np.random.default_rng(seed)
    graph = dense(
        rng.integers(-128, 128, (2, 3)) * 2, kind="spikes" if top == 1 else "graded", top=top, i_decay=i_decay, v_decay=v_decay,
        v_th=v_th, bias_mant=np.array([bias, 2 * bias]), reset_interval=interval, reset_offset=2,
    )  # fmt: skip
    x = np.array(list(product((0, top), repeat=9))).reshape(-1, 3, 3).transpose(1, 0, 2)
    (bound,), violations = analyse(graph)
    low, high, i_syn, v_mem = extremes(graph, x, 4)["n"]  # type: ignore[misc]
    assert (low, high) == (bound.a_min, bound.a_max)
    assert bool(violations) == (bound.i_syn_bound == -1 or bound.i_syn_bound >= HALF)
    if violations:  # a current that wraps is no longer monotone in anything: nothing more is claimed
        return
    assert bound.i_syn_bound == -1 or i_syn <= bound.i_syn_bound
    assert bound.v_mem_bound == -1 or v_mem <= bound.v_mem_bound
    if i_decay == 4096:
        assert i_syn == bound.i_syn_bound
        if v_decay == 4096 and bias == 0:
            assert v_mem == bound.v_mem_bound  # memoryless: the membrane is the current
    elif interval is not None:
        # The drive held at its worst: the bound is reached in the last step before a reset.
        assert i_syn == bound.i_syn_bound
    assert bound.clip_reachable == (bound.v_mem_bound == -1 or bound.v_mem_bound >= HALF)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graph=int_graphs(), seed=st.integers(0, 2**32 - 1))
def test_no_input_of_a_random_network_exceeds_its_bounds(graph: IntGraph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    entry = graph.inputs[0]
    low = -entry.max_value if entry.kind == "bias" else 0
    size = (5, 6, *entry.shape)
    x = rng.choice([low, entry.max_value], size=size)
    x[:, 0], x[:, 1], x[:, 2] = entry.max_value, low, rng.integers(low, entry.max_value + 1, size=x[:, 2].shape)
    ranges, violations = analyse(graph)
    found = extremes(graph, x, 12)
    assert [r.layer for r in ranges] == [n.name for n in graph.neurons]
    for bound in ranges:
        a_min, a_max, i_syn, v_mem = found[bound.layer]  # type: ignore[misc]
        assert bound.a_min <= a_min and a_max <= bound.a_max
        assert bound.i_syn_bound == -1 or i_syn <= max(bound.i_syn_bound, HALF)
        if not violations:
            assert bound.i_syn_bound < HALF
            assert i_syn <= bound.i_syn_bound  # had it wrapped, signs would have turned, but not beyond the bound either
            assert bound.v_mem_bound == -1 or v_mem <= bound.v_mem_bound
            assert bound.clip_reachable or v_mem < HALF


def worst(weight: int, n: int, **neuron: Any) -> tuple[LayerRange, tuple[Any, ...]]:
    (bound,), violations = analyse(dense(np.full((1, n), weight), **neuron))
    return bound, violations


def test_the_last_current_that_fits_and_the_first_that_wraps() -> None:
    """131,071 * 64 = 2^23 - 64 is the largest drive that stays below 2^23."""
    bound, violations = worst(1, 131071)
    assert (bound.i_syn_bound, bound.i_syn_limit, violations) == (HALF - 64, HALF - 1, ())
    bound, (violation,) = worst(-1, 131072)
    assert bound.i_syn_bound == HALF
    assert (violation.rule, violation.where) == ("range", "n")
    assert "its current can reach 8388608" in violation.what and "8388607" in violation.limit
    assert "smaller fan-in" in violation.remedy
    graph = dense(np.full((1, 131072), -1))
    last = list(walk(graph, np.ones((1, 1, 131072), dtype=np.int64)))[-1]
    assert last.after["n"]["i_syn"].item() == HALF  # the drive was negative: it has turned around


def test_a_current_without_decay_grows() -> None:
    bound, (violation,) = worst(2, 3, i_decay=0)
    assert bound.i_syn_bound == bound.v_mem_bound == -1 and "grow without bound" in violation.what
    bound, violations = worst(2, 3, i_decay=0, reset_interval=5)
    assert bound.i_syn_bound == 5 * 6 * 64 and violations == ()
    bound, violations = worst(2, 3, i_decay=1024)
    assert bound.i_syn_bound == 4 * 6 * 64 and violations == ()
    bound, violations = worst(0, 3, i_decay=0)
    assert bound.i_syn_bound == 0 and violations == ()


def test_the_clip_of_the_membrane_is_reported_where_it_can_be_reached() -> None:
    """-256 from 20 neurons for T steps: -327,680 a step; the 26th passes -2^23."""
    for steps, reachable in ((25, False), (26, True)):
        graph = dense(np.full((1, 20), -256), T=steps, v_decay=0, v_th=100, reset_interval=steps, reset_offset=2)
        (bound,), violations = analyse(graph)
        assert (bound.v_mem_bound, bound.clip_reachable, violations) == (steps * 327680, reachable, ())
        last = list(walk(graph, np.ones((steps, 1, 20), dtype=np.int64)))[-1]
        assert (last.after["n"]["v_mem"].item() == -(HALF - 1)) == reachable
    (bound,), _ = analyse(dense(np.full((1, 20), -256), v_decay=0))
    assert bound.clip_reachable and bound.v_mem_bound == -1
    # Upwards the threshold stops it: 100 * 64 at most stays, one drive more is the most it can reach.
    (bound,), _ = analyse(dense(np.full((1, 20), 254), v_decay=0, v_th=100))
    assert (bound.v_mem_bound, bound.clip_reachable) == (100 * 64 + 20 * 254 * 64, False)


def test_biases_count_towards_the_membrane_not_the_current() -> None:
    graph = dense([[2, -2]], v_decay=4096, bias_mant=np.array([-4095]), v_th=1)
    (bound,), _ = analyse(graph)
    assert (bound.i_syn_bound, bound.v_mem_bound) == (2 * 64, 4095 * 64 + 2 * 64)


def stem(n_in: int, n_out: int, k: int, v_th: float = 1.0) -> Graph:
    weight = np.abs(np.random.default_rng(0).normal(0.1, 0.02, (n_out, n_in, k, k)))
    nodes = (Input("x", (n_in, 8, 8)), Conv2d("stem.conv", weight=weight, padding=(k // 2, k // 2)),
             Lif("stem.neuron", shape=(n_out, 8, 8), inv_tau=0.5, v_th=v_th))
    return Graph(nodes, (Edge("x", "stem.conv"), Edge("stem.conv", "stem.neuron")), 4)


def test_graded_input_to_blame_names_input_bits_and_they_help() -> None:
    """A colour stem: 27 weights near 254 times 8-bit messages do not fit 24 bits; the bits of the remedy do."""
    with pytest.raises(DoesNotFit) as caught:
        quantize(lower(stem(3, 64, 3), CHIP, "graded", n_levels=256), CHIP)
    (violation,) = caught.value.violations
    assert violation.where == "stem.neuron" and "its current can reach" in violation.what
    assert violation.remedy == "Use fewer input levels first: input_bits = 4 would fit"
    assert caught.value.exit_code == 3
    net = quantize(lower(stem(3, 64, 3), CHIP, "graded", n_levels=256, input_bits=4), CHIP)
    assert net.quantization["ranges"][0]["i_syn_bound"] < HALF
    with pytest.raises(DoesNotFit):
        quantize(lower(stem(3, 64, 3), CHIP, "graded", n_levels=256, input_bits=5), CHIP)


def test_a_convolution_has_an_accumulator_of_its_own() -> None:
    """400 weights of 254 times 255 pass 2^23 before the shift: the synapse is named too."""
    with pytest.raises(DoesNotFit) as caught:
        quantize(lower(stem(16, 2, 5, v_th=0.1), CHIP, "graded", n_levels=256), CHIP)
    assert [v.where for v in caught.value.violations] == ["stem.conv", "stem.neuron"]
    assert "accumulator" in caught.value.violations[0].what
    assert all("input_bits" in v.remedy for v in caught.value.violations)
    # Where not even one bit would do.
    (violation,) = analyse(dense(np.full((1, 200000), 254), kind="graded", top=255), CHIP.arithmetic)[1]
    assert "input_bits below 8, and a smaller fan-in" in violation.remedy


def test_messages_are_followed_through_reshapes_pools_and_sums() -> None:
    nodes = (Input("x", (1, 4, 4), kind="graded", max_value=9), MaxPool2d("p"), Flatten("f"),
             Linear("s", weight=np.full((1, 4), 3)), CubaLif("n", shape=(1,)))
    edges = (Edge("x", "p"), Edge("p", "f"), Edge("f", "s", 1), Edge("s", "n"))
    assert analyse(IntGraph(nodes, edges, 2))[0][0].a_max == 9 * 4 * 3
    twice = IntGraph(nodes, (*edges, Edge("f", "s", 2)), 2)
    assert analyse(twice)[0][0].a_max == 2 * 9 * 4 * 3
    # Two synapses in a row, and values of both signs.
    nodes = (Input("x", (2,), kind="bias", max_value=9), Linear("a", weight=np.array([[1, -2]])),
             Linear("b", weight=np.array([[-5]])), CubaLif("n", shape=(1,)))
    signed = IntGraph(nodes, (Edge("x", "a", 1), Edge("a", "b"), Edge("b", "n")), 2)
    (bound,), _ = analyse(signed)
    assert (bound.a_min, bound.a_max) == (-135, 135)
    assert extremes(signed, np.array([[[9, -9]]]), 2)["n"][0] == -135


def test_two_groups_of_synapses_into_one_neuron_add_up_per_neuron() -> None:
    nodes = (Input("x", (1,), kind="spikes"), Linear("a", weight=np.array([[200], [0]])),
             Linear("b", weight=np.array([[0], [200]])), CubaLif("n", shape=(2,)))
    edges = (Edge("x", "a", 1), Edge("x", "b", 1), Edge("a", "n"), Edge("b", "n"))
    assert analyse(IntGraph(nodes, edges, 2))[0][0].a_max == 200
    both = replace(nodes[2], weight=np.array([[100], [200]]))  # type: ignore[type-var]
    assert analyse(IntGraph((*nodes[:2], both, nodes[3]), edges, 2))[0][0].a_max == 300
