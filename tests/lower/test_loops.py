"""Recurrent networks on a chip whose synapses take a timestep: spikes of the model, whatever biases do before."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Input, Lif, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower import lower
from neurodeploy.lower.pool import memoryless
from neurodeploy.models.from_graph import TorchGraph, model_delays
from neurodeploy.models.snas_cell import CONV1, CONV3, POOL, RELEASED, Cell, SnasConfig, edges, is_recurrent, loop_delay
from neurodeploy.models.snas_convert import to_graph
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.quantize import quantize
from neurodeploy.search.snas_space import draw
from neurodeploy.sim import reference
from neurodeploy.sim.clocked import simulate
from neurodeploy.sim.exit import simulate_until

CHIP, T = target("loihi2"), 7
SIZES = SnasConfig(2, (8, 8), 3, width=3, group=2, n_timesteps=T, hidden=12, ends="spikes", feedback="loop")


def lively(cell: str | Cell) -> SnasNet:
    """Biases of both signs, so that some layers fire before anything reaches them."""
    torch.manual_seed(2)
    net = SnasNet(SIZES, cell).double().train()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "bn" in name:
                p.uniform_(1.0, 2.0) if name.endswith("weight") else p.uniform_(-0.5, 1.0)
            elif "hidden" in name or "output" in name:
                p.normal_(0.1, 1.0)
        for _ in range(20):
            net((torch.rand(8, 2, 8, 8) < 0.5).double())
    return net.eval()


@cache
def model(cell: str | Cell) -> Graph:
    graph = to_graph(lively(cell))
    return replace(graph, metadata={**graph.metadata, "encoding": "rate"})


def cells(n: int) -> list[Cell]:
    """With backward convolutions and skips, without pools; the fewer ones whose node is fed from behind alone among them."""
    rng, found = random.Random(7), dict[Cell, None]()
    while len(found) < n:
        cell = draw(rng, "backward", spiking=True)
        ops = {op for *_, op in edges(cell)}
        back = {op for row, col, op in edges(cell) if row > col}
        if is_recurrent(cell) and POOL not in ops and (1 in back or len(found) < n // 2):
            found[cell] = None
    return list(found)


CELLS = [*RELEASED.values(), *cells(8)]
X = (np.random.default_rng(3).random((T, 3, 2, 8, 8)) < 0.5).astype(np.float64)


def start(graph: Graph, name: str) -> int:
    node = graph[name]
    assert isinstance(node, Lif | CubaLif)
    return node.reset_offset - 1


def early(graph: Graph, spikes: dict[str, np.ndarray]) -> float:
    return float(sum(spikes[n.name][: start(graph, n.name)].sum() for n in graph.neurons))


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_chip_has_the_spikes_of_the_model(cell: Cell) -> None:
    graph = model(cell)
    lowered = lower(graph, CHIP, "rate")
    wanted, found = evaluate(graph, X), evaluate(lowered, X, lowered.n_chip_steps)
    for node in graph.neurons:
        d = start(lowered, node.name)
        n = len(found["vote"]) - d  # some loops end behind the output
        assert 0 < wanted[node.name].mean() < 1, node.name
        assert np.array_equal(found[node.name][d : d + T], wanted[node.name][:n]), node.name
    d = lowered.latencies["vote"]
    assert np.array_equal(found["vote"][d : d + T], wanted["vote"])
    assert np.array_equal(evaluate(lowered, X)["vote"], found["vote"])  # its default number of timesteps
    assert early(lowered, found) > 100  # what the gates keep out of the loops
    with torch.no_grad():
        in_model_time = TorchGraph(lowered, torch.float64)(torch.from_numpy(X))
    assert all(np.array_equal(in_model_time[n.name].numpy(), wanted[n.name]) for n in (*graph.neurons, graph["vote"]))
    hops = [e.delay for e in lowered.edges if lowered[e.dst].is_synapse]
    assert set(hops) == {1} and serialize.from_bytes(serialize.to_bytes(lowered)).metadata == lowered.metadata


@pytest.mark.parametrize("cell", CELLS[:5], ids=" ".join)
def test_integers_are_those_of_model_time(cell: Cell) -> None:
    """Nothing that happens on the chip before a layer starts counts; and both simulators agree."""
    lowered = lower(model(cell), CHIP, "rate")
    net = quantize(lowered, CHIP, np.random.default_rng(1).random((20, 2, 8, 8)))
    started = tuple(replace(n, reset_interval=None, v_init=np.zeros(1, np.int64)) if isinstance(n, CubaLif) else n
                    for n in net.nodes)
    delays = model_delays(net)
    timeless = IntGraph(started, tuple(replace(e, delay=delays[e]) for e in net.edges), T, target="loihi2")
    x = X.astype(np.int64)
    wanted = simulate(timeless, x, T)
    fast, slow = (run(net, x, record_state=True) for run in (simulate, reference.simulate))
    assert fast.n_steps == net.n_chip_steps == T + net.latencies["vote"]
    for node in net.neurons:
        d = start(net, node.name)
        n = fast.n_steps - d
        assert np.array_equal(fast.spikes[node.name][d : d + T], wanted.spikes[node.name][:n]), node.name
        assert np.array_equal(fast.spikes[node.name], slow.spikes[node.name]) and fast.spikes[node.name].any()
        assert fast.v_mem is not None and slow.v_mem is not None
        assert np.array_equal(fast.v_mem[node.name], slow.v_mem[node.name])
    assert np.array_equal(fast.votes, wanted.votes) and np.array_equal(fast.votes, slow.votes) and fast.votes.any()
    assert early(net, fast.spikes) > 0
    stopped = simulate_until(net, x, ConfidencePolicy(0.4))
    at = stopped.exit_steps - 1
    assert 0 < at.max() < T and np.array_equal(stopped.chip_steps, at + 1 + net.latencies["vote"])
    assert np.array_equal(stopped.answers, fast.logits[at, np.arange(3)].argmax(axis=1))


def test_without_gates_biases_would_enter_the_loops() -> None:
    lowered = lower(model("snasnet_cifar10"), CHIP, "rate")
    gates = [n for n in lowered.nodes if isinstance(n, Lif) and n.v_init is not None]
    assert len(gates) == 6
    started = {n.name: replace(memoryless(n.name, n.shape), reset_interval=n.reset_interval, reset_offset=n.reset_offset)
               for n in gates}
    bare = replace(lowered, nodes=tuple(started.get(n.name, n) for n in lowered.nodes))
    with_gates, without = (evaluate(g, X)["vote"] for g in (lowered, bare))
    assert not np.array_equal(with_gates, without)


def test_the_delay_is_the_shortest_that_a_chip_keeps() -> None:
    found = set()
    for cell in CELLS:
        delay, graph = loop_delay(cell), model(cell)
        found.add(delay)
        assert {e.delay for e in graph.edges} - {0} <= {delay, 2 * delay, 3 * delay}
        shorter = tuple(replace(e, delay=e.delay // delay * (delay - 1)) for e in graph.edges)
        if delay > 1:
            with pytest.raises(DoesNotFit, match="takes longer on the chip"):
                lower(replace(graph, edges=shorter), CHIP, "rate")
    assert found >= {2, 3, 4}
    assert loop_delay(("0303", "0030", "2002", "0200")) == 4  # three layers of neurons, and the gate
    assert loop_delay(("0003", "0000", "0000", "0000")) == 1


def test_feedback_that_arrives_late_is_what_it_is_without_spikes() -> None:
    """Trained networks see it too: the first timesteps are those of a network whose backward edges are constants."""
    net = lively("0002 0000 1000 0020")  # 0 -> 3, back to 2, led back to 0
    x = torch.from_numpy(X)
    with torch.no_grad():
        votes = net(x)
        for edge in (net.cell1.edges["32"], net.cell2.edges["32"]):
            edge.conv.weight.zero_()  # type: ignore[union-attr, operator]
        constant = net(x)
    assert loop_delay(net.arch) == 2
    assert torch.equal(votes[:2], constant[:2]) and not torch.equal(votes, constant)


def test_what_has_no_exact_form_is_refused() -> None:
    with pytest.raises(UsageError, match="loop of its edges passes no neurons"):
        SnasNet(SIZES, "0001 1000 0000 0100")
    with pytest.raises(UsageError, match="feedback 'loop' with ends 'released'"):
        replace(SIZES, ends="released")
    conv, neurons = Conv2d("c", np.ones((1, 1, 1, 1))), Lif("n", (1, 2, 2))
    entry = Input("x", (1, 2, 2), kind="spikes")
    keeping = Graph((entry, conv, neurons), (Edge("x", "c"), Edge("c", "c", 1), Edge("c", "n")), 2)
    with pytest.raises(DoesNotFit, match="a loop passes no neurons"):
        lower(replace(keeping, metadata={"encoding": "rate"}), CHIP, "rate")
    again = (Conv2d("c2", np.ones((1, 1, 1, 1))), Lif("m", (1, 2, 2)), Conv2d("c3", np.ones((1, 1, 1, 1))), Vote("vote", 4, 1))
    late = Graph((entry, conv, neurons, *again[:3]), (
        Edge("x", "c"), Edge("c", "n"), Edge("n", "c2", 2), Edge("c2", "m"), Edge("m", "c3", 1), Edge("c3", "m")), 2,
        {"encoding": "rate"})  # fmt: skip
    with pytest.raises(DoesNotFit, match="delayed ways alone lead there"):
        lower(late, CHIP, "rate")


def test_every_drawn_cell_has_a_delay() -> None:
    rng = random.Random(1)
    for _ in range(200):  # ends, whatever the cell
        cell = draw(rng, "backward", spiking=True)
        delay = loop_delay(cell)
        n_layers = len({row for row, _, op in edges(cell) if op in (CONV1, CONV3)})
        assert 1 <= delay <= n_layers + 1
