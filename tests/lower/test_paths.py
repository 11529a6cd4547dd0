"""Sums of linear maps as synapse groups: the same function, and SNASNet's spikes on a chip with timesteps."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from neurodeploy.cost.counts import count
from neurodeploy.cost.model import cost
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, Input, Lif, MaxPool2d, Node, SumPool2d
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower import lower
from neurodeploy.lower.borders import flatten_borders
from neurodeploy.lower.linear_maps import NoConvolution, fold_linear_maps
from neurodeploy.lower.paths import fold_paths
from neurodeploy.models.snas_cell import SnasConfig, edges
from neurodeploy.models.snas_convert import to_graph
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.place import place
from neurodeploy.place.layers import read_network
from neurodeploy.quantize import quantize
from neurodeploy.search.snas_space import draw
from neurodeploy.sim import reference
from neurodeploy.sim.clocked import simulate

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


def network(cell: str | tuple[str, ...], sizes: SnasConfig = SIZES) -> SnasNet:
    torch.manual_seed(4)
    net = SnasNet(sizes, cell).double().train()
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


def padded(rng: np.random.Generator) -> Graph:
    """Padded convolutions and pools behind each other, of kernel 3 and stride 1 or 2, with biases, in front of two layers."""
    shape, stride = (2, 5, 6), int(rng.integers(1, 3))
    conv = Conv2d("conv", whole(rng, 2, 2, 3, 3), whole(rng, 2), padding=(1, 1))
    pool = Conv2d("pool", np.ones((2, 1, 3, 3)), padding=(1, 1), groups=2, stride=(stride, stride))
    skip = Conv2d("skip", whole(rng, 2, 2, 1, 1), padding=(0, 0), stride=(stride, stride))
    back = tuple((n - 1) // stride + 1 for n in shape[1:])
    nodes = (Input("x", shape, kind="spikes"), Lif("a", shape), conv, pool, skip, Lif("b", (2, *back), v_th=3.0),
             Conv2d("next", whole(rng, 3, 2, 3, 3), whole(rng, 3), padding=(1, 1)), Lif("c", (3, *back), v_th=3.0))  # fmt: skip
    links = (Edge("x", "a"), Edge("a", "conv"), Edge("conv", "pool"), Edge("pool", "b"), Edge("a", "skip"), Edge("skip", "b"),
             Edge("b", "next"), Edge("next", "c"))  # fmt: skip
    return Graph(nodes, links, 4)


def test_pools_at_borders_become_weights_of_each_neuron() -> None:
    rng, alive = np.random.default_rng(2), 0
    for _ in range(20):
        graph = padded(rng)
        with pytest.raises(NoConvolution):
            fold_linear_maps(graph)
        flat = flatten_borders(graph)
        assert flat.metadata["lowering"]["flattened"] == ["b", "c"]
        assert {n.name for n in flat.nodes} == {"x", "a", "b", "c", "b.from.a", "c.from.b"}
        x = (rng.random((4, 5, 2, 5, 6)) < 0.4).astype(np.float64)
        wanted, found = evaluate(graph, x), evaluate(flat, x)
        for name in ("b", "c"):
            assert np.array_equal(found[name].reshape(wanted[name].shape), wanted[name])
            alive += 0 < wanted[name].mean() < 1
    assert alive > 25
    assert flatten_borders(flat) is flat


def pool_cells(n: int) -> list[tuple[str, ...]]:
    rng, found = random.Random(4), dict[tuple[str, ...], None]()
    while len(found) < n:
        cell = draw(rng, "backward", spiking=True)
        if any(op == 4 and (row > col or len(found) >= n // 2) for row, col, op in edges(cell)):
            found[cell] = None
    return list(found)


@pytest.mark.parametrize("cell", pool_cells(8), ids=" ".join)
def test_pool_edges_have_the_same_spikes_on_a_chip(cell: tuple[str, ...]) -> None:
    """Before lowering, after it, and in both simulators of its integers; what its memory holds is a dense layer's."""
    graph = to_graph(network(cell, replace(SIZES, feedback="loop")))
    lowered = lower(replace(graph, metadata={**graph.metadata, "encoding": "rate"}), CHIP, "rate")
    x = (np.random.default_rng(3).random((4, 3, 2, 8, 8)) < 0.5).astype(np.float64)
    wanted, found = evaluate(graph, x, 4), evaluate(lowered, x, lowered.n_chip_steps + 8)
    for node in graph.neurons:
        after = lowered[node.name]
        assert isinstance(after, Lif)
        d = after.reset_offset - 1
        assert np.array_equal(found[node.name][d : d + 4].reshape(wanted[node.name].shape), wanted[node.name]), node.name
    assert sum(not 0 < wanted[n.name].mean() < 1 for n in graph.neurons) <= 1
    own = lowered.metadata["lowering"]["flattened"]
    assert own and all(lowered.shapes[name][1:] == (1, 1) for name in own)
    net = quantize(lowered, CHIP, np.random.default_rng(1).random((8, 2, 8, 8)))
    fast, slow = (run(net, x.astype(np.int64)) for run in (simulate, reference.simulate))
    assert all(np.array_equal(fast.spikes[n.name], slow.spikes[n.name]) for n in net.neurons)
    assert sum(not fast.spikes[n.name].any() for n in net.neurons) <= 1
    plan = place(net, CHIP)
    assert cost(count(fast, plan, CHIP.zeros), plan, CHIP, "single").energy_j.nominal > 0
    for group in read_network(net).groups:
        if group.target in own and ".relay" not in group.target:
            held = sum(core.n_words for core in plan.cores_of(group.target)) * CHIP.capacity.synapse_word_bits.count
            # The dense synapses that they are: index and weight of every pair, zeros and all.
            assert group.is_dense
            assert held >= net.shapes[group.target][0] * group.n_sources * CHIP.partition.dense_synapse_bits


def test_what_a_chip_does_not_do_is_refused() -> None:
    wide = padded(np.random.default_rng(0))
    large = (2, 70, 70)
    resized = tuple(replace(n, shape=large) if isinstance(n, Input | Lif) and n.name in "xab" else n for n in wide.nodes[:6])
    with pytest.raises(UsageError, match=r"weights of its own for each neuron, b takes 96040000 from a. At most 16777216"):
        flatten_borders(replace(wide, nodes=tuple(replace(n, stride=(1, 1)) if isinstance(n, Conv2d) else n for n in resized),
                                edges=wide.edges[:6]))
    pooled = (*wide.nodes[:6], MaxPool2d("max", (2, 2)))
    with pytest.raises(UsageError, match="pads with zeros"):
        flatten_borders(replace(wide, nodes=pooled, edges=(*wide.edges[:6], Edge("b", "max"))))
    with pytest.raises(UsageError, match=r"bias would begin 1 timesteps late.*feedback 'loop'"):
        lower(to_graph(network("snasnet_cifar10")), CHIP)
