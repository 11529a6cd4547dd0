"""QCFS in torch, as a node, in files, in --arch, and on GPUs."""

from __future__ import annotations

from pathlib import Path

import neurodeploy as nd
import numpy as np
import pytest
import torch
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.ir import serialize
from neurodeploy.ir.nodes import Qcfs as QcfsNode
from neurodeploy.ir.reference import evaluate
from neurodeploy.models.from_torch import from_torch
from neurodeploy.models.qcfs import Qcfs, to_qcfs
from neurodeploy.sim import gpu_reference, gpu_run
from torch import nn


def test_the_formula_by_hand() -> None:
    """lam 4, L 2: levels 0, 2 and 4, changing at 1 and 3; towards lam y/lam - x/lam within the clip, 1 above it."""
    layer = Qcfs(2, 4.0)
    x = torch.tensor([-3.0, 0.5, 1.0, 2.9, 3.0, 9.0], requires_grad=True)
    y = layer(x)
    assert y.tolist() == [0, 0, 2, 2, 4, 4]
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 1, 1, 0]
    assert layer.up.grad is not None
    wanted = 0 + (0 - 0.125) + (0.5 - 0.25) + (0.5 - 0.725) + (1 - 0.75) + 1
    np.testing.assert_allclose(layer.up.grad.item(), wanted, rtol=1e-6)


def test_relus_and_max_pools_are_replaced() -> None:
    net = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2, stride=2)), nn.Flatten(), nn.Linear(18, 2))
    found = to_qcfs(net, 8, 2.0)
    assert [type(m).__name__ for m in found.modules()][1:] == ["Sequential", "Conv2d", "Qcfs", "AvgPool2d", "Flatten", "Linear"]
    assert [name for name, _ in found.named_parameters() if name.endswith("up")] == ["0.1.up"]
    relu = nn.ReLU()
    shared = to_qcfs(nn.Sequential(nn.Linear(2, 2), relu, nn.Linear(2, 2), relu), 8)
    assert isinstance(shared, nn.Sequential) and isinstance(shared[3], Qcfs) and shared[1] is not shared[3]
    with pytest.raises(UsageError, match="dilation"):
        to_qcfs(nn.Sequential(nn.MaxPool2d(2, dilation=2)), 8)
    for lam, levels in ((0.0, 4), (float("inf"), 4), (1.0, 0)):
        with pytest.raises(UsageError, match="levels"):
            Qcfs(levels, lam)


def network(levels: int | None = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), Qcfs(levels, 0.7), nn.AvgPool2d(2), nn.Flatten(),
                         nn.Linear(64, 12), Qcfs(levels, 0.3), nn.Linear(12, 3)).eval()


@pytest.mark.parametrize("levels", [4, None])
def test_module_graph_file_and_gpu_compute_the_same(levels: int | None, tmp_path: Path) -> None:
    net, x = network(levels), np.random.default_rng(1).random((6, 1, 8, 8)).astype(np.float32)
    graph = from_torch(net, (1, 8, 8))
    serialize.save(graph, tmp_path / "net.npz")
    again = serialize.load(tmp_path / "net.npz")
    assert serialize.digest(again) == serialize.digest(graph)
    found = [n for n in again.nodes if isinstance(n, QcfsNode)]
    assert [n.levels for n in found] == [levels] * 2 and [n.lam for n in found] == pytest.approx([0.7, 0.3])
    with torch.inference_mode():
        wanted = net(torch.tensor(x)).numpy()
        hidden = net[:3](torch.tensor(x)).numpy()
    assert 0.1 < (hidden > 0).mean() < 0.9
    # float64 against float32: seeds without a value near a floor
    np.testing.assert_allclose(evaluate(again, x[np.newaxis])["vote"][0], wanted, atol=1e-5)
    lowered = nd.lower(again, "h200")
    for run in (gpu_run.run, gpu_reference.run_reference):
        np.testing.assert_allclose(run(lowered, x[np.newaxis]).votes[0], wanted, atol=1e-5)
    assert nd.cost_on_gpu(lowered, "h200").energy_j.nominal > 0


def test_an_average_pool_in_front_keeps_its_factor_there() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AvgPool2d(2), Qcfs(4, 0.3), nn.AvgPool2d(2), Qcfs(4, 0.2),
                        nn.Flatten(), nn.Linear(8, 2))
    x = np.random.default_rng(2).random((5, 1, 8, 8)).astype(np.float32)
    with torch.inference_mode():
        wanted = net(torch.tensor(x)).numpy()
    np.testing.assert_allclose(evaluate(from_torch(net, (1, 8, 8)), x[np.newaxis])["vote"][0], wanted, atol=1e-5)


ARCH = "1x8x8 T=1 | conv2d padding=1 | bn | qcfs levels=4 | avgpool 2 | flatten | linear | qcfs levels=4 | linear | vote 3"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_state_dict_says_lam_and_the_spec_the_levels(suffix: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    net, path = network(), tmp_path / f"net{suffix}"
    if suffix == ".pt":
        torch.save(net.state_dict(), path)
    else:
        save_file(net.state_dict(), path)
    graph, wanted = nd.load(path, ARCH), from_torch(net, (1, 8, 8))
    x = np.random.default_rng(3).random((1, 4, 1, 8, 8))
    assert np.array_equal(evaluate(graph, x)[graph.output.name], evaluate(wanted, x)[wanted.output.name])
    with pytest.raises(UsageError, match="levels=\\?"):
        nd.load(path, ARCH.replace("qcfs levels=4", "qcfs"))
    with pytest.raises(UsageError, match=r"levels is 2\.5"):
        nd.load(path, ARCH.replace("levels=4", "levels=2.5"))
    with pytest.raises(UsageError, match="levels is 0"):
        nd.load(path, ARCH.replace("levels=4", "levels=0"))
    with pytest.raises(UsageError) as caught:
        nd.load(path)
    assert "qcfs levels=?" in caught.value.remedy
    smooth = nd.load(path, ARCH.replace("levels=4", "levels=none"))
    assert [n.levels for n in smooth.nodes if isinstance(n, QcfsNode)] == [None, None]


def test_a_negative_threshold_is_no_network(tmp_path: Path) -> None:
    net = network()
    with torch.no_grad():
        net[2].up.fill_(-1)
    with pytest.raises(UsageError, match="lam is -1"):
        from_torch(net, (1, 8, 8))


@pytest.mark.parametrize("target", ["loihi2", "speck2f"])
def test_chips_refuse_it_with_the_way_out(target: str) -> None:
    with pytest.raises(DoesNotFit, match="QCFS activations: this network does not spike") as caught:
        nd.lower(from_torch(network(), (1, 8, 8)), target)
    assert "neurodeploy convert" in str(caught.value)
