"""A SNASNet with feedback and a pool from its graph file: check, energy with early exit, export, validate on Loihi 2."""

from __future__ import annotations

from pathlib import Path

import neurodeploy as nd
import pytest
import torch
from neurodeploy.data.datasets import load
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UsageError
from neurodeploy.ir import serialize
from neurodeploy.ir.nodes import CubaLif
from neurodeploy.jobs.check import check
from neurodeploy.jobs.energy import energy
from neurodeploy.jobs.export import export
from neurodeploy.models.snas_cell import SnasConfig
from neurodeploy.models.snas_convert import to_graph
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.train.config import TrainConfig
from neurodeploy.train.loop import train

CONFIG = SnasConfig(1, (8, 8), 10, width=3, group=2, n_timesteps=3, hidden=16, linear_std=0.5, ends="spikes", feedback="loop")
CELL = "0003 0000 4000 0020"
QUICK = {"quantize.qat_epochs": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0 -> 3 through neurons, back to 2, and on to 0 through a pool; two epochs on the digits."""
    data = load("digits")
    torch.manual_seed(0)
    net = SnasNet(CONFIG, CELL)
    train(net, data.split("train"), data.split("validation"), TrainConfig(epochs=2, lr=1e-2, loss="ce"), seed=0, device="cpu")
    net.metadata = {"data": {"name": "digits", "n_levels": data.n_levels}}
    path = tmp_path_factory.mktemp("model") / "cell.npz"
    serialize.save(to_graph(net), path)
    return path


def test_loihi_takes_it_and_speck_says_why_not(model: Path) -> None:
    found = check(model, ["loihi2", "speck2f"])
    assert found.targets["loihi2"]["fits"] and not found.targets["speck2f"]["fits"]
    assert "recurrent" in {v["rule"] for v in found.targets["speck2f"]["violations"]}


def test_energy_with_data_is_of_single_samples(model: Path) -> None:
    found = energy(model, ["loihi2"], overrides=QUICK).targets["loihi2"]
    assert set(found["schedules"]) == {"single"} and found["energy_j"]["nominal"] > 0 and found["counts"]["spikes"] > 0
    assert 1 <= found["early_exit"]["mean_timesteps"] <= 3 and found["accuracy"]["float"] is not None
    with pytest.raises(UsageError, match="it is recurrent"):
        energy(model, ["loihi2"], rate=0.1, schedule="pipelined")
    assumed = energy(model, ["loihi2"], rate=0.1)
    assert assumed.targets["loihi2"]["energy_j"]["nominal"] > 0 and not assumed.errors
    with pytest.raises(DoesNotFit):
        raise energy(model, ["speck2f"], rate=0.1, interval_s=0.1).errors[0]


def test_its_bundle_is_valid_and_another_length_restarts_in_time(model: Path, tmp_path: Path) -> None:
    made = export(model, "loihi2", out=tmp_path / "bundle", overrides=QUICK)
    assert nd.validate(made.bundle).ok
    torch.manual_seed(1)
    net = SnasNet(CONFIG, CELL)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "bn" in name and name.endswith("bias"):
                p.uniform_(0.0, 1.5)
    serialize.save(to_graph(net), tmp_path / "bare.npz")
    with pytest.warns(NeurodeployWarning, match="scales come from the weights alone"):
        export(tmp_path / "bare.npz", "loihi2", out=tmp_path / "long", n_timesteps=5)
    held = nd.load(tmp_path / "long")
    layers = [n for n in held.nodes if isinstance(n, CubaLif)]
    assert held.n_timesteps == 5 and all(n.reset_interval == max(5, n.reset_offset) for n in layers)
    assert max(n.reset_offset for n in layers) > 5 and any((n.v_init < 0).all() for n in layers)
    assert nd.validate(tmp_path / "long").ok
