"""Supernet training: uniform paths, an exact resume, and candidates whose batch norm is their own."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import train_cases as cases
from neurodeploy.errors import UsageError
from neurodeploy.models.autosnn import BLOCKS, AutoSnn, SuperNet
from neurodeploy.models.record import record, spikes_paper
from neurodeploy.train.batchnorm import recalibrate_bn
from neurodeploy.train.evaluate import evaluate
from neurodeploy.train.runtime import seed_everything
from neurodeploy.train.supernet import train_supernet

CHOICES = (BLOCKS,) * 5


def supernet(seed: int = 0) -> SuperNet:
    seed_everything(seed)
    return SuperNet(cases.MACRO)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_paths_are_uniform_and_logged_with_their_spikes() -> None:
    data, _ = cases.digits(100)
    config = cases.CONFIG.model_copy(update={"epochs": 10, "batch_size": 5, "lr": 1e-3})
    seen: list[tuple[int, float]] = []
    result = train_supernet(supernet(), data, config, CHOICES, seed=3, progress=lambda n, loss: seen.append((n, loss)))
    assert seen == list(enumerate(result.losses, start=1)) and len(seen) == 10
    assert [s.epoch for s in result.log] == [e for e in range(1, 11) for _ in range(20)]
    for position in range(5):
        counts = Counter(s.arch[position] for s in result.log)
        # 200 draws of probability 1/5: mean 40, standard deviation 5.7; the draws are fixed by the seed.
        assert set(counts) == set(BLOCKS) and all(20 < n < 60 for n in counts.values())
    assert np.mean([s.spikes_paper for s in result.log]) > 1


def test_the_log_counts_spikes_of_the_sampled_path() -> None:
    data, _ = cases.digits(40)
    config = cases.CONFIG.model_copy(update={"epochs": 1, "shift": 0, "rotate": 0, "zoom": 0})
    net = supernet()
    child = net.child(cases.ARCH).train()
    result = train_supernet(net, data, config, [[block] for block in cases.ARCH], seed=0)
    with record(child) as recorded, torch.no_grad():
        child(torch.from_numpy(data[0]))
    (sample,) = result.log
    # One batch holds all images, in an order that moves batch statistics by rounding only: at most a few spikes flip.
    assert sample.arch == cases.ARCH
    assert sample.spikes_paper == pytest.approx(spikes_paper(recorded).mean().item(), rel=1e-2) and sample.spikes_paper > 1


def test_an_anchor_is_held_then_fades_to_uniform_draws() -> None:
    data, _ = cases.digits(40)
    config = cases.CONFIG.model_copy(
        update={"epochs": 10, "batch_size": 4, "anchor": cases.ARCH, "anchor_hold": 0.2, "anchor_fade": 0.5}
    )
    assert [config.anchor_probability(e) for e in range(10)] == pytest.approx([1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0, 0])
    result = train_supernet(supernet(), data, config, CHOICES, seed=0)
    kept = {
        e: np.mean([a == b for s in result.log if s.epoch == e for a, b in zip(s.arch, cases.ARCH, strict=True)])
        for e in range(1, 11)
    }
    assert kept[1] == kept[2] == kept[3] == 1
    # 150 draws of probability 1/5: standard deviation 0.033.
    assert 0.1 < np.mean([kept[e] for e in (8, 9, 10)]) < 0.3 < kept[5] < 1
    with pytest.raises(UsageError, match="unknown block"):
        train_supernet(supernet(), data, config.model_copy(update={"anchor": ("conv",) * 5}), CHOICES, seed=0)


def test_choices_are_kept_and_checked() -> None:
    data, _ = cases.digits(40)
    choices = (("SCB_k3", "SRB_k3"), ("skip_connect",), BLOCKS, BLOCKS, ("SCB_k5",))
    result = train_supernet(supernet(), data, cases.CONFIG.model_copy(update={"batch_size": 8}), choices, seed=0)
    assert all(block in options for s in result.log for block, options in zip(s.arch, choices, strict=True))
    for bad in ((BLOCKS,) * 4, ((), *CHOICES[1:]), (("conv",), *CHOICES[1:])):
        with pytest.raises(UsageError):
            train_supernet(supernet(), data, cases.CONFIG, bad, seed=0)


def test_a_resumed_supernet_equals_an_undisturbed_one(tmp_path: Any) -> None:
    data, _ = cases.digits(80)
    whole, file = supernet(), tmp_path / "supernet.pt"
    expected = train_supernet(whole, data, cases.CONFIG, CHOICES, seed=1)

    def stop(epoch: int, _loss: float) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_supernet(supernet(), data, cases.CONFIG, CHOICES, seed=1, checkpoint_file=file, checkpoint_interval_s=0,
                       progress=stop)
    resumed = supernet(seed=7)
    result = train_supernet(resumed, data, cases.CONFIG, CHOICES, seed=1, checkpoint_file=file)
    assert result.log == expected.log and result.losses == expected.losses and same(resumed, whole)
    with pytest.raises(UsageError, match="choices"):
        train_supernet(supernet(), data, cases.CONFIG, (("SCB_k3",),) * 5, seed=1, checkpoint_file=file)


def test_recalibration_repeats_and_depends_on_nothing_but_its_images() -> None:
    data, validation = cases.digits(160)
    net = supernet()
    train_supernet(net, data, cases.CONFIG, CHOICES, seed=1)
    one, two = net.child(cases.ARCH), net.child(cases.ARCH)
    before = [b.clone() for b in one.buffers()]
    recalibrate_bn(one, data[0], 2, 64)
    torch.manual_seed(1234)
    two.train()
    recalibrate_bn(two, data[0], 2, 64)
    assert two.training and not one.training and same(one, two)
    assert not any(torch.equal(a, b) for a, b in zip(before, one.buffers(), strict=True) if a.dtype.is_floating_point)
    assert evaluate(one, *validation).votes.sum() > 0


def test_recalibration_averages_the_statistics_of_batches() -> None:
    data, _ = cases.digits(40)
    net = cases.network()
    momentum = net.stem.bn.momentum
    recalibrate_bn(net, data[0], 1, 40)
    current = net.stem.conv(torch.from_numpy(data[0])).transpose(0, 1).flatten(1)
    # float32 sums of 2560 values in another order.
    torch.testing.assert_close(net.stem.bn.running_mean, current.mean(1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(net.stem.bn.running_var, current.var(1), rtol=1e-4, atol=1e-6)
    assert net.stem.bn.momentum == momentum and isinstance(net, AutoSnn)
    recalibrate_bn(net, data[0], 2, 20)
    assert net.stem.bn.num_batches_tracked == 2
    torch.testing.assert_close(net.stem.bn.running_mean, current.mean(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("n_batches", "batch_size"), [(0, 10), (1, 1), (3, 20)])
def test_recalibration_needs_enough_images(n_batches: int, batch_size: int) -> None:
    data, _ = cases.digits(40)
    with pytest.raises(UsageError, match="40 images"):
        recalibrate_bn(cases.network(), data[0], n_batches, batch_size)
