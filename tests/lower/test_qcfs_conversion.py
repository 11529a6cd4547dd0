"""QCFS networks as integrate-and-fire neurons: against the activations themselves, at any length, and on to targets."""

from __future__ import annotations

import warnings
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
import torch
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Lif, Linear
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower.ann import convert
from neurodeploy.models.from_torch import from_torch
from neurodeploy.models.qcfs import Qcfs
from torch import nn

IMAGES = np.random.default_rng(0).random((60, 3))
LAM = (0.7, 0.4)


def network(levels: int = 4, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(3, 40, bias=bias), Qcfs(levels, LAM[0]), nn.Linear(40, 30, bias=bias), Qcfs(levels, LAM[1]),
        nn.Linear(30, 3, bias=bias),
    ).double()


def graph(levels: int = 4, bias: bool = True) -> Graph:
    return from_torch(network(levels, bias), (3,))


def held(images: Any, n_timesteps: int) -> Any:
    return np.repeat(images[np.newaxis], n_timesteps, axis=0)


@pytest.mark.parametrize("n_timesteps", [1, 3, 4, 16])
def test_the_first_layer_is_the_activation_of_as_many_levels(n_timesteps: int) -> None:
    """Its input is constant, so after T timesteps its rate times lam is h with L = T, whatever L it was trained with."""
    found = convert(graph(), IMAGES, n_timesteps)
    assert found.start == "half" and found.scales["1"] == pytest.approx(LAM[0]) and found.scales["3"] == pytest.approx(LAM[1])
    spikes = evaluate(found.graph, held(IMAGES, n_timesteps))["1"]
    wanted = evaluate(graph(n_timesteps), IMAGES[np.newaxis])["1"][0]
    assert 0.05 < spikes.mean() < 0.95
    np.testing.assert_allclose(spikes.mean(axis=0) * found.scales["1"], wanted, atol=1e-12)


def test_half_a_threshold_rounds_at_every_step_and_the_current_only_at_the_last() -> None:
    n = 16
    half = evaluate(convert(graph(), IMAGES, n).graph, held(IMAGES, n))["1"].cumsum(axis=0)
    zero = evaluate(convert(graph(), IMAGES, n, start="zero").graph, held(IMAGES, n))["1"].cumsum(axis=0)
    assert half[-1].any() and np.array_equal(half[-1], zero[-1])
    for t in (1, 4, 8):
        wanted = evaluate(graph(t), IMAGES[np.newaxis])["1"][0] / LAM[0]
        np.testing.assert_allclose(half[t - 1] / t, wanted, atol=1e-6)
        assert np.abs(zero[t - 1] / t - wanted).max() > 0.9 / t


def test_the_network_by_hand_from_its_definition() -> None:
    """Every layer against the release's own loop: membranes in units of lam, start 1/2, above 1, minus 1, output times lam."""
    n, found = 6, convert(graph(), IMAGES, 6, readout="logits")
    assert [x.name for x in found.graph.neurons] == ["1", "3"] and set(found.scales) == {"1", "3"}
    out = evaluate(found.graph, held(IMAGES, n))
    parts = [(p.weight.detach().numpy(), p.bias.detach().numpy()) for p in network() if isinstance(p, nn.Linear)]
    lam = [p.up.item() for p in network() if isinstance(p, Qcfs)]
    v = [np.full((60, len(w)), 0.5) for w, _ in parts[:2]]
    for t in range(n):
        x = IMAGES
        for i, (weight, bias) in enumerate(parts):
            x = x @ weight.T + bias
            if i < 2:
                v[i] += x / lam[i]
                fired = (v[i] > 1).astype(float)
                v[i] -= fired
                assert np.array_equal(out[["1", "3"][i]][t], fired)
                x = fired * lam[i]
        np.testing.assert_allclose(out["vote"][t], x, atol=1e-12)
    assert out["3"].any() and not out["3"].all()


def test_many_timesteps_come_to_the_network_without_floors() -> None:
    smooth = nn.Sequential(*[Qcfs(None, p.up.item()) if isinstance(p, Qcfs) else p for p in network()])
    wanted = evaluate(from_torch(smooth, (3,)), IMAGES[np.newaxis])["vote"][0]
    found = evaluate(convert(graph(), IMAGES, 512, readout="logits").graph, held(IMAGES, 512))["vote"].mean(axis=0)
    assert np.abs(found - wanted).max() < 0.02 < np.ptp(wanted)


def test_neurons_and_metadata() -> None:
    snn = convert(graph(), IMAGES, 8).graph
    assert [(n.v_th, n.v_reset, n.fire, n.reset) for n in snn.neurons if isinstance(n, Lif)] == [(1.0, 0.5, ">", "soft")] * 3
    assert snn.metadata["converted"]["start"] == "half" and snn.metadata["converted"]["readout"] == "spikes"
    zero = convert(graph(), IMAGES, 8, start="zero").graph
    assert [(n.v_reset, n.fire) for n in zero.neurons if isinstance(n, Lif)] == [(0.0, ">=")] * 3
    assert "start" not in zero.metadata["converted"]
    first, other = (next(n for n in g.nodes if isinstance(n, Linear)) for g in (zero, snn))
    np.testing.assert_allclose(np.asarray(first.bias) - np.asarray(other.bias), 1 / 16, atol=1e-15)  # v_th / (2T)
    bare = convert(graph(bias=False), IMAGES, 8, shift=False).graph
    assert all(n.bias is None for n in bare.nodes if isinstance(n, Linear))


def test_relu_networks_may_start_at_half_too() -> None:
    torch.manual_seed(2)
    relu = from_torch(nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 3)).double(), (3,))
    found = convert(relu, IMAGES, 8, percentile=100, start="half")
    rates = evaluate(found.graph, held(IMAGES, 8))["1"].mean(axis=0)
    wanted = evaluate(relu, IMAGES[np.newaxis])["1"][0] / found.scales["1"]
    assert rates.mean() > 0.05 and np.abs(rates - wanted).max() <= 0.5 / 8 + 1e-9


def test_a_floor_and_a_start_at_half_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="floor 8"):
        convert(graph(), IMAGES, 8, floor=8, start="half")
    found = convert(graph(bias=False), IMAGES, 8, floor=8, shift=False)
    assert found.start == "zero" and all(n.v_min == -8 for n in found.graph.neurons if isinstance(n, Lif))


def test_targets_take_it_or_say_why_not() -> None:
    """Membranes of chips start at zero: event-driven ones refuse another start, loihi2 keeps the threshold and says it."""
    half = convert(graph(), IMAGES, 8).graph
    assert nd.cost_on_gpu(half, "h200").energy_j.nominal > 0
    with pytest.raises(DoesNotFit, match=r"states that start at 0\.5"):
        nd.lower(half, "speck2f")
    with pytest.warns(NeurodeployWarning, match="starts at zero, where the network starts at another value") as caught:
        lowered = nd.lower(half, "loihi2")
    assert "--start zero" in str(caught[0].message)
    assert {(n.v_th, n.v_reset, n.reset) for n in lowered.neurons if isinstance(n, Lif)} == {(1.0, 0.0, "hard")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NeurodeployWarning)  # uncalibrated; neurons of loihi2 reset to zero
        bare = convert(graph(bias=False), IMAGES, 8, floor=8, shift=False).graph
        assert nd.place(nd.quantize(bare, "speck2f"), "speck2f").cores
        zero = nd.lower(convert(graph(), IMAGES, 8, start="zero").graph, "loihi2")
        assert nd.place(nd.quantize(zero, "loihi2", IMAGES), "loihi2").n_cores >= 3


def test_a_neuron_of_snntorch_is_measured_from_its_rest_as_before() -> None:
    """There v_reset is what the membrane leaks to, so the threshold above it counts: no `start` is said to differ."""
    leaky = Lif("n", (2,), inv_tau=0.5, v_th=2.0, v_reset=1.0, fire=">", reset="soft")
    from neurodeploy.lower.neurons import differences

    assert differences(leaky) == ["reset"]
    assert differences(Lif("n", (2,), v_th=2.0, v_reset=1.0, reset="soft")) == ["reset", "start"]
