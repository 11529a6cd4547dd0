"""Graphs that netx can hold, written as `.net` and read again: the same graph, and the same spikes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.net import differences, net_layers, read_net, read_network, write_net
from neurodeploy.ir.netx import netx_kwargs, netx_reason
from neurodeploy.ir.nodes import Linear, Node
from neurodeploy.ir.serialize import same
from neurodeploy.sim.reference import simulate
from tests.ir.hand_graphs import chain, inputs
from tests.ir.netx_graphs import random_graph, random_input

SEEDS = range(60)


def again(graph: IntGraph, path: Path) -> IntGraph:
    write_net(graph, path)
    kwargs: dict[str, Any] = netx_kwargs(graph)
    bits = kwargs.pop("input_message_bits")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lava-dl trains these delays on the output spikes")
        return read_network(
            path, n_timesteps=graph.n_timesteps, message_bits=bits, signed_messages=graph.inputs[0].signed, trusted=True,
            **kwargs,
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs_come_back_the_same(seed: int, tmp_path: Path) -> None:
    graph = random_graph(seed)
    assert netx_reason(graph) is None
    back = again(graph, tmp_path / "g.net")
    assert same(graph, back) is None
    assert differences(read_net(tmp_path / "g.net", trusted=True), net_layers(graph)) == []


def test_the_random_graphs_hold_every_form_and_spike() -> None:
    graphs = [random_graph(seed) for seed in SEEDS]
    kinds = {type(n).__name__ for g in graphs for n in g.nodes}
    assert kinds >= {"Input", "Conv2d", "Linear", "Flatten", "CubaLif", "Delta", "SigmaDelta", "Sigma"}
    assert {g.inputs[0].kind for g in graphs} == {"spikes", "graded", "bias"}
    nodes: list[Node] = [n for g in graphs for n in g.nodes]
    assert any(isinstance(n, Linear) and n.delays is not None for n in nodes)
    assert any(n.name.endswith(".rec") for n in nodes)
    assert any(isinstance(getattr(n, "i_decay", None), np.ndarray) for n in nodes)
    assert any(g.host is not None for g in graphs)
    fired = 0
    for seed, graph in enumerate(graphs):
        counts = simulate(graph, random_input(graph, seed), graph.n_timesteps).n_spikes
        fired += sum(count for name, count in counts.items() if name != "input")
    assert fired > 1000


@pytest.mark.parametrize("kind", ["spikes", "graded", "bias"])
def test_a_lowered_chain_computes_the_same(kind: Any, tmp_path: Path) -> None:
    """Other names, a read-out that stays on the host, accumulators without a bound: equal in every spike."""
    graph = chain(kind)
    back = again(graph, tmp_path / "g.net")
    x = inputs(graph)
    mine, other = simulate(graph, x, 12), simulate(back, x, 12)
    pairs = list(zip([n.name for n in graph.neurons], [n.name for n in back.neurons], strict=True))
    assert [b for _, b in pairs] == [f"{k}.neuron" for k in range(len(pairs))]
    for name, again_name in pairs:
        assert np.array_equal(mine.spikes[name], other.spikes[again_name])
    assert sum(mine.n_spikes[name] for name, _ in pairs) > 0
