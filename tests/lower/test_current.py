"""Integrators as synaptic currents of a chip's neurons: the same spikes in real numbers and on the chip's integers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from neurodeploy.cost.estimate import memory_of
from neurodeploy.errors import DoesNotFit
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.hw.profile import any_target, target
from neurodeploy.ir import checks, serialize
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nir import read_nir, write_nir
from neurodeploy.ir.nodes import (
    BatchNorm,
    Conv2d,
    CubaLif,
    CurrentLif,
    Flatten,
    Input,
    Li,
    Lif,
    Linear,
    MaxPool2d,
    Node,
    SumPool2d,
    Vote,
)
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower import lower
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.models.from_graph import TorchGraph
from neurodeploy.place import check
from neurodeploy.quantize.ptq import quantize
from neurodeploy.sim.clocked import simulate

CHIP = target("loihi2")
T = 5


def graph_of(*nodes: Node, edges: tuple[Edge, ...] | None = None) -> Graph:
    return Graph(nodes, edges or tuple(Edge(a.name, b.name) for a, b in pairwise(nodes)), T)


def spiking(*shape: int) -> Input:
    return Input("x", shape, kind="spikes")


def whole(rng: np.random.Generator, *shape: int, low: int = -3, high: int = 6) -> Any:
    return 4.0 * rng.integers(low, high, shape)


def network(gain: Any = 1.0) -> Graph:
    """Decays of a half on few timesteps and whole weights: every sum is exact in float64 and on the chip."""
    rng = np.random.default_rng(2)
    return graph_of(
        spiking(6), Linear("a", weight=whole(rng, 8, 6)), Li("n.current", (8,), inv_tau=0.5, gain=gain),
        Lif("n", (8,), inv_tau=0.5, v_th=16.0, fire=">"), Linear("b", weight=whole(rng, 8, 8)),
        Li("m.current", (8,), inv_tau=0.25), Lif("m", (8,), inv_tau=0.5, v_th=20.0, fire=">"),
        Linear("c", weight=whole(rng, 4, 8)), Lif("out", (4,), inv_tau=0.5, v_th=12.0, fire=">"), Vote("vote", 2, 2),
    )  # fmt: skip


def x_for(graph: Graph, rate: float = 0.4) -> Any:
    return (np.random.default_rng(3).random((T, 3, *graph.inputs[0].shape)) < rate).astype(float)


def same_later(graph: Graph, lowered: Graph, x: Any) -> None:
    """Spikes of every layer as before, later by its latency, for two samples in a row."""
    wanted, found = evaluate(graph, x), evaluate(lowered, np.concatenate([x, x[:, ::-1]]))
    for node in graph.neurons:
        d = lowered.latencies[node.name]
        np.testing.assert_array_equal(found[node.name][d : d + T], wanted[node.name], err_msg=node.name)
        np.testing.assert_array_equal(found[node.name][d + T : d + 2 * T], wanted[node.name][:, ::-1], err_msg=node.name)
        assert 0 < wanted[node.name].mean() < 1, node.name


@pytest.mark.parametrize("gain", [1.0, 0.5, np.array([1.0, 2, 0.5, 1, 1, 2, 0.25, 1])])
def test_a_current_goes_into_its_neurons_and_its_gain_into_the_weights(gain: Any) -> None:
    graph = network(gain)
    lowered = lower(graph, CHIP, "rate")
    n, a = lowered["n"], lowered["a"]
    assert isinstance(n, CurrentLif) and n.inv_tau_syn == 0.5 and not any(isinstance(i, Li) for i in lowered.nodes)
    assert isinstance(a, Linear) and np.array_equal(a.weight, graph["a"].weight * np.reshape(gain, (-1, 1)))  # type: ignore[attr-defined]
    same_later(graph, lowered, x_for(graph))
    checks.check_graph(lowered)
    assert check(lowered, CHIP, 1).fits
    assert memory_of(n) == (True, True)


def test_currents_behind_pools_norms_and_neurons() -> None:
    rng = np.random.default_rng(5)
    ones = np.ones(3)
    graph = graph_of(
        spiking(2, 6, 6), Conv2d("a", weight=whole(rng, 3, 2, 3, 3), padding=(1, 1)),
        BatchNorm("bn", mean=0 * ones, var=ones, gamma=0.5 * ones, beta=0 * ones, eps=0.0),
        Li("i0", (3, 6, 6), inv_tau=0.5, gain=0.5), Lif("n0", (3, 6, 6), inv_tau=0.5, v_th=8.0, fire=">"),
        Li("i1", (3, 6, 6), inv_tau=0.5, gain=np.array([1.0, 2.0, 0.5]).reshape(3, 1, 1)),
        Lif("n1", (3, 6, 6), inv_tau=0.25, v_th=1.5, fire=">"), MaxPool2d("max"), Li("i2", (3, 3, 3), inv_tau=0.5),
        Lif("n2", (3, 3, 3), inv_tau=0.5, v_th=1.25, fire=">"), Flatten("flat"), Linear("c", weight=whole(rng, 4, 27)),
        Li("i3", (4,), inv_tau=0.5), Lif("out", (4,), inv_tau=0.5, v_th=24.0, fire=">"),
    )  # fmt: skip
    lowered = lower(graph, CHIP, "rate")
    assert sum(isinstance(n, CurrentLif) for n in lowered.nodes) == 4
    same_later(graph, lowered, x_for(graph, 0.3))
    pooled = graph_of(
        spiking(2, 4, 4), Conv2d("a", weight=whole(rng, 2, 2, 3, 3), padding=(1, 1)), Lif("n0", (2, 4, 4), v_th=9.0, fire=">"),
        SumPool2d("sum"), Li("i", (2, 2, 2), inv_tau=0.5, gain=0.25), Lif("n1", (2, 2, 2), inv_tau=0.5, v_th=0.5, fire=">"),
    )  # fmt: skip
    same_later(pooled, lower(pooled, CHIP, "rate"), x_for(pooled))


def test_the_chip_s_integers_do_the_same_in_the_same_order() -> None:
    """u decays, takes the sum, then v decays and takes u: where nothing is rounded, the spikes are those of real numbers."""
    lowered = lower(network(), CHIP, "rate")
    net = quantize(lowered, CHIP, scales={n.name: 1.0 for n in lowered.neurons})
    n, m, out = net["n"], net["m"], net["out"]
    assert isinstance(n, CubaLif) and isinstance(m, CubaLif) and isinstance(out, CubaLif)
    assert (n.i_decay, m.i_decay, out.i_decay) == (2048, 1024, 4096) and (n.v_decay, n.v_th) == (2048, 16)
    x = x_for(lowered)
    steps = lowered.n_chip_steps
    real, integer = evaluate(lowered, x, steps), evaluate(net, x.astype(np.int64), steps)
    fast = simulate(net, x.astype(np.int64), steps).spikes
    for node in lowered.neurons:
        np.testing.assert_array_equal(integer[node.name], real[node.name], err_msg=node.name)
        np.testing.assert_array_equal(fast[node.name], integer[node.name], err_msg=node.name)
        assert 0 < integer[node.name].mean() < 1, node.name


def test_scales_leave_room_for_a_current_that_adds_up() -> None:
    lowered = lower(network(), CHIP, "rate")
    net = quantize(lowered, CHIP)  # from the weights alone; raises where a current could wrap
    slow = lower(replace(network(), nodes=tuple(
        replace(n, inv_tau=1 / 512) if isinstance(n, Li) else n for n in network().nodes)), CHIP, "rate")  # fmt: skip
    less = quantize(slow, CHIP)
    assert less.quantization["scales"]["n"] < net.quantization["scales"]["n"]


def test_torch_files_and_nir_know_them() -> None:
    lowered = lower(network(), CHIP, "rate")
    x = x_for(lowered)
    with torch.no_grad():
        found = TorchGraph(lowered, torch.float64)(torch.from_numpy(x))
    wanted = evaluate(lowered, x)
    for node in lowered.neurons:
        d = lowered.latencies[node.name]
        np.testing.assert_array_equal(found[node.name].numpy(), wanted[node.name][d : d + T])
        assert wanted[node.name].any()
    assert serialize.same(lowered, serialize.from_bytes(serialize.to_bytes(lowered))) is None


def test_nir_writes_them_as_cuba_lif(tmp_path: Path) -> None:
    lowered = lower(network(), CHIP, "rate")
    write_nir(lowered, tmp_path / "g.nir")
    assert serialize.same(lowered, read_nir(tmp_path / "g.nir")) is None
    assert isinstance(nir.read(tmp_path / "g.nir").nodes["n"], nir.CubaLIF)


LIF = Lif("n", (4,), inv_tau=0.5, fire=">")
BAD: list[tuple[str, Graph, str]] = [
    ("end", graph_of(spiking(4), Linear("a", weight=np.eye(4)), Li("i", (4,), inv_tau=0.5)),
     "i: an integrator whose state the host would read"),
    ("vote", graph_of(spiking(4), Linear("a", weight=np.eye(4)), Li("i", (4,), inv_tau=0.5), Vote("v", 2, 2)),
     "i: an integrator whose state v would read"),
    ("two", graph_of(spiking(4), Li("i", (4,), inv_tau=0.5), LIF, replace(LIF, name="m"), edges=(
        Edge("x", "i"), Edge("i", "n"), Edge("i", "m"), Edge("n", "m"))), "i: an integrator whose state n, m would read"),
    ("arrays", graph_of(spiking(4), Li("i", (4,), inv_tau=np.array([0.5, 0.5, 0.25, 0.5])), LIF),
     "i: currents that lose 0.25 to 0.5"),
    ("rest", graph_of(spiking(4), Li("i", (4,), inv_tau=0.5, v_leak=0.5), LIF), "i: a current that rests at 0.5"),
    ("never", graph_of(spiking(4), Li("i", (4,)), LIF), "i: a current that never decays"),
    ("bias", graph_of(spiking(4), Linear("a", weight=np.eye(4), bias=np.ones(4)), Li("i", (4,), inv_tau=0.5), LIF),
     "a: a bias in front of n, whose current has memory"),
    ("within", graph_of(spiking(1, 2, 2), Li("i", (1, 2, 2), inv_tau=0.5, gain=np.array([[[1.0, 2], [1, 1]]])),
                        replace(LIF, shape=(1, 2, 2))), "i: gains of 1 to 2 within a channel"),
]  # fmt: skip


@pytest.mark.parametrize(("graph", "text"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_what_is_no_current_is_named(graph: Graph, text: str) -> None:
    with pytest.raises(DoesNotFit, match=text):
        lower(graph, CHIP, "rate")


def test_speck_names_integrators() -> None:
    speck = any_target("speck2f")
    assert isinstance(speck, EventProfile)
    with pytest.raises(DoesNotFit, match=r"n\.current, m\.current: Li\."):
        lower_to_events(network(), speck)
