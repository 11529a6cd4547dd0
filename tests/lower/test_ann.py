"""ReLU networks as integrate-and-fire neurons: worked by hand, against rates, and trained on the packaged digits."""

from __future__ import annotations

import warnings
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
import torch
from neurodeploy.data.datasets import load
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Conv2d, Lif, Linear
from neurodeploy.ir.reference import evaluate
from neurodeploy.ir.votes import predictions
from neurodeploy.lower.ann import activations, convert
from neurodeploy.lower.fold import fold_batch_norm
from neurodeploy.models.from_torch import from_torch
from torch import nn

T = 32


def by_hand() -> Graph:
    """Two inputs, two hidden neurons, two classes, all numbers short in binary."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        net[0].bias.copy_(torch.tensor([0.0, -1.0]))
        net[2].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        net[2].bias.copy_(torch.tensor([0.5, 0.0]))
    return from_torch(net, (2,))


def test_thresholds_weights_and_currents_by_hand() -> None:
    """Images (1, 0) and (0.25, 1): hidden (1, 0) and (0.25, 1), so a spike stands for 1; logits (1.5, 0) and (0.75, 1).

    With T = 4 the shift is 1 / 8. Hidden currents of image 2: 0.25 + 0.125 and 1 + 0.125. The logits of a sample are moved
    alike: both rows of the last weights, and both biases, differ as before, by the scale of the output neurons.
    """
    images = np.array([[1.0, 0.0], [0.25, 1.0]])
    found = convert(by_hand(), images, 4, percentile=100)
    assert found.scales["1"] == 1.0
    first, last = (n for n in found.graph.nodes if isinstance(n, Linear))
    assert first.weight.tolist() == [[1, 0], [0, 2]] and first.bias is not None and first.bias.tolist() == [0.125, -0.875]
    np.testing.assert_allclose((last.weight[0] - last.weight[1]) * found.scales["2"], [1, -1], rtol=1e-12)
    np.testing.assert_allclose((np.asarray(last.bias)[0] - np.asarray(last.bias)[1]) * found.scales["2"], 0.5, rtol=1e-12)
    currents = np.array([[1.0, 0.0], [0.25, 1.0]]) @ last.weight.T + np.asarray(last.bias) - 0.125
    # winners and runners-up fill the range of rates: the largest winner is 1, the smallest runner-up 0
    np.testing.assert_allclose([currents.max(axis=1).max(), currents.min(axis=1).min()], [1, 0], atol=1e-12)
    spikes = evaluate(found.graph, np.repeat(images[np.newaxis], 4, axis=0))
    # v of hidden 1, image 2: 0.375, 0.75, 1.125 s, 0.5 -> one spike in four, the rate 0.25; hidden 2: one in each step
    assert spikes["1"][:, 1].T.tolist() == [[0, 0, 1, 0], [1, 1, 1, 1]]
    assert predictions(spikes["vote"])[-1].tolist() == [0, 1]


def test_rates_are_activations_rounded_to_the_nearest() -> None:
    net = nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 2)).double()
    torch.manual_seed(1)
    graph = from_torch(net, (3,))
    images = np.random.default_rng(2).random((50, 3))
    found = convert(graph, images, T, percentile=100)
    wanted = evaluate(graph, images[np.newaxis])["1"][0] / found.scales["1"]
    spikes = evaluate(found.graph, np.repeat(images[np.newaxis], T, axis=0))["1"]
    rates = spikes.mean(axis=0)
    assert 0.05 < rates.mean() < 0.95
    assert np.abs(rates - wanted).max() <= 0.5 / T + 1e-9  # a soft reset loses nothing: half a spike at the end
    unshifted = convert(graph, images, T, percentile=100, shift=False).graph
    plain = evaluate(unshifted, np.repeat(images[np.newaxis], T, axis=0))["1"]
    assert (plain.mean(axis=0) - wanted).max() <= 1e-9 and (wanted - plain.mean(axis=0)).max() <= 1 / T + 1e-9


@pytest.fixture(scope="module")
def trained() -> dict[str, nn.Sequential]:
    """Two small networks trained on the digits: with batch norm and biases, and with neither, as event-driven chips want."""
    data = load("digits")
    x, y = (torch.tensor(part) for part in data.split("train"))
    found = {}
    for name, bias in (("norms", True), ("bare", False)):
        torch.manual_seed(0)
        norms = [[nn.BatchNorm2d(c)] if bias else [] for c in (12, 24)]
        net = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1, bias=bias), *norms[0], nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1, bias=bias), *norms[1], nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(96, 10, bias=bias),
        )
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
        for _ in range(25):
            for part in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[part]), y[part]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        found[name] = net.eval()
    return found


def answers(graph: Graph, images: Any, n_timesteps: int) -> Any:
    votes = [out[graph.output.name] for out in activations(graph, images, n_timesteps)]
    return predictions(np.concatenate(votes, axis=1))[-1]


@pytest.mark.parametrize(
    ("name", "options"), [("norms", {}), ("bare", {}), ("bare", {"shift": False, "floor": 8.0})]
)
def test_a_trained_network_keeps_its_accuracy(trained: dict[str, nn.Sequential], name: str, options: dict[str, Any]) -> None:
    data = load("digits")
    x, y = data.split("test")
    graph = from_torch(trained[name], (1, 8, 8))
    snn = nd.convert(graph, data.split("validation")[0], T, **options)
    ann_accuracy = float((answers(fold_batch_norm(graph), x, 1) == y).mean())
    with torch.no_grad():
        assert abs(float((trained[name](torch.tensor(x)).argmax(1).numpy() == y).mean()) - ann_accuracy) < 0.003
    accuracy = float((answers(snn, x, T) == y).mean())
    assert ann_accuracy > 0.93
    assert accuracy > ann_accuracy - 0.012, (ann_accuracy, accuracy)
    spikes = evaluate(snn, np.repeat(x[np.newaxis, :20], T, axis=0))
    for neuron in snn.neurons:
        assert isinstance(neuron, Lif) and (neuron.v_th, neuron.fire, neuron.reset, neuron.inv_tau) == (1.0, ">=", "soft", 0.0)
        assert neuron.v_min == (-8.0 if "floor" in options else None)
        assert 0.01 < spikes[neuron.name].mean() < 0.6, neuron.name
    if "shift" in options:
        assert all(n.bias is None for n in snn.nodes if isinstance(n, Conv2d | Linear))
    assert snn.metadata["converted"]["n_timesteps"] == T == snn.n_timesteps


def test_chips_take_what_was_converted_for_them(trained: dict[str, nn.Sequential]) -> None:
    data = load("digits")
    images = data.split("validation")[0]
    bare = nd.convert(from_torch(trained["bare"], (1, 8, 8)), images, T, shift=False, floor=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NeurodeployWarning)  # uncalibrated; neurons of loihi2 reset to zero
        assert nd.place(nd.quantize(bare, "speck2f"), "speck2f").cores
        shifted = nd.convert(from_torch(trained["norms"], (1, 8, 8)), images, T)
        lowered = nd.lower(shifted, "loihi2")
        assert nd.place(nd.quantize(lowered, "loihi2", images[:64]), "loihi2").n_cores >= 3


def test_max_pools_are_kept_with_a_warning() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 2))
    images = np.random.default_rng(0).random((20, 1, 8, 8))
    with pytest.warns(NeurodeployWarning, match="earliest spike") as caught:
        graph = nd.convert(from_torch(net, (1, 8, 8)), images, 8)
    assert caught[0].message.code == "max_pool" and caught[0].message.where == "2"  # type: ignore[union-attr]
    assert evaluate(graph, np.repeat(images[np.newaxis], 8, axis=0))["2"].any()


def silent() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        net[0].weight.fill_(0)
        net[0].bias.fill_(-1)
    return net


@pytest.mark.parametrize(
    ("net", "options", "words"),
    [
        (nn.Sequential(nn.Linear(2, 2)), {}, "no ReLU"), (silent(), {}, "no image activates this layer"),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU()), {}, "ends in a Relu"),
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), {}, "no synapse in front"),
        (silent(), {"percentile": 40}, "percentile 40"), (silent(), {"floor": 0}, "floor 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused(net: nn.Sequential, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        nd.convert(from_torch(net, (2,)), np.random.default_rng(0).random((9, 2)), 4, **options)
    with pytest.raises(UsageError, match="images of shape"):
        nd.convert(by_hand(), np.zeros((3, 7)), 4)


def test_networks_that_spike_already_and_logits_below_zero() -> None:
    """Logits that are all negative have no rates of their own: without any bias the last weights move them above zero."""
    images = np.random.default_rng(0).random((40, 2))
    snn = nd.convert(by_hand(), images, 4)
    with pytest.raises(UsageError, match="spikes already"):
        nd.convert(snn, images, 4)
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(2, 16, bias=False), nn.ReLU(), nn.Linear(16, 2, bias=False))
    with torch.no_grad():
        net[2].weight.sub_(1.0)
        logits = net(torch.tensor(images, dtype=torch.float32)).numpy()
    assert (logits < 0).all() and 0.05 < logits.argmax(axis=1).mean() < 0.95
    found = answers(nd.convert(from_torch(net, (2,)), images, 256, shift=False), images, 256)
    assert (found == logits.argmax(axis=1)).mean() > 0.96  # more than always the same answer would reach
