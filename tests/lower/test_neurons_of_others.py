"""Networks with other neurons on a chip: what is exact stays, what the chip does not do is said; counts of events as input."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Li, Lif, Linear, Node, SumPool2d
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower import as_trained, lower, to_chip_neurons
from neurodeploy.quantize import quantize
from tests.event_nets import residual

CHIP, OLD = target("loihi2"), target("loihi1")


def chain(*nodes: Node) -> Graph:
    return Graph(nodes, tuple(Edge(a.name, b.name) for a, b in pairwise(nodes)), 6)


def network(**fields: object) -> Graph:
    """Whole weights, so that sums are exact; a pool between two layers."""
    rng = np.random.default_rng(4)
    return chain(
        Input("x", (1, 6, 6)), Conv2d("c", rng.integers(-2, 4, (2, 1, 3, 3)).astype(float)),
        replace(Lif("n", shape=(2, 4, 4), v_th=3.0), **fields), SumPool2d("p"), Flatten("f"),
        Linear("d", rng.integers(-2, 4, (5, 8)).astype(float)), replace(Lif("m", shape=(5,), v_th=3.0), **fields),
    )  # fmt: skip


X = np.random.default_rng(1).integers(0, 3, (6, 20, 1, 6, 6))
WHOLE = {"n": 40.0, "m": 40.0}  # scales at which whole weights lose nothing
SINABS = {"reset": "soft", "multi_spike": True, "v_min": -3.0}


def on_chip(graph: Graph) -> Graph:
    return lower(graph, CHIP, "counts")


def test_the_chip_s_own_neurons_pass_unchanged() -> None:
    lowered = on_chip(network())
    assert to_chip_neurons(lowered, CHIP) is lowered


@pytest.mark.parametrize(("fields", "said"), [
    ({"reset": "soft"}, ["resets to zero"]), ({"v_min": -1.0}, ["no floor"]),
    ({"multi_spike": True}, ["one spike a timestep"]), (SINABS, ["resets to zero", "one spike a timestep", "no floor"]),
])  # fmt: skip
def test_what_the_chip_does_not_do_is_said_once_and_undone_by_as_trained(fields: dict[str, object], said: list[str]) -> None:
    lowered = on_chip(network(**fields))
    with pytest.warns(NeurodeployWarning, match=r"\(n, m\)") as caught:
        changed = to_chip_neurons(lowered, CHIP)
    assert [w.message.code for w in caught] == ["neuron_differs"]  # type: ignore[union-attr]
    notes = changed.metadata["lowering"]
    assert len(notes["differences"]) == len(said) and notes["folded"] == {"d": ["p"]}
    for text in said:
        assert text in str(caught[0].message) and any(d.startswith(text) for d in notes["differences"])
    for name in ("n", "m"):
        neuron = changed[name]
        assert isinstance(neuron, Lif) and (neuron.reset, neuron.multi_spike, neuron.v_min) == ("hard", False, None)
    found, wanted = evaluate(as_trained(changed), X), evaluate(lowered, X)
    assert wanted["m"].sum() > 0 and np.array_equal(found["m"], wanted["m"])


def test_shortcuts_pass_on_several_spikes_as_trained() -> None:
    """A relay on the chip sends one spike; the network's own figures need the count."""
    graph = replace(residual(), metadata={})
    with pytest.warns(NeurodeployWarning, match=r"\(n1, n2, n3, n4\)"):
        changed = to_chip_neurons(on_chip(graph), CHIP)
    (relay,) = changed.metadata["relays"]
    assert changed[relay] is not as_trained(changed)[relay]
    x = np.random.default_rng(0).integers(0, 3, (5, 4, 2, 8, 8))
    found, wanted = evaluate(as_trained(changed), x), evaluate(graph, x)
    assert wanted["n1"].max() > 1
    for name in ("n1", "n3", "n4"):
        d = changed.latencies[name]
        assert np.array_equal(found[name][d : d + 5], wanted[name]), name


def test_neurons_that_rest_elsewhere_are_the_same_measured_from_there() -> None:
    graph = network(v_reset=-2.0, inv_tau=0.25, v_min=-5.0)
    lowered = on_chip(graph)
    neuron = lowered["n"]
    assert isinstance(neuron, Lif) and (neuron.v_reset, neuron.v_th, neuron.v_min) == (0.0, 5.0, -3.0)
    found, wanted = evaluate(lowered, X), evaluate(graph, X)
    for name in ("n", "m"):
        d = lowered.latencies[name]
        assert wanted[name].sum() > 0 and np.array_equal(found[name][d : d + 6], wanted[name])


def test_integers_of_such_neurons_are_those_of_a_network_with_the_chip_s() -> None:
    """IF neurons that fire at >= are exact on the chip, which fires at >: thresholds one lower."""
    with pytest.warns(NeurodeployWarning, match="neurons of loihi2"):
        net = quantize(to_chip_neurons(on_chip(network(**SINABS)), CHIP), CHIP, scales=WHOLE)
    plain = quantize(on_chip(network()), CHIP, scales=WHOLE)
    wanted = evaluate(on_chip(network()), X)
    found = evaluate(net, X)
    assert net.quantization["lowering"]["neurons"]["n"] == {**SINABS, "v_th": 3.0, "v_reset": 0.0}
    for name in ("n", "m"):
        a, b = net[name], plain[name]
        assert isinstance(a, CubaLif) and isinstance(b, CubaLif) and a.v_th == b.v_th
        assert a.v_th == 3 * 40 - 1
        assert wanted[name].sum() > 0 and np.array_equal(found[name], wanted[name])


def test_counts_enter_as_they_are_with_as_many_bits_as_half_a_current_holds() -> None:
    graph = network()
    lowered = lower(graph, CHIP, "counts")
    entry = lowered.inputs[0]
    assert (entry.kind, entry.max_value, entry.value_scale) == ("graded", 31, 1.0) and lowered["c"] is graph["c"]
    sums = np.abs(graph["c"].weight).sum(axis=(1, 2, 3)).max() * 254 / 3 + 9  # type: ignore[attr-defined]
    assert 31 * sums < 65_536 < 63 * sums
    wide = chain(Input("x", (1, 16, 16)), Conv2d("c", np.ones((2, 1, 9, 9))), Lif("n", shape=(2, 8, 8), v_th=40.0))
    most = lower(wide, CHIP, "counts").inputs[0].max_value
    # 81 weights of 254 and a rounding of 1 each: 20,655 for each event, of the 65,536 that are half a current.
    assert most == 3
    net = quantize(lower(wide, CHIP, "counts"), CHIP)
    x = np.random.default_rng(0).integers(0, most + 1, (6, 2, 1, 16, 16))
    assert evaluate(net, x)["n"].sum() > 0
    assert lower(wide, CHIP, "counts", input_bits=4).inputs[0].max_value == 15
    with pytest.raises(UsageError, match="1 to 8 bits"):
        lower(graph, CHIP, "counts", input_bits=9)


def test_currents_with_memory_hold_fewer_events() -> None:
    """A steady drive fills a current that loses an eighth of itself in a timestep to eight times of itself: three bits."""
    graph = network()
    edges = tuple(Edge(e.src, "i") if e.dst == "n" else e for e in graph.edges)
    lasting = Graph((*graph.nodes, Li("i", (2, 4, 4), inv_tau=0.125)), (*edges, Edge("i", "n")), 6)
    assert lower(lasting, CHIP, "counts").inputs[0].max_value == 3
    assert lower(graph, CHIP, "counts").inputs[0].max_value == 31


def test_a_chip_without_graded_messages_takes_counts_only_where_told_that_they_are_0_or_1() -> None:
    with pytest.raises(UsageError, match="carry no number") as caught:
        lower(network(), OLD, "counts")
    assert caught.value.error_code == "other_arithmetic" and "input_bits=1" in (caught.value.remedy or "")
    assert lower(network(), OLD, "counts", input_bits=1).inputs[0].max_value == 1


def test_graded_input_passes_a_flattening() -> None:
    graph = chain(Input("x", (1, 2, 2)), Flatten("f"), Linear("d", np.ones((2, 4))), Lif("n", shape=(2,)))
    weight = lower(graph, CHIP, "graded", n_levels=5)["d"].weight  # type: ignore[attr-defined]
    assert (weight == 0.25).all()
