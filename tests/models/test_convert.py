"""The float64 Graph, evaluated by the IR's definition, against the torch network: spike for spike."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge
from neurodeploy.ir.nodes import Lif
from neurodeploy.ir.reference import evaluate
from neurodeploy.models.autosnn import Arch, AutoSnn, MacroConfig
from neurodeploy.models.convert import to_graph
from neurodeploy.models.record import record

ARCHS: list[Arch] = [
    ("SRB_k5", "skip_connect", "SRB_k3", "SCB_k3", "skip_connect"),
    ("skip_connect", "SCB_k5", "SRB_k3", "SRB_k5", "SRB_k5"),
]


def trained(arch: Arch, **fields: object) -> AutoSnn:
    """A network whose statistics, scales and time constants are no defaults."""
    torch.manual_seed(3)
    config = MacroConfig(1, (8, 9), 4, width=4, n_timesteps=3, group=3, **fields)  # type: ignore[arg-type]
    net = AutoSnn(config, arch).double().train()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if ".bn" in name and name.endswith("weight"):
                p.uniform_(1.5, 3.5)
            elif ".bn" in name:
                p.uniform_(0.0, 1.0)
            elif name.endswith(".w"):
                p.uniform_(-0.7, 0.9)
            elif name.startswith("classifier.linear"):
                p.mul_(8)
        for _ in range(30):
            net(torch.rand(20, 1, 8, 9, dtype=torch.float64) * 2)
    return net.eval()


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(
    "fields", [{}, {"decay_input": False, "v_reset": -0.25, "v_th": 0.9}, {"fire": ">", "reset": "soft"}], ids=str
)
def test_graph_equals_the_network(arch: Arch, fields: dict[str, object]) -> None:
    net = trained(arch, **fields)
    graph = to_graph(net)
    x = torch.rand(100, 1, 8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) * 2
    with torch.no_grad(), record(net) as recorded:
        votes = net(x)
    values = evaluate(graph, np.broadcast_to(x.numpy(), (3, *x.shape)))
    assert {n.name for n in graph.neurons} <= recorded.keys() <= set(graph.by_name)
    for name, spikes in recorded.items():
        assert 0 < spikes.sum() < spikes.numel(), name
        assert np.array_equal(values[name], spikes.numpy()), name
    np.testing.assert_allclose(values["vote"], votes.numpy(), rtol=1e-15)  # a mean of three numbers


def test_a_residual_is_two_edges_in_the_order_of_summation() -> None:
    graph = to_graph(trained(("SRB_k3", "SRB_k3", "SRB_k3", "SCB_k3", "SRB_k5")))
    assert graph.incoming("layers.0.neuron2") == (
        Edge("layers.0.bn2", "layers.0.neuron2"), Edge("stem.neuron", "layers.0.neuron2")
    )  # fmt: skip
    assert [e.src for e in graph.incoming("layers.2.neuron2")] == ["layers.2.bn2", "layers.2.shortcut.bn"]
    assert [e.src for e in graph.incoming("layers.3.neuron2")] == ["layers.3.bn2", "layers.2.neuron2"]
    assert [e.src for e in graph.incoming("layers.5.neuron2")] == ["layers.5.bn2"]
    assert all(e.delay == 0 for e in graph.edges)
    assert graph.output.name == "vote"


def test_metadata_travels_as_plain_json() -> None:
    net = trained(ARCHS[0])
    net.metadata = {"data": "digits", "accuracy": 0.5}
    graph = to_graph(net)
    assert graph.n_timesteps == 3
    assert json.loads(json.dumps(graph.metadata)) == graph.metadata
    assert graph.metadata["arch"] == list(ARCHS[0])
    assert MacroConfig.from_dict(graph.metadata["macro"]) == net.config
    assert graph.metadata["data"] == "digits"
    net.metadata = {"arch": "mine"}
    with pytest.raises(UsageError, match="metadata holds"):
        to_graph(net)


def test_a_float32_network_gives_float64_arrays() -> None:
    net = AutoSnn(MacroConfig(1, (8, 8), 2), ARCHS[1])
    graph = to_graph(net)
    lif = graph["stem.neuron"]
    assert isinstance(lif, Lif) and lif.inv_tau == 0.5
    assert all(n.weight.dtype == np.float64 for n in graph.nodes if hasattr(n, "weight"))


def test_weights_that_are_not_finite_are_refused() -> None:
    net = AutoSnn(MacroConfig(1, (8, 8), 2), ARCHS[1])
    with torch.no_grad():
        net.stem.conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(UsageError, match=r"stem\.conv: 1 weights are not finite"):
        to_graph(net)
