"""Files that spikingjelly 2.0 and snntorch 1.0 write themselves: equal spikes, or the error that names what they lack.

Their networks have random weights, so no state comes to lie on a threshold: spikes are equal though sums are taken in another
order, and in snntorch's case in float32.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.errors import NeurodeployWarning, UnsafeFile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.nir_foreign import NirOptions
from neurodeploy.ir.nodes import Li, Linear, Vote
from neurodeploy.ir.reference import evaluate
from tests.ir.nir_tools import SnnTorch, Spikes, SpikingJelly, T, inputs, seeded

TEXT = NirOptions(fire=">", reset="hard", v_min="none", multi_spike=False, n_timesteps=T, dt=1e-4)
JELLY = replace(TEXT, fire=">=")  # spikingjelly fires at the threshold
pytestmark = [
    pytest.mark.filterwarnings("ignore:nirtorch.extract_nir_graph is being deprecated:DeprecationWarning"),  # snntorch calls it
]


def agree(graph: Graph, x: Any, wanted: Spikes) -> None:
    found = evaluate(graph, x.reshape(*x.shape[:2], *graph.inputs[0].shape), len(x))
    assert len(graph.neurons) == len(wanted)
    for neuron, theirs in zip(graph.neurons, wanted, strict=True):
        np.testing.assert_array_equal(found[neuron.name].reshape(theirs.shape), theirs, err_msg=neuron.name)
        assert 0 < theirs.mean() < 1, neuron.name


def jelly(name: str) -> tuple[SpikingJelly, Any, tuple[int, ...]]:
    s = SpikingJelly()
    layer, neuron, stack = s.layer, s.neuron, torch.nn.Sequential
    nets: dict[str, tuple[Any, tuple[int, ...]]] = {
        "linear": (lambda: stack(layer.Linear(6, 8), neuron.LIFNode(tau=4.0), layer.Linear(8, 5, bias=False), neuron.IFNode(),
                                 layer.Linear(5, 4), neuron.LIFNode(tau=3.0, decay_input=False, v_threshold=1.3)), (6,)),
        "v_reset": (lambda: stack(layer.Linear(6, 8), neuron.LIFNode(tau=2.0, v_reset=-0.2), layer.Linear(8, 5),
                                  neuron.IFNode(v_reset=0.1)), (6,)),
        "plif": (lambda: stack(layer.Linear(6, 8), neuron.ParametricLIFNode(init_tau=3.0), layer.Linear(8, 5),
                               neuron.ParametricLIFNode(init_tau=2.5, decay_input=False)), (6,)),
        "current": (lambda: stack(layer.Linear(6, 8), neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75), layer.Linear(8, 5),
                                  neuron.CUBALIFNode(c_decay=0.3, v_decay=0.6, v_threshold=0.8)), (6,)),
        "conv": (lambda: stack(layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode(), layer.AvgPool2d(2),
                               layer.Conv2d(4, 4, 3, bias=False), neuron.LIFNode(tau=2.0), layer.Flatten(), layer.Linear(16, 3),
                               neuron.LIFNode()), (2, 8, 8)),
        "pools": (lambda: stack(layer.Conv2d(2, 4, 3, padding="same"), neuron.IFNode(), layer.AvgPool2d(3, stride=2, padding=1),
                                neuron.IFNode(v_threshold=2.05), layer.Flatten(), layer.Linear(64, 3),
                                neuron.IFNode(v_threshold=3.0)), (2, 8, 8)),
        "one dimension": (lambda: stack(layer.Conv1d(2, 4, 3, padding=1, stride=2), neuron.IFNode(), layer.Flatten(),
                                        layer.Linear(16, 3), neuron.LIFNode()), (2, 8)),
        "flatten first": (lambda: stack(layer.Flatten(), layer.Linear(32, 5), neuron.IFNode()), (2, 4, 4)),
    }  # fmt: skip
    make, shape = nets[name]
    return s, seeded(make).double(), shape


@pytest.mark.parametrize("name", ["linear", "v_reset", "plif", "current", "conv", "pools", "one dimension", "flatten first"])
def test_spikingjelly_s_files_give_its_spikes(name: str, tmp_path: Path) -> None:
    tool, net, shape = jelly(name)
    x = inputs(*shape)
    graph = read_nir(tool.write(net, tmp_path / "s.nir", *shape), JELLY)
    agree(graph, x, tool.spikes(net, x))
    with pytest.warns(NeurodeployWarning, match=r"assumed: fire >, reset hard, .*dt 0\.0001 .*seconds") as seen:
        assumed = read_nir(tmp_path / "s.nir", NirOptions())
    assert len(seen) == 1  # nothing to put right
    agree(assumed, x, tool.spikes(net, x))  # no state lies on a threshold here, so `>` does as well


def test_spikingjelly_s_read_out_is_a_layer_without_neurons(tmp_path: Path) -> None:
    tool = SpikingJelly()
    net = seeded(lambda: torch.nn.Sequential(tool.layer.Linear(6, 8), tool.neuron.IFNode(), tool.layer.Linear(8, 4))).double()
    graph = read_nir(tool.write(net, tmp_path / "s.nir", 6), replace(JELLY, n_classes=2))
    assert isinstance(graph.output, Vote) and isinstance(graph[graph.incoming(graph.output.name)[0].src], Linear)


def torch_net(name: str) -> tuple[SnnTorch, Any, tuple[int, ...]]:
    s = SnnTorch()
    nn, snn = torch.nn, s.snn
    full = torch.full
    nets: dict[str, tuple[Any, tuple[int, ...]]] = {
        "linear": (lambda: nn.Sequential(nn.Linear(6, 8), s.leaky(8), nn.Linear(8, 5, bias=False), s.leaky(5, beta=0.9),
                                         nn.Linear(5, 4), s.leaky(4, threshold=1.3, output=True)), (6,)),
        "thresholds": (lambda: nn.Sequential(nn.Linear(6, 8), snn.Leaky(
            beta=full((8,), 0.8), threshold=torch.linspace(0.5, 1.5, 8), init_hidden=True, reset_mechanism="zero")), (6,)),
        "recurrent": (lambda: nn.Sequential(nn.Linear(6, 8), snn.RLeaky(
            beta=full((8,), 0.8), threshold=full((8,), 1.0), linear_features=8, init_hidden=True, reset_mechanism="zero",
            reset_delay=False), nn.Linear(8, 4), s.leaky(4)), (6,)),
        "one to one": (lambda: nn.Sequential(nn.Linear(6, 8), snn.RLeaky(
            beta=full((8,), 0.8), threshold=full((8,), 1.0), V=full((8,), 0.3), all_to_all=False, init_hidden=True,
            reset_mechanism="zero", reset_delay=False), nn.Linear(8, 4), s.leaky(4)), (6,)),
        "conv": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), s.leaky(4, 8, 8), nn.AvgPool2d(2),
                                       nn.Conv2d(4, 4, 3, bias=False), s.leaky(4, 2, 2), nn.Flatten(), nn.Linear(16, 3),
                                       s.leaky(3)), (2, 8, 8)),
        "flatten first": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 5), s.leaky(5)), (2, 4, 4)),
        "subtract at once": (lambda: nn.Sequential(nn.Linear(6, 8), s.leaky(8, reset_mechanism="subtract", reset_delay=False)),
                             (6,)),
        "current": (lambda: nn.Sequential(nn.Linear(6, 8), snn.Synaptic(
            alpha=full((8,), 0.5), beta=full((8,), 0.8), threshold=full((8,), 1.0), init_hidden=True, reset_mechanism="zero",
            reset_delay=False)), (6,)),
        "recurrent, zero later": (lambda: nn.Sequential(nn.Linear(6, 8), snn.RLeaky(
            beta=full((8,), 0.8), threshold=full((8,), 1.0), linear_features=8, init_hidden=True, reset_mechanism="zero")),
            (6,)),
        "recurrent current": (lambda: nn.Sequential(nn.Linear(6, 8), snn.RSynaptic(
            alpha=full((8,), 0.5), beta=full((8,), 0.8), threshold=full((8,), 1.0), linear_features=8, init_hidden=True,
            reset_mechanism="zero")), (6,)),
        "subtract": (lambda: nn.Sequential(nn.Linear(6, 8), s.leaky(8, reset_mechanism="subtract"), nn.Linear(8, 4),
                                           s.leaky(4, beta=0.5, threshold=1.3, reset_mechanism="subtract")), (6,)),
        "subtract, thresholds": (lambda: nn.Sequential(nn.Linear(6, 8), snn.Leaky(
            beta=full((8,), 0.8), threshold=torch.linspace(0.5, 1.5, 8), init_hidden=True)), (6,)),
        "subtract, current": (lambda: nn.Sequential(nn.Linear(6, 8), snn.Synaptic(
            alpha=full((8,), 0.5), beta=full((8,), 0.6), threshold=full((8,), 2.0), init_hidden=True)), (6,)),
        "subtract, recurrent": (lambda: nn.Sequential(nn.Linear(6, 8), snn.RLeaky(
            beta=full((8,), 0.6), threshold=full((8,), 1.0), linear_features=8, init_hidden=True)), (6,)),
        "subtract, recurrent current": (lambda: nn.Sequential(nn.Linear(6, 8), snn.RSynaptic(
            alpha=full((8,), 0.5), beta=full((8,), 0.6), threshold=full((8,), 4.0), linear_features=8, init_hidden=True)),
            (6,)),
        "current, zero later": (lambda: nn.Sequential(nn.Linear(6, 8), snn.Synaptic(
            alpha=full((8,), 0.5), beta=full((8,), 0.8), threshold=full((8,), 1.0), init_hidden=True, reset_mechanism="zero")),
            (6,)),
    }  # fmt: skip
    make, shape = nets[name]
    net = seeded(make, 2 if name == "subtract at once" else 0)
    return s, net, shape


@pytest.mark.parametrize(
    "name",
    ["linear", "thresholds", "recurrent", "one to one", "conv", "flatten first", "current", "subtract at once",
     "subtract", "subtract, thresholds", "subtract, current", "subtract, recurrent", "subtract, recurrent current"],
)
def test_snntorch_s_files_give_its_spikes(name: str, tmp_path: Path) -> None:
    tool, net, shape = torch_net(name)
    x = inputs(*shape) / (8 if name == "subtract at once" else 1)  # below twice the threshold, where snntorch reset twice
    reset: Any = "soft" if name == "subtract at once" else "late" if "subtract" in name else "hard"
    graph = read_nir(tool.write(net, tmp_path / "s.nir", *shape), replace(TEXT, reset=reset))
    agree(graph, x, tool.spikes(net, x))
    assert any(isinstance(n, Li) for n in graph.nodes) == (name.split()[-1] == "current")


@pytest.mark.parametrize("name", ["current, zero later", "recurrent, zero later", "recurrent current"])
def test_snntorch_s_late_reset_to_zero_has_no_option(name: str, tmp_path: Path) -> None:
    """Resets to zero of a Synaptic, RLeaky and RSynaptic drop the input of the next timestep."""
    tool, net, shape = torch_net(name)
    x = inputs(*shape)
    path = tool.write(net, tmp_path / "s.nir", *shape)
    (theirs,) = tool.spikes(net, x)
    for reset in ("hard", "soft", "late"):
        graph = read_nir(path, replace(TEXT, reset=reset))  # type: ignore[arg-type]
        ours = evaluate(graph, x)[graph.neurons[0].name]
        assert theirs.any() and ours.any() and not np.array_equal(ours, theirs)


def test_snntorch_s_unequal_leaks_are_named(tmp_path: Path) -> None:
    tool = SnnTorch()
    net = torch.nn.Sequential(torch.nn.Linear(6, 3), tool.snn.Leaky(
        beta=torch.tensor([0.5, 0.8, 0.9]), threshold=torch.ones(3), init_hidden=True))  # fmt: skip
    path = tool.write(net, tmp_path / "s.nir", 6)
    with pytest.raises(UnsafeFile, match=r"1: tau from 0\.0002 to 0\.001. One value for a layer"):
        read_nir(path, TEXT)
