"""Neurons of event-driven chips in training: several spikes a timestep, a floor, no leak; and networks made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Lif
from neurodeploy.ir.reference import evaluate, initial_state, step
from neurodeploy.models.autosnn import AutoSnn, MacroConfig, SuperNet
from neurodeploy.models.convert import to_graph
from neurodeploy.models.files import load_module, save
from neurodeploy.models.from_graph import TorchGraph
from neurodeploy.models.neurons import Dynamics, If, scan, scan_slow

ZERO = torch.zeros(())


def dynamics(
    multi_spike: bool = True, v_min: float | None = -1.0, v_th: float = 1.0, surrogate_least: float = 0.0
) -> Dynamics:
    return Dynamics(
        decay_input=False, v_th=v_th, reset="soft", multi_spike=multi_spike, v_min=v_min, surrogate_least=surrogate_least
    )


def test_by_hand() -> None:
    """v_th 1, floor -1: 2.5 gives two spikes and leaves 0.5; -3 stops at -1; 2.25 gives one and leaves 0.25."""
    x = torch.tensor([2.5, -3.0, 2.25, 0.75])
    spikes, before, after = scan_slow(x, ZERO, dynamics())
    assert spikes.tolist() == [2.0, 0.0, 1.0, 1.0]
    assert before.tolist() == [2.5, -2.5, 1.25, 1.0]
    assert after.tolist() == [0.5, -1.0, 0.25, 0.0]
    assert scan(x, ZERO, dynamics(multi_spike=False, v_min=None)).tolist() == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(("multi_spike", "v_min"), [(True, None), (True, -0.5), (True, -16.0), (False, -0.5), (False, -16.0)])
@pytest.mark.parametrize("v_th", [1.0, 0.75])
@pytest.mark.parametrize("least", [0.0, 0.1])
def test_scan_equals_its_definition(multi_spike: bool, v_min: float | None, v_th: float, least: float) -> None:
    d = dynamics(multi_spike, v_min, v_th, least)
    assert d.floored
    generator = torch.Generator().manual_seed(3)
    x = 1.5 * torch.randn(12, 4, 50, generator=generator, dtype=torch.float64)
    weights = torch.randn(12, 4, 50, generator=generator, dtype=torch.float64)
    grads = []
    spikes = []
    for run in (lambda v: scan_slow(v, ZERO.double(), d)[0], lambda v: scan(v, ZERO.double(), d)):
        v = x.clone().requires_grad_()
        out = run(v)
        (out * weights).sum().backward()
        spikes.append(out.detach())
        grads.append(v.grad)
    assert torch.equal(*spikes) and spikes[0].sum() > 100
    assert (spikes[0] > 1).any() == multi_spike
    # the same terms in another order, in float64
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("multi_spike", [True, False])
def test_scan_is_the_graph_s_neuron(multi_spike: bool) -> None:
    d = dynamics(multi_spike, -2.0)
    x = 1.2 * np.random.default_rng(0).normal(size=(10, 3, 20))
    node = Lif("n", (20,), v_th=1.0, v_min=-2.0, reset="soft", multi_spike=multi_spike)
    state = initial_state(node, 3)
    wanted = []
    for a in x:
        spikes, state = step(node, a, state)
        wanted.append(spikes)
    found = scan(torch.from_numpy(x), ZERO.double(), d).numpy()
    np.testing.assert_array_equal(found, np.stack(wanted))
    assert found.any()


@pytest.mark.parametrize("changes", [
    {"reset": "hard"}, {"decay_input": True}, {"fire": ">"}, {"v_reset": 0.5}, {"v_min": 0.5}, {"v_min": -float("inf")},
])
def test_what_does_not_go_together(changes: dict) -> None:
    with pytest.raises(UsageError):
        Dynamics(**{"decay_input": False, "reset": "soft", "multi_spike": True, "v_min": -1.0, **changes})


def test_no_leak_beside_a_floor() -> None:
    with pytest.raises(UsageError, match="a leak"):
        scan(torch.zeros(2, 1), torch.tensor(0.5), dynamics())
    assert If(dynamics())(torch.ones(3, 1, 1)).sum() == 3


def test_a_silent_class_still_learns() -> None:
    """Output neurons far below their threshold keep a tenth of the slope; all others have next to none there."""
    for least, wanted in ((0.0, 0.0), (0.1, 0.1)):
        x = torch.full((1, 1), -15.0, requires_grad=True)
        scan(x, ZERO, dynamics(v_min=-16.0, surrogate_least=least)).sum().backward()
        assert x.grad is not None and abs(float(x.grad) - wanted) < 1e-3
    output, inner = network().classifier.neuron, network().stem.neuron
    assert (output.dynamics.surrogate_least, inner.dynamics.surrogate_least) == (0.1, 0.0)


def test_standardised_weights() -> None:
    """Zero mean, gain as their length, at most the threshold; what the graph and a file get is what acts."""
    torch.manual_seed(1)
    module = AutoSnn(replace(CONFIG, norm="weights", gain=1.5, centre=1.0), ARCH).eval()
    conv = module.layers[1].conv2
    flat = conv.effective.detach().flatten(1)
    assert flat.max() <= 1.0 and (flat == 1.0).any() == ((conv.effective == 1.0).any())
    with torch.no_grad():
        conv.gain.fill_(0.5)
    flat = conv.effective.detach().double().flatten(1)
    # float32 sums of 72 weights
    assert flat.mean(dim=1).abs().max() < 1e-6 and (flat.square().sum(dim=1).sqrt() - 0.5).abs().max() < 1e-5
    np.testing.assert_array_equal(to_graph(module)["layers.1.conv2"].weight, conv.effective.detach().double().numpy())
    before = [p.detach().clone() for p in module.parameters()]
    module.constrain()
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


CONFIG = MacroConfig(
    2, (8, 8), 4, width=4, n_timesteps=6, group=1, decay_input=False, reset="soft", layout=(None, 2, 2, None), neuron="if",
    pool="sum", norm="none", multi_spike=True, v_min=-4.0, w_max=1.0, gain=2.0,
)
ARCH = ("SRB_k3", "SCB_k5")


def network() -> AutoSnn:
    torch.manual_seed(0)
    return AutoSnn(CONFIG, ARCH).eval()


def events(n: int = 5) -> torch.Tensor:
    counts = np.random.default_rng(1).poisson(0.3, (6, n, 2, 8, 8))
    return torch.from_numpy(counts.astype(np.float64))


def test_the_graph_computes_as_the_network() -> None:
    module = network().double()
    graph = to_graph(module)
    x = events()
    votes = module(x).detach().numpy()
    np.testing.assert_array_equal(evaluate(graph, x.numpy())[graph.output.name], votes)
    assert votes.any()
    with torch.inference_mode():
        np.testing.assert_array_equal(TorchGraph(graph, torch.float64)(x)[graph.output.name].numpy(), votes)


def test_weights_keep_to_the_threshold() -> None:
    module = network()
    with torch.no_grad():
        module.classifier.linear.weight.fill_(3.0)
    module.constrain()
    assert module.classifier.linear.weight.max() == 1.0
    assert all(p.max() <= 1.0 for p in module.parameters())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in module.modules())


def test_supernet_children_have_its_weights() -> None:
    torch.manual_seed(0)
    supernet = SuperNet(CONFIG).double().eval()
    child = supernet.child(ARCH)
    x = events()
    assert torch.equal(child(x), supernet(x, ARCH)) and child(x).sum() > 0
    with pytest.raises(UsageError, match="2 positions"):
        supernet(x, ("SCB_k3",) * 5)


def test_file_round_trip(tmp_path) -> None:
    module = network()
    save(module, tmp_path / "m.safetensors")
    found = load_module(tmp_path / "m.safetensors")
    assert found.config == CONFIG and found.arch == ARCH
    assert torch.equal(found(events().float()), module(events().float()))


@pytest.mark.parametrize("layout", [(), (None,), (0, 1)])
def test_layouts_that_are_none(layout: tuple) -> None:
    with pytest.raises(UsageError, match="layout"):
        MacroConfig(1, (8, 8), 2, layout=layout)


def test_plain_networks_keep_their_description() -> None:
    """Files and digests of networks in AutoSNN's layout do not change."""
    assert not {"layout", "neuron", "pool", "norm", "v_min"} & set(MacroConfig(1, (8, 8), 2).to_dict())
    assert MacroConfig.from_dict(CONFIG.to_dict()) == CONFIG
