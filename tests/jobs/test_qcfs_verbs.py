"""`neurodeploy train` without --arch, and what comes of it: converted, exported, validated, stopped early."""

from __future__ import annotations

from pathlib import Path

import neurodeploy as nd
import pytest
import torch
from neurodeploy.data.datasets import load
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Qcfs as QcfsNode
from neurodeploy.train.ann2snn import AnnNetwork

from commands import run, run_json

SHORT = ("--set", "train.epochs=8", "--set", "train.batch_size=32", "--set", "train.lr=0.02")
ARCH = "1x8x8 T=1 data=digits | conv2d padding=1 | bn | qcfs levels=4 | avgpool 2 | flatten | linear | vote 10"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ann") / "run"
    code, answer = run_json("train", "--recipe", "digits_qcfs", "--out", str(folder), *SHORT)
    assert code == 0, answer["errors"]
    data = answer["data"]
    assert data["model"] == str(folder / "ann.npz") and data["accuracy"] > 0.9 and data["accuracy_validation"] > 0.9
    assert len(data["thresholds"]) == 2 and all(lam > 0 for lam in data["thresholds"].values())
    return folder / "ann.npz"


def test_a_finished_training_is_not_repeated_and_another_refused(trained: Path) -> None:
    before = trained.read_bytes()
    code, answer = run_json("train", "--recipe", "digits_qcfs", "--out", str(trained.parent), *SHORT)
    assert code == 0 and trained.read_bytes() == before
    graph = nd.load(trained)
    lams = [n.lam for n in graph.nodes if isinstance(n, QcfsNode)]
    assert lams == list(answer["data"]["thresholds"].values()) and graph.metadata["data"]["name"] == "digits"
    code, answer = run_json("train", "--recipe", "digits_qcfs", "--out", str(trained.parent), *SHORT, "--seed", "1")
    assert code == 2 and "another run" in answer["errors"][0]["what"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--recipe", "digits"), "--arch"), (("--recipe", "digits_qcfs", "--set", "train.epoch=1"), "epoch"),
        (("--recipe", "digits_qcfs", "--set", "network.layout=[4,0,0,0,0]"), "4 pools"),
        (("--recipe", "digits_qcfs", "--set", "data=nowhere"), "nowhere"),
        (("--recipe", "digits_qcfs", "--set", "train.select_last=0.5"), "last epoch"),
    ],
)  # fmt: skip
def test_what_train_refuses(options: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, answer = run_json("train", *options)
    assert code == 2 and words in " ".join(answer["errors"][0].values())
    assert not list(tmp_path.iterdir())


def test_what_is_shown(trained: Path, tmp_path: Path) -> None:
    code, shown = run("train", "--recipe", "digits_qcfs", "--out", str(trained.parent), *SHORT)
    assert code == 0 and "thresholds" in shown and "neurodeploy convert" in shown
    code, answer = run_json("train", "--recipe", "digits_qcfs", "--dry-run", "--seed", "7")
    assert code == 0 and answer["data"]["recipe"]["seed"] == 7 and answer["data"]["recipe"]["network"]["levels"] == 4
    code, shown = run("convert", str(trained), "--timesteps", "4", "--out", str(tmp_path / "snn.npz"))
    assert code == 0 and "accuracy, QCFS" in shown and "4 timesteps" in shown


def test_few_timesteps_do(trained: Path, tmp_path: Path) -> None:
    answers = {}
    for start in ("half", "zero"):
        out = tmp_path / f"{start}.npz"
        code, answer = run_json("convert", str(trained), "--timesteps", "8", "--readout", "logits", "--out", str(out),
                                *(() if start == "half" else ("--start", "zero")))
        assert code == 0, answer["errors"]
        answers[start] = answer["data"]
        assert answer["data"]["start"] == start and answer["data"]["activation"] == "QCFS"
    found = answers["half"]
    assert found["accuracy_ann"] > 0.9 and len(found["accuracy_per_step"]) == 8
    assert found["accuracy_per_step"][3] > found["accuracy_ann"] - 0.03
    # rounding only at the end leaves the first timesteps behind
    assert sum(found["accuracy_per_step"][:4]) > sum(answers["zero"]["accuracy_per_step"][:4])
    assert all(0.01 < rate < 0.7 for rate in found["rates"].values()) and len(found["rates"]) == 2
    assert list(found["scales"].values()) == [n.lam for n in nd.load(trained).nodes if isinstance(n, QcfsNode)]


def test_it_is_written_as_nir_and_read_again(trained: Path, tmp_path: Path) -> None:
    graphs = []
    for name in ("snn.npz", "snn.nir"):
        code, answer = run_json("convert", str(trained), "--timesteps", "4", "--out", str(tmp_path / name))
        assert code == 0, answer["errors"]
        graphs.append(nd.load(tmp_path / name))
    assert all(isinstance(g, Graph) for g in graphs)
    assert serialize.digest(graphs[0]) == serialize.digest(graphs[1])


def test_early_exit_on_a_gpu(trained: Path, tmp_path: Path) -> None:
    out, bundle = tmp_path / "snn.npz", tmp_path / "gpu"
    assert run_json("convert", str(trained), "--timesteps", "8", "--readout", "logits", "--out", str(out))[0] == 0
    code, answer = run_json("export", str(out), "--target", "h200", "--out", str(bundle))
    assert code == 0, answer["errors"]
    code, answer = run_json("validate", str(bundle), "--oracle", "onnxruntime")
    assert code == 0, answer["errors"]
    verdict = answer["data"]
    assert verdict["ok"] and verdict["n_spikes"] > 0
    found = verdict["early_exit"]
    assert 1 <= found["mean_timesteps"] < 6 and found["accuracy"] > found["accuracy_fixed_at_mean"]


def test_a_state_dict_with_its_lam(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = AnnNetwork(layout=(4, 0), lam=1.0).build((1, 8, 8), 10)
    torch.save(net.state_dict(), tmp_path / "qcfs.pt")
    command = ("convert", str(tmp_path / "qcfs.pt"), "--arch", ARCH, "--timesteps", "4", "--out", str(tmp_path / "s.npz"))
    code, answer = run_json(*command)
    assert code == 0, answer["errors"]
    data = answer["data"]
    assert data["scales"]["2"] == 1.0 and 0.01 < data["rates"]["2"] < 0.9 and data["n"] == len(load("digits").split("test")[1])
    code, answer = run_json(*command, "--start", "half", "--floor", "8")
    assert code == 2 and "floor" in answer["errors"][0]["what"]
