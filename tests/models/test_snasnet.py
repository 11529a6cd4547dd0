"""SNASNet: whole and stepped runs are one function, its graph has its spikes, and the loop trains it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.ir.reference import evaluate
from neurodeploy.models.snas_cell import RELEASED, Cell, SnasConfig, edges, is_recurrent
from neurodeploy.models.snas_convert import to_graph
from neurodeploy.models.snasnet import SnasCell, SnasNet
from neurodeploy.search.snas_space import draw

SMALL = SnasConfig(2, (9, 8), 3, width=3, group=2, n_timesteps=4, hidden=12)


def lively(cell: str | Cell, config: SnasConfig = SMALL) -> SnasNet:
    """A network whose layers all fire, with statistics and scales that are no defaults."""
    torch.manual_seed(2)
    net = SnasNet(config, cell).double().train()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "bn" in name:
                p.uniform_(1.0, 2.0) if name.endswith("weight") else p.uniform_(0.0, 1.0)
            elif "hidden" in name or "output" in name:
                p.normal_(0.1, 1.0)
        for _ in range(20):
            net(torch.rand(8, config.in_channels, *config.image_size, dtype=torch.float64))
    return net.eval()


@pytest.mark.parametrize("cell", ["0121 0034 0003 0000", "0402 0012 0004 0000", "0003 0000 0000 0000"])
def test_whole_equals_stepped(cell: str) -> None:
    """Values and gradients of the scan are those of the steps; in training too, with batch statistics of each timestep."""
    net = lively(cell).train()
    assert not net.cell1.recurrent
    x = torch.rand(4, 5, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
    found = []
    for run in (SnasCell.whole, SnasCell.stepped):
        net.zero_grad()
        entry, spikes = x.clone().requires_grad_(), {}
        out = run(net.cell1, entry, spikes.__setitem__)
        (out * torch.linspace(0.1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
        assert all(0 < s.mean() < 1 for s in spikes.values()) and len(spikes) == len(net.cell1.edges)
        found.append([out, *spikes.values(), entry.grad, *(p.grad for p in net.cell1.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)  # the same formulas, sums in another order


def cells(kind: str, n: int) -> list[Cell]:
    """Different cells that have a graph, skips, pools and, in kind "backward", loops among them."""
    rng, found = random.Random(5), dict[Cell, None]()
    while len(found) < n:
        cell = draw(rng, kind, spiking=True)  # type: ignore[arg-type]
        if (kind == "forward" or is_recurrent(cell)) and {op for *_, op in edges(cell)} & {1, 4}:
            found[cell] = None
    return list(found)


def stands_for(name: str, names: Iterable[str]) -> str:
    """The layer that a graph has for this one: the first that reads the same node."""
    start = name.removesuffix("neuron")[:-2] if ".edges." in name else name
    return next(other for other in names if other.startswith(start))


@pytest.mark.parametrize("cell", [*cells("forward", 6), *cells("backward", 10), *RELEASED.values()], ids=" ".join)
@pytest.mark.parametrize("ends", ["released", "spikes"])
def test_graph_has_the_spikes_of_the_network(cell: Cell, ends: str) -> None:
    net = lively(cell, replace(SMALL, ends=ends))
    try:
        graph = to_graph(net)
    except UsageError as error:
        assert "close no loop" in error.what
        return
    x = torch.rand(6, 2, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        votes, spikes = net(x), net.spikes(x)
    values = evaluate(graph, np.broadcast_to(x.numpy(), (4, *x.shape)))
    for name, layer in spikes.items():
        assert np.array_equal(values[stands_for(name, spikes)], layer.numpy()), name
    assert {n.name for n in graph.neurons} == {stands_for(name, spikes) for name in spikes}
    assert all(0 < s.mean() < 1 for s in spikes.values())
    np.testing.assert_allclose(values["vote"], votes.numpy(), rtol=1e-12, atol=1e-14)
