"""SNASNet: whole and stepped runs are one function, its graph has its spikes, and the loop trains it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import neurodeploy as nd
import numpy as np
import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.ir import serialize
from neurodeploy.ir.reference import evaluate
from neurodeploy.models.record import record
from neurodeploy.models.snas_cell import RELEASED, Cell, SnasConfig, edges, is_recurrent
from neurodeploy.models.snas_convert import to_graph
from neurodeploy.models.snasnet import SnasCell, SnasNet
from neurodeploy.search.snas_space import draw
from neurodeploy.train.config import TrainConfig
from neurodeploy.train.loop import Epoch, train

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
        if is_recurrent(cell) == (kind == "backward") and {op for *_, op in edges(cell)} & {1, 4}:
            found[cell] = None
    return list(found)


def stands_for(name: str, names: Iterable[str]) -> str:
    """The layer that a graph has for this one: the first that reads the same node."""
    start = name.removesuffix("neuron")[:-2] if ".edges." in name else name
    return next(other for other in names if other.startswith(start))


@pytest.mark.parametrize("cell", [*cells("forward", 6), *cells("backward", 10), *RELEASED.values()], ids=" ".join)
@pytest.mark.parametrize(("ends", "feedback"), [("released", "released"), ("spikes", "released"), ("spikes", "loop")])
def test_graph_has_the_spikes_of_the_network(cell: Cell, ends: str, feedback: str) -> None:
    n = 4 if feedback == "released" else 7
    net = lively(cell, replace(SMALL, ends=ends, feedback=feedback, n_timesteps=n))  # type: ignore[arg-type]
    graph = to_graph(net)
    x = torch.rand(6, 2, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        votes, spikes = net(x), net.spikes(x)
    values = evaluate(graph, np.broadcast_to(x.numpy(), (n, *x.shape)), n)
    for name, layer in spikes.items():
        assert np.array_equal(values[stands_for(name, spikes)], layer.numpy()), name
    assert {n.name for n in graph.neurons} == {stands_for(name, spikes) for name in spikes}
    assert all(0 < s.mean() < 1 for s in spikes.values())
    np.testing.assert_allclose(values["vote"], votes.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("cell", "what"), [
    ("0001 4000 0000 0100", "passes no neurons"),  # a skip, a pool and back
    ("0023 0003 0300 0000", "close no loop"),  # 0 -> 2, back to 1, on to 3
    ("0003 0000 0003 0000", "nothing feeds"),  # node 2
])  # fmt: skip
def test_cells_without_a_graph_say_why(cell: str, what: str) -> None:
    net = SnasNet(SMALL, cell)
    with torch.no_grad():
        assert net(torch.rand(2, 2, 9, 8)).shape == (4, 2, 3)  # a network all the same
    with pytest.raises(UsageError, match=what):
        to_graph(net)


def test_what_would_go_wrong_unseen_is_refused() -> None:
    net = SnasNet(SMALL, "snasnet_cifar10")
    with pytest.raises(UsageError, match="step by step"), record(net):
        pass
    net.metadata = {"arch": "mine"}
    with pytest.raises(UsageError, match="metadata holds"):
        to_graph(net)
    with pytest.raises(UsageError, match="input of shape"):
        net(torch.rand(2, 2, 8, 8))
    for wrong in ({"pool": 8}, {"ends": "both"}, {"dropout": 1.0}, {"width": 0}, {"linear_std": 0.0}):
        with pytest.raises(UsageError, match=next(iter(wrong)) if "pool" not in wrong else "vanish"):
            replace(SMALL, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", [*RELEASED, "0111 0011 0001 0000"])
def test_gpus_run_it_with_feedback(cell: str, tmp_path: Path) -> None:
    """In float32 to the last spike here, since no membrane lies within 1e-5 of its threshold; and in its ONNX forms."""
    net = lively(cell)
    x = np.random.default_rng(4).random((5, 2, 9, 8)).astype(np.float32)
    with torch.no_grad():
        spikes, votes = net.spikes(torch.from_numpy(x).double()), net(torch.from_numpy(x).double())
    graph, held = to_graph(net), np.broadcast_to(x, (4, *x.shape))
    found = nd.simulate_on_gpu(graph, held, membranes=True)
    for name, layer in found.spikes.items():
        assert np.abs(found.membranes[name] - 1).min() > 1e-5
        assert np.array_equal(layer, spikes[name].numpy()) and layer.any(), name
    np.testing.assert_allclose(found.votes, votes.numpy(), rtol=0, atol=1e-5)
    serialize.save(graph, tmp_path / "net.npz")
    again = nd.load(tmp_path / "net.npz")
    assert again.metadata["arch"] == list(net.arch)
    assert nd.cost_on_gpu(again, "orin-nano").energy_j.nominal > 0
    nd.export_on_gpu(again, "orin-nano", tmp_path / "bundle", golden_inputs=held)
    assert nd.validate(tmp_path / "bundle").ok


def test_the_loop_trains_it(tmp_path: Path) -> None:
    """Two classes of stripes; a run that was stopped goes on from its file and ends in the same weights."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = rng.random((40, 2, 9, 8), dtype=np.float32) * 0.5
    x[y == 0, :, ::2] += 0.5
    x[y == 1, :, :, ::2] += 0.5
    config = TrainConfig(epochs=6, batch_size=10, lr=0.1, optimizer="sgd", weight_decay=5e-4, loss="ce")
    nets = []
    for stopped in (False, True):
        torch.manual_seed(1)
        net = SnasNet(replace(SMALL, n_classes=2, width=6, linear_std=1.0), "snasnet_cifar10")
        if stopped:
            def stop(epoch: Epoch) -> None:
                if epoch.epoch == 3:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                train(net, (x, y), (x, y), config, seed=2, device="cpu", checkpoint_file=tmp_path / "c",
                      checkpoint_interval_s=0, progress=stop)
        kept = tmp_path / "c" if stopped else None
        result = train(net, (x, y), (x, y), config, seed=2, device="cpu", checkpoint_file=kept)
        nets.append(net)
        assert result.best.accuracy > 0.9 and result.history[-1].train_loss < result.history[0].train_loss
    first, second = (net.state_dict() for net in nets)
    assert all(torch.equal(first[name], second[name]) for name in first)
