"""Training of networks that become spiking ones: recipes, learning, resuming, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import train_cases as cases
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.models.qcfs import Qcfs
from neurodeploy.train.ann2snn import AnnNetwork, AnnRecipe, logits_of, read_ann_recipe, train_ann
from neurodeploy.train.config import TrainConfig
from neurodeploy.train.loop import Epoch
from neurodeploy.train.runtime import seed_everything
from torch import nn

NETWORK = AnnNetwork(layout=(6, 0, 8, 0))
CONFIG = TrainConfig(epochs=4, batch_size=20, lr=1e-2, loss="ce", noise=0.1, shift=0.5)


class Interrupted(Exception):
    pass


def network(seed: int = 0, **changes: Any) -> nn.Sequential:
    seed_everything(seed)
    return NETWORK.model_copy(update=changes).build((1, 8, 8), 10)


def test_thresholds_and_weights_learn() -> None:
    data, validation = cases.digits(320)
    net, seen = network(), []
    before = [p.up.item() for p in net if isinstance(p, Qcfs)]
    result = train_ann(net, data, validation, CONFIG, seed=1, progress=seen.append)
    assert before == [4.0, 4.0] and all(0 < p.up.item() != 4.0 for p in net if isinstance(p, Qcfs))
    assert tuple(seen) == result.history and result.best == seen[-1] and len(seen) == 4 and not net.training
    assert seen[-1].train_loss < seen[0].train_loss and result.best.accuracy > 0.5  # chance is 0.1
    assert (logits_of(net, validation[0]).argmax(axis=1) == validation[1]).mean() == result.best.accuracy


def test_a_resumed_training_equals_an_undisturbed_one(tmp_path: Path) -> None:
    data, validation = cases.digits()
    whole, file = network(), tmp_path / "ann.ckpt"
    expected = train_ann(whole, data, validation, CONFIG, seed=1)

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_ann(network(), data, validation, CONFIG, seed=1, checkpoint_file=file, checkpoint_interval_s=0, progress=stop)
    torch.manual_seed(99)  # whatever happened between
    again, epochs = network(5), []
    result = train_ann(again, data, validation, CONFIG, seed=1, checkpoint_file=file, progress=epochs.append)
    assert [e.epoch for e in epochs] == [3, 4] and result.history == expected.history
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())
    other = network()
    finished = train_ann(other, data, validation, CONFIG, seed=1, checkpoint_file=file, progress=epochs.append)
    assert len(epochs) == 2 and finished.best == expected.best  # nothing was trained again
    assert torch.equal(other[0].weight, whole[0].weight)
    for changes in ({"seed": 2}, {"config": CONFIG.model_copy(update={"lr": 0.02})}, {"module": network(levels=8)}):
        given = {"module": network(), "config": CONFIG, "seed": 1, **changes}
        with pytest.raises(UsageError, match="another run"):
            train_ann(given["module"], data, validation, given["config"], seed=given["seed"], checkpoint_file=file)


def test_the_seed_decides() -> None:
    data, validation = cases.digits()
    runs = [train_ann(network(), data, validation, CONFIG, seed=seed).history for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_what_cannot_be_trained_is_refused() -> None:
    data, validation = cases.digits()
    with pytest.raises(UsageError, match="encoding 'rate'"):
        train_ann(network(), data, validation, CONFIG.model_copy(update={"encoding": "rate"}), seed=0)
    with pytest.raises(UsageError, match="last epoch"):
        train_ann(network(), data, validation, CONFIG.model_copy(update={"select_last": 0.5}), seed=0)
    with pytest.raises(UsageError, match="images"):
        train_ann(network(), (data[0][:0], data[1][:0]), validation, CONFIG, seed=0)
    decayed = TrainConfig(epochs=1, batch_size=160, lr=1.5, optimizer="sgd", weight_decay=1.0, loss="ce")  # past zero at once
    with pytest.raises(NeurodeployError, match="lam became -") as caught:
        train_ann(network(), data, validation, decayed, seed=0)
    assert caught.value.error_code == "diverged"


def test_networks() -> None:
    bare = network(norm=False, activation="relu")
    assert not any(isinstance(p, nn.BatchNorm2d | Qcfs) for p in bare) and bare[0].bias is None and bare[-1].bias is None
    assert [type(p).__name__ for p in network()][:4] == ["Conv2d", "BatchNorm2d", "Qcfs", "AvgPool2d"]
    assert network(levels=None)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    with pytest.raises(UsageError, match="4 pools of images"):
        network(layout=(4, 0, 0, 0, 0))
    for layout in ((), (0,), (-1,), (5000,)):
        with pytest.raises(ValueError, match="layout"):
            AnnNetwork(layout=layout)


def test_recipes(tmp_path: Path) -> None:
    shipped = read_ann_recipe("digits_qcfs", {"seed": 3})
    assert isinstance(shipped, AnnRecipe) and (shipped.data, shipped.seed) == ("digits", 3)
    assert shipped.network.activation == "qcfs"
    with pytest.raises(UsageError, match="cannot be read"):
        read_ann_recipe(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="no recipe 'nothing'"):
        read_ann_recipe("nothing")
    with pytest.raises(UsageError, match="no key 'epoch'"):
        read_ann_recipe("digits_qcfs", {"train.epoch": 3})
    text = 'data = "digits"\n[network]\nlayout = [4]\n[train]\nepochs = 1\n'
    for change, words in (("epochs = 1", "train.epochs"), ("layout", "network.layout"), ('"digits"', "data")):
        path = tmp_path / "r.toml"
        path.write_text(text.replace(change, {"epochs = 1": "epochs = 0", "layout": "wrong", '"digits"': "3"}[change]))
        with pytest.raises(UsageError, match=words):
            read_ann_recipe(path)
    path.write_text("a = = 1")
    with pytest.raises(UsageError, match=r"r\.toml"):
        read_ann_recipe(path)
