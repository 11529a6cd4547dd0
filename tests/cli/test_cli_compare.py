"""What a comparison looks like: at most 100 columns, every figure with its unit and band, every refusal with its reason."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import example_results as results
import pytest
from neurodeploy.cli.figures import band, percent
from neurodeploy.cli.render_compare import show_comparison
from neurodeploy.jobs.compare import compare
from rich.console import Console
from tests import event_models
from tests.tiny_search import write_dataset

from commands import bare, run, run_json


def drawn(data: dict[str, Any], width: int = 100) -> str:
    out = io.StringIO()
    show_comparison(Console(file=out, width=width, highlight=False, color_system=None), data)
    return out.getvalue()


@pytest.fixture
def of_events(tmp_path: Path) -> dict[str, Any]:
    return compare(event_models.write(tmp_path).path, ["speck2f", "dynapcnn", "loihi2"]).to_dict()


@pytest.fixture
def of_images(tmp_path: Path) -> dict[str, Any]:
    model, data = event_models.write_leaky(tmp_path), str(write_dataset(tmp_path))
    return compare(model, ["loihi1", "loihi2", "speck2f"], data=data).to_dict()


def test_event_driven_chips(of_events: dict[str, Any]) -> None:
    text, row = drawn(of_events), of_events["rows"][0]
    assert max(map(len, text.splitlines())) <= 100
    for figure in (percent(row["accuracy"]["simulator"]), band(row["energy_j"], "J"), band(row["early_exit"]["energy_j"], "J"),
                   "20 of events", "SynSense Speck2f", "100 ms"):  # fmt: skip
        assert figure in text
    shown = bare(text)
    assert "Cannot take the network loihi2 lower: this network was made for streams of events" in shown
    assert "cheapest speck2f and dynapcnn alike by nominal figures" in shown
    assert "the sample's own duration" in shown and "--interval" not in shown, "both run at the same pace"


def test_chips_with_timesteps(of_images: dict[str, Any]) -> None:
    text = drawn(of_images)
    assert max(map(len, text.splitlines())) <= 100
    shown = bare(text)
    assert "timesteps" in shown and "the sample's own duration" not in shown and "--interval compares them" in shown
    more = of_images["rows"][2]["n_violations"] - 1
    assert f"And {more} more limits broken: `neurodeploy check`." in shown
    assert "first to decide loihi2" in shown


def test_on_a_narrow_console_no_number_is_cut(of_events: dict[str, Any]) -> None:
    text = "".join(drawn(of_events, width=60).split())
    assert "…" not in text


def test_the_only_one_that_takes_it(of_images: dict[str, Any]) -> None:
    alone = {"rows": of_images["rows"][1:], "best": dict.fromkeys(of_images["best"])}
    assert "Only loihi2 takes the network" in drawn(alone)
    assert "Only" not in drawn({**alone, "rows": of_images["rows"][2:]})


def test_the_command_prints_the_table_or_the_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(event_models.write_leaky(tmp_path))
    options = ("--target", "loihi", "--target", "loihi1,speck", "--rate", "0.1", "--interval", "0.01")
    code, text = run("compare", model, *options)
    assert code == 0 and "a rate of 0.1, assumed" in text and "10 ms" in text
    code, answer = run_json("compare", model, *options)
    assert code == 0 and [row["target"] for row in answer["data"]["rows"]] == ["loihi2", "loihi1", "speck2f"]
    assert answer["data"]["aliases"] == {"loihi": "loihi2", "speck": "speck2f"}
    assert run("compare", model, "--target", "speck2f,dynapcnn")[0] == 3
    assert "The chip receives events" in bare(capsys.readouterr().err)


def test_settings_reach_every_target(tmp_path: Path) -> None:
    model = str(event_models.write_leaky(tmp_path))
    options = ("--target", "loihi1,loihi2", "--set", "quantize.qat_epochs=3")
    code, answer = run_json("compare", model, *options, "--dry-run")
    assert code == 0 and set(answer["data"]["profiles"]) == {"loihi1", "loihi2"}
    assert answer["data"]["settings"]["quantize"]["qat_epochs"] == 3
    assert run_json("compare", model, "--target", "nope")[0] == 2
    assert run_json("compare", model)[0] == 2
    code, answer = run_json("compare", model, "--target", "loihi2", "--rate", "0.1", "--input", "in.npz")
    assert code == 2 and "Events come from one place" in answer["errors"][0]["limit"]


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "--help")[0] == 0
    shown = bare(capsys.readouterr().out)
    assert "Examples: neurodeploy compare" in shown and "--json" in shown and "not certain" in shown
    run()
    assert " compare " in bare(capsys.readouterr().out)


def test_a_file_given_and_a_long_name(of_images: dict[str, Any]) -> None:
    row = {**of_images["rows"][1], "data": None, "accuracy": None, "early_exit": None}
    row["input"] = {"file": "/somewhere/far/away/from/here/in.npz", "n_samples": 3}
    text = drawn({"rows": [row], "best": dict.fromkeys(of_images["best"])})
    assert "from/here/in.npz" in text and max(map(len, text.splitlines())) <= 100
    assert results.energy()["targets"]["loihi2"].keys() >= row.keys() & {"energy_j", "schedule", "excluded"}
