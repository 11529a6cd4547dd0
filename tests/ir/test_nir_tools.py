"""Files that spikingjelly and snntorch write themselves, where they are installed, and ten networks through our own NIR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from neurodeploy.errors import UnsafeFile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir import read_nir, write_nir
from neurodeploy.ir.nir_foreign import NirOptions
from neurodeploy.ir.nodes import Conv2d, Flatten, Input, Lif, Linear, Node, SumPool2d, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.ir.serialize import same
from tests.ir.hand_graphs import wire

TEXT = NirOptions(fire=">", reset="hard", v_min="none", multi_spike=False, n_timesteps=8, dt=1e-4)


def loads_or_names(graph: Any, path: Path) -> None:
    """A file loads and runs, or the error names one of its nodes."""
    nir.write(path, graph)
    try:
        found = read_nir(path, TEXT)
    except UnsafeFile as err:
        assert any(name in str(err) for name in graph.nodes), err
    else:
        x = np.ones((8, 1, *found.inputs[0].shape))
        assert found.neurons and all(n.name in evaluate(found, x) for n in found.neurons)


def test_snntorch(tmp_path: Path) -> None:
    snn, torch = pytest.importorskip("snntorch"), pytest.importorskip("torch")
    export = pytest.importorskip("snntorch.export_nir")
    net = torch.nn.Sequential(
        torch.nn.Linear(6, 5), snn.Leaky(beta=torch.full((5,), 0.9), init_hidden=True),
        torch.nn.Linear(5, 3), snn.Leaky(beta=torch.full((3,), 0.8), init_hidden=True, output=True),
    )  # fmt: skip
    loads_or_names(export.export_to_nir(net, torch.ones(1, 6)), tmp_path / "s.nir")


def test_spikingjelly(tmp_path: Path) -> None:
    torch, exchange = pytest.importorskip("torch"), pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    from spikingjelly.activation_based import layer, neuron

    net = torch.nn.Sequential(layer.Linear(6, 5), neuron.LIFNode(tau=4.0), layer.Linear(5, 3), neuron.IFNode())
    loads_or_names(exchange.export_to_nir(net, torch.ones(1, 6)), tmp_path / "s.nir")


def generated(seed: int) -> Graph:
    """Convolutions, pools where neurons take them, leaks of both kinds, event-driven neurons, a vote."""
    rng = np.random.default_rng(seed)
    channels, size, T = int(rng.integers(1, 4)), int(rng.integers(6, 10)), int(rng.integers(3, 7))
    nodes: list[Node] = [Input("input", shape=(channels, size, size), kind="graded", max_value=9)]
    for i in range(int(rng.integers(1, 4))):
        wider = int(rng.integers(2, 5))
        bias = rng.normal(size=wider) * 0.1 if rng.random() < 0.5 else None
        nodes.append(Conv2d(f"c{i}", weight=rng.normal(0.1, 0.4, (wider, channels, 3, 3)), bias=bias, padding=(1, 1)))
        nodes.append(_neuron(rng, f"n{i}", (wider, size, size)))
        if size >= 4 and rng.random() < 0.5:
            nodes.append(SumPool2d(f"p{i}"))
            size //= 2
        channels = wider
    classes, n = int(rng.integers(2, 4)), channels * size * size
    nodes += [Flatten("flat"), Linear("fc", weight=rng.normal(0.1, 0.4, (2 * classes, n))), _neuron(rng, "out", (2 * classes,)),
              Vote("vote", n_classes=classes, group=2)]
    return Graph(tuple(nodes), wire(nodes), T)


def _neuron(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Lif:
    kind, v_th = int(rng.integers(3)), float(rng.uniform(0.4, 1.2))
    if kind == 0:
        return Lif(name, shape, v_th=v_th, reset="soft", multi_spike=True, v_min=-v_th)
    inv_tau, decayed = float(rng.uniform(0.2, 0.9)), kind == 1
    return Lif(name, shape, inv_tau=inv_tau, decay_input=decayed, v_th=v_th, fire=">" if decayed else ">=")


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
