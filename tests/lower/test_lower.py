"""The lowered network does what the trained one does, each layer later by its latency."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.encoders import encode
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import BatchNorm, Conv2d, Flatten, Input, Lif, Linear, MaxPool2d, Node, SumPool2d, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower import lower
from neurodeploy.lower.fold import fold_batch_norm
from neurodeploy.models.autosnn import Arch

from deployable import ARCHS, autosnn, images

CHIP = target("loihi2")


def spiking(graph: Graph) -> list[str]:
    return [n.name for n in graph.nodes if n.is_neuron or isinstance(n, MaxPool2d)]


@pytest.mark.parametrize("kind", ["graded", "bias", "rate"])
@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize(("arch", "size"), [(ARCHS[0], (8, 8)), (ARCHS[1], (9, 11))])
def test_every_layer_spikes_as_before_and_later_by_its_latency(
    arch: Arch, size: tuple[int, int], decay_input: bool, kind: Any
) -> None:
    graph = autosnn(arch, decay_input, size)
    x = images(8, size=size)
    T = graph.n_timesteps
    seen = encode(x, "rate" if kind == "rate" else "direct", T)
    wanted = evaluate(graph, seen)
    lowered = lower(graph, CHIP, kind, n_levels=17)
    # Twice in a row: what a first sample leaves behind must not reach the second.
    found = evaluate(lowered, np.concatenate([chip_input(lowered, x), chip_input(lowered, x[::-1])]))
    assert lowered.is_balanced and lowered.metadata["input"] == kind
    for name in spiking(graph):
        d = lowered.latencies[name]
        assert 0 < wanted[name].sum() < wanted[name].size, name
        assert np.array_equal(found[name][d : d + T], wanted[name]), name
        if kind != "bias":  # biases are written per sample by the host, not in the middle of a run
            assert np.array_equal(found[name][d + T : d + 2 * T], wanted[name][:, ::-1]), name
    d = lowered.latencies["vote"]
    assert np.array_equal(found["vote"][d : d + T], wanted["vote"])
    assert np.array_equal(found["vote"][d : d + T].sum(0), wanted["vote"].sum(0))


@pytest.mark.parametrize(("arch", "kind", "n_synapse_layers"), [
    (ARCHS[0], "graded", 11), (ARCHS[0], "bias", 10), (ARCHS[1], "rate", 13),
])  # fmt: skip
def test_latency_is_the_number_of_synapse_layers(arch: Arch, kind: Any, n_synapse_layers: int) -> None:
    """Stem, three pools, classifier, and per block one (skip with new channels) or two (SCB, SRB) convolutions."""
    lowered = lower(autosnn(arch), CHIP, kind)
    assert lowered.latencies["vote"] == n_synapse_layers
    assert lowered.n_chip_steps == lowered.n_timesteps + n_synapse_layers
    for edge in lowered.edges:
        assert edge.delay == (1 if lowered[edge.dst].is_synapse else 0)


def test_relays_repeat_the_layer_that_metadata_names() -> None:
    graph = autosnn(ARCHS[0])
    x = images(4)
    lowered = lower(graph, CHIP, "graded", n_levels=17)
    relays = lowered.metadata["relays"]
    # One residual block on each side of a pool: each shortcut skips one layer.
    assert relays == {"layers.2.neuron2.relay1": "layers.2.neuron2", "layers.4.relay1": "layers.4"}
    new = {n.name for n in lowered.neurons} - set(spiking(graph))
    assert new == set(relays)
    found = evaluate(lowered, chip_input(lowered, x))
    for relay, origin in relays.items():
        assert lowered.latencies[relay] == lowered.latencies[origin] + 1
        assert found[origin].sum() > 0
        assert np.array_equal(found[relay][1:], found[origin][:-1])
    identity = lowered["layers.3.neuron2.identity"]
    assert isinstance(identity, Conv2d) and identity.groups == 8
    assert identity.weight.shape == (8, 1, 1, 1) and (identity.weight == 1).all()


def chain(*nodes: Node, extra: tuple[Edge, ...] = (), T: int = 3, **metadata: Any) -> Graph:
    edges = tuple(Edge(a.name, b.name) for a, b in pairwise(nodes))
    return Graph(nodes, (*edges, *extra), T, metadata)


def test_batch_norm_is_folded_with_its_eps() -> None:
    rng = np.random.default_rng(0)
    norm = BatchNorm("bn", mean=rng.normal(size=3), var=np.array([0.0, 1e-4, 2.0]), gamma=np.array([1.0, -2.0, 0.5]),
                     beta=rng.normal(size=3), eps=1e-2)
    synapses = Conv2d("s", weight=rng.normal(size=(3, 2, 3, 3)), bias=rng.normal(size=3), padding=(1, 1))
    graph = chain(Input("x", (2, 5, 4)), synapses, norm)
    x = rng.normal(size=(1, 6, 2, 5, 4))
    folded = fold_batch_norm(graph)
    assert {n.name for n in folded.nodes} == {"x", "s"}
    # The same sum in another order; gains are at most 1 / sqrt(1e-2).
    np.testing.assert_allclose(evaluate(folded, x)["s"], evaluate(graph, x)["bn"], rtol=0, atol=1e-12)
    dense = chain(Input("x", (4,)), Linear("s", weight=rng.normal(size=(3, 4))), norm)
    x = rng.normal(size=(1, 6, 4))
    np.testing.assert_allclose(evaluate(fold_batch_norm(dense), x)["s"], evaluate(dense, x)["bn"], rtol=0, atol=1e-12)


IN = Input("x", (1, 4, 4))
CONV = Conv2d("c", weight=np.ones((2, 1, 3, 3)), padding=(1, 1))
NORM = BatchNorm("bn", *(np.ones(2),) * 4)


def lif(name: str, *shape: int) -> Lif:
    return Lif(name, shape=shape, inv_tau=0.5)


BAD: list[tuple[Graph, str]] = [
    (chain(IN, CONV, lif("n", 2, 4, 4), NORM), "bn: this batch norm does not follow"),
    (chain(IN, CONV, NORM, lif("n", 2, 4, 4), extra=(Edge("c", "n"),)), "bn: this batch norm does not follow"),
    (chain(IN, CONV, MaxPool2d("p"), lif("n", 2, 2, 2)), "p: a max-pool of real values"),
    (chain(IN, MaxPool2d("p"), Conv2d("c", weight=np.ones((1, 1, 1, 1))), lif("n", 1, 2, 2)), "p: a max-pool of real"),
    (chain(IN, CONV, replace(lif("n", 2, 4, 4), multi_spike=True), MaxPool2d("p"), Flatten("f"), Linear("d", np.ones((1, 8))),
           lif("m", 1)), "p: a max-pool of neurons that send several spikes"),
    (chain(IN, lif("n", 1, 4, 4), CONV, lif("m", 2, 4, 4)), "n: graded input must enter through a synapse"),
    (chain(IN, CONV, lif("n", 2, 4, 4), SumPool2d("p"), Flatten("f"), Vote("v", 8)),
     "p: a sum pool sends several spikes in one timestep"),
    (Graph((IN, CONV, lif("n", 2, 4, 4), Conv2d("d", weight=np.ones((2, 2, 1, 1))), lif("m", 2, 4, 4),
            Conv2d("s", weight=np.ones((2, 1, 1, 1)))),
           (Edge("x", "c"), Edge("c", "n"), Edge("n", "d"), Edge("d", "m"), Edge("x", "s"), Edge("s", "m")), 3),
     "x: its graded values would have to wait 1 timesteps"),
]  # fmt: skip


@pytest.mark.parametrize(("graph", "message"), BAD, ids=[m for _, m in BAD])
def test_what_cannot_be_lowered_is_named(graph: Graph, message: str) -> None:
    with pytest.raises(NeurodeployError, match=message) as caught:
        lower(graph, CHIP, "graded")
    assert caught.value.error_code == "cannot_lower" and caught.value.remedy


def test_biases_must_enter_one_neuron_layer_through_one_synapse() -> None:
    two = chain(IN, CONV, lif("n", 2, 4, 4), extra=())
    two = Graph((*two.nodes, replace(CONV, name="d"), lif("m", 2, 4, 4)), (*two.edges, Edge("x", "d"), Edge("d", "m")), 3)
    with pytest.raises(NeurodeployError, match="exactly one synapse"):
        lower(two, CHIP, "bias")
    shared = Graph((IN, CONV, lif("n", 2, 4, 4), lif("m", 2, 4, 4)), (Edge("x", "c"), Edge("c", "n"), Edge("c", "m")), 3)
    with pytest.raises(NeurodeployError, match="feed one neuron layer"):
        lower(shared, CHIP, "bias")
    with pytest.raises(NeurodeployError, match="2 inputs"):
        lower(Graph((IN, replace(IN, name="y"), CONV, lif("n", 2, 4, 4)), (Edge("x", "c"), Edge("y", "c"), Edge("c", "n")), 3),
              CHIP, "graded")


def test_input_codings_are_checked() -> None:
    graph = chain(IN, CONV, lif("n", 2, 4, 4))
    with pytest.raises(UsageError, match="unknown input coding 'pulses'"):
        lower(graph, CHIP, "pulses")  # type: ignore[arg-type]
    for bits in (0, 9, -1):
        with pytest.raises(UsageError, match=f"input_bits is {bits}.*1 to 8 bits"):
            lower(graph, CHIP, "graded", input_bits=bits)
    with pytest.raises(UsageError, match="trained on 'rate'"):
        lower(replace(graph, metadata={"encoding": "rate"}), CHIP, "graded")
    with pytest.raises(UsageError, match="trained on 'direct'"):
        lower(replace(graph, metadata={"encoding": "direct"}), CHIP, "rate")


@pytest.mark.parametrize(("n_levels", "bits", "top"), [
    (17, None, 16), (256, None, 255), (1000, None, 255), (2, None, 1), (17, 8, 16), (17, 3, 7), (256, 4, 15), (None, None, 15),
])  # fmt: skip
def test_graded_messages_use_the_levels_of_the_data(n_levels: int | None, bits: int | None, top: int) -> None:
    """Of data that nobody knows as many as half a current holds: 28 times 9 weights of 254, each rounded by 1 at most."""
    graph = chain(IN, CONV, lif("n", 2, 4, 4))
    lowered = lower(graph, CHIP, "graded", n_levels=n_levels, input_bits=bits)
    entry = lowered.inputs[0]
    assert (entry.kind, entry.max_value, entry.value_scale) == ("graded", top, top)
    np.testing.assert_allclose(lowered["c"].weight * top, CONV.weight, rtol=1e-15)  # type: ignore[attr-defined]
    assert chip_input(lowered, np.ones((1, 1, 4, 4))).max() == top
    from_data = lower(replace(graph, metadata={"data": {"n_levels": n_levels}}), CHIP, "graded", input_bits=bits)
    assert from_data.inputs[0].max_value == top
    assert ("in 16 levels" in lowered.metadata.get("lowering", {}).get("input", "")) == (n_levels is bits is None)


def test_spikes_may_enter_neurons_directly_and_shortcuts_from_the_input_are_relayed() -> None:
    """Rate-coded input: vectors, an identity from the input, and a path that must wait for another."""
    rng = np.random.default_rng(3)
    nodes = (Input("x", (5,)), Linear("a", weight=rng.normal(0.3, 1, (5, 5))), lif("n", 5),
             Linear("b", weight=rng.normal(0.3, 1, (5, 5))), lif("m", 5), lif("k", 5), Vote("vote", 5, 1))
    edges = (Edge("x", "a"), Edge("a", "n"), Edge("n", "b"), Edge("b", "m"), Edge("x", "m"), Edge("x", "k"), Edge("k", "m"),
             Edge("m", "vote"))
    graph = Graph(nodes, edges, 4)
    x = (rng.random((4, 9, 5)) < 0.5).astype(float)
    wanted = evaluate(graph, x)
    lowered = lower(graph, CHIP, "rate")
    found = evaluate(lowered, x)
    assert lowered.is_balanced
    assert lowered.metadata["relays"] == {"x.relay1": "x"}  # k is as late as n
    for name in ("n", "k", "m"):
        d = lowered.latencies[name]
        assert wanted[name].sum() > 0
        assert np.array_equal(found[name][d : d + 4], wanted[name]), name
