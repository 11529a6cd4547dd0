"""A run learns, selects on validation data, and can be interrupted without leaving a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import train_cases as cases
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.models.record import record
from neurodeploy.train import checkpoint
from neurodeploy.train.evaluate import evaluate
from neurodeploy.train.loop import Epoch, train


class Interrupted(Exception):
    pass


def interrupt_after(n: int) -> Any:
    def stop(epoch: Epoch) -> None:
        if epoch.epoch == n:
            raise Interrupted

    return stop


def equal_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_run_learns_and_keeps_the_best_epoch() -> None:
    data, validation = cases.digits(320)
    net, seen = cases.network(n_timesteps=4), []
    config = cases.CONFIG.model_copy(update={"batch_size": 16, "shift": 0.0, "rotate": 0.0, "loss": "prefix_ce", "epochs": 6})
    result = train(net, data, validation, config, seed=1, progress=seen.append)
    assert tuple(seen) == result.history and [e.epoch for e in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[-1].train_loss < seen[0].train_loss
    assert result.best.accuracy == max(e.accuracy for e in seen) > 0.2  # chance is 0.1
    assert not net.training and result.seconds > 0
    assert evaluate(net, *validation).accuracy == result.best.accuracy
    with record(net) as spikes, torch.no_grad():
        net(torch.from_numpy(validation[0]))
    assert spikes["classifier.neuron"].sum() > 0


@pytest.mark.parametrize("changes", [{}, {"optimizer": "sgd", "lr": 0.1, "encoding": "rate", "schedule": "none"}])
def test_a_resumed_run_equals_an_undisturbed_one(tmp_path: Any, changes: dict[str, Any]) -> None:
    data, validation = cases.digits()
    config = cases.CONFIG.model_copy(update=changes)
    whole, file = cases.network(), tmp_path / "run" / "checkpoint.pt"
    expected = train(whole, data, validation, config, seed=1)

    with pytest.raises(Interrupted):
        train(cases.network(), data, validation, config, seed=1, checkpoint_file=file, checkpoint_interval_s=0,
              progress=interrupt_after(2))
    torch.manual_seed(99)  # whatever happened between
    resumed = cases.network(seed=5)
    found: list[Epoch] = []
    result = train(resumed, data, validation, config, seed=1, checkpoint_file=file, progress=found.append)
    assert [e.epoch for e in found] == [3, 4]
    assert result.history == expected.history and result.best == expected.best
    assert equal_weights(resumed, whole)
    assert [p.name for p in file.parent.iterdir()] == [file.name]

    again = cases.network(seed=6)
    assert train(again, data, validation, config, seed=1, checkpoint_file=file).best == expected.best
    assert equal_weights(again, whole)


def test_only_late_epochs_are_selected(tmp_path: Any) -> None:
    data, validation = cases.digits(80)
    for share, allowed in ((0.5, {3, 4}), (0.01, {4}), (1.0, {1, 2, 3, 4})):
        config = cases.CONFIG.model_copy(update={"select_last": share})
        result = train(cases.network(), data, validation, config, seed=1)
        best = max((e for e in result.history if e.epoch in allowed), key=lambda e: (e.accuracy, -e.validation_loss))
        assert result.best == best
    file, config = tmp_path / "c.pt", cases.CONFIG.model_copy(update={"select_last": 0.25})
    with pytest.raises(Interrupted):  # before any epoch could be selected
        train(cases.network(), data, validation, config, seed=1, checkpoint_file=file, checkpoint_interval_s=0,
              progress=interrupt_after(2))
    assert train(cases.network(), data, validation, config, seed=1, checkpoint_file=file).best.epoch == 4


def test_the_seed_decides_the_order_of_data() -> None:
    data, validation = cases.digits()
    one, two, other = (cases.network() for _ in range(3))
    for net, seed in ((one, 1), (two, 1), (other, 2)):
        train(net, data, validation, cases.CONFIG.model_copy(update={"epochs": 1}), seed=seed)
    assert equal_weights(one, two) and not equal_weights(one, other)


def test_checkpoints_of_another_run_and_other_files_are_refused(tmp_path: Any) -> None:
    data, validation = cases.digits(80)
    config, file = cases.CONFIG.model_copy(update={"epochs": 1}), tmp_path / "c.pt"
    train(cases.network(), data, validation, config, seed=1, checkpoint_file=file)
    for seed, changed, images in ((2, config, data), (1, config.model_copy(update={"lr": 0.5}), data),
                                  (1, config, (data[0] / 2, data[1]))):
        with pytest.raises(UsageError, match=r"another run: (seed|train|x) differ"):
            train(cases.network(), images, validation, changed, seed=seed, checkpoint_file=file)
    version, checkpoint.VERSION = checkpoint.VERSION, 2
    try:
        with pytest.raises(UnsafeFile, match="version 1"):
            train(cases.network(), data, validation, config, seed=1, checkpoint_file=file)
    finally:
        checkpoint.VERSION = version
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(UnsafeFile, match="start over"):
        train(cases.network(), data, validation, config, seed=1, checkpoint_file=file)


def test_a_failed_save_keeps_the_old_checkpoint(tmp_path: Any) -> None:
    file = tmp_path / "c.pt"
    checkpoint.save(file, {"a": 1}, {"n": 1})
    with pytest.raises(Exception, match=r"pickle|local"):
        checkpoint.save(file, {"a": 1}, {"n": lambda: None})
    assert checkpoint.load(file, {"a": 1}) == {"n": 1} and list(tmp_path.iterdir()) == [file]
    assert checkpoint.load(tmp_path / "none.pt", {}) is None


def test_unsuitable_data_and_divergence_are_reported() -> None:
    data, validation = cases.digits(80)
    with pytest.raises(UsageError, match="training data"):
        train(cases.network(), (data[0], data[1][:-1]), validation, cases.CONFIG, seed=0)
    with pytest.raises(UsageError, match="validation data"):
        train(cases.network(), data, (data[0][:0], data[1][:0]), cases.CONFIG, seed=0)
    with pytest.raises(UsageError, match="no images"):
        evaluate(cases.network(), data[0][:0], data[1][:0])
    with pytest.raises(NeurodeployError, match=r"stem.*epoch 1.*Lower lr"):
        train(cases.network(), (np.full_like(data[0], np.nan), data[1]), validation, cases.CONFIG, seed=0)


def test_evaluation_does_not_depend_on_batches_and_keeps_the_mode() -> None:
    data, _ = cases.digits(80)
    net = cases.network().train()
    whole, parts = evaluate(net, *data), evaluate(net, *data, batch_size=7)
    assert net.training and whole.votes.shape == (2, 80, 10)
    assert whole.accuracy == whole.accuracy_per_step[-1] and whole.accuracy_per_step.shape == (2,)
    assert np.array_equal(whole.accuracy_per_step, parts.accuracy_per_step)
