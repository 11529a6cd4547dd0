"""Which resource decides a layer's cores, by hand; what no core can hold; spikes that reach several cores."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import NeurodeployWarning
from neurodeploy.hw.profile import Profile, target
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import CubaLif, Delta, Input, Linear, SigmaDelta
from neurodeploy.place import check, place, utilisation
from neurodeploy.place.layers import read_network
from neurodeploy.place.partition import cut_layer
from neurodeploy.place.words import delay_bits, n_words

from small_nets import biased, chain, conv, linear

LOIHI2 = target("loihi2")


def profile(**limits: int) -> Profile:
    return target("loihi2", {f"capacity.{name}.value": value for name, value in limits.items()})


def dense(n_in: int = 100, n_out: int = 40) -> Graph:
    return chain(Input("x", shape=(n_in,), kind="spikes"), linear("d", n_in, n_out))


# (limits, cores, the resource that decides, what its fullest core uses of it)
BY_HAND: list[tuple[dict[str, int], int, str, int]] = [
    ({"neurons_per_core": 16}, 3, "neurons", 14),  # 40 neurons in 3 even parts: 14, 13, 13
    ({"synapse_words_per_core": 400}, 4, "synapse_words", 400),  # 12 neurons take 4 words an axon: ceil(248 / 64)
    ({"neurons_per_core": 10, "synapse_words_per_core": 400}, 4, "neurons", 10),  # both ask for 4 cores, neurons are full
    ({"axons_in_per_core": 110}, 1, "axons_in", 100),  # nothing limits one core: the fullest resource, 91 %
]


@pytest.mark.parametrize(("limits", "n_cores", "limiting", "used"), BY_HAND)
def test_the_limiting_resource_of_a_dense_layer(limits: dict[str, int], n_cores: int, limiting: str, used: int) -> None:
    found = utilisation(dense(), profile(**limits))
    (layer,) = found.layers
    assert (layer.n_cores, layer.n_cores_needed, layer.limiting) == (n_cores, n_cores, limiting)
    assert layer.resources[limiting].used == used <= layer.resources[limiting].limit
    if n_cores > 1:
        assert layer.resources[limiting].n_cores_alone == n_cores
    assert found.cores_by_resource == {limiting: n_cores} and found.limiting == limiting
    assert (found.n_cores, found.n_cores_limit) == (n_cores, 120)


def test_axons_in_and_out_limit_maps() -> None:
    graph = chain(Input("x", shape=(4, 32, 32), kind="graded"), conv("c", 4, 3, padding=(1, 1)), linear("d", 3 * 32 * 32, 2))
    heard = utilisation(graph, profile(axons_in_per_core=3500)).layers[0]
    assert heard.limiting == "axons_in" and heard.n_cores > 1  # 4 x 32 x 32 = 4,096 elements reach a core with all of them
    assert heard.resources["neurons"].n_cores_alone == 1
    sent = utilisation(graph, profile(axons_out_per_core=500)).layers[0]
    assert (sent.limiting, sent.n_cores, sent.resources["axons_out"].used) == ("axons_out", 8, 384)


def test_neuron_groups_limit_a_layer() -> None:
    """Ten thresholds in runs of four neurons, two a core: 40 neurons are halved until no core holds more than two."""
    node = CubaLif("d.n", shape=(40,), v_th=np.repeat(np.arange(1, 11), 4))
    graph = IntGraph(
        (Input("x", shape=(5,), kind="spikes"), Linear("d", weight=np.full((40, 5), 2)), node),
        (Edge("x", "d", 1), Edge("d", "d.n")), 4, target="loihi2",
    )
    found = utilisation(graph, profile(neuron_groups_per_core=2)).layers[0]
    assert found.limiting == "neuron_groups" and found.resources["neuron_groups"].used == 2
    cut = cut_layer(read_network(graph).layers[0], profile(neuron_groups_per_core=2))
    assert cut is not None
    assert cut.n_cores == found.n_cores == 8  # halved: 1, 2, 4 parts of 10 neurons hold three sets, 8 of 5 hold two
    for part in cut.channels:
        assert len(np.unique(np.asarray(node.v_th)[slice(*part)])) <= 2
    assert utilisation(graph, profile(neuron_groups_per_core=10)).n_cores == 1


def test_what_fits_on_no_core_says_why() -> None:
    found = utilisation(dense(100), profile(axons_in_per_core=80))
    (layer,) = found.layers
    assert (layer.n_cores, layer.limiting, layer.n_packets_per_spike) == (None, "axons_in", None)
    assert layer.resources["axons_in"].share == 100 / 80 and found.n_cores == 0 and found.limiting is None


def test_a_spike_sends_one_packet_to_each_core_that_it_reaches() -> None:
    """Dense: every spike reaches all four cores. Two convolutions over two halves of the rows: rows 2 to 5 reach both."""
    graph = chain(Input("x", shape=(8,), kind="spikes"), linear("a", 8, 6), linear("b", 6, 40))
    assert [n.n_packets_per_spike for n in utilisation(graph, profile(neurons_per_core=10)).layers] == [4.0, 0.0]
    maps = chain(Input("x", shape=(1, 8, 8), kind="graded"), conv("a", 1, 1, padding=(1, 1)), conv("b", 1, 2, padding=(1, 1)))
    few = utilisation(maps, profile(neurons_per_core=65)).layers
    assert few[1].n_cores == 2
    cut = cut_layer(read_network(maps).layers[1], profile(neurons_per_core=65))
    assert cut is not None and few[0].n_packets_per_spike == cut.n_axons_in.sum() / 64


def test_network_figures_and_json() -> None:
    graph = chain(Input("x", shape=(100,), kind="spikes"), linear("a", 100, 40), linear("b", 40, 8))
    found = utilisation(graph, profile(neurons_per_core=16), n_chips=8)
    assert found.cores_by_resource == {"neurons": 4} and found.n_cores_limit == 960
    assert found.neurons_share == 48 / 64
    data = json.loads(json.dumps(found.to_dict()))
    assert data["limiting"] == "neurons" and data["layers"][0]["resources"]["neurons"]["share"] == 14 / 16


def recurrent(n: int, delays: Any = None) -> IntGraph:
    nodes = (
        Input("x", shape=(20,), kind="spikes"), Linear("in", weight=np.full((n, 20), 2)),
        Linear("back", weight=np.full((n, n), 2), delays=delays), CubaLif("n", shape=(n,), v_th=3),
    )
    edges = (Edge("x", "in", 1), Edge("in", "n"), Edge("n", "back", 1), Edge("back", "n"))
    return IntGraph(nodes, edges, 4, target="loihi2")


def test_recurrent_layers_share_their_cores_with_their_own_synapses() -> None:
    graph = recurrent(300)
    plan = place(graph, LOIHI2)
    # 20 + 300 axons of ceil((20 n + 8) / 64) words: 159 neurons take 50 x 320 = 16,000, the limit; 150 take 47 an axon.
    assert plan.n_cores == 2 and plan.cores[0].n_words == 320 * 47 and plan.cores[0].n_axons_in == 320
    assert plan.cores[0].n_axons_out == 150
    (layer,) = utilisation(graph, LOIHI2, plan).layers
    assert layer.limiting == "synapse_words" and layer.n_packets_per_spike == 2.0


def test_delays_take_bits_of_every_synapse() -> None:
    """Up to 5 timesteps more: 3 bits, hence 23 a synapse; an edge of 3 timesteps delays the group by 2: 3 bits for 7."""
    delays = np.zeros((30, 30), dtype=np.int64)
    delays[3, 4] = 5
    (_, back), (_, plain) = (read_network(recurrent(30, d)).groups for d in (delays, None))
    assert (delay_bits(back, LOIHI2), delay_bits(plain, LOIHI2)) == (3, 0)
    assert n_words(back, 30, LOIHI2) == 30 * 11 and n_words(plain, 30, LOIHI2) == 30 * 10  # ceil(698 / 64), ceil(608 / 64)
    late = replace(back, delay=3)
    assert delay_bits(late, LOIHI2) == 3 and delay_bits(replace(late, delay=4), LOIHI2) == 4


def test_sigma_delta_layers_are_placed() -> None:
    """The host writes a sigma-delta network's input straight into its first neurons."""
    nodes = (
        Input("x", shape=(8,), kind="graded", max_value=200, signed=True), Delta("in", shape=(8,), v_th=2),
        Linear("fc", weight=np.full((4, 8), 2)), SigmaDelta("out", shape=(4,), v_th=2),
    )
    graph = IntGraph(nodes, (Edge("x", "in"), Edge("in", "fc", 1), Edge("fc", "out")), 4, target="loihi2")
    network = read_network(graph)
    assert network.problems == () and network.layers[0].host_inputs == ("x",)
    assert [layer.n_cores for layer in utilisation(graph, LOIHI2).layers] == [1, 1]


@pytest.mark.parametrize(("width", "warned"), [(223, 0), (224, 1)])
def test_wide_convolutions_are_warned_of(width: int, warned: int) -> None:
    graph = chain(Input("x", shape=(1, 4, width), kind="graded"), conv("c", 1, 2))
    found = check(graph, LOIHI2)
    assert found.fits and len(found.warnings) == warned
    if warned:
        with pytest.warns(NeurodeployWarning, match="256") as caught:
            place(graph, LOIHI2)
        assert [w.message.to_dict()["code"] for w in caught] == ["wide_conv"]  # type: ignore[union-attr]
    assert place(chain(Input("x", shape=(width,), kind="spikes"), linear("d", width, 2)), LOIHI2).n_cores == 1


def test_an_input_layer_counts_as_neurons() -> None:
    nodes, edges = biased("x", (5000,))
    (layer,) = utilisation(Graph(nodes=nodes, edges=edges, n_timesteps=1), LOIHI2).layers
    assert (layer.n_cores, layer.limiting, layer.resources["synapse_words"].used) == (2, "neurons", 0)


def test_a_network_of_the_size_of_lava_dls_mnist_example() -> None:
    """784-512-512-10: 20 words an axon of 784 fill a core with 63 neurons, so 9 cores of 57 (18 words an axon);
    31 words an axon of 512 with 98, so 6 cores of 86 (27 words)."""
    nodes, edges = biased("x", (784,))
    rest = chain(Input("y", shape=(784,), kind="spikes"), linear("a", 784, 512), linear("b", 512, 512), linear("c", 512, 10))
    graph = Graph(
        nodes=(*nodes, *rest.nodes[1:]), n_timesteps=4,
        edges=(*edges, Edge("x.n", "a", 1), *(e for e in rest.edges if e.src != "y")),
    )
    found = utilisation(graph, LOIHI2)
    assert [(n.n_cores, n.limiting) for n in found.layers] == [
        (1, "neurons"), (9, "synapse_words"), (6, "synapse_words"), (1, "synapse_words"),
    ]
    assert [n.resources["synapse_words"].used for n in found.layers] == [0, 784 * 18, 512 * 27, 512 * 4]
    assert found.limiting == "synapse_words" and found.n_cores == 17
