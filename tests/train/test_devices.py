"""Networks, losses and augmentation on a stand-in GPU (`tests.stand_in_gpu`), which fails where a GPU would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import train_cases as cases
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.macro import ALL_BLOCKS
from neurodeploy.models.qcfs import Qcfs
from neurodeploy.models.snas_cell import SnasConfig
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.train import augment, losses
from neurodeploy.train.ann2snn import logits_of, train_ann
from neurodeploy.train.loop import train
from tests.stand_in_gpu import GPU, OnGpu, stand_in_gpu
from torch import nn

X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
NETWORKS = {
    "plain": {}, "released": {"decay_input": True, "tau0": 4.0}, "soft": {"reset": "soft", "fire": ">", "v_reset": -0.1},
    "no norm": {"neuron": "if", "norm": "none", "w_max": 1.0}, "means": {"pool": "average", "global_pool": True, "stem": "dvs"},
    "events": {"neuron": "if", "reset": "soft", "pool": "sum", "norm": "weights", "multi_spike": True, "v_min": -4.0,
               "gain": 4.0},
}  # fmt: skip


def test_the_stand_in_refuses_what_a_gpu_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in_gpu(monkeypatch):
        there = torch.ones(3).to(GPU)
        assert isinstance(there, OnGpu) and isinstance(there + 1, OnGpu) and isinstance(torch.zeros(2, device=GPU), OnGpu)
        assert isinstance(there * torch.tensor(2.0), OnGpu)  # a number of the CPU may meet it
        for wrong in (lambda: there + torch.ones(3), lambda: there[torch.tensor([0])] * torch.ones(1), lambda: there.numpy(),
                      lambda: nn.Linear(3, 2)(there)):
            with pytest.raises((RuntimeError, TypeError)):
                wrong()
        assert there.cpu().numpy().sum() == 3


def both(make: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """run(module, device) -> tensors: the same on the CPU and on the stand-in."""
    here = run(make(), torch.device("cpu"))
    with stand_in_gpu(monkeypatch) as gpu:
        there = [value.cpu() for value in run(make().to(GPU), GPU)]
    assert gpu.calls > 20 and len(here) > 5 and all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_and_their_gradients(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    macro = replace(cases.MACRO, **NETWORKS[kind], layout=(1, None, *(2,) * (len(ALL_BLOCKS) - 1)), n_timesteps=3)

    def make() -> AutoSnn:
        torch.manual_seed(1)
        return AutoSnn(macro, ALL_BLOCKS)

    def run(net: AutoSnn, device: torch.device) -> list[torch.Tensor]:
        votes = net(X.to(device))
        losses.loss("prefix_mse", votes, torch.arange(6).to(device)).backward()
        return [votes, *(p.grad for p in net.parameters() if p.grad is not None)]

    both(make, run, monkeypatch)


def test_snasnet_with_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SnasConfig(in_channels=1, image_size=(8, 8), n_classes=3, width=4, n_timesteps=3, hidden=6, group=2, dropout=0.0)

    def make() -> SnasNet:
        torch.manual_seed(0)
        return SnasNet(config, ("0221", "3010", "1302", "4010"))

    def run(net: SnasNet, device: torch.device) -> list[torch.Tensor]:
        votes = net(X.to(device))
        losses.loss("tet", votes, torch.tensor([0, 1, 2, 0, 1, 2]).to(device)).backward()
        return [votes, *(p.grad for p in net.parameters() if p.grad is not None)]

    both(make, run, monkeypatch)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_with_every_augmentation(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, validation = cases.digits(80)
    config = cases.CONFIG.model_copy(update={
        "optimizer": optimizer, "epochs": 2, "zoom": 0.1, "noise": 0.1, "crop": 1, "flip": True, "cutout": 3, "lr": 0.05})
    here, there = cases.network(), cases.network()
    expected = train(here, data, validation, config, seed=1, device="cpu")
    with stand_in_gpu(monkeypatch):
        found = train(there, data, validation, config, seed=1)
    assert found.history == expected.history
    assert all(torch.equal(a, b.inner) for a, b in zip(here.state_dict().values(), there.state_dict().values(), strict=True))


def test_events_move_and_are_dropped_there(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randint(0, 3, (4, 3, 2, 6, 6), generator=torch.Generator().manual_seed(0))
    expected = augment.random_events(x, 2, 0.5, torch.Generator().manual_seed(0))
    with stand_in_gpu(monkeypatch):
        assert torch.equal(augment.random_events(x.to(GPU), 2, 0.5, torch.Generator().manual_seed(0)).cpu(), expected)
    assert expected.any() and not torch.equal(expected, x)


def test_a_network_without_spikes(monkeypatch: pytest.MonkeyPatch) -> None:
    data, validation = cases.digits(80)

    def make() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), Qcfs(4), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 10))

    here, there = make(), make()
    config = cases.CONFIG.model_copy(update={"loss": "ce", "epochs": 2})
    expected = train_ann(here, data, validation, config, seed=0, device="cpu")
    with stand_in_gpu(monkeypatch):
        assert train_ann(there, data, validation, config, seed=0).history == expected.history
        assert (logits_of(there, validation[0]) == logits_of(here, validation[0])).all()
