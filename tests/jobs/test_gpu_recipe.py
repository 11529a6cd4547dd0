"""The recipes for one GPU, made tiny, on their real path: stopped behind each stage, interrupted, resumed, collected."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy import commands
from neurodeploy.cli.main import main
from neurodeploy.errors import Interrupted
from neurodeploy.progress import Progress
from neurodeploy.search.recipe import read
from neurodeploy.validate import validate
from tests.tiny_search import without_seconds

ROOT = Path(__file__).parents[2]
TINY = {
    "data.per_class": [12, 6], "network.width": 4, "network.n_timesteps": 2, "supernet.epochs": 12, "supernet.batch_size": 6,
    "supernet.lr": 0.02, "supernet.n_references": 2, "supernet.recalibration_batch_size": 16, "supernet.anchor_hold": 0.2,
    "train.epochs": 6, "train.batch_size": 12, "train.lr": 0.02, "evolution.budget": 3, "fitness.chance_margin": 0.0,
    "quantize.qat_epochs": 1,
}  # fmt: skip


def write_squares(folder: Path) -> Path:
    """Bytes [90, 3, 32, 32]: noise with a bright square whose place is the class."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.integers(0, 60, (90, 3, 32, 32))
    for image, label in zip(x, y, strict=True):
        image[:, 10 * label : 10 * label + 10, 4:28] += 180
    np.savez(folder / "squares.npz", x=x.astype(np.uint8), y=y)
    return folder / "squares.npz"


class StopsIn(Progress):
    """Ctrl-C in the second epoch of the retraining."""

    def __init__(self) -> None:
        self.n = 0

    def advance(self, task: str, n: int = 1, **info: object) -> None:
        self.n += task == "training"
        if self.n == 2:
            raise KeyboardInterrupt


def test_autosnn_cifar10_in_parts_is_the_undisturbed_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {**TINY, "data.name": str(write_squares(tmp_path))}
    whole = commands.search("autosnn_cifar10", "loihi2", out=tmp_path / "whole", overrides=changes)
    run = tmp_path / "parts"
    first = commands.search("autosnn_cifar10", "loihi2", out=run, overrides=changes, until="supernet").to_dict()
    assert first == {"run_dir": str(run), "until": "supernet", "resume": f"neurodeploy search --resume {run}"}
    assert not (run / "journal.log").exists()
    found = commands.search(resume=run, until="search").to_dict()
    assert found["best"] == whole.data["best"] and not (run / "model.ckpt").exists()
    with pytest.raises(Interrupted, match="--resume"):
        commands.search(resume=run, progress=StopsIn())
    assert main(["search", "--resume", str(run), "--until", "training"], sys.stdout) == 0
    assert "Stopped as asked" in capsys.readouterr().out and not (run / "bundle").exists()
    data = commands.search(resume=run, until="training").to_dict()
    assert data["accuracy_validation"] > 0 and (run / "model.safetensors").is_file()
    parts = commands.search(resume=run)
    assert without_seconds(parts.data) == without_seconds(whole.data) and whole.data["best"]["spikes"] > 0

    monkeypatch.setattr(sys, "argv", ["collect_search.py", str(run), "found", "--root", str(tmp_path / "here")])
    runpy.run_path(str(ROOT / "benchmarks" / "collect_search.py"), run_name="__main__")
    assert validate(tmp_path / "here" / "exports" / "found").errors == ()
    kept = json.loads((tmp_path / "here" / "searches" / "results" / "found.json").read_text())
    assert kept["result"]["best"] == data["best"] and kept["asked"]["recipe"]["supernet"]["precision"] == "bf16"
    table = (tmp_path / "here" / "searches" / "results" / "found.md").read_text()
    assert "N_avg" in table and all(f"| {100 * e['accuracy']:.2f} %" in table for e in parts.data["pareto"])


def test_the_recipes_are_the_papers_where_they_say_so() -> None:
    autosnn, seenn = read("autosnn_cifar10"), read("seenn_cifar10")
    assert (autosnn.network.width, autosnn.network.n_timesteps, autosnn.evolution.budget) == (16, 8, 200)
    assert autosnn.fitness.lambda_spikes == -0.08 and autosnn.train.lr == 1e-3 and autosnn.train.batch_size == 96
    for config in (autosnn.supernet, autosnn.train, seenn.train):
        assert (config.crop, config.flip, config.precision) == (4, True, "bf16")
    assert seenn.train.loss == "tet" and (seenn.network.n_positions, seenn.network.strides.count(2)) == (8, 2)
    digits = read("seenn_digits")
    assert digits.train.loss == "tet" and not digits.train.flip
