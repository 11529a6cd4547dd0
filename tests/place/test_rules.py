"""Every rule: one network that passes it, one that trips it, and what the message says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import (
    BatchNorm,
    Conv2d,
    CubaLif,
    Delta,
    Flatten,
    Iaf,
    Input,
    Lif,
    Linear,
    MaxPool2d,
    SigmaDelta,
    Vote,
)
from neurodeploy.place import check, place, suggest
from neurodeploy.place.case import Case
from neurodeploy.place.layers import read_network
from neurodeploy.place.partition import cut_layer
from neurodeploy.place.rules import RULES, neuron_groups

from small_nets import biased, chain, conv, int_chain, linear

LOIHI2 = target("loihi2")
X = Input("x", shape=(2, 8, 8), kind="graded", max_value=255)


def good() -> Graph:
    return chain(X, conv("c", 2, 4), linear("d", 144, 10))


def dense(n_in: int) -> Graph:
    return chain(Input("x", shape=(n_in,), kind="spikes"), linear("d", n_in, 2))


def wide(n_in: int) -> Graph:
    return chain(Input("x", shape=(n_in, 3, 3), kind="spikes"), conv("c", n_in, 2))


def with_neuron(**change: object) -> Graph:
    return int_chain(**change)


def pooled() -> Graph:
    nodes = (X, MaxPool2d("pool"), conv("c", 2, 4), Lif("n", shape=(4, 2, 2)))
    return Graph(nodes=nodes, edges=(Edge("x", "pool"), Edge("pool", "c", 1), Edge("c", "n")), n_timesteps=2)


def many_targets() -> Graph:
    graph = chain(X, conv("c", 2, 4), conv("d", 4, 4))
    second = conv("e", 4, 4)
    return replace(graph, nodes=(*graph.nodes, second), edges=(*graph.edges, Edge("c.n", "e", 1), Edge("e", "d.n")))


def dynap() -> IntGraph:
    """Integers of DYNAP-CNN."""
    nodes = (Input("x", shape=(2,), kind="spikes"), Linear("fc", weight=np.array([[2, 4]])), Iaf("n", shape=(1,), v_th=4))
    return IntGraph(nodes, (Edge("x", "fc", 1), Edge("fc", "n")), 2)


TRIPS: list[tuple[str, Callable[[], Graph], dict[str, object], str, str]] = [
    ("supported_nodes", pooled, {}, "pool", "Lower the graph"),
    ("cores", good, {"capacity.cores_per_chip.value": 1}, "network", "2 chips (Kapoho Point)"),
    ("neurons_per_core", good, {"capacity.neurons_per_core.value": 1}, "c.n", "neurons_per_core"),
    ("synapse_words", lambda: dense(16001), {}, "d.n", "16 000 inputs"),
    ("synapse_words", lambda: wide(2000), {}, "c.n", "at most 16 000"),
    ("axons_in", good, {"capacity.axons_in_per_core.value": 17}, "c.n", "at most 17 inputs"),
    ("axons_out", many_targets, {"capacity.axons_out_per_core.value": 1}, "c.n", "at most 1 layers"),
    ("neuron_groups", good, {"capacity.neuron_groups_per_core.value": 0}, "c.n", "at most 0 sets"),
    ("delays", lambda: chain(X, conv("c", 2, 4), delay=0), {}, "c", "Lower the graph"),
    ("delays", lambda: chain(X, conv("c", 2, 4), delay=64), {}, "c", "relay layers"),
    ("neuron_kind", dynap, {}, "n", "never requantized"),
    ("neuron_kind", lambda: with_lif(multi_spike=True), {}, "n", "one spike a timestep"),
    ("neuron_kind", lambda: with_lif(v_min=-1.0), {}, "n", "without a floor"),
    ("reset_kind", lambda: with_lif(reset="soft"), {}, "n", "reset='hard'"),
    ("delays", lambda: with_synapse(delays=np.array([[0, 0, 0], [0, 0, 63]])), {}, "fc", "relay layers"),
    ("weights", lambda: with_neuron(weight=256), {}, "fc", "scale weights"),
    ("weights", lambda: with_neuron(weight=-257), {}, "fc", "scale weights"),
    ("weights", lambda: with_neuron(weight=MIXED_ODD), {}, "fc", "multiples of 2, or double them and lower weight_exp"),
    ("weights", lambda: with_neuron(weight=[128, -3, 0]), {}, "fc", "multiples of 2"),
    ("weights", lambda: with_synapse(weight_exp=-8, weight=MIXED_ODD), {}, "fc", "multiples of 2"),
    ("weights", lambda: with_neuron(weight=[255, -2, 0]), {}, "fc", "scale weights"),
    ("weights", lambda: with_neuron(weight=3), {"arithmetic.weight_one_sign_max": 2}, "fc", "multiples of 2"),
    ("weight_exponents", lambda: with_synapse(weight_exp=8), {}, "fc", "by the rest"),
    ("weight_exponents", lambda: with_synapse(weight_exp=-9), {}, "fc", "by the rest"),
    ("biases", lambda: with_neuron(bias_mant=np.array([4096, 0])), {}, "fc.n", "down together"),
    ("biases", lambda: with_neuron(bias_mant=np.array([-4097, 0])), {}, "fc.n", "down together"),
    ("biases", lambda: with_neuron(bias_exp=8), {}, "fc.n", "exponent 7"),
    ("biases", lambda: with_neuron(bias_exp=np.array([6, -1])), {}, "fc.n", "exponent 0"),
    ("biases", lambda: host_biased(5000), {}, "x", "value_scale"),
    ("thresholds", lambda: with_neuron(v_th=2**17), {}, "fc.n", "use 131071"),
    ("thresholds", lambda: with_neuron(v_th=2**17 - 1), {"arithmetic.v_th_bits": 16}, "fc.n", "Scale"),
    ("thresholds", lambda: with_neuron(v_th=np.array([5, -1])), {}, "fc.n", "Scale"),
    ("state_formats", lambda: with_neuron(v_decay=4097), {}, "fc.n", "fraction of 4096"),
    ("state_formats", lambda: with_neuron(i_decay=np.array([0, 4097])), {}, "fc.n", "fraction of 4096"),
    ("state_formats", lambda: with_neuron(state_bits=16), {}, "fc.n", "Quantize"),
    ("initial_states", lambda: with_neuron(v_init=np.array([2**23, 0])), {}, "fc.n", "at zero"),
    ("initial_states", lambda: with_neuron(i_init=np.array([-(2**23)])), {}, "fc.n", "at zero"),
    ("sigma_delta", lambda: graded(spike_exp=8), {}, "d", "weights"),
    ("sigma_delta", lambda: graded(v_th=2**11), {}, "d", "smaller exponents"),
    ("sigma_delta", lambda: graded(v_th=-1), {}, "d", "smaller exponents"),
    ("input_messages", lambda: chain(replace(X, max_value=2**24), conv("c", 2, 4)), {}, "x", "value_scale"),
    ("input_messages", lambda: chain(replace(X, max_value=2**23, signed=True), conv("c", 2, 4)), {}, "x", "value_scale"),
    ("graded_messages", lambda: graded(top=2**17), {}, "d", "spike_exp"),
    ("currents", lambda: flooded(262145), {}, "n", "smaller fan-in"),
    ("currents", lambda: flooded(-262145), {}, "n", "smaller fan-in"),
]
MIXED_ODD = [127, -3, 0]


def with_synapse(weight: object = 2, **change: Any) -> Graph:
    graph = int_chain(weight=weight)
    return replace(graph, nodes=tuple(replace(n, **change) if isinstance(n, Linear) else n for n in graph.nodes))


def graded(top: int = 2**15, v_th: int = 1, spike_exp: int = 6) -> Graph:
    """Signed input -> Delta -> SigmaDelta: changes of up to 2 top, with 6 bits of fraction."""
    nodes = (
        Input("x", shape=(2,), kind="graded", max_value=top, signed=True), Delta("d", (2,), v_th, spike_exp, state_exp=6),
        Linear("fc", weight=np.array([[2, -2]])), SigmaDelta("s", (1,), 1, 6, 6),
    )
    return IntGraph(nodes, (Edge("x", "d"), Edge("d", "fc", 1), Edge("fc", "s")), n_timesteps=2)


def flooded(most: int) -> Graph:
    """A neuron that can receive `most` in one timestep."""
    kernel = np.full((1, 1, 1, 1), np.sign(most))
    nodes = (
        Input("x", shape=(1, 1, 1), kind="graded", max_value=abs(most)), Conv2d("c", weight=kernel),
        CubaLif("n", shape=(1, 1, 1)),
    )
    return IntGraph(nodes, (Edge("x", "c", 1), Edge("c", "n")), n_timesteps=2)


def read_out(**change: Any) -> Graph:
    """Logits as netx reads them: an accumulator without threshold behind a spiking layer."""
    graph = int_chain()
    own = CubaLif("logits", **({"shape": (2,), "i_decay": 0, "v_decay": 4096, "v_th": 2**17} | change))
    nodes = (*graph.nodes, Linear("last", weight=np.full((2, 2), 2)), own)
    return replace(graph, nodes=nodes, edges=(*graph.edges, Edge("fc.n", "last", 1), Edge("last", "logits")))


def with_lif(**change: object) -> Graph:
    nodes = (X, conv("c", 2, 4), Lif("n", shape=(4, 6, 6), **change))
    return Graph(nodes=nodes, edges=(Edge("x", "c", 1), Edge("c", "n")), n_timesteps=2)


def host_biased(top: int) -> Graph:
    nodes = (Input("x", shape=(5,), kind="bias", max_value=top), CubaLif("n", shape=(5,)))
    return Graph(nodes=nodes, edges=(Edge("x", "n"),), n_timesteps=2)


# One that passes, per rule that looks at more than shapes; `good` passes the others.
PASSES = [
    good, many_targets, with_lif, with_neuron, lambda: host_biased(4095), lambda: chain(X, conv("c", 2, 4), delay=63),
    lambda: with_neuron(weight=254), lambda: with_neuron(weight=-256), lambda: with_neuron(v_th=2**17 - 1),
    lambda: with_neuron(bias_mant=np.array([-4096, 4095])), lambda: with_neuron(v_decay=4096, i_decay=0),
    lambda: with_neuron(weight=255), lambda: with_neuron(weight=[-255, -3, 0]), lambda: with_neuron(bias_exp=np.array([0, 7])),
    lambda: with_neuron(v_th=np.array([0, 2**17 - 1]), v_init=np.array([1 - 2**23, 2**23 - 1])),
    lambda: with_synapse(weight_exp=-8), lambda: with_synapse(weight_exp=7),
    lambda: with_synapse(delays=np.array([[0, 0, 0], [0, 1, 62]])), graded, read_out, lambda: flooded(262144),
    lambda: chain(replace(X, max_value=2**24 - 1), conv("c", 2, 4)),
    lambda: dense(16000),
]


@pytest.mark.parametrize("make", PASSES)
def test_passes(make: Callable[[], Graph]) -> None:
    result = check(make(), LOIHI2)
    assert result.fits and not result.violations and result.placement is not None
    assert result.n_cores == result.placement.n_cores >= 1


@pytest.mark.parametrize(("rule", "make", "overrides", "where", "remedy"), TRIPS)
def test_trips(rule: str, make: Callable[[], Graph], overrides: dict, where: str, remedy: str) -> None:
    result = check(make(), target("loihi2", overrides))
    assert not result.fits and result.placement is None
    found = [v for v in result.violations if v.rule == rule and v.where == where]
    assert found, [str(v) for v in result.violations]
    assert remedy in found[0].remedy
    assert all(v.what and v.limit and v.remedy for v in result.violations)
    assert "loihi2" in found[0].limit or rule == "supported_nodes"


def test_a_read_out_without_threshold_is_no_reason_for_others() -> None:
    for change in ({"v_decay": 4095}, {"v_th": np.array([2**17, 2**17 - 2])}):
        (violation,) = check(read_out(**change), LOIHI2).violations
        assert (violation.rule, violation.where) == ("thresholds", "logits")


def test_sets_of_constants_are_counted_core_by_core() -> None:
    graph = int_chain(shape=(9,), v_th=np.arange(9), weight=2, n_out=9)
    case = Case(read_network(graph), LOIHI2, 1, (cut_layer(read_network(graph).layers[0], LOIHI2),))
    (cut,) = case.cuts
    assert cut is not None and cut.n_cores == 2 and neuron_groups(case) == []
    (violation,) = neuron_groups(replace(case, cuts=(replace(cut, channels=((0, 9),)),)))
    assert (violation.where, violation.rule) == ("fc.n", "neuron_groups")
    assert "needs 9 neuron groups" in violation.what and "has 8" in violation.limit
    assert neuron_groups(replace(case, cuts=(replace(cut, channels=((0, 8), (8, 9))),))) == []


def test_loihi1_sends_no_payload() -> None:
    violations = check(graded(), target("loihi1")).violations
    assert {(v.rule, v.where) for v in violations} >= {("sigma_delta", "d"), ("sigma_delta", "s"), ("input_messages", "x")}


def test_every_rule_is_tripped_once() -> None:
    assert {t[0] for t in TRIPS} == {rule.__name__ for rule in RULES}


def test_message_names_layer_need_limit_and_remedy() -> None:
    graph = chain(Input("x", shape=(72, 8, 8), kind="spikes"), conv("conv3", 72, 64, 5))
    (violation,) = check(graph, target("loihi2", {"capacity.synapse_words_per_core.value": 1000})).violations
    assert str(violation) == (
        "conv3.n: conv3 (in 72, out 64, 5x5) into conv3.n needs 1 800 synapse words for a core with one output channel. "
        "A core of loihi2 holds 1 000 (capacity.synapse_words_per_core, partition.compilers.2024). "
        "Use at most 1 000 weights per output channel (input channels x kernel) of this layer's 1 800, or split the layer."
    )


def test_all_violations_come_together() -> None:
    graph = int_chain(weight=[3, -2, 0], v_th=2**17, v_decay=-1)
    with pytest.raises(DoesNotFit) as caught:
        place(graph, target("loihi2", {"capacity.axons_in_per_core.value": 2}))
    assert {v.rule for v in caught.value.violations} == {"axons_in", "weights", "thresholds", "state_formats"}


@pytest.mark.parametrize(
    "nodes_and_edges",
    [
        ((X, Lif("a", shape=(2, 8, 8))), (Edge("x", "a", 1),)),  # graded messages without a synapse
        (
            (X, conv("c", 2, 2), BatchNorm("bn"), Lif("a", shape=(2, 6, 6))),
            (Edge("x", "c", 1), Edge("c", "bn"), Edge("bn", "a")),
        ),
        (
            (X, conv("c", 2, 2), Flatten("f"), Lif("a", shape=(72,))),
            (Edge("x", "c", 1), Edge("c", "f"), Edge("f", "a")),
        ),
        ((X, conv("c", 2, 2)), (Edge("x", "c", 1),)),  # no neurons at all
        ((Input("x", shape=(4,)), Vote("v", n_classes=2, group=2)), (Edge("x", "v"),)),
    ],
)
def test_what_has_no_place_is_named(nodes_and_edges: tuple) -> None:
    nodes, edges = nodes_and_edges
    result = check(Graph(nodes=nodes, edges=edges, n_timesteps=1), LOIHI2)
    assert not result.fits and {v.rule for v in result.violations} == {"supported_nodes"}


def test_recurrence_is_allowed() -> None:
    nodes, edges = biased("x", (8,))
    back = linear("r", 8, 8)
    graph = Graph(nodes=(*nodes, back), edges=(*edges, Edge("x.n", "r", 1), Edge("r", "x.n")), n_timesteps=4)
    assert not graph.is_acyclic
    assert check(graph, LOIHI2).fits


def test_suggest_names_the_smallest_system() -> None:
    small = target("loihi2", {"capacity.cores_per_chip.value": 1})
    assert suggest(good(), LOIHI2).name == "Oheo Gulch"
    found = suggest(good(), small)
    assert found is not None and (found.name, found.n_chips) == ("Kapoho Point", 8)
    assert suggest(chain(X, conv("c", 2, 4), delay=0), LOIHI2) is None


@pytest.mark.parametrize("n_chips", [0, -1, 1153])
def test_chips_that_no_system_has(n_chips: int) -> None:
    with pytest.raises(UsageError, match="1 to 1152 chips"):
        check(good(), LOIHI2, n_chips=n_chips)
