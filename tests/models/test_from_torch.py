"""Plain torch networks as graphs: equal to the module, or the layer that is none is named."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import neurodeploy as nd
import numpy as np
import pytest
import torch
from neurodeploy.errors import DoesNotFit, NeurodeployError, UsageError
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir import to_nir
from neurodeploy.ir.nodes import Relu, Vote
from neurodeploy.ir.reference import evaluate, step
from neurodeploy.models.from_graph import TorchGraph
from neurodeploy.models.from_torch import from_torch
from torch import nn


def nested() -> nn.Sequential:
    torch.manual_seed(0)
    features = nn.Sequential(OrderedDict(
        conv=nn.Conv2d(1, 4, 3, padding="same"), bn=nn.BatchNorm2d(4), act=nn.ReLU(), pool=nn.MaxPool2d(2),
    ))
    body = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2, bias=False), nn.BatchNorm2d(8, affine=False), nn.ReLU(inplace=True))
    net = nn.Sequential(features, nn.Sequential(body, nn.AdaptiveAvgPool2d(2), nn.Dropout2d()), nn.Flatten(), nn.Identity(),
                        nn.Linear(32, 5)).double()
    for _ in range(3):
        net(torch.randn(16, 1, 12, 12, dtype=torch.float64))
    return net.eval()


def test_nested_networks_compute_the_same(tmp_path: Path) -> None:
    net = nested()
    graph = from_torch(net, (1, 12, 12), metadata={"data": {"name": "digits"}})
    x = np.random.default_rng(1).normal(size=(1, 6, 1, 12, 12))
    with torch.no_grad():
        wanted = net(torch.from_numpy(x[0])).numpy()
    # by the definition, and by torch in float64: sums in another order
    np.testing.assert_allclose(evaluate(graph, x)["vote"][0], wanted, rtol=1e-9, atol=1e-12)
    folded = nd.load(_saved(graph, tmp_path))
    assert serialize.same(graph, folded) is None and graph.metadata["data"] == {"name": "digits"}
    assert [n.name for n in graph.nodes][1:5] == ["0.conv", "0.bn", "0.act", "0.pool"]
    assert isinstance(graph.output, Vote) and graph.output.n_classes == 5


def _saved(graph: Graph, tmp_path: Path) -> Path:
    serialize.save(graph, tmp_path / "graph.npz")
    return tmp_path / "graph.npz"


def test_relu_is_what_it_is() -> None:
    values, _ = step(Relu("r"), np.array([[-1.5, 0.0, 2.0]]), {})
    assert values.tolist() == [[0.0, 0.0, 2.0]]
    with pytest.raises(NeurodeployError, match="int64"):
        step(Relu("r"), np.array([[1]]), {})
    graph = from_torch(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (3,))
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    found = TorchGraph(graph, torch.float64)(torch.from_numpy(x))
    for name, value in evaluate(graph, x).items():
        np.testing.assert_allclose(found[name].detach().numpy(), value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("target", ["loihi2", "loihi1", "speck2f", "dynapcnn"])
def test_chips_refuse_relu_with_the_way_out(target: str) -> None:
    graph = from_torch(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (3,))
    with pytest.raises(DoesNotFit) as caught:
        nd.lower(graph, target)
    (violation,) = caught.value.violations
    assert violation.where == "1" and "does not spike" in violation.what and "neurodeploy convert" in violation.remedy
    with pytest.raises(NeurodeployError, match="Relu"):
        to_nir(graph)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.fc1(x)
        return hidden + self.fc2(hidden)


@pytest.mark.parametrize(
    ("net", "shape", "where", "words"),
    [
        (Residual(), (2,), "Residual", "(fc1, fc2) in which order"),
        (nn.Sequential(nn.Linear(2, 2), Residual()), (2,), ": 1", "fc1"),
        (nn.Sequential(nn.Linear(2, 2), nn.GELU()), (2,), ": 1", "GELU is no layer"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding_mode="reflect")), (1, 8, 8), ": 0", "reflect"),
        (nn.Sequential(nn.Conv2d(1, 1, 2, padding="same")), (1, 8, 8), ": 0", "even kernel"),
        (nn.Sequential(nn.Conv2d(2, 1, 3)), (1, 8, 8), ": 0", "expects 2 input channels"),
        (nn.Sequential(nn.MaxPool2d(3, stride=2)), (1, 8, 8), ": 0", "Stride = kernel"),
        (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), (1, 7, 7), ": 0", "ceil_mode"),
        (nn.Sequential(nn.AvgPool2d(2, padding=1)), (1, 8, 8), ": 0", "padding (1, 1)"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(3)), (1, 8, 8), ": 0", "multiple of the size"),
        (nn.Sequential(nn.Linear(8, 2)), (1, 8, 8), ": 0", "Put flatten before it"),
        (nn.Sequential(nn.Flatten(2)), (1, 8, 8), ": 0", "2 to -1"),
        (nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), (1, 8, 8), ": 0", "running statistics"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), (1, 8, 8), ": 0", "the output is a map"),
        (nn.Sequential(), (4,), "Sequential", "no layers"),
        (nn.Sequential(nn.Linear(2, 2)), (1, 1, 2, 2), "Sequential", "Leave time and batch out"),
        (nn.Sequential(nn.ReLU()), (0,), "Sequential", "shape [0]"),
    ],
)  # fmt: skip
def test_what_has_no_equal_is_named(net: nn.Module, shape: tuple[int, ...], where: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_torch(net, shape)
    assert caught.value.where.endswith(where) and words in str(caught.value)


def test_n_classes_groups_outputs() -> None:
    graph = from_torch(nn.Sequential(nn.Linear(3, 6)), (3,), n_classes=2)
    x = np.random.default_rng(0).normal(size=(1, 2, 3))
    found = evaluate(graph, x)
    np.testing.assert_allclose(found["vote"], found["0"].reshape(1, 2, 2, 3).mean(axis=3))
    with pytest.raises(UsageError, match="4 classes"):
        from_torch(nn.Sequential(nn.Linear(3, 6)), (3,), n_classes=4)


def test_a_layer_that_occurs_twice_is_there_twice() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(3, 5), relu, nn.Linear(5, 5), relu, nn.Linear(5, 2))
    graph, x = from_torch(net, (3,)), np.random.default_rng(0).normal(size=(20, 3))
    assert [n.name for n in graph.nodes if isinstance(n, Relu)] == ["1", "3"]
    with torch.inference_mode():
        np.testing.assert_allclose(evaluate(graph, x[np.newaxis])["vote"][0], net.double()(torch.tensor(x)).numpy(), atol=1e-12)
