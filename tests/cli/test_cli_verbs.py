"""Each verb hands its options to one function of the pipeline and shows what comes back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from neurodeploy.errors import Mismatch, Violation

from commands import bare, run, run_json

VERBS = ("search", "train", "check", "export", "validate", "energy", "worker", "targets")


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """Replaces one function of the pipeline by a recorder that returns a result with the given fields."""

    def install(verb: str, data: dict[str, Any], **fields: Any) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def record(*args: Any, **keywords: Any) -> Any:
            keywords.pop("progress", None)
            calls.append((args, keywords))
            return data if verb == "resolve_recipe" else SimpleNamespace(to_dict=lambda: data, **fields)

        fake = SimpleNamespace(**{verb: record})
        monkeypatch.setitem(sys.modules, "neurodeploy.commands", fake)
        monkeypatch.setattr("neurodeploy.commands", fake, raising=False)
        return calls

    return install


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.touch()
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_help_teaches(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "--help")[0] == 0
    shown = bare(capsys.readouterr().out)
    assert f"Examples: neurodeploy {verb}" in shown
    assert "--json" in shown
    code, answer = run_json(verb, "--help")
    assert code == 0
    assert "Usage" in answer["data"]["help"]


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    shown = bare(capsys.readouterr().out)
    assert all(f" {verb} " in shown for verb in VERBS)


def test_search(pipeline: Any, tmp_path: Path) -> None:
    entry = {"genome": "k3-k5", "accuracy": 0.9, "energy_j": 1.5e-6, "n_cores": 3, "fits": True}
    data = {"run_dir": tmp_path, "n_evaluated": 4, "best": entry, "pareto": [entry], "bundle": tmp_path / "bundle"}
    calls = pipeline("search", data)
    options = ("--budget", "4", "--workers", "2", "--seed", "7", "--set", "evolution.rounds=2", "--out", str(tmp_path))
    code, answer = run_json("search", "--target", "loihi", *options)
    assert code == 0
    assert answer["data"]["aliases"] == {"loihi": "loihi2"}
    assert answer["data"]["bundle"] == str(tmp_path / "bundle")
    given = {"method": None, "budget": 4, "out": tmp_path, "resume": None, "workers": 2, "seed": 7}
    assert calls == [(("digits", "loihi2"), {**given, "overrides": {"evolution.rounds": 2}})]
    code, shown = run("search")
    assert code == 0
    assert "90.00 %" in shown and "1.5 uJ" in shown and "k3-k5" in shown


def test_an_alias_is_printed(pipeline: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline("search", {})
    run("search", "--target", "loihi")
    assert "loihi = loihi2" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["all", "loihi2,loihi", "nope", ""])
def test_search_takes_one_known_target(target: str) -> None:
    code, answer = run_json("search", "--target", target)
    assert code == 2
    assert answer["errors"][0]["code"] in ("usage", "unknown_target")


def test_an_interrupted_search_says_how_to_resume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "neurodeploy.commands", SimpleNamespace(search=stopped))
    monkeypatch.setattr("neurodeploy.commands", SimpleNamespace(search=stopped), raising=False)
    code, answer = run_json("search", "--out", str(tmp_path))
    assert code == 130
    assert f"neurodeploy search --resume {tmp_path}" in answer["errors"][0]["remedy"]


def test_dry_run_of_a_search(pipeline: Any) -> None:
    calls = pipeline("resolve_recipe", {"evolution": {"budget": 20}})
    _, answer = run_json("search", "--dry-run", "--set", "evolution.budget=20", "--seed", "1")
    assert answer["data"] == {"evolution": {"budget": 20}, "arguments": {"workers": 1, "seed": 1}}
    assert calls == [(("digits", "loihi2", {"evolution.budget": 20}), {})]
    assert "evolution.budget" in run("search", "--dry-run")[1]


def test_train(pipeline: Any) -> None:
    calls = pipeline("train", {"model": "m.safetensors", "accuracy": 0.5})
    _, answer = run_json("train", "--recipe", "digits", "--arch", "k3-k5")
    assert answer["data"]["accuracy"] == 0.5
    assert calls == [(("digits", "k3-k5"), {"out": None, "seed": None, "overrides": {}})]


def test_check_that_does_not_fit_keeps_its_data(pipeline: Any, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    violation = Violation("neurons", "conv1", "needs 9 neurons", "A core holds 8", "Use at most 8 channels")
    data = {"fits": False, "n_cores": 3, "placement": None, "violations": [violation.to_dict()]}
    calls = pipeline("check", data, fits=False, violations=(violation,))
    code, answer = run_json("check", str(model), "--target", "loihi2", "--target", "all", "--suggest")
    assert code == 3
    assert answer["data"] == data
    assert answer["errors"][0]["what"] == "needs 9 neurons"
    assert calls == [((model, ["loihi2"]), {"suggest": True, "overrides": {}})]
    code, shown = run("check", str(model), "--target", "loihi2")
    assert code == 3
    assert "fits no" in bare(shown)
    assert "conv1: needs 9 neurons. A core holds 8. Use at most 8 channels." in bare(capsys.readouterr().err)


def test_export(pipeline: Any, model: Path) -> None:
    layers = [{"layer": "conv1", "weight_bits": 8}]
    calls = pipeline("export", {"bundle": "b", "quantization": layers})
    code, shown = run("export", str(model), "--target", "loihi2", "--data", "digits")
    assert code == 0
    assert "weight_bits" in shown
    assert calls == [((model, "loihi2"), {"out": None, "data": "digits", "overrides": {}})]


def test_validate_fails_with_its_verdict(pipeline: Any, tmp_path: Path) -> None:
    data = {"accuracy": {"float": 0.9, "simulator": 0.8}, "first_divergence": None}
    calls = pipeline("validate", data, errors=(Mismatch("accuracy drops by 10 points", limit="--max-drop is 0.5"),))
    code, answer = run_json("validate", str(tmp_path), "--trace", "--max-drop", "1")
    assert code == 4
    assert answer["data"] == data
    assert answer["errors"][0]["code"] == "mismatch"
    given = {"data": None, "oracle": None, "trace": True, "max_drop": 1.0, "out": None}
    assert calls == [((tmp_path,), given)]


def test_validate_takes_no_settings(tmp_path: Path) -> None:
    code, answer = run_json("validate", str(tmp_path), "--set", "a.b=1")
    assert code == 2
    assert "a bundle fixes" in answer["errors"][0]["limit"]


def test_energy(pipeline: Any, model: Path) -> None:
    band = {"low": 1e-6, "nominal": 2e-6, "high": 3e-6}
    entry = {"fits": True, "n_cores": 3, "energy_j": band, "breakdown_j": {"synapse": band}, "status": "estimated"}
    calls = pipeline("energy", {"targets": {"loihi2": entry}, "proxies": {"spikes_paper": 1200}})
    code, shown = run("energy", str(model), "--target", "loihi2", "--rate", "0.1")
    assert code == 0
    assert "2 uJ (1 uJ to 3 uJ)" in shown and "1200" in shown
    given = {"data": None, "rate": 0.1, "schedule": "single", "overrides": {}}
    assert calls == [((model, ["loihi2"]), given)]


def test_dry_run_shows_the_overridden_profile(model: Path) -> None:
    settings = ("--set", "energy.synapse.value=20")
    _, answer = run_json("energy", str(model), "--target", "loihi2", "--dry-run", *settings)
    assert answer["data"]["profiles"]["loihi2"]["energy"]["synapse"]["value"] == 20
    code, answer = run_json("energy", str(model), "--target", "loihi2", "--dry-run", "--set", "energy.nope=1")
    assert code == 2
    assert "nope" in answer["errors"][0]["what"]


def test_worker(pipeline: Any, tmp_path: Path) -> None:
    calls = pipeline("worker", {"n_evaluated": 3})
    _, answer = run_json("worker", "--run", str(tmp_path))
    assert answer["data"] == {"n_evaluated": 3}
    assert calls == [((tmp_path,), {})]
