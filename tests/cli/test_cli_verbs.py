"""Each verb hands its options to one function of the pipeline and shows what comes back."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import example_results as results
import pytest
from neurodeploy.errors import DoesNotFit, Interrupted, Mismatch, Violation
from neurodeploy.hw import profile
from neurodeploy.jobs.net_options import NetOptions

from commands import bare, run, run_json

VERBS = ("search", "train", "check", "export", "validate", "simulate", "energy", "worker", "targets")

# What the options about a network without a dataset are where none is given.
OF_A_NET = {"given": None, "layout": "torch", "n_timesteps": None, "net": NetOptions()}


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
    path.write_bytes(struct.pack("<Q", 2) + b"{}")  # a file without tensors: no test here reads it
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
    data = results.search(tmp_path)
    calls = pipeline("search", data)
    options = ("--budget", "4", "--workers", "2", "--seed", "7", "--set", "evolution.rounds=2", "--out", str(tmp_path))
    code, answer = run_json("search", "--target", "loihi", *options)
    assert code == 0
    assert answer["data"]["aliases"] == {"loihi": "loihi2"}
    assert answer["data"]["bundle"] == str(tmp_path / "bundle")
    given = {"method": None, "budget": 4, "out": tmp_path, "resume": None, "workers": 2, "seed": 7, "storage": None,
             "until": None}
    assert calls == [((None, "loihi2"), {**given, "overrides": {"evolution.rounds": 2}})]
    code, shown = run("search")
    assert code == 0
    assert "96.67 %" in shown and "6.7 uJ" in shown and "skip,SCB_k3,SRB_k5" in shown


def test_an_alias_is_printed(pipeline: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline("search", results.search())
    run("search", "--target", "loihi")
    assert "loihi = loihi2" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["all", "loihi2,loihi", "nope", ""])
def test_search_takes_one_known_target(target: str) -> None:
    code, answer = run_json("search", "--target", target)
    assert code == 2
    assert answer["errors"][0]["code"] in ("usage", "unknown_target")


def stop_search_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "neurodeploy.commands", SimpleNamespace(search=stopped))
    monkeypatch.setattr("neurodeploy.commands", SimpleNamespace(search=stopped), raising=False)


def test_an_interrupted_search_says_how_to_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_search_with(Interrupted("interrupted", remedy="Resume with `neurodeploy search --resume runs/1`"), monkeypatch)
    code, answer = run_json("search")
    assert code == 130
    assert answer["errors"][0]["remedy"] == "Resume with `neurodeploy search --resume runs/1`"
    assert run("search") == (130, "")
    assert bare(capsys.readouterr().err).strip() == "Error: interrupted. Resume with `neurodeploy search --resume runs/1`."


def test_a_search_interrupted_before_its_run_began(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stop_search_with(KeyboardInterrupt(), monkeypatch)
    code, answer = run_json("search", "--out", str(tmp_path / "new"))
    assert code == 130
    assert "--resume" not in answer["errors"][0]["remedy"]
    code, answer = run_json("search", "--resume", str(tmp_path))
    assert code == 130
    assert f"neurodeploy search --resume {tmp_path}" in answer["errors"][0]["remedy"]


def test_dry_run_of_a_search(pipeline: Any) -> None:
    calls = pipeline("resolve_recipe", {"evolution": {"budget": 20}})
    _, answer = run_json("search", "--dry-run", "--set", "evolution.budget=20", "--seed", "1")
    assert answer["data"] == {"evolution": {"budget": 20}, "arguments": {"seed": 1}}
    assert calls == [((None, "loihi2", {"evolution.budget": 20}), {})]
    assert "evolution.budget" in run("search", "--dry-run")[1]
    code, answer = run_json("search", "--dry-run", "--storage", "postgresql://lab:hidden@db/x")
    assert code == 2 and "hidden" not in str(answer)


def test_train(pipeline: Any) -> None:
    data = {"model": "m.safetensors", "accuracy": 0.5, "accuracy_validation": 0.6, "accuracy_per_step": [0.4, 0.5]}
    calls = pipeline("train", data)
    _, answer = run_json("train", "--recipe", "digits", "--arch", "k3-k5")
    assert answer["data"]["accuracy"] == 0.5
    assert calls == [(("digits", "k3-k5"), {"out": None, "seed": None, "overrides": {}})]


def test_check_that_does_not_fit_keeps_its_data(pipeline: Any, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    violation = Violation("neurons", "conv1", "needs 9 neurons", "A core holds 8", "Use at most 8 channels")
    data = {"target": "loihi2", "fits": False, "n_cores": 3, "placement": None, "violations": [violation.to_dict()]}
    calls = pipeline("check", data, errors=(DoesNotFit((violation,), target="loihi2"),))
    code, answer = run_json("check", str(model), "--target", "loihi2", "--target", "all", "--suggest")
    assert code == 3
    assert answer["data"] == data
    assert answer["errors"][0]["what"] == "needs 9 neurons"
    everything = ["loihi2", *(name for name in profile.names() if name != "loihi2")]
    assert calls == [((model, everything), {"suggest": True, "net": NetOptions(), "overrides": {}, "skip_foreign": True})]
    run("check", str(model), "--target", "loihi2", "--reset-interval", "16", "--reset-offset", "2", "--message-bits", "8")
    assert calls[1][1]["net"] == NetOptions(16, 2, 8)
    capsys.readouterr()
    code, shown = run("check", str(model), "--target", "loihi2")
    assert code == 3
    assert "conv1 (neurons) what needs 9 neurons limit A core holds 8 remedy Use at most 8 channels" in bare(shown)
    assert bare(capsys.readouterr().err).strip() == "Error: the network does not fit loihi2: 1 limit broken"


def test_export(pipeline: Any, model: Path) -> None:
    found = {"quantization": results.quantization(), "placement": results.placement(), "accuracy": None}
    calls = pipeline("export", {"bundle": str(model.parent), "artifact": "graph.npz", **found})
    code, shown = run("export", str(model), "--target", "loihi2", "--data", "digits")
    assert code == 0
    assert "Quantization" in shown and model.name in shown
    assert calls == [((model, "loihi2"), {"out": None, "data": "digits", "overrides": {}, **OF_A_NET})]
    options = ("--input", "in.npz", "--layout", "lava", "--timesteps", "9", "--reset-interval", "16", "--reset-offset", "3")
    assert run_json("export", str(model), "--target", "loihi2", *options, "--message-bits", "2")[0] == 0
    net = NetOptions(reset_interval=16, reset_offset=3, message_bits=2)
    wanted = {"out": None, "data": None, "overrides": {}, "given": Path("in.npz"), "layout": "lava", "n_timesteps": 9}
    assert calls[1:] == [((model, "loihi2"), {**wanted, "net": net})]


def test_validate_fails_with_its_verdict(pipeline: Any, tmp_path: Path) -> None:
    data = results.verdict(ok=False)
    calls = pipeline("validate", data, errors=(Mismatch("accuracy drops by 10 points", limit="--max-drop is 0.5"),))
    code, answer = run_json("validate", str(tmp_path), "--trace", "--max-drop", "1")
    assert code == 4
    assert answer["data"] == data
    assert answer["errors"][0]["code"] == "mismatch"
    given = {"data": None, "oracle": None, "oracle_timeout_s": 600.0, "trace": True, "max_drop": 1.0, "out": None}
    assert calls == [((tmp_path,), given)]


def test_validate_takes_no_settings(tmp_path: Path) -> None:
    code, answer = run_json("validate", str(tmp_path), "--set", "a.b=1")
    assert code == 2
    assert "a bundle fixes" in answer["errors"][0]["limit"]


def test_energy(pipeline: Any, model: Path) -> None:
    calls = pipeline("energy", results.energy(), errors=())
    code, shown = run("energy", str(model), "--target", "loihi2", "--rate", "0.1")
    assert code == 0
    assert "6.7 uJ (3.35 to 13.4)" in shown and "79,065" in shown
    given = {"data": None, "rate": 0.1, "schedule": None, "interval_s": None, "overrides": {}, **OF_A_NET}
    assert calls == [((model, ["loihi2"]), given)]


def test_energy_of_what_does_not_fit_keeps_its_data(pipeline: Any, model: Path) -> None:
    data = {"targets": {"loihi2": results.unfit()}, "proxies": None}
    pipeline("energy", data, errors=(DoesNotFit((Violation(**results.VIOLATION),), target="loihi2"),))
    code, answer = run_json("energy", str(model), "--target", "loihi2")
    assert code == 3
    assert answer["data"] == data
    assert answer["errors"][0]["rule"] == "neurons"
    code, shown = run("energy", str(model), "--target", "loihi2")
    assert code == 3
    assert "no figure can be given" in shown


@pytest.mark.parametrize("verb", ["check", "energy", "export"])
def test_dry_run_shows_the_overridden_profile_and_settings(verb: str, tmp_path: Path) -> None:
    from neurodeploy.models.autosnn import AutoSnn, MacroConfig
    from neurodeploy.models.files import save

    config = MacroConfig(in_channels=1, image_size=(8, 8), n_classes=10, width=2, n_timesteps=1)
    save(AutoSnn(config, ("skip_connect",) * 5), tmp_path / "m.safetensors")
    asked = (verb, str(tmp_path / "m.safetensors"), "--target", "loihi2", "--dry-run")
    settings = ("--set", "profile.energy.synapse.value=20", "--set", "quantize.qat_epochs=3")
    _, answer = run_json(*asked, *settings)
    assert answer["data"]["profiles"]["loihi2"]["energy"]["synapse"]["value"] == 20
    assert answer["data"]["settings"]["quantize"]["qat_epochs"] == 3
    shown = bare(run(*asked, *settings)[1])
    assert "quantize.qat_epochs 3" in shown and "profile.energy.synapse.value 20 pJ" in shown
    for misspelt in ("profile.energy.nope=1", "quantize.nope=1"):
        code, answer = run_json(*asked, "--set", misspelt)
        assert code == 2
        assert "nope" in answer["errors"][0]["what"]


def test_worker(pipeline: Any, tmp_path: Path) -> None:
    calls = pipeline("worker", {"n_evaluated": 3})
    _, answer = run_json("worker", "--run", str(tmp_path))
    assert answer["data"] == {"n_evaluated": 3}
    assert calls == [((tmp_path,), {})]
