"""Every rule: one network that passes it, one that trips it, and what the message says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import BatchNorm, CubaLif, Flatten, Input, Lif, MaxPool2d, Vote
from neurodeploy.place import check, place, suggest
from neurodeploy.place.rules import RULES

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


TRIPS: list[tuple[str, Callable[[], Graph], dict[str, object], str, str]] = [
    ("supported_nodes", pooled, {}, "pool", "Lower the graph"),
    ("cores", good, {"capacity.cores_per_chip.value": 1}, "network", "2 chips (Kapoho Point)"),
    ("neurons_per_core", good, {"capacity.neurons_per_core.value": 1}, "c.n", "neurons_per_core"),
    ("synapse_words", lambda: dense(16001), {}, "d.n", "16 000 inputs"),
    ("synapse_words", lambda: wide(2000), {}, "c.n", "at most 16 000"),
    ("axons_in", good, {"capacity.axons_in_per_core.value": 17}, "c.n", "at most 17 inputs"),
    ("axons_out", many_targets, {"capacity.axons_out_per_core.value": 1}, "c.n", "at most 1 layers"),
    ("neuron_groups", good, {"capacity.neuron_groups_per_core.value": 0}, "c.n", "neuron_groups_per_core"),
    ("delays", lambda: chain(X, conv("c", 2, 4), delay=0), {}, "c", "Lower the graph"),
    ("delays", lambda: chain(X, conv("c", 2, 4), delay=64), {}, "c", "relay layers"),
    ("reset_kind", lambda: with_lif(reset="soft"), {}, "n", "reset='hard'"),
    ("weights", lambda: with_neuron(weight=256), {}, "fc", "scale weights"),
    ("weights", lambda: with_neuron(weight=3), {}, "fc", "multiples of 2"),
    ("biases", lambda: with_neuron(bias_mant=np.array([4096, 0])), {}, "fc.n", "down together"),
    ("biases", lambda: with_neuron(bias_exp=5), {}, "fc.n", "exponent 6"),
    ("biases", lambda: host_biased(5000), {}, "x", "value_scale"),
    ("thresholds", lambda: with_neuron(v_th=2**17), {}, "fc.n", "Scale"),
    ("thresholds", lambda: with_neuron(v_th=-1), {}, "fc.n", "Scale"),
    ("state_formats", lambda: with_neuron(v_decay=4097), {}, "fc.n", "fraction of 4096"),
    ("state_formats", lambda: with_neuron(state_bits=16), {}, "fc.n", "Quantize"),
    ("input_messages", lambda: chain(replace(X, max_value=256), conv("c", 2, 4)), {}, "x", "value_scale"),
]


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
    lambda: with_neuron(bias_mant=np.array([-4095, 4095])), lambda: with_neuron(v_decay=4096, i_decay=0),
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
    graph = int_chain(weight=3, v_th=2**17, v_decay=-1)
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
