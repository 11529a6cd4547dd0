"""Sums of linear maps as synapse groups: the same function, and SNASNet's spikes on a chip with timesteps."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, Input, Lif, Node, SumPool2d
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower import lower
from neurodeploy.lower.paths import fold_paths
from neurodeploy.models.snas_cell import SnasConfig, edges
from neurodeploy.models.snas_convert import to_graph
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.search.snas_space import draw

CHIP = target("loihi2")


def whole(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Whole numbers as float64, so that sums and products are exact in any order."""
    return rng.integers(-4, 5, shape).astype(np.float64)


def drawn(rng: np.random.Generator) -> Graph:
    """Two sources, and maps that each read one or two of what came before, all of one shape; one halving map; neurons."""
    shape = (4, 8, 6)
    nodes: list[Node] = [Input("x", shape, kind="spikes"), Lif("a", shape, v_th=1.0)]
    links = [Edge("x", "a")]
    for i in range(int(rng.integers(3, 7))):
        before = [n.name for n in nodes if n.name != "x"]
        groups, kernel = int(rng.choice([1, 2, 4])), 1 + 2 * int(rng.random() < 0.4 and i == 0)
        bias = whole(rng, 4) if rng.random() < 0.5 else None
        pad = (kernel // 2, kernel // 2)
        nodes.append(Conv2d(f"m{i}", whole(rng, 4, 4 // groups, kernel, kernel), bias, padding=pad, groups=groups))
        sources = rng.choice(before, size=min(len(before), int(rng.integers(1, 3))), replace=False)
        links += [Edge(str(s), f"m{i}") for s in (["a"] if kernel == 3 else sources)]
    unread = [n.name for n in nodes if n.name.startswith("m") and not any(e.src == n.name for e in links)]
    nodes += [Conv2d("sum", whole(rng, 4, 1, 1, 1), whole(rng, 4), groups=4), SumPool2d("pool"), Lif("b", (4, 4, 3), v_th=3.0)]
    links += [*(Edge(name, "sum") for name in dict.fromkeys([*unread, "m0"])), Edge("sum", "pool"), Edge("pool", "b")]
    return Graph(tuple(nodes), tuple(links), 4)


def test_random_sums_of_maps_compute_the_same() -> None:
    rng, merged = np.random.default_rng(0), 0
    for _ in range(60):
        graph = drawn(rng)
        folded = fold_paths(graph)
        x = (rng.random((4, 5, 4, 8, 6)) < 0.4).astype(np.float64)
        assert np.array_equal(evaluate(folded, x)["b"], evaluate(graph, x)["b"])
        if folded is not graph:
            assert {n.name for n in folded.nodes} == {"x", "a", "b", "b.from.a"}
            assert len(folded.metadata["lowering"]["folded"]["b.from.a"]) == len(graph.nodes) - 3
            merged += 0 < evaluate(graph, x)["b"].mean() < 1
    assert merged > 40


def test_graphs_without_sums_in_front_of_maps_are_left_alone() -> None:
    a, b = Conv2d("c", np.ones((1, 1, 1, 1))), Conv2d("d", np.ones((1, 1, 1, 1)))
    graph = Graph((Input("x", (1, 2, 2)), a, b, Lif("n", (1, 2, 2))),
                  (Edge("x", "c"), Edge("x", "d"), Edge("c", "n"), Edge("d", "n")), 2)
    assert fold_paths(graph) is graph


def test_other_strides_stay_synapses_of_their_own() -> None:
    rng = np.random.default_rng(1)
    near, far = Conv2d("near", whole(rng, 1, 1, 2, 2), stride=(2, 2)), Conv2d("far", whole(rng, 1, 1, 3, 3), stride=(3, 3))
    one = Conv2d("one", np.ones((1, 1, 1, 1)), np.ones(1))
    graph = Graph((Input("x", (1, 3, 3), kind="spikes"), near, far, one, Lif("n", (1, 1, 1))),
                  (Edge("x", "near"), Edge("x", "far"), Edge("near", "one"), Edge("far", "one"), Edge("one", "n")), 3)
    folded = fold_paths(graph)
    assert {n.name for n in folded.nodes} == {"x", "n", "n.from.x", "n.from.x'"}
    x = (rng.random((3, 20, 1, 3, 3)) < 0.5).astype(np.float64)
    assert np.array_equal(evaluate(folded, x)["n"], evaluate(graph, x)["n"]) and evaluate(graph, x)["n"].any()


SIZES = SnasConfig(2, (8, 8), 3, width=3, group=2, n_timesteps=4, hidden=12, ends="spikes")


def network(cell: str | tuple[str, ...]) -> SnasNet:
    torch.manual_seed(4)
    net = SnasNet(SIZES, cell).double().train()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "bn" in name:
                p.uniform_(1.0, 2.0) if name.endswith("weight") else p.uniform_(0.0, 1.0)
            elif "hidden" in name or "output" in name:
                p.normal_(0.1, 1.0)
        for _ in range(20):
            net((torch.rand(8, 2, 8, 8) < 0.5).double())
    return net.eval()


def forward_cells(n: int) -> list[tuple[str, ...]]:
    """With skip edges and without pools."""
    rng, found = random.Random(2), dict[tuple[str, ...], None]()
    while len(found) < n:
        cell = draw(rng, "forward")
        ops = {op for *_, op in edges(cell)}
        if 1 in ops and 4 not in ops and len(ops) > 1:
            found[cell] = None
    return list(found)


@pytest.mark.parametrize("cell", [*forward_cells(6), ("0111", "0011", "0001", "0000")], ids=" ".join)
def test_snasnet_has_the_same_spikes_on_a_chip_later_by_its_latency(cell: tuple[str, ...]) -> None:
    graph = to_graph(network(cell))
    lowered = lower(replace(graph, metadata={**graph.metadata, "encoding": "rate"}), CHIP, "rate")
    assert lowered.metadata["lowering"]["folded"]["hidden"] == ["last_pool"]
    synapses = [n for n in lowered.nodes if n.is_synapse]
    assert all(lowered[e.dst].is_neuron or not lowered[e.dst].is_synapse for n in synapses for e in lowered.outgoing(n.name))
    x = (np.random.default_rng(3).random((4, 3, 2, 8, 8)) < 0.5).astype(np.float64)
    wanted, found = evaluate(graph, x), evaluate(lowered, np.concatenate([x, x[:, ::-1]]))
    for node in graph.neurons:
        d = lowered.latencies[node.name]
        assert 0 < wanted[node.name].mean() < 1, node.name
        assert np.array_equal(found[node.name][d : d + 4], wanted[node.name]), node.name
        assert np.array_equal(found[node.name][d + 4 : d + 8], wanted[node.name][:, ::-1]), node.name


def test_what_a_chip_does_not_do_is_refused() -> None:
    with pytest.raises(UsageError, match="pads with zeros"):
        lower(to_graph(network("0304 0000 0000 0000")), CHIP)
    with pytest.raises(UsageError, match=r"bias would begin 1 timesteps late.*feedback 'loop'"):
        lower(to_graph(network("snasnet_cifar10")), CHIP)
