"""`neurodeploy simulate` on the command line: options, one JSON object, what a person sees, exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import strangers
from commands import bare, run, run_json

FIELDS = {
    "out", "target", "fits", "n_timesteps", "n_input_timesteps", "n_samples", "input", "layout", "spikes_per_layer",
    "neurons_per_layer", "simulator", "arrays", "exit_steps",
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in strangers.NETWORKS:
        strangers.write(name, tmp_path)
    return tmp_path


def test_json_is_one_object(files: Path) -> None:
    code, answer = run_json("simulate", "plain.npz", "--input", "plain-in.npz", "--out", "deep/out.npz")
    assert code == 0, answer["errors"]
    assert set(answer["data"]) == FIELDS and answer["command"] == "simulate"
    assert answer["data"]["n_timesteps"] == 11 and sum(answer["data"]["spikes_per_layer"].values()) > 0
    with np.load("deep/out.npz") as found:
        assert sorted(found.files) == ["spikes/0.neuron", "spikes/1.neuron"]
        fired = {name: int(np.count_nonzero(found[f"spikes/{name}"])) for name in answer["data"]["spikes_per_layer"]}
    assert fired == answer["data"]["spikes_per_layer"]


def test_every_option(files: Path) -> None:
    options = ("--states", "--reference", "--timesteps", "20", "--v-readout", "loihi2", "--target", "loihi")
    code, answer = run_json("simulate", "recurrent.npz", "-i", "recurrent-in.npz", "-o", "o.npz", *options)
    assert code == 0, answer["errors"]
    data = answer["data"]
    assert (data["n_timesteps"], data["simulator"], data["target"], data["fits"]) == (20, "reference", "loihi2", True)
    assert data["aliases"] == {"loihi": "loihi2"}
    assert set(data["arrays"]) == {f"{k}/{n}.neuron" for k in ("spikes", "v_mem", "i_syn") for n in (0, 1)}


def test_a_person_sees_what_fired(files: Path) -> None:
    code, shown = run("simulate", "biased.npz", "--input", "biased-in.npz", "--out", "out.npz", "--states")
    shown = bare(shown)
    assert code == 0
    assert "samples 2, each from zero state" in shown and "0.neuron" in shown and "10 x 2 x 2 x 3 x 2" in shown
    assert "spikes/<layer>, v_mem/<layer>, i_syn/<layer>" in shown and "out.npz" in shown


def test_dry_run_runs_nothing(files: Path) -> None:
    command = ("simulate", "plain.npz", "--input", "plain-in.npz", "--out", "out.npz", "--dry-run", "--timesteps", "4")
    code, answer = run_json(*command)
    assert code == 0 and answer["data"]["n_timesteps"] == 4 and not Path("out.npz").exists()
    assert "n_timesteps" in run(*command)[1]


def test_what_does_not_fit_is_recorded_all_the_same(files: Path) -> None:
    command = ("simulate", "plain.npz", "--input", "plain-in.npz", "--out", "out.npz", "--target", "loihi2")
    small = ("--set", "profile.arithmetic.v_th_bits=3")
    code, answer = run_json(*command, *small)
    assert code == 3 and answer["data"]["fits"] is False and {e["code"] for e in answer["errors"]} == {"does_not_fit"}
    assert set(answer["data"]) == FIELDS and Path("out.npz").exists()
    code, shown = run(*command, *small)
    assert code == 3 and "spikes" in shown


@pytest.mark.parametrize(
    "options",
    [("--timesteps", "0"), ("--layout", "numpy"), ("--v-readout", "akida"), ("--target", "nope"), ("--target", "all"),
     ("--reset-interval", "4"), ("--message-bits", "3"), ("--reset-offset", "-1"), ("--layout", "lava")],
)  # fmt: skip
def test_wrong_options(files: Path, options: tuple[str, ...]) -> None:
    before = sorted(files.iterdir())
    code, answer = run_json("simulate", "plain.npz", "--input", "plain-in.npz", "--out", "out.npz", *options)
    assert code == 2 and len(answer["errors"]) == 1
    assert sorted(files.iterdir()) == before


def test_needed_options_are_asked_for(files: Path) -> None:
    for missing, rest in (("--input", ("--out", "o.npz")), ("--out", ("--input", "plain-in.npz"))):
        code, answer = run_json("simulate", "plain.npz", *rest)
        assert code == 2 and missing in answer["errors"][0]["what"]
