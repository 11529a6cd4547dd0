"""The policy network's own cost: its work against what torch does, a GPU's figures, a stated price by hand."""

from __future__ import annotations

import pytest
import torch
from neurodeploy.cost.band import Band
from neurodeploy.cost.gpu_cost import gpu_cost
from neurodeploy.cost.policy_cost import policy_on_gpu, policy_on_host, policy_work, waiting
from neurodeploy.early_exit.policy import StepPolicy
from neurodeploy.hw.profile import target
from neurodeploy.hw.quantity import Quantity
from torch import Tensor, nn

from gpu_profiles import round_gpu

PJ = Quantity(value=10.0, low=5.0, high=40.0, unit="pJ", status="assumed", source="a round number")
NS = Quantity(value=2.0, unit="ns", status="published", source="a round number")


@pytest.mark.parametrize(("shape", "channels"), [((1, 8, 8), (4,)), ((3, 9, 7), (4, 6)), ((2, 1, 5), (3, 3, 2))])
def test_work_is_what_the_network_does(shape: tuple[int, int, int], channels: tuple[int, ...]) -> None:
    policy = StepPolicy(shape, 5, channels)
    outputs: list[tuple[int, int]] = []  # (values, multiply-accumulates of each)

    def note(layer: nn.Module, _: object, out: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        outputs.append((out.numel(), layer.weight[0].numel()))

    for layer in policy.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note)
    policy.eval()(torch.zeros(1, *shape))
    work = policy_work(policy)
    assert [w.n_macs for w in work if w.kind == "synapse"] == [n * macs for n, macs in outputs]
    assert [w.n_written for w in work if w.kind == "synapse"] == [n for n, _ in outputs]
    n_parameters = sum(p.numel() for name, p in policy.named_parameters() if not name.startswith("norms"))
    assert sum(w.n_weights for w in work) == n_parameters + sum(channels)  # a folded batch norm leaves a bias


def test_on_a_gpu_it_costs_what_its_work_costs() -> None:
    policy = StepPolicy((1, 8, 8), 3, (4,))
    found = policy_on_gpu(policy, round_gpu(), batch=4)
    wanted = gpu_cost(policy_work(policy), round_gpu(), 1, batch=4)
    assert (found.energy_j, found.latency_s, found.status) == (wanted.energy_j, wanted.latency_s, "assumed")
    assert (found.n_macs, found.n_weights, found.where) == (588, 55, "round, fp32, batch 4")
    assert found.excluded == wanted.excluded and found.energy_j.nominal > 0


def test_a_stated_price_by_hand() -> None:
    policy = StepPolicy((1, 8, 8), 3, (4,))
    found = policy_on_host(policy, "controller", PJ, NS)
    for side, wanted in (("low", 2.94e-9), ("nominal", 5.88e-9), ("high", 23.52e-9)):
        assert getattr(found.energy_j, side) == pytest.approx(wanted, rel=1e-12)
    assert found.latency_s.nominal == pytest.approx(1.176e-6, rel=1e-12)
    assert found.status == "assumed" and found.where == "controller"
    timeless = policy_on_host(policy, "controller", PJ)
    assert timeless.latency_s == Band(0.0, 0.0, 0.0) and "none was stated" in timeless.excluded[-1]
    plain = found.to_dict()
    assert plain["latency_s"] == found.latency_s.nominal and plain["energy_j"] == found.energy_j.to_dict()


def test_chips_that_wait_draw_their_power() -> None:
    chip = target("loihi2")
    found = waiting(chip, 2, Band(1e-6, 2e-6, 3e-6))
    assert found.nominal == pytest.approx(sum(chip.power[name].si[1] for name in chip.power) * 2 * 2e-6, rel=1e-12)
    assert 0 < found.low < found.nominal < found.high
