"""AutoSNN networks and their supernet: sizes, sharing, batch statistics, recordings, refusals."""

from __future__ import annotations

import pytest
import torch
from neurodeploy.errors import UsageError
from neurodeploy.models.autosnn import BLOCKS, AutoSnn, MacroConfig, SuperNet
from neurodeploy.models.blocks import BatchNorm, ConvSkip, Identity
from neurodeploy.models.record import record, spikes_paper
from torch import Tensor

DIGITS = MacroConfig(1, (8, 8), 10, width=8, n_timesteps=4)
MIXED = ("SCB_k3", "skip_connect", "SRB_k5", "SRB_k3", "skip_connect")
PUBLISHED = ("SRB_k5", "SRB_k5", "skip_connect", "SRB_k3", "SRB_k5")


def images(n: int = 6, size: tuple[int, int] = (8, 8), channels: int = 1) -> Tensor:
    return torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(1)) * 3


@pytest.mark.parametrize(("width", "n_parameters"), [(16, 417_626), (32, 1_462_954), (64, 5_436_746), (128, 20_916_874)])
def test_parameter_counts_of_the_paper(width: int, n_parameters: int) -> None:
    with torch.device("meta"):
        net = AutoSnn(MacroConfig(3, (32, 32), 10, width=width), PUBLISHED)
    assert sum(p.numel() for p in net.parameters()) == n_parameters


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_runs_at_every_position(block: str) -> None:
    torch.manual_seed(0)
    net = AutoSnn(DIGITS, (block,) * 5)
    votes = net(images())
    assert votes.shape == (4, 6, 10)
    votes.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_other_sizes() -> None:
    net = AutoSnn(MacroConfig(2, (17, 30), 3, width=4, n_timesteps=2, group=7), MIXED)
    assert net(images(2, (17, 30), 2)).shape == (2, 2, 3)
    assert net.classifier.linear.weight.shape == (21, 16 * 2 * 3)


def test_static_images_equal_repeated_frames() -> None:
    torch.manual_seed(0)
    net = AutoSnn(DIGITS, MIXED).double().eval()
    x = images().double()
    with torch.no_grad():
        assert torch.equal(net(x), net(x.expand(4, *x.shape)))
        assert net(x.expand(7, *x.shape)).shape == (7, 6, 10)


def test_a_child_equals_its_path_through_the_supernet() -> None:
    torch.manual_seed(0)
    net = SuperNet(DIGITS).train()
    for arch in (MIXED, PUBLISHED) * 20:
        net(images(), arch)  # moves running statistics
    for training in (True, False):
        net.train(training)
        child = net.child(MIXED)
        assert child.training == training and child.arch == MIXED
        with torch.no_grad(), record(net) as ours, record(child) as theirs:
            assert torch.equal(net(images(), MIXED), child(images()))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert ours["layers.0.neuron1"].sum() > 0
    child.stem.conv.weight.data.zero_()
    assert net.stem.conv.weight.abs().sum() > 0


def test_children_keep_precision() -> None:
    assert SuperNet(DIGITS).double().child(MIXED).stem.neuron.w.dtype == torch.float64


def test_merged_and_per_step_statistics() -> None:
    x = torch.randn(3, 5, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * torch.arange(
        1, 4, dtype=torch.float64
    ).view(3, 1, 1, 1, 1)
    merged, per_step = BatchNorm(2, "merged").double(), BatchNorm(2, "per_step").double()
    y = merged(x)
    wanted = (x - x.mean((0, 1, 3, 4), keepdim=True)) / (x.var((0, 1, 3, 4), correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-12)  # rounding of one mean and variance in float64
    y = per_step(x)
    wanted = (x - x.mean((1, 3, 4), keepdim=True)) / (x.var((1, 3, 4), correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-12)
    assert (int(merged.num_batches_tracked), int(per_step.num_batches_tracked)) == (1, 3)
    per_step.eval()
    merged.eval().load_state_dict(per_step.state_dict())
    assert torch.equal(merged(x), per_step(x))


def test_spikes_paper_counts_neurons_and_pools_and_no_identity() -> None:
    torch.manual_seed(0)
    net = AutoSnn(DIGITS, ("skip_connect", "skip_connect", "skip_connect", "SCB_k3", "SRB_k3")).eval()
    assert isinstance(net.layers[0], Identity) and isinstance(net.layers[2], ConvSkip)
    with torch.no_grad(), record(net) as recorded:
        net(images())
    assert list(recorded) == [
        "stem.neuron", "layers.1", "layers.2.neuron", "layers.4", "layers.5.neuron1", "layers.5.neuron2",
        "layers.6.neuron1", "layers.6.neuron2", "layers.7", "classifier.neuron",
    ]  # fmt: skip
    assert recorded["layers.1"].shape == (4, 6, 8, 4, 4)
    counted = spikes_paper(recorded)
    assert counted.shape == (6,)
    assert counted.sum() == sum(float(s.sum()) for s in recorded.values()) > 0
    with pytest.raises(UsageError, match="nothing was recorded"):
        spikes_paper({})


def test_hooks_leave_with_the_recording() -> None:
    net = AutoSnn(DIGITS, MIXED)
    with record(net) as recorded:
        net(images())
    seen = dict(recorded)
    net(images(3))
    assert recorded == seen


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MacroConfig(1, (8, 7), 10), "at least 8 x 8|vanish in 3 max pools"),
        (lambda: MacroConfig(1, (8, 8), 0), "n_classes is 0"),
        (lambda: AutoSnn(DIGITS, ("SRB_k9",) * 5), "unknown block 'SRB_k9'"),
        (lambda: AutoSnn(DIGITS, ("SRB_k3",) * 4), "4 blocks"),
        (lambda: AutoSnn(DIGITS, "SRB_k3"), "the architecture is 'SRB_k3'"),
        (lambda: AutoSnn(DIGITS, MIXED)(torch.zeros(2, 3, 8, 8)), "input of shape"),
        (lambda: AutoSnn(DIGITS, MIXED)(torch.zeros(1, 8, 8)), "input of shape"),
        (lambda: SuperNet(DIGITS)(torch.zeros(2, 1, 8, 8), MIXED[:2]), "2 blocks"),
        (lambda: MacroConfig.from_dict({**DIGITS.to_dict(), "depth": 3}), "depth"),
        (lambda: MacroConfig.from_dict({**DIGITS.to_dict(), "width": "8"}), "width"),
        (lambda: MacroConfig.from_dict({**DIGITS.to_dict(), "width": {8}}), "plain JSON"),
    ],
)
def test_refusals_say_what_and_the_remedy(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message) as caught:
        make()
    assert caught.value.remedy


def test_macro_survives_json() -> None:
    assert MacroConfig.from_dict(DIGITS.to_dict()) == DIGITS
