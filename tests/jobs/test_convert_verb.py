"""`neurodeploy convert`, and state_dicts with --arch in every command that takes a model."""

from __future__ import annotations

from pathlib import Path

import neurodeploy as nd
import numpy as np
import pytest
import torch
from neurodeploy.data.datasets import load
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.reference import evaluate
from torch import nn

from commands import run, run_json

ANN = "1x8x8 T=1 | conv2d padding=1 | relu | avgpool 2 | conv2d padding=1 | relu | avgpool 2 | flatten | linear | vote 10"
SNN = ("1x8x8 T=4 v_th=0.5 fire=> reset=hard v_reset=0 | conv2d padding=1 | if | maxpool 2 | conv2d padding=1 | if | "
       "maxpool 2 | flatten | linear | if | vote 10")
DIGITS = ("--arch", ANN, "--data", "digits")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network of the digits without biases."""
    data = load("digits")
    x, y = (torch.tensor(part) for part in data.split("train"))
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 16, 3, padding=1, bias=False),
        nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 10, bias=False),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(20):
        for part in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[part]), y[part]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    path = tmp_path_factory.mktemp("state") / "ann.pt"
    torch.save(net.state_dict(), path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".nir"])
def test_a_state_dict_becomes_a_spiking_network(state: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"snn{suffix}"
    options = ("--no-shift", "--floor", "8") if suffix == ".npz" else ()
    code, answer = run_json("convert", str(state), *DIGITS, "--timesteps", "32", "--out", str(out), *options)
    assert code == 0, answer["errors"]
    data = answer["data"]
    assert data["accuracy_ann"] > 0.88 and data["accuracy_snn"] > data["accuracy_ann"] - 0.015
    assert data["accuracy_per_step"][-1] == data["accuracy_snn"] and len(data["accuracy_per_step"]) == 32
    assert data["model"] == str(out) and data["n"] == 540 and data["agreement"] > 0.93
    assert all(0.005 < rate < 0.7 for rate in data["rates"].values()) and len(data["rates"]) == 3
    graph = nd.load(out)
    assert isinstance(graph, Graph) and graph.n_timesteps == 32 and graph.metadata["data"]["name"] == "digits"
    x = load("digits").split("test")[0][:4]
    assert evaluate(graph, np.repeat(x[np.newaxis], 32, axis=0))[graph.neurons[0].name].any()


def test_the_converted_network_goes_on_to_chips_and_gpus(state: Path, tmp_path: Path) -> None:
    out = tmp_path / "snn.npz"
    run_json("convert", str(state), *DIGITS, "--timesteps", "16", "--out", str(out), "--no-shift", "--floor", "8")
    code, answer = run_json("check", str(out), "--target", "speck2f,h200")
    assert code == 0, answer["errors"]
    code, answer = run_json("energy", str(out), "--target", "speck2f,orin", "--rate", "0.1", "--interval", "0.01")
    assert code == 0 and all(entry["energy_j"]["nominal"] > 0 for entry in answer["data"]["targets"].values())
    code, answer = run_json("export", str(out), "--target", "speck2f", "--out", str(tmp_path / "bundle"))
    assert code == 0, answer["errors"]
    assert (tmp_path / "bundle" / "speck.json").is_file()


def test_every_command_takes_a_state_dict(state: Path, tmp_path: Path) -> None:
    given = tmp_path / "in.npz"
    np.savez(given, input=np.random.default_rng(0).integers(0, 200, (4, 2, 1, 8, 8)))
    for command in (
        ("check",), ("energy", "--rate", "0.1"), ("compare", "--rate", "0.1"), ("export", "--out", str(tmp_path / "bundle")),
    ):  # fmt: skip
        code, answer = run_json(command[0], str(state), *command[1:], "--target", "loihi2", "--arch", SNN)
        assert code == 0, (command, answer["errors"])
        code, answer = run_json(command[0], str(state), *command[1:], "--target", "loihi2")
        assert code == 2 and answer["errors"][0]["code"] == "missing_arch", command
    code, answer = run_json("check", str(state), "--target", "loihi2", "--dry-run", "--arch", SNN)
    assert code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--timesteps", "8"), "it holds weights"), (("--timesteps", "8", "--arch", ANN), "which images"),
        (("--timesteps", "8", "--arch", SNN, "--data", "digits"), "spikes already"),
        (("--timesteps", "8", "--arch", ANN, "--data", "nowhere"), "nowhere"), (("--arch", ANN), "--timesteps"),
        (("--timesteps", "0", "--arch", ANN), "--timesteps"),
        (("--timesteps", "8", "--arch", ANN, "--set", "a=1"), "nothing can be set"),
        (("--timesteps", "8", *DIGITS, "--out", "x.txt"), "x.txt"), (("--timesteps", "8", *DIGITS, "--floor", "-1"), "floor"),
    ],
)  # fmt: skip
def test_what_convert_cannot_do(
    state: Path, options: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, answer = run_json("convert", str(state), *options)
    assert code == 2 and words in " ".join(answer["errors"][0].values())
    assert not list(tmp_path.iterdir())


def test_an_architecture_beside_another_kind_of_file_is_refused(tmp_path: Path, state: Path) -> None:
    run_json("convert", str(state), *DIGITS, "--timesteps", "4", "--out", str(tmp_path / "snn.npz"))
    code, answer = run_json("check", str(tmp_path / "snn.npz"), "--target", "speck2f", "--arch", ANN)
    assert code == 2 and "its own" in answer["errors"][0]["remedy"]


def test_what_is_shown(state: Path, tmp_path: Path) -> None:
    code, shown = run("convert", str(state), *DIGITS, "--timesteps", "8", "--out", str(tmp_path / "snn.npz"))
    assert code == 0 and "accuracy, ReLU" in shown and "8 timesteps" in shown and "neurodeploy compare" in shown
