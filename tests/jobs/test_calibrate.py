"""`calibrate`: constants of a board from its log, the profile that holds them, and what a log cannot give."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.cli.main import main
from neurodeploy.cost.event_activity import EventActivity
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.hw.profile import any_target, read
from neurodeploy.jobs.calibrate import calibrate
from numpy.typing import NDArray

import oracles

STATIC = {"io": 62e-6, "ram": 52e-6, "logic": 367e-6, "vddd": 79e-6, "vdda": 611e-6}
ENERGY = {"io": 0.2e-12, "ram": 9e-12, "logic": 16e-12, "vddd": 0.0, "vdda": 0.0}
MEAN = 6e7


def rate_of(n: int = 2400, pauses: bool = True) -> NDArray[np.float64]:
    """Rest, a run of mean rate MEAN that goes up and down, rest."""
    rate = MEAN * (1 + 0.8 * np.sin(np.arange(n) / 40))
    if pauses:
        rate[: n // 5] = rate[-n // 5 :] = 0.0
        inside = rate > 0
        rate[inside] *= MEAN / rate[inside].mean()
    return rate


def log(path: Path, rate: NDArray[np.float64], column: bool, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    columns = {"t_s": np.arange(len(rate)) / 20}
    columns |= {rail: STATIC[rail] + ENERGY[rail] * rate + rng.normal(0, 8e-6, len(rate)) for rail in STATIC}
    if column:
        columns["synops_per_s"] = rate
    rows = [",".join(columns), *(",".join(f"{x:.9g}" for x in row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_a_profile_of_the_board_is_written(tmp_path):
    out = tmp_path / "board12.toml"
    result = calibrate(log(tmp_path / "run.csv", rate_of(), True), "speck", out=out, note='board "12", INA at 20 Hz')
    assert not result.errors and result.fit is not None and result.fit.method == "regression" and result.profile == out
    written = read(out)
    assert isinstance(written, EventProfile) and written.name == "board12" and written.aliases == ()
    synop = written.energy["synop"]
    assert synop.value == pytest.approx(25.0, rel=0.02) and synop.status == "measured" and synop.low is not None
    assert synop.low < synop.value and 'board "12"' in synop.source and "run.csv" in synop.source
    for rail in ("ram", "logic", "vdda"):
        assert written.power[rail].si[1] == pytest.approx(STATIC[rail], rel=0.02)
    assert written.dynamic_split["ram"].value == pytest.approx(0.36, rel=0.02)
    family = any_target("speck2f")
    assert isinstance(family, EventProfile) and written.capacity == family.capacity and written.vendor == family.vendor
    changes = dict(s.removeprefix("profile.").split("=") for s in result.settings)
    same = any_target("speck2f", {key: float(value) for key, value in changes.items()})
    assert isinstance(same, EventProfile) and same.energy["synop"].band == synop.band
    assert same.power["ram"].value == written.power["ram"].value
    with pytest.raises(UsageError, match="there already"):
        calibrate(tmp_path / "run.csv", "speck", out=out)
    assert read(out) == written and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("source", ["synops", "activity", "energy", "interval", "idle"])
def test_a_mean_rate_with_rest(tmp_path, source):
    """The mean rate of the run by each way to give it; rest inside the log, or in a log of its own."""
    activity = EventActivity(1.0, {"a": 1.0}, {"a": MEAN * 0.25}, {"a": 4}, 1, 0.25, True)
    (tmp_path / "activity.json").write_text(json.dumps(activity.to_dict()), encoding="utf-8")
    printed: dict[str, Any] = {"command": "energy", "data": {"targets": {"speck2f": {"synops_per_s": MEAN}}}}
    (tmp_path / "energy.json").write_text(json.dumps(printed), encoding="utf-8")
    printed["data"]["targets"]["speck2f"] = {"synops_per_s": 4 * MEAN, "duration_s": 0.25, "interval_s": 1.0}
    (tmp_path / "interval.json").write_text(json.dumps(printed), encoding="utf-8")
    run = log(tmp_path / "run.csv", rate_of(pauses=source != "idle"), False)
    given: dict[str, Any] = {"synops": MEAN}
    if source in ("activity", "energy", "interval"):
        given = {"activity": tmp_path / f"{source}.json"}
    if source == "idle":
        given |= {"idle": log(tmp_path / "idle.csv", np.zeros(1200), False, seed=1)}
    result = calibrate(run, "speck2f", **given)
    assert result.fit is not None and result.fit.method == "two levels" and not result.errors
    assert result.fit.energy_j.value == pytest.approx(25e-12, rel=0.02) and result.synops_per_s == pytest.approx(MEAN)
    for rail in ("ram", "logic"):
        assert result.fit.static_w[rail].value == pytest.approx(STATIC[rail], rel=0.02)


def test_one_rate_without_rest_is_refused(tmp_path):
    """Also where the column says so; the idle log resolves it."""
    flat = np.full(600, MEAN)
    for column, given in ((True, {}), (False, {"synops": MEAN})):
        run = log(tmp_path / f"run{column}.csv", flat, column)
        result = calibrate(run, "speck2f", **given, out=tmp_path / "no.toml")
        assert result.fit is None and result.profile is None and result.errors[0].error_code == "no_variation"
        assert "--idle" in str(result.errors[0]) and not (tmp_path / "no.toml").exists() and not result.settings
        still = calibrate(run, "speck2f", **given, idle=log(tmp_path / "idle.csv", np.zeros(600), False, seed=2))
        assert still.fit is not None and still.fit.energy_j.value == pytest.approx(25e-12, rel=0.02)


def test_the_public_log_gives_rest_and_no_energy(tmp_path):
    logs = sorted((oracles.folder("speck") / "power").glob("*.npy"))
    if not logs:
        pytest.skip("no power log")
    out = io.StringIO()
    profile = tmp_path / "x.toml"
    assert main(["calibrate", str(logs[0]), "--target", "speck", "--out", str(profile), "--json"], out) == 2
    found = json.loads(out.getvalue())
    data, error = found["data"], found["errors"][0]
    assert error["code"] == "no_synops" and error["what"] == "no energy per synop: the log has no event counts"
    assert "--activity" in error["remedy"] and data["fit"] is None and not profile.exists()
    rails = data["rest"]["rails"]
    rest = {rail: round(r["rest_w"] * 1e6, 1) for rail, r in rails.items()}
    assert rest == {"io": 45.1, "ram": 47.5, "logic": 294.5, "vddd": 44.6, "vdda": 625.9}
    assert rails["logic"]["active_w"] == pytest.approx(1.4616e-3, rel=1e-3)
    assert rails["ram"]["active_w"] == pytest.approx(0.7118e-3, rel=1e-3)
    assert data["rest"]["share_at_rest"] == pytest.approx(0.1547, abs=1e-3) and data["run_s"] == pytest.approx(103.85, abs=0.1)
    assert data["rest"]["split"] == pytest.approx({"ram": 0.363, "logic": 0.637}, abs=1e-3)


def test_what_makes_no_sense(tmp_path):
    rate = rate_of()
    run = log(tmp_path / "run.csv", rate, True)
    backwards = log(tmp_path / "backwards.csv", rate, False)
    text = backwards.read_text(encoding="utf-8").splitlines()
    wrong = [f"{text[0]},synops_per_s", *(f"{line},{2 * MEAN - r:.1f}" for line, r in zip(text[1:], rate, strict=True))]
    backwards.write_text("\n".join(wrong), encoding="utf-8")
    result = calibrate(backwards, "speck2f")
    assert result.fit is None and result.errors[0].error_code == "no_slope" and "same times" in result.errors[0].remedy
    (tmp_path / "bad.json").write_text("[", encoding="utf-8")
    (tmp_path / "empty.json").write_text('{"data": {"targets": {"loihi2": {}}}}', encoding="utf-8")
    plain = log(tmp_path / "plain.csv", rate, False)
    for kind, what, arguments, given in (
        (UsageError, "no event-driven chip", (run, "loihi2"), {}),
        (UsageError, "synops from the log's own column and --synops", (run, "speck2f"), {"synops": 1e6}),
        (UsageError, "positive", (plain, "speck2f"), {"synops": -1.0}),
        (UnsafeFile, "no JSON", (plain, "speck2f"), {"activity": tmp_path / "bad.json"}),
        (UsageError, "no activity in it", (plain, "speck2f"), {"activity": tmp_path / "empty.json"}),
        (UsageError, "no such file", (plain, "speck2f"), {"activity": tmp_path / "none.json"}),
        (UsageError, "another name than speck2f", (run, "speck2f"), {"out": tmp_path / "speck2f.toml"}),
        (UsageError, r"NAME\.toml", (run, "speck2f"), {"out": tmp_path / "board.txt"}),
        (UsageError, "no such file", (tmp_path / "none.csv", "speck2f"), {}),
    ):
        with pytest.raises(NeurodeployError, match=what) as caught:
            calibrate(*arguments, **given)  # type: ignore[arg-type]
        assert type(caught.value) is kind


def test_the_command_prints_what_it_found(tmp_path):
    run = log(tmp_path / "run.csv", rate_of(), True)
    out = io.StringIO()
    assert main(["calibrate", str(run), "--target", "speck2f", "--out", str(tmp_path / "b.toml")], out) == 0
    text = out.getvalue()
    for words in ("at rest", "pJ per synop", "regression", "--set profile.energy.synop.value=", "b.toml"):
        assert words in text
    out = io.StringIO()
    assert main(["calibrate", str(run), "--target", "speck", "--dry-run", "--json"], out) == 0
    assert json.loads(out.getvalue())["data"]["target"] == "speck2f"
    assert main(["calibrate", str(run), "--target", "speck", "--set", "profile.x=1", "--json"], io.StringIO()) == 2
