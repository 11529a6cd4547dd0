"""`compare`: a row for each target with the figures of `energy` or the reason, and who is best for certain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import CubaLif, Input, Linear, Vote
from neurodeploy.ir.serialize import save
from neurodeploy.jobs import compare as job
from neurodeploy.jobs.compare import RESPECTS, compare
from neurodeploy.jobs.energy import EnergyReport, energy
from tests import event_models
from tests.tiny_search import write_dataset

from commands import run_json

FIELDS = {
    "target", "title", "fits", "reason", "n_violations", "accuracy", "n_cores", "energy_j", "energy_dynamic_j", "status",
    "latency_s", "decision_s", "edp_js", "early_exit", "data",
}


POINT = {"low": 5e-5, "nominal": 5e-5, "high": 5e-5}
UNFIT = {"fits": False, "n_cores": 130, "violations": [
    {"rule": "neurons", "where": "conv1", "what": "needs 9 neurons", "limit": "A core holds 8", "remedy": "Use 8 channels"},
]}  # fmt: skip


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return event_models.write(tmp_path).path


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    return event_models.write_leaky(tmp_path)


def report(**targets: dict[str, Any]) -> EnergyReport:
    return EnergyReport(targets, None, ())


def entry(energy_j: tuple[float, float, float], **fields: Any) -> dict[str, Any]:
    """One target of an energy report whose whole energy is the band given."""
    band = dict(zip(("low", "nominal", "high"), energy_j, strict=True))
    accuracy = {"simulator": 0.9667, "float": None, "n": 540, "n_right": 522, "interval": [0.9479, 0.9788]}
    return {"fits": True, "energy_j": band, "latency_s": 5e-5, "latency_band_s": POINT, "accuracy": accuracy, **fields}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets `energy` answer what is given."""

    def install(**targets: dict[str, Any]) -> Any:
        monkeypatch.setattr(job, "energy", lambda *_, **__: report(**targets))
        return compare(Path("model"), list(targets))

    return install


def test_rows_hold_what_energy_says(events: Path) -> None:
    chips = ["speck2f", "loihi2", "dynapcnn"]
    found, wanted = compare(events, chips), energy(events, chips)
    assert [row["target"] for row in found.rows] == chips and not found.errors
    for row in found.rows:
        assert set(row) >= FIELDS
        same = wanted.targets[row["target"]]
        assert all(row[name] == same.get(name) for name in ("fits", "energy_j", "edp_js", "latency_s", "status", "n_cores"))
    chip, other = found.rows[0], found.rows[1]
    assert chip["title"] == "SynSense Speck2f" and chip["reason"] is None and chip["decision_s"] > 0.1 > chip["latency_s"]
    assert set(chip["accuracy"]) == {"simulator", "float", "n", "interval"} and chip["accuracy"]["simulator"] > 0.7
    assert chip["early_exit"]["mean_events"] < 40 and "mean_timesteps" not in chip["early_exit"]
    assert chip["early_exit"]["energy_saved"] == wanted.targets["speck2f"]["early_exit"]["energy_saved"] > 0
    assert "made for streams of events" in other["reason"] and not other["fits"]
    assert all(other[name] is None for name in ("accuracy", "energy_j", "latency_s", "decision_s", "early_exit", "n_cores"))


def test_a_refusal_is_a_row_with_the_first_of_all_limits(leaky: Path, tmp_path: Path) -> None:
    data = str(write_dataset(tmp_path))
    found = compare(leaky, ["speck2f", "loihi1", "loihi2"], data=data)
    refused = found.rows[0]
    assert refused["n_violations"] > 1 and "The chip receives events" in refused["reason"]
    assert len(refused["reason"]) < 250 and "\n" not in refused["reason"]
    assert [row["fits"] for row in found.rows] == [False, True, True] and not found.errors
    assert "mean_timesteps" in found.rows[1]["early_exit"] and found.rows[1]["decision_s"] is None
    code, answer = run_json("compare", str(leaky), "--target", "all", "--data", data)
    assert code == 0 and answer["ok"] and len(answer["data"]["rows"]) >= 5
    best = answer["data"]["best"]
    assert set(best) == set(RESPECTS) and best["latency_s"]["target"] == "loihi2"
    assert answer["data"]["cheapest"] == best["energy_j"]["target"]


def test_where_no_target_takes_it_the_error_is_that_of_energy(leaky: Path, tmp_path: Path) -> None:
    found = compare(leaky, ["speck2f", "dynapcnn"])
    assert [type(e) for e in found.errors] == [DoesNotFit, DoesNotFit] and all(row["reason"] for row in found.rows)
    code, answer = run_json("compare", str(leaky), "--target", "speck2f,dynapcnn")
    assert code == 3 and answer["data"]["cheapest"] is None and len(answer["data"]["rows"]) == 2
    nodes = (Input("x", shape=(2,)), Linear("s", weight=np.array([[2, 4], [4, 6]])), CubaLif("n", shape=(2,), v_th=4),
             Vote("v", 2, 1))  # fmt: skip
    save(IntGraph(nodes, (Edge("x", "s", 1), Edge("s", "n"), Edge("n", "v")), 4), tmp_path / "g.npz")
    with pytest.raises(UsageError, match="arithmetic of another chip"):
        compare(tmp_path / "g.npz", ["speck2f", "dynapcnn"], rate=0.1, interval_s=0.1)
    with pytest.raises(UsageError, match="names no dataset"):
        compare(tmp_path / "g.npz", ["loihi1", "loihi2"])


def test_the_same_pace_and_an_assumed_rate(leaky: Path) -> None:
    found = compare(leaky, ["loihi1", "loihi2"], rate=0.1, interval_s=0.01)
    assert {row["interval_s"] for row in found.rows} == {0.01} and {row["status"] for row in found.rows} == {"assumed"}
    assert found.best["accuracy"] is None and found.best["early_exit_energy_j"] is None and found.best["energy_j"]
    assert {row["rate"] for row in found.rows} == {0.1}


def test_cheaper_is_certain_only_where_no_band_overlaps(answers: Any) -> None:
    found = answers(loihi1=entry((4.0, 5.0, 6.0)), loihi2=entry((1.0, 2.0, 3.9))).to_dict()
    assert (found["cheapest"], found["certain"]) == ("loihi2", True) and found["best"]["energy_j"]["overlapping"] == []
    found = answers(loihi1=entry((3.9, 5.0, 6.0)), loihi2=entry((1.0, 2.0, 3.9))).to_dict()
    assert (found["cheapest"], found["certain"]) == ("loihi2", False)
    assert found["best"]["energy_j"] == {"target": "loihi2", "equal": [], "overlapping": ["loihi1"], "certain": False}


def test_of_equal_figures_the_narrower_stands_first(answers: Any) -> None:
    found = answers(loihi1=entry((1.0, 2.0, 5.0)), loihi2=entry((1.5, 2.0, 3.0)), speck2f=entry((9.0, 10.0, 11.0)))
    assert found.best["energy_j"] == {"target": "loihi2", "equal": ["loihi1"], "overlapping": ["loihi1"], "certain": False}


def test_there_is_no_best_of_one(answers: Any) -> None:
    found = answers(loihi1=entry((4.0, 5.0, 6.0)), loihi2=UNFIT).to_dict()
    assert found["best"] == dict.fromkeys(RESPECTS) and found["cheapest"] is None and found["certain"] is None
    assert found["rows"][1]["reason"] == "conv1: needs 9 neurons. A core holds 8. Use 8 channels."


def test_accuracy_and_the_time_to_a_decision(answers: Any) -> None:
    exact = {"simulator": 0.999, "float": None, "n": 540, "interval": [0.99, 1.0]}
    slow = {"decision_s": 0.1, "decision_band_s": {"low": 0.1, "nominal": 0.1, "high": 0.1}, "latency_s": 1e-6}
    joule = (1.0, 2.0, 3.0)
    found = answers(loihi1=entry(joule), loihi2=entry(joule, accuracy=exact), speck2f=entry(joule, accuracy=None, **slow))
    assert found.best["accuracy"] == {"target": "loihi2", "equal": [], "overlapping": [], "certain": True}
    assert found.best["latency_s"]["target"] == "loihi1" and found.best["latency_s"]["equal"] == ["loihi2"]
    near = found.rows[0]["accuracy"]
    assert near == {"simulator": 0.9667, "float": None, "n": 540, "interval": [0.9479, 0.9788]}
