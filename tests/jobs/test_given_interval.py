"""A time between inferences that the lab measured: what it changes in the report, what it leaves, and how it is labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy import commands
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir import serialize
from neurodeploy.resources import folder

from commands import bare, run, run_json
from strangers import plain

LOIHI1 = target("loihi1")
DIGITS = folder("exports") / "digits-loihi2"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    serialize.save(plain(), tmp_path / "net.npz")
    x = (np.random.default_rng(0).random((9, 6)) < 0.5).astype(np.int64)
    np.savez(tmp_path / "in.npz", input=x)
    return tmp_path / "net.npz", tmp_path / "in.npz"


def entries(model: Path, **events: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The report of one target without an interval, and with one of a second."""
    name = "loihi2" if model == DIGITS else "loihi1"
    return tuple(commands.energy(model, [name], interval_s=t, **events).targets[name] for t in (None, 1.0))  # type: ignore


@pytest.mark.parametrize("how", ["input", "rate"])
def test_static_and_management_run_for_the_interval(files: tuple[Path, Path], how: str) -> None:
    model, given = files
    free, fixed = entries(model, **({"given": given} if how == "input" else {"rate": 0.3}))
    assert free["interval_source"] == "predicted" and fixed["interval_source"] == "given"
    assert free["interval_predicted_s"] == fixed["interval_predicted_s"] > 0
    assert free["interval_s"] == pytest.approx(free["interval_predicted_s"], rel=1e-12)  # the same steps, added in two orders
    assert fixed["interval_s"] == 1.0
    for term, power in (("static", LOIHI1.power["static"]), ("management", LOIHI1.power["management"])):
        assert fixed["breakdown_j"][term]["nominal"] == pytest.approx(power.si[1], rel=1e-12)  # watts, for one second
        share = free["breakdown_j"][term]["nominal"] / fixed["breakdown_j"][term]["nominal"]
        assert share == pytest.approx(free["interval_s"], rel=1e-12)  # a product of the same two numbers
    assert free["breakdown_j"]["synapse"]["nominal"] > 0
    for same in ("energy_dynamic_j", "latency_s", "latency_steps_s", "counts", "layers", "cores"):
        assert free[same] == fixed[same], same
    assert fixed["edp_js"] == pytest.approx(fixed["energy_j"]["nominal"] * fixed["latency_s"], rel=1e-12)


def test_early_exit_saves_no_static_power_that_runs_on(tmp_path: Path) -> None:
    free, fixed = entries(DIGITS)
    assert fixed["schedules"]["single"]["energy_j"]["nominal"] > free["schedules"]["single"]["energy_j"]["nominal"]
    alone, kept = free["early_exit"], fixed["early_exit"]
    assert alone["mean_timesteps"] == kept["mean_timesteps"] < len(kept["histogram"])
    assert kept["energy_dynamic_j"] == alone["energy_dynamic_j"]
    saved = kept["energy_full_j"]["nominal"] - kept["energy_j"]["nominal"]
    dynamic = kept["energy_dynamic_full_j"]["nominal"] - kept["energy_dynamic_j"]["nominal"]
    assert saved == pytest.approx(dynamic, rel=1e-6)  # joules beside microjoules of the same figures
    assert 0 < kept["energy_saved"] < alone["energy_saved"]


def test_people_see_that_it_was_given(files: tuple[Path, Path]) -> None:
    model, given = (str(file) for file in files)
    shown = bare(run("energy", model, "-t", "loihi1", "-i", given, "--interval", "0.0034")[1])
    assert "time between results 3.4 ms given" in shown
    assert "time between results 3.4 ms" not in bare(run("energy", model, "-t", "loihi1", "-i", given)[1])


def test_an_interval_shorter_than_the_prediction_is_said(files: tuple[Path, Path]) -> None:
    model, given = files
    with pytest.warns(NeurodeployWarning, match="shorter than the") as caught:
        entry = commands.energy(model, ["loihi1"], given=given, interval_s=1e-9).targets["loihi1"]
    assert [w.message.code for w in caught] == ["interval_below_prediction"]  # type: ignore[union-attr]
    assert entry["interval_s"] == 1e-9


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf"])
def test_intervals_that_are_none(files: tuple[Path, Path], interval: str) -> None:
    code, answer = run_json("energy", str(files[0]), "-t", "loihi1", "--rate", "0.1", "--interval", interval)
    assert code == 2 and answer["errors"][0]["where"] == "--interval"
    with pytest.raises(UsageError, match="positive"):
        commands.energy(files[0], ["loihi1"], rate=0.1, interval_s=float(interval))
