"""bfloat16 in convolutions and linear layers alone: membranes, norms and weights stay float32, and a resumed run repeats."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import train_cases as cases
from neurodeploy.models.blocks import BatchNorm, Conv2d
from neurodeploy.models.neurons import Neuron
from neurodeploy.models.snas_cell import SnasConfig
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.search.recipe import read
from neurodeploy.train.config import TrainConfig
from neurodeploy.train.loop import Epoch, train
from neurodeploy.train.runtime import precision, seed_everything
from pydantic import ValidationError
from torch import Tensor, nn

BF16 = cases.CONFIG.model_copy(update={"precision": "bf16", "epochs": 14, "lr": 0.03})
CPU = torch.device("cpu")


def seen(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[tuple[torch.dtype, torch.dtype]]:
    """(type of a layer's output, type of what its neurons or norms receive) filled by the next forward passes."""
    found: list[tuple[torch.dtype, torch.dtype]] = []

    def note(_module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        found.append((args[0].dtype, out.dtype))

    for part in module.modules():
        if isinstance(part, kinds):
            part.register_forward_hook(note)
    return found


def test_convolutions_round_and_everything_else_does_not() -> None:
    net, x = cases.network(), torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    exact = net(x)
    convolutions, norms, neurons = (seen(net, kinds) for kinds in ((Conv2d, nn.Linear), (BatchNorm,), (Neuron,)))
    with precision(CPU, "bf16"):
        votes = net(x)
    assert {out for _, out in convolutions} == {torch.bfloat16} and {out for _, out in neurons + norms} == {torch.float32}
    assert votes.dtype == torch.float32 and not torch.equal(net.stem.bn.running_var, torch.ones(4))
    assert {p.dtype for p in net.parameters()} == {torch.float32} and exact.shape == votes.shape
    with precision(CPU, "fp32"):
        assert torch.equal(cases.network().eval()(x), cases.network().eval()(x))


def test_training_in_bf16_learns_and_resumes_exactly(tmp_path: Path) -> None:
    data, validation = cases.digits()
    whole, file = cases.network(), tmp_path / "c.pt"
    expected = train(whole, data, validation, BF16, seed=1)

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cases.network(), data, validation, BF16, seed=1, checkpoint_file=file, checkpoint_interval_s=0, progress=stop)
    resumed = cases.network(seed=5)
    assert train(resumed, data, validation, BF16, seed=1, checkpoint_file=file).history == expected.history
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))
    other = train(cases.network(), data, validation, BF16.model_copy(update={"precision": "fp32"}), seed=1)
    assert other.history != expected.history
    assert expected.history[-1].train_loss < expected.history[0].train_loss and expected.best.accuracy > 0.2  # chance 0.1


def test_snasnet_takes_it_too() -> None:
    seed_everything(0)
    net = SnasNet(SnasConfig(1, (8, 8), 10, width=4, n_timesteps=2, hidden=8, group=2), "0303 0030 2002 0200")
    neurons = seen(net, (Neuron, BatchNorm))
    data, validation = cases.digits(80)
    result = train(net, data, validation, TrainConfig(epochs=1, loss="ce", precision="bf16"), seed=0)
    assert {out for _, out in neurons} == {torch.float32} and result.best.train_loss > 0


def test_later_settings_leave_older_files_as_they_are() -> None:
    assert not {"crop", "flip", "cutout", "precision"} & set(read("digits").to_dict()["train"])
    changed = read("digits", {"train.flip": True, "supernet.precision": "bf16"}).to_dict()
    assert changed["train"]["flip"] is True and changed["supernet"]["precision"] == "bf16" and "flip" not in changed["supernet"]
    assert TrainConfig(epochs=1).to_dict().keys() == TrainConfig(epochs=1).model_dump().keys() - {
        "crop", "flip", "cutout", "precision"}
    for name, value in (("crop", 1), ("flip", True), ("cutout", 2)):
        with pytest.raises(ValidationError, match=f"{name} changes images"):
            TrainConfig.model_validate({"epochs": 1, "encoding": "events", name: value})
