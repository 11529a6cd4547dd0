"""Found and generated networks through NIR and back: the same Graph, bit for bit, and files that other tools take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from neurodeploy import resources
from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nir import read_nir, write_nir
from neurodeploy.ir.nodes import Conv2d, Flatten, Input, Li, Lif, Linear, Node, SumPool2d, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.ir.serialize import same
from numpy.typing import NDArray
from tests.ir.hand_graphs import wire
from tests.ir.nir_tools import SnnTorch, SpikingJelly, inputs

import random_graphs


def generated(seed: int) -> Graph:
    """Convolutions, pools, leaks of both kinds, event-driven neurons, currents, integrators, a loop in every third, a vote."""
    rng = np.random.default_rng(seed)
    channels, size, T = int(rng.integers(1, 4)), int(rng.integers(6, 10)), int(rng.integers(3, 7))
    nodes: list[Node] = [Input("input", shape=(channels, size, size), kind="graded", max_value=9)]
    for i in range(int(rng.integers(1, 4))):
        wider = int(rng.integers(2, 5))
        bias = rng.normal(size=wider) * 0.1 if rng.random() < 0.5 else None
        nodes.append(Conv2d(f"c{i}", weight=rng.normal(0.1, 0.4, (wider, channels, 3, 3)), bias=bias, padding=(1, 1)))
        nodes += _neurons(rng, f"n{i}", (wider, size, size))
        if size >= 4 and rng.random() < 0.5:
            nodes.append(SumPool2d(f"p{i}"))
            size //= 2
        channels = wider
    classes, n = int(rng.integers(2, 4)), channels * size * size
    nodes += [Flatten("flat"), Linear("fc", weight=rng.normal(0.1, 0.4, (2 * classes, n))),
              *_neurons(rng, "out", (2 * classes,)), Linear("read", weight=rng.normal(0.3, 0.4, (2 * classes, 2 * classes))),
              Li("sum", (2 * classes,), inv_tau=float(rng.uniform(0, 0.5)) * (seed % 2), gain=rng.uniform(0.5, 1, 2 * classes)),
              Vote("vote", n_classes=classes, group=2)]  # fmt: skip
    edges = wire(nodes)
    if seed % 3 == 0:  # the last neurons hear themselves a timestep later
        back = Linear("back", weight=rng.normal(0, 0.2, (2 * classes, 2 * classes)))
        first = "out.current" if any(n.name == "out.current" for n in nodes) else "out"
        nodes, edges = [*nodes, back], (*edges, Edge("out", "back", 1), Edge("back", first))
    return Graph(tuple(nodes), edges, T, {"data": {"name": "digits"}, "seed": seed})


def _neurons(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> list[Node]:
    kind, v_th = int(rng.integers(4)), float(rng.uniform(0.4, 1.2))
    if kind == 0:
        return [Lif(name, shape, reset="soft", multi_spike=True, v_min=-v_th)]
    inv_tau, decayed = float(rng.uniform(0.2, 0.9)), kind == 1
    lif = Lif(name, shape, inv_tau=inv_tau, decay_input=decayed, fire=">" if decayed else ">=")
    return [Li(f"{name}.current", shape, inv_tau=float(rng.uniform(0.2, 0.9))), lif] if kind == 3 else [lif]


@pytest.mark.parametrize("seed", range(10))
def test_ten_generated_networks_come_back_equal(seed: int, tmp_path: Path) -> None:
    graph = generated(seed)
    write_nir(graph, tmp_path / "g.nir")
    back = read_nir(tmp_path / "g.nir")
    assert same(graph, back) is None
    x = np.random.default_rng(seed).integers(0, 10, (graph.n_timesteps, 2, *graph.inputs[0].shape)).astype(float)
    mine, theirs = evaluate(graph, x), evaluate(back, x)
    for node in graph.nodes:
        np.testing.assert_array_equal(mine[node.name], theirs[node.name])
    assert all(mine[n.name].any() for n in graph.neurons)
    assert nir.read(tmp_path / "g.nir").nodes.keys() >= {"input", "fc", "vote"}


def test_the_ten_hold_every_kind() -> None:
    graphs = [generated(seed) for seed in range(10)]
    assert sum(not g.is_acyclic for g in graphs) == 4
    names = {n.name for g in graphs for n in g.nodes}
    assert {"out.current", "n1.current", "p0", "back", "sum"} <= names


@pytest.mark.parametrize("name", ["digits-loihi2", "digits-speck2f"])
def test_a_found_network_comes_back_equal(name: str, tmp_path: Path) -> None:
    path = resources.folder("exports") / name / "model.nir"
    graph = read_nir(path)
    write_nir(graph, tmp_path / "again.nir")
    assert same(graph, read_nir(tmp_path / "again.nir")) is None
    nir.read(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(graph=random_graphs.int_graphs())
def test_random_integer_networks_come_back_or_the_node_is_named(graph: IntGraph, tmp_path: Path) -> None:
    try:
        write_nir(graph, tmp_path / "g.nir")
    except NeurodeployError as err:
        assert err.error_code == "not_nir" and err.where in {n.name for n in graph.nodes}
        return
    assert same(graph, read_nir(tmp_path / "g.nir")) is None


def linear_net() -> Graph:
    """What the tools' importers take: linear layers, LIF of both kinds, a current with memory."""
    rng = np.random.default_rng(8)
    nodes: list[Node] = [
        Input("input", shape=(6,)), Linear("a", weight=rng.normal(0.3, 0.7, (8, 6)), bias=rng.normal(0, 0.1, 8)),
        Lif("n1", (8,), inv_tau=0.25, fire=">"), Linear("b", weight=rng.normal(0.3, 0.7, (5, 8))),
        Li("n2.current", (5,), inv_tau=0.5), Lif("n2", (5,), inv_tau=0.25, fire=">"),
        Linear("c", weight=rng.normal(0.3, 0.7, (4, 5))), Lif("n3", (4,), inv_tau=0.5, fire=">"),
    ]  # fmt: skip
    return Graph(tuple(nodes), tuple(replace(e, delay=0) for e in wire(nodes)), 12)


def map_net() -> Graph:
    rng = np.random.default_rng(1)
    nodes: list[Node] = [
        Input("input", shape=(2, 6, 6)),
        Conv2d("c", weight=rng.normal(0.2, 0.4, (3, 2, 3, 3)), bias=rng.normal(0, 0.1, 3), padding=(1, 1)),
        Lif("n1", (3, 6, 6), inv_tau=0.5, decay_input=True, fire=">"), Flatten("f"),
        Linear("fc", weight=rng.normal(0.05, 0.2, (4, 108))), Lif("n2", (4,), fire=">", v_th=2.0),
    ]  # fmt: skip
    return Graph(tuple(nodes), tuple(replace(e, delay=0) for e in wire(nodes)), 12)


def theirs(net: Any, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What an imported network puts out; its state goes in and comes out."""
    state, seen = None, []
    with torch.no_grad():
        for frame in torch.from_numpy(x).to(next(net.parameters()).dtype):
            out, state = net(frame, state)
            seen.append(out.numpy())
    return np.stack(seen)


@pytest.mark.parametrize("make", [linear_net, map_net])
def test_spikingjelly_imports_our_file_with_equal_spikes(make: Any, tmp_path: Path) -> None:
    tool, graph = SpikingJelly(), make()
    x = inputs(*graph.inputs[0].shape)
    write_nir(graph, tmp_path / "g.nir", dt=1e-4)
    ours = evaluate(graph, x)
    found = theirs(tool.exchange.import_from_nir(tmp_path / "g.nir", dtype=torch.float64), x)
    np.testing.assert_array_equal(found, ours[graph.output.name])  # fires at the threshold, where no state lies here
    assert all(0 < ours[n.name].mean() < 1 for n in graph.neurons)


def test_snntorch_imports_our_file_with_equal_spikes(tmp_path: Path) -> None:
    SnnTorch()
    graph, x = linear_net(), inputs(6)
    write_nir(graph, tmp_path / "g.nir", dt=1e-4)
    from snntorch.import_nir import import_from_nir

    found = theirs(import_from_nir(nir.read(tmp_path / "g.nir")), x)
    np.testing.assert_array_equal(found, evaluate(graph, x)["n3"])
    assert found.any()
