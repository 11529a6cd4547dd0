"""The fast scan against its slow definition, and both against a neuron worked by hand."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable

import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.models.neurons import Dynamics, If, Lif, Plif, _ScanCompiled, scan, scan_slow
from torch import Tensor

CASES = [
    Dynamics(decay_input=d, fire=f, reset=r, v_reset=v, v_th=1.0, surrogate_alpha=a)
    for d, f, r, (v, a) in itertools.product((True, False), (">=", ">"), ("hard", "soft"), ((0.0, 2.0), (-0.3, 3.0)))
]

CASES += [
    Dynamics(decay_input=False, fire=f, reset=r, v_reset=v, surrogate=s, surrogate_width=w, detach_reset=d)
    for f, r, v, (s, w), d in itertools.product(
        (">=", ">"), ("hard", "soft"), (0.0, -0.3), (("triangle", 1.5), ("dspike", 2.0), ("atan", 1.0)), (True, False)
    )
]


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(-1, 1)


@pytest.mark.parametrize("run", [scan, _ScanCompiled.apply], ids=["eager", "compiled"])
@pytest.mark.parametrize("dynamics", CASES, ids=repr)
def test_scan_equals_its_definition(dynamics: Dynamics, run: Callable[[Tensor, Tensor, Dynamics], Tensor]) -> None:
    generator = torch.Generator().manual_seed(5)
    x = (torch.randn(9, 4, 3, 2, generator=generator, dtype=torch.float64) * 2 + 0.5).requires_grad_()
    k = torch.tensor(0.37, dtype=torch.float64, requires_grad=True)
    g = torch.randn(9, 4, 3, 2, generator=generator, dtype=torch.float64)
    slow, _, _ = scan_slow(x, k, dynamics)
    wanted = torch.autograd.grad((slow * g).sum(), (x, k))
    fast = run(x, k, dynamics)
    found = torch.autograd.grad((fast * g).sum(), (x, k))
    assert 0 < fast.sum() < fast.numel()
    assert torch.equal(fast, slow)
    for ours, theirs in zip(found, wanted, strict=True):
        # The same sum of products, added in another order, in float64.
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dynamics", CASES[:4], ids=repr)
def test_scan_accepts_any_layout(dynamics: Dynamics) -> None:
    generator = torch.Generator().manual_seed(6)
    still = (torch.randn(4, 3, 5, 6, generator=generator, dtype=torch.float64) * 3).requires_grad_()
    k = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    strided = still.to(memory_format=torch.channels_last)
    outcomes = []
    for run, source in ((scan_slow, still), (scan, still), (scan, strided)):
        out = run(source.expand(7, *still.shape), k, dynamics)
        spikes = out if isinstance(out, Tensor) else out[0]
        outcomes.append((spikes.detach(), *torch.autograd.grad((spikes * torch.linspace(1, 2, 6)).sum(), (still, k))))
    assert outcomes[0][0].sum() > 0
    for other in outcomes[1:]:
        assert torch.equal(other[0], outcomes[0][0])
        torch.testing.assert_close(other[1:], outcomes[0][1:], rtol=1e-12, atol=1e-13)


def test_float32_spikes_are_those_of_the_definition() -> None:
    x = torch.randn(8, 50, 40, generator=torch.Generator().manual_seed(7)) * 2
    for dynamics in CASES:
        k = torch.tensor(0.41)
        spikes = scan(x, k, dynamics)
        assert spikes.dtype == torch.float32 and spikes.sum() > 0
        assert torch.equal(spikes, scan_slow(x, k, dynamics)[0])


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, and there is no g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile meets torch's own
def test_a_compiled_neuron_fires_as_the_definition_does() -> None:
    """With sizes that leave a rest behind the vectors; the compiler may not contract a product and a sum into one rounding."""
    neuron = Plif(Dynamics(), 2.3)
    x = (torch.randn(8, 3, 77, generator=torch.Generator().manual_seed(8)) * 2).requires_grad_()
    weights = torch.linspace(1, 2, 77)
    wanted = scan_slow(x, neuron.inv_tau(x.dtype), neuron.dynamics)[0]
    gradients = torch.autograd.grad((wanted * weights).sum(), (x, neuron.w))
    found = torch.compile(neuron, fullgraph=True)(x)
    assert 0 < found.sum() < found.numel() and torch.equal(found, wanted)
    # The same sums in float32, in another order.
    for a, b in zip(torch.autograd.grad((found * weights).sum(), (x, neuron.w)), gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_plif_by_hand() -> None:
    # k = 1/2: v_pre = 1 (exactly the threshold: fires, v = 0), 0.75, 0.75 + (1.3 - 0.75) / 2 = 1.025 fires, -0.5.
    x = column(2.0, 1.5, 1.3, -1.0)
    spikes, v_pre, v_post = scan_slow(x, torch.tensor(0.5, dtype=torch.float64), Dynamics())
    assert spikes.flatten().tolist() == [1, 0, 1, 0]
    torch.testing.assert_close(v_pre, column(1.0, 0.75, 1.025, -0.5), rtol=0, atol=1e-15)
    torch.testing.assert_close(v_post, column(0.0, 0.75, 0.0, -0.5), rtol=0, atol=1e-15)
    assert scan(x, torch.tensor(0.5, dtype=torch.float64), Dynamics()).flatten().tolist() == [1, 0, 1, 0]
    strict = scan(x, torch.tensor(0.5, dtype=torch.float64), Dynamics(fire=">"))
    # v = 1 stays: 1 + (1.5 - 1) / 2 = 1.25 fires, then 0.65, then 0.65 + (-1.65) / 2 = -0.175.
    assert strict.flatten().tolist() == [0, 1, 0, 0]


def test_if_by_hand() -> None:
    neuron = If(Dynamics(decay_input=False, reset="soft"))
    # 0.75, 1.5 fires and keeps 0.5, 1.25 fires and keeps 0.25, 1.0 fires exactly.
    assert neuron(column(0.75, 0.75, 0.75, 0.75)).flatten().tolist() == [0, 1, 1, 1]


def test_lif_and_plif_agree_at_the_same_time_constant() -> None:
    x = torch.randn(6, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(8)) * 3
    plif, lif = Plif(Dynamics(), tau0=2.0).double(), Lif(Dynamics(), tau=2.0)
    assert float(plif.inv_tau(torch.float64).detach()) == 0.5
    assert plif(x).sum() > 0
    assert torch.equal(plif(x), lif(x))


def test_no_state_survives_a_call() -> None:
    neuron = Plif(Dynamics())
    x = torch.full((5, 2, 3), 1.2)
    first = neuron(x)
    assert first.sum() > 0
    assert torch.equal(first, neuron(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dynamics(fire="=>"), lambda: Dynamics(reset="none"), lambda: Dynamics(v_th=0.0),
        lambda: Dynamics(v_th=float("nan")), lambda: Dynamics(surrogate_alpha=0.0), lambda: Plif(Dynamics(), tau0=1.0),
        lambda: Lif(Dynamics(), tau=0.5), lambda: If(Dynamics()), lambda: Dynamics(surrogate="step"),
        lambda: Dynamics(surrogate="triangle", surrogate_width=0.0),
        lambda: Dynamics(False, reset="soft", multi_spike=True, detach_reset=False),
        lambda: Dynamics(False, reset="soft", multi_spike=True, surrogate="triangle"),
    ],
)  # fmt: skip
def test_impossible_neurons_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError) as caught:
        make()
    assert caught.value.limit
