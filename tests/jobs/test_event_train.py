"""`train` by a recipe of events: the recipe's own positions, and a model that goes onto a chip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from neurodeploy.data.event_files import save_events
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Lif
from neurodeploy.jobs.check import check
from neurodeploy.jobs.opened import open_model
from neurodeploy.jobs.run import located
from neurodeploy.jobs.train import train
from neurodeploy.models.published import parse_arch
from tests.validate.event_bundles import recordings

TINY = {
    "network.width": 2, "network.layout": [1, 0], "network.n_timesteps": 8, "train.epochs": 2, "train.batch_size": 10,
}  # fmt: skip


def test_a_model_of_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_events(tmp_path / "events.npz", recordings())
    monkeypatch.chdir(tmp_path)
    found = train("digits_events", "SCB_k3", out=tmp_path / "run", overrides={**TINY, "data.name": "events.npz"})
    assert 0 <= found.accuracy <= 1 and len(found.accuracy_per_step) == 8 and found.time_unit == "bin"
    opened = open_model(found.model)
    assert opened.graph.metadata["data"] == {
        "name": str(tmp_path / "events.npz"), "duration_us": 100_000, "sensor": [2, 4, 4],
    }
    assert opened.graph.metadata["encoding"] == "events" and opened.graph.n_timesteps == 8
    assert all(isinstance(n, Lif) and n.inv_tau == 0 and n.multi_spike for n in opened.graph.neurons)
    assert check(found.model, ["speck2f"]).fits
    again = train("digits_events", "SCB_k3", out=tmp_path / "run", overrides={**TINY, "data.name": "events.npz"})
    assert again.accuracy == found.accuracy and np.isfinite(found.accuracy_validation)


def test_an_architecture_has_a_block_for_each_position() -> None:
    assert parse_arch("SCB_k3, skip,skip", 3) == ("SCB_k3", "skip_connect", "skip_connect")
    with pytest.raises(UsageError, match="3 blocks") as caught:
        train("digits_events", "SCB_k3,skip,skip", overrides=TINY)
    assert "1 position" in caught.value.limit
    with pytest.raises(UsageError, match="5 positions"):
        train("digits", "SCB_k3,skip,skip")


def test_data_keep_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    (tmp_path / "digits").mkdir()
    assert located("recordings") == str(tmp_path / "recordings") and located("digits-events") == "digits-events"
    assert located("digits") == "digits", "a packaged name stays one"
