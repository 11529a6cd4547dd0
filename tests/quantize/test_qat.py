"""Fine-tuning on a coarse grid: wins back what rounding lost, and leaves nothing to round."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.data import load
from neurodeploy.data.chip_input import chip_input
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, Flatten, Input, Lif, Linear, MaxPool2d, Node, Vote
from neurodeploy.ir.votes import predictions
from neurodeploy.lower import lower
from neurodeploy.models.from_graph import TorchGraph
from neurodeploy.place import check
from neurodeploy.quantize import quantize
from neurodeploy.quantize.qat import QatSettings, fine_tune, merge_biases
from neurodeploy.sim.clocked import simulate
from neurodeploy.train import losses

COARSE = target("loihi2", {"arithmetic.weight_step": 96})
FIXED = {"pool.or", "c1.n.relay1.synapse"}  # OR layer and relay; the identity shortcut may learn


@cache
def digits() -> tuple[Any, Any]:
    torch.set_num_threads(1)  # layers this small gain nothing from a second thread
    data = load("digits")
    (x, y), validation = data.split("train"), data.split("validation")
    return (x[:500], y[:500]), validation


@cache
def trained(inv_tau: float) -> Graph:
    """conv, two convs + identity, OR pool, linear: lowered for the chip and trained on 500 digits."""
    rng = np.random.default_rng(0)
    shape = (6, 8, 8)

    def lif(name: str, *size: int) -> Lif:
        return Lif(name, shape=size, inv_tau=inv_tau)

    nodes: tuple[Node, ...] = (
        Input("x", (1, 8, 8)), Conv2d("c1", weight=rng.normal(0, 0.5, (6, 1, 3, 3)), bias=np.full(6, 0.2), padding=(1, 1)),
        lif("c1.n", *shape), Conv2d("c2", weight=rng.normal(0, 0.2, (6, 6, 3, 3)), bias=np.full(6, 0.2), padding=(1, 1)),
        lif("c2.n", *shape), Conv2d("c3", weight=rng.normal(0, 0.2, (6, 6, 3, 3)), bias=np.full(6, 0.2), padding=(1, 1)),
        lif("c3.n", *shape), MaxPool2d("pool"), Flatten("flat"),
        Linear("fc", weight=rng.normal(0, 0.2, (20, 96))), lif("fc.n", 20), Vote("vote", 10, 2),
    )  # fmt: skip
    edges = (*(Edge(a.name, b.name) for a, b in pairwise(nodes)), Edge("c1.n", "c3.n"))
    lowered = lower(Graph(nodes, edges, 3), COARSE, "graded", n_levels=17)
    module = TorchGraph(lowered)
    module.freeze(FIXED)
    (x, y), _ = digits()
    inputs, labels = torch.from_numpy(chip_input(lowered, x)).float(), torch.from_numpy(y)
    optimizer = torch.optim.Adam([
        # The first weights are per grey level: 16 times smaller than the others.
        {"params": [p for n, p in module.named_parameters() if "c1" in n and p.requires_grad], "lr": 1e-3},
        {"params": [p for n, p in module.named_parameters() if "c1" not in n and p.requires_grad], "lr": 1e-2},
    ])
    order = torch.Generator().manual_seed(0)
    for _ in range(12):
        for index in torch.split(torch.randperm(500, generator=order), 50):
            optimizer.zero_grad()
            losses.loss("mse", module(inputs[:, index])["vote"], labels[index]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    found = []
    for node in lowered.nodes:
        if isinstance(node, Conv2d | Linear):
            weight, bias = module.parameters_of(node.name)
            node = replace(node, weight=weight.detach().double().numpy(),
                           bias=None if bias is None else bias.detach().double().numpy())
        found.append(node)
    return replace(lowered, nodes=tuple(found))


def accuracy(net: IntGraph) -> float:
    x, y = digits()[1]
    return float((predictions(simulate(net, chip_input(net, x)).votes)[-1] == y).mean())


@cache
def tuned(inv_tau: float) -> tuple[IntGraph, Graph, IntGraph]:
    data, validation = digits()
    lowered = trained(inv_tau)
    coarse = quantize(lowered, COARSE, validation[0])
    return coarse, *fine_tune(lowered, coarse, COARSE, data, validation, QatSettings(epochs=6, lr=2e-3), seed=1)


@pytest.mark.parametrize("inv_tau", [0.4, 0.0])
def test_fine_tuning_recovers_what_a_coarse_grid_lost(inv_tau: float) -> None:
    """Weights at five levels only (-192 to 192 in steps of 96); leaky and IF neurons."""
    fine = accuracy(quantize(trained(inv_tau), target("loihi2"), digits()[1][0]))
    before, _, after = tuned(inv_tau)
    lost, left = fine - accuracy(before), fine - accuracy(after)
    assert fine > 0.85
    assert lost > 0.03
    assert left < 0.5 * lost


@pytest.mark.parametrize("inv_tau", [0.4, 0.0])
def test_the_result_lies_on_the_grid(inv_tau: float) -> None:
    before, graph, net = tuned(inv_tau)
    scales = net.quantization["scales"]
    assert scales == before.quantization["scales"] and net.quantization["calibrated"]
    changed = 0
    for neuron in graph.neurons:
        for source, _ in graph.sources(neuron.name):
            assert isinstance(source, Conv2d | Linear)
            integer = net[source.name].weight  # type: ignore[attr-defined]
            # float32 on the way: 2^-24 of values up to 256
            np.testing.assert_allclose(source.weight * scales[neuron.name], integer, rtol=0, atol=1e-4)
            changed += int((integer != before[source.name].weight).sum())  # type: ignore[attr-defined]
            if source.name in FIXED:
                assert np.array_equal(source.weight, np.ones_like(source.weight))
                assert np.array_equal(integer, before[source.name].weight)  # type: ignore[attr-defined]
        for field in ("v_th", "v_decay", "i_decay", "reset_offset"):
            assert getattr(net[neuron.name], field) == getattr(before[neuron.name], field)
        bias = sum(s.bias for s, _ in graph.sources(neuron.name) if s.bias is not None)  # type: ignore[attr-defined]
        np.testing.assert_allclose(
            np.asarray(bias) * scales[neuron.name] * np.ones(neuron.shape[0]),  # type: ignore[attr-defined]
            net[neuron.name].bias_mant.ravel(), rtol=0, atol=1e-3,  # type: ignore[attr-defined]
        )
    assert changed > 20
    assert check(net, COARSE).violations == ()
    again = quantize(graph, COARSE, scales=scales)
    for node in again.nodes:
        for name in ("weight", "bias_mant", "v_th"):
            assert np.array_equal(getattr(node, name, None), getattr(net[node.name], name, None))
    # Fine-tuning once more knows the OR layers and relays again, and starts where the first ended.
    data, validation = digits()
    _, unchanged = fine_tune(graph, net, COARSE, data, validation, QatSettings(epochs=0), seed=0)
    for node in unchanged.nodes:
        assert np.array_equal(getattr(node, "weight", None), getattr(net[node.name], "weight", None))


def test_it_is_deterministic_reports_progress_and_never_ends_below_its_start() -> None:
    data, validation = digits()
    small = (data[0][:100], data[1][:100])
    lowered = trained(0.4)
    coarse = quantize(lowered, COARSE, validation[0])
    seen: list[tuple[int, float]] = []
    settings = QatSettings(epochs=2, lr=0.5)  # a step size that ruins the network
    results = [
        fine_tune(lowered, coarse, COARSE, small, validation, settings, seed=3, progress=lambda e, a: seen.append((e, a)))
        for _ in range(2)
    ]
    assert [e for e, _ in seen] == [1, 2, 1, 2] and seen[:2] == seen[2:]
    assert max(a for _, a in seen) < accuracy(coarse)
    for net in (results[0][1], results[1][1]):
        for node in net.nodes:
            assert np.array_equal(getattr(node, "weight", None), getattr(coarse[node.name], "weight", None))
    assert accuracy(results[0][1]) == accuracy(coarse)


def test_merged_biases_change_nothing() -> None:
    lowered = trained(0.4)
    nodes = tuple(replace(n, bias=np.full(6, 0.125)) if n.name == "c3.n.identity" else n for n in lowered.nodes)  # type: ignore[call-arg]
    split = replace(lowered, nodes=nodes)
    merged = merge_biases(split)
    assert merged["c3.n.identity"].bias is None  # type: ignore[attr-defined]
    np.testing.assert_array_equal(merged["c3"].bias, lowered["c3"].bias + 0.125)  # type: ignore[attr-defined]
    x = chip_input(lowered, digits()[1][0][:20])
    with torch.no_grad():
        one, two = (TorchGraph(g, torch.float64)(torch.from_numpy(x)) for g in (split, merged))
    assert one["c3.n"].sum() > 0 and torch.equal(one["vote"], two["vote"])
