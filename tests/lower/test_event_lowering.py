"""Lowered to event-driven cores a network computes what it did; what cannot be lowered is told at once."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.hw.profile import any_target
from neurodeploy.ir.event_layers import read_cores
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import BatchNorm, Conv2d, CubaLif, Flatten, Input, MaxPool2d, Node, SumPool2d
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower.event_cores import lower_to_events
from numpy.typing import NDArray

from deployable import ARCHS, autosnn
from event_nets import chain, conv, integers, lif, linear, residual


def chip(**overrides: Any) -> EventProfile:
    profile = any_target("speck2f", {key.replace("__", "."): value for key, value in overrides.items()})
    assert isinstance(profile, EventProfile)
    return profile


CHIP = chip()


def counts(graph: Graph) -> NDArray[Any]:
    return np.random.default_rng(3).poisson(0.4, (graph.n_timesteps, 2, *graph.inputs[0].shape)).astype(float)


def same_spikes(graph: Graph, lowered: Graph) -> None:
    """Equal counts in every layer of neurons that the trained graph has; sums in another order differ by rounding only."""
    x = counts(graph)
    wanted, found = evaluate(graph, x), evaluate(lowered, x)
    for neuron in graph.neurons:
        assert wanted[neuron.name].any()
        np.testing.assert_array_equal(wanted[neuron.name], found[neuron.name], err_msg=neuron.name)


def refused(graph: Graph, profile: EventProfile = CHIP, **options: Any) -> dict[str, str]:
    """Rule -> text of all violations."""
    with pytest.raises(DoesNotFit) as caught:
        lower_to_events(graph, profile, **options)
    assert all(v.remedy and v.limit and v.where for v in caught.value.violations)
    return {v.rule: " ".join(str(w) for w in caught.value.violations if w.rule == v.rule) for v in caught.value.violations}


def test_a_shortcut_becomes_an_identity_beside_the_learned_kernel() -> None:
    graph = residual()
    lowered = lower_to_events(graph, CHIP)
    same_spikes(graph, lowered)
    cores = read_cores(lowered)
    joined = cores["n3"]
    assert joined.in_shape == (8, 8, 8) and joined.kernel == (3, 3)
    shortcut = np.zeros((4, 4, 3, 3))
    shortcut[range(4), range(4), 1, 1] = 1
    np.testing.assert_array_equal(joined.weight[:, 4:], shortcut)
    assert [d.feature_shift for d in (*cores["n1"].destinations, *cores["n2"].destinations)] == [0, 4, 0]
    assert cores.entry.kind == "graded" and cores.entry.max_value == 255 and cores.outputs == ("n4",)
    assert lowered.metadata["input"] == "events" and lowered.metadata["encoding"] == "events"


def test_a_pooled_shortcut_into_strided_neurons() -> None:
    graph = chain(
        Input("input", (2, 8, 8)), conv("c1", 2, 4), lif("n1", 4, 8, 8), SumPool2d("p", (2, 2)), conv("c2", 4, 4),
        lif("n2", 4, 4, 4), more=(("p", "n2"),),
    )  # fmt: skip
    lowered = lower_to_events(graph, CHIP)
    same_spikes(graph, lowered)
    assert [d.pool for d in read_cores(lowered)["n1"].destinations] == [(2, 2), (2, 2)]


def test_a_sum_of_sources_gives_each_channels_of_its_own() -> None:
    """Two layers into one pool, whose sum one synapse reads."""
    graph = chain(
        Input("input", (2, 8, 8)), conv("c1", 2, 3), lif("n1", 3, 8, 8), conv("c2", 3, 3), lif("n2", 3, 8, 8),
        SumPool2d("p", (4, 4)), Flatten("f"), linear("fc", 12, 5), lif("n3", 5), more=(("n1", "p"),),
    )  # fmt: skip
    lowered = lower_to_events(graph, CHIP)
    same_spikes(graph, lowered)
    core = read_cores(lowered)["n3"]
    assert core.in_shape == (6, 2, 2) and len(core.kernels) == 2


def test_batch_norms_fold_and_zero_biases_vanish() -> None:
    c = np.random.default_rng(0).uniform(0.5, 2, (4, 4))
    flat = BatchNorm("bn", mean=np.zeros(4), var=c[0], gamma=c[1], beta=np.zeros(4))
    graph = chain(Input("input", (2, 8, 8)), conv("c1", 2, 4), flat, lif("n1", 4, 8, 8))
    lowered = lower_to_events(graph, CHIP)
    same_spikes(graph, lowered)
    assert lowered["c1"].bias is None  # type: ignore[attr-defined]
    shifted = replace(graph, nodes=tuple(replace(flat, beta=c[2]) if n is flat else n for n in graph.nodes))
    assert "c1: its batch norm leaves biases" in refused(shifted)["bias"]
    kept = lower_to_events(shifted, CHIP, allow_bias=True)
    same_spikes(shifted, kept)
    np.testing.assert_array_equal(read_cores(kept)["n1"].bias, c[2])
    assert set(refused(shifted, chip(arithmetic__bias="none"), allow_bias=True)) == {"bias"}


def test_rate_coded_images_are_spikes_and_real_values_are_refused() -> None:
    graph = residual()
    rate = lower_to_events(replace(graph, metadata={"encoding": "rate"}), CHIP)
    assert rate.inputs[0].kind == "spikes" and rate.inputs[0].max_value == 1
    assert "'direct' encoded images" in refused(replace(graph, metadata={"encoding": "direct"}))["input_values"]
    spikes = tuple(replace(n, kind="spikes") if isinstance(n, Input) else n for n in graph.nodes)
    assert lower_to_events(replace(graph, nodes=spikes, metadata={}), CHIP).inputs[0].kind == "spikes"


@pytest.mark.parametrize("arch", ARCHS)
def test_a_network_for_another_chip_gives_one_readable_list(arch: Any) -> None:
    """Leaky neurons, max-pools, batch norms: each kind once, with the layers it concerns."""
    found = refused(autosnn(arch, True, (8, 8)))
    assert {"leak", "no_floor", "max_pool", "bias"} <= set(found)
    assert "stem.neuron, " in found["leak"] and "Train with IF neurons" in found["leak"]
    assert "layers.1, layers.4" in found["max_pool"]


def one(node: Node, *shape: int, more: tuple[tuple[str, str], ...] = (), **neuron: Any) -> Graph:
    """Input (2, 8, 8), one node, and neurons of the shape behind it."""
    return chain(Input("input", (2, 8, 8)), node, lif("n", *(shape or (4, 8, 8)), **neuron), more=more)


NEURONS: list[tuple[dict[str, Any], str, str]] = [
    ({"inv_tau": 0.5}, "leak", r"n: leaky neurons \(LIF\)"),
    ({"decay_input": True}, "leak", "ignore their input"),
    ({"v_min": None}, "no_floor", "no floor"),
    ({"v_min": 0.5}, "no_floor", "a floor of 0.5"),
    ({"fire": ">"}, "fire", "fires at v > threshold"),
    ({"v_th": 0.0, "multi_spike": False}, "threshold", "a threshold of 0"),
    ({"v_reset": -0.5}, "reset", "start at -0.5"),
    ({"reset_interval": 4}, "reset", "every 4 timesteps"),
]


@pytest.mark.parametrize(("changes", "rule", "text"), NEURONS)
def test_neurons_that_the_chip_does_not_have(changes: dict[str, Any], rule: str, text: str) -> None:
    found = refused(one(conv("c", 2, 4), **changes))
    assert set(found) == {rule}
    assert re.search(text, found[rule])


SYNAPSES: list[tuple[Graph, str, str]] = [
    (one(Conv2d("c", np.ones((4, 2, 5, 3)), padding=(2, 1))), "kernel_square", "5x3.*Train with a 5x5 kernel"),
    (one(Conv2d("c", np.ones((4, 2, 3, 3)), padding=(2, 2), dilation=(2, 2))), "dilation_groups", r"dilation \(2, 2\)"),
    (one(Conv2d("c", np.ones((4, 1, 3, 3)), padding=(1, 1), groups=2)), "dilation_groups", "2 groups"),
    (one(conv("c", 2, 4, bias=np.ones(4))), "bias", "c: has biases.*slow clock.*Train without biases"),
    (one(conv("c", 2, 4, kernel=7, stride=(3, 3)), 4, 3, 3), "stride", "a stride of 3x3.*1, 2, 4, 8"),
    (one(conv("c", 2, 4, kernel=17)), "kernel_size", "17x17.*at most 16x16"),
    (one(conv("c", 2, 4, kernel=17)), "padding", "padding of 8x8.*0 to 7"),
    (one(conv("c", 2, 1025), 1025, 8, 8), "channels", "1025 channels out.*at most 1024 channels out"),
    (chain(Input("input", (1, 200, 8)), conv("c", 1, 1, kernel=1), lif("n", 1, 200, 8)), "map_size",
     "input map of 200x8.*128x128"),
    (chain(Input("input", (1, 100, 8)), conv("c", 1, 1, kernel=1), lif("n", 1, 100, 8)), "map_size",
     r"map of neurons \(before pooling\) of 100x8.*64x64"),
    (chain(Input("input", (1, 4, 3)), Flatten("f"), linear("fc", 12, 2), lif("n", 2)), "kernel_square",
     "a linear layer over a map of 4x3.*Pool, stride or crop to a square map"),
    (chain(Input("input", (1, 20, 20)), Flatten("f"), linear("fc", 400, 2), lif("n", 2)), "kernel_size",
     "a linear layer over a map of 20x20.*at most 16x16"),
    (one(conv("c", 2, 2), 2, 8, 8, more=(("input", "n"),)), "input_beside", "start behind the first layer"),
]  # fmt: skip


@pytest.mark.parametrize(("graph", "rule", "text"), SYNAPSES)
def test_synapses_that_the_chip_does_not_have(graph: Graph, rule: str, text: str) -> None:
    assert re.search(text, refused(graph)[rule])


def behind(*nodes: Node, more: tuple[tuple[str, str], ...] = ()) -> Graph:
    """A first layer of neurons (4, 8, 8), then the nodes."""
    return chain(Input("input", (2, 8, 8)), conv("c1", 2, 4), lif("n1", 4, 8, 8), *nodes, more=more)


STRIDED = behind(conv("c2", 4, 4, stride=(2, 2)), lif("n2", 4, 4, 4))
DOWN = replace(  # a strided path beside a pooled one
    STRIDED, nodes=(*STRIDED.nodes, SumPool2d("p")), edges=(*STRIDED.edges, Edge("n1", "p"), Edge("p", "n2"))
)

def norm(name: str) -> BatchNorm:
    return BatchNorm(name, mean=np.zeros(4), var=np.ones(4), gamma=np.ones(4), beta=np.zeros(4))


STRUCTURES: list[tuple[Graph, str, str]] = [
    (behind(conv("c2", 4, 4), conv("c3", 4, 4), lif("n3", 4, 8, 8)), "no_neurons", "c2: no neurons between it and c3"),
    (behind(MaxPool2d("p"), conv("c2", 4, 4), lif("n2", 4, 4, 4)), "max_pool", "p: a max-pool.*sum"),
    (behind(SumPool2d("p", (2, 4)), conv("c2", 4, 4), lif("n2", 4, 4, 2)), "pooling_square", "n1 -> n2: pools by 2x4"),
    (behind(SumPool2d("p", (8, 8)), conv("c2", 4, 4), lif("n2", 4, 1, 1)), "pooling", "pools by 8x8.*1, 2, 4"),
    (behind(SumPool2d("p", (4, 4)), SumPool2d("q", (2, 2)), conv("c2", 4, 4), lif("n2", 4, 1, 1)), "pooling", "by 8x8"),
    (behind(conv("c2", 4, 4, kernel=2, padding=(0, 0)), lif("n2", 4, 7, 7), SumPool2d("p"), conv("c3", 4, 4),
            lif("n3", 4, 3, 3)), "odd_map", "n2 -> n3: pools a map of 7x7 by 2x2.*divisible by 2x2"),
    (behind(conv("c2", 4, 4), norm("bn"), norm("bn2"), lif("n2", 4, 8, 8)), "batch_norm",
     "bn2: this batch norm does not follow one synapse"),
    (behind(conv("c2", 4, 4), lif("n2", 4, 8, 8), conv("c3", 4, 4), lif("n3", 4, 8, 8), conv("c4", 4, 4),
            lif("n4", 4, 8, 8), more=(("n1", "n3"), ("n1", "n4"))), "destinations",
     "n1: feeds n2, n3, n4: 3 destinations. At most 2. Branch"),
    (behind(conv("c2", 4, 4), CubaLif("n2", (4, 8, 8))), "neuron", "n2: neurons of type CubaLif"),
    (DOWN, "strides", r"n2: synapses of strides \[\(1, 1\), \(2, 2\)\] on maps.*Give the shortcut the stride and the pool"),
]  # fmt: skip


@pytest.mark.parametrize(("graph", "rule", "text"), STRUCTURES)
def test_structures_that_the_chip_does_not_have(graph: Graph, rule: str, text: str) -> None:
    assert re.search(text, refused(graph)[rule])


def test_recurrence_and_delays() -> None:
    graph = residual()
    looped = replace(graph, edges=(*graph.edges, Edge("n2", "c2", 1)))
    found = refused(looped)
    assert "the graph is recurrent" in found["recurrent"] and "n2 -> c2: a delay of 1" in found["delay"]


def test_everything_at_once() -> None:
    graph = chain(
        Input("input", (2, 9, 9)), Conv2d("c1", np.ones((4, 2, 5, 3)), bias=np.ones(4), padding=(2, 1)),
        lif("n1", 4, 9, 9, inv_tau=0.1), MaxPool2d("p"), conv("c2", 4, 2000), lif("n2", 2000, 4, 4, v_min=None),
        encoding="direct",
    )  # fmt: skip
    assert set(refused(graph)) == {
        "input_values", "leak", "max_pool", "no_floor", "bias", "kernel_square", "channels", "odd_map",
    }


def test_the_profile_decides() -> None:
    """Nothing about the chip stands in the code: another profile refuses what this one takes."""
    graph = residual()
    for overrides, rule in (
        ({"arithmetic.residual": "none"}, "residual"), ({"arithmetic.pools": ["average"]}, "pool"),
        ({"arithmetic.resets": ["hard"]}, "reset"), ({"capacity.kernel_size_max.value": 2}, "kernel_size"),
        ({"capacity.channels_max.value": 7}, "channels"), ({"capacity.input_size_max.value": 7}, "map_size"),
        ({"capacity.padding_max.value": 0}, "padding"), ({"capacity.poolings.values": [1]}, "pooling"),
        ({"capacity.destinations_per_core.value": 1}, "destinations"),
        ({"capacity.feature_shift_max.value": 6}, "feature_shift"), ({"capacity.strides.values": [2]}, "stride"),
    ):  # fmt: skip
        profile = any_target("speck2f", overrides)
        assert isinstance(profile, EventProfile)
        assert rule in refused(graph, profile), rule


def test_only_trained_networks_are_lowered() -> None:
    lowered = lower_to_events(residual(), CHIP)
    for again in (lowered, integers(lowered)):
        with pytest.raises(UsageError, match="lowered or quantized before"):
            lower_to_events(again, CHIP)
