"""`neurodeploy events` on the command line: the summary, what is written, exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from neurodeploy import commands
from neurodeploy.data.camera import CameraSettings
from neurodeploy.data.event_plot import plot_events
from neurodeploy.data.event_sources import load_events
from neurodeploy.errors import UsageError
from PIL import Image

from commands import bare, run, run_json
from event_writers import nmnist

FIELDS = {
    "source", "n_samples", "n_classes", "sensor", "duration_us", "splits", "events_per_sample", "n_empty", "on_share", "n_bins",
    "shared_bins", "camera", "out", "plot", "index",
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_json_is_one_object_with_figures_that_the_file_confirms(here: Path) -> None:
    code, answer = run_json("events", "digits-events", "--per-class", "3", "--bins", "16", "--out", "new/few.npz")
    assert code == 0, answer["errors"]
    found = answer["data"]
    assert set(found) == FIELDS and answer["command"] == "events"
    assert found["n_samples"] == 90 and found["splits"] == {"train": 30, "validation": 30, "test": 30}
    assert found["camera"] == {**CameraSettings().model_dump(), "sensor": [16, 16]} and found["plot"] is None
    with np.load("new/few.npz") as file:
        sizes, events = np.diff(file["offsets"]), file["events"]
    assert found["events_per_sample"] == {"min": sizes.min(), "median": np.median(sizes), "max": sizes.max()}
    assert found["on_share"] == np.mean(events[:, 1]) and 0.3 < found["on_share"] < 0.7
    rasters = np.concatenate([load_events("new/few.npz").rasters(part, 16) for part in ("train", "validation", "test")])
    assert found["shared_bins"] == np.count_nonzero(rasters > 1) / np.count_nonzero(rasters) > 0
    again = run_json("events", "new/few.npz", "--bins", "16")[1]["data"]
    same = FIELDS - {"source", "camera", "out"}
    assert {k: again[k] for k in same} == {k: found[k] for k in same} and again["camera"] is None


def test_a_person_sees_the_data(here: Path) -> None:
    code, shown = run("events", "digits-events", "--per-class", "1", "--plot", "digit.png", "--index", "7")
    shown = bare(shown)
    assert code == 0 and "30: 10 train, 10 validation, 10 test" in shown and "in the median" in shown
    assert "camera.amplitude" in shown and "digit.png" in shown and "bins with several" in shown
    with Image.open("digit.png") as picture:
        assert min(picture.size) > 300 and len(picture.convert("RGB").getcolors(10**6) or ()) > 20


def test_settings_of_the_camera(here: Path) -> None:
    command = ("events", "digits-events", "--per-class", "1", "--set", "camera.sensor=[20, 24]", "--set", "camera.noise_hz=5")
    code, answer = run_json(*command, "--dry-run", "--out", "x.npz")
    assert code == 0 and answer["data"]["camera"]["sensor"] == [20, 24] and not Path("x.npz").exists()
    found = run_json(*command)[1]["data"]
    assert found["sensor"] == [2, 20, 24] and found["camera"]["noise_hz"] == 5
    assert run_json(*command, "--seed", "1")[1]["data"]["events_per_sample"] != found["events_per_sample"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [(("--set", "camera.speed=1"), "camera.speed"), (("--set", "train.epochs=1"), "train"), (("--bins", "0"), "bins"),
     (("--set", "camera.amplitude=0"), "0"), (("--plot", "a.gif"), ".png"), (("--plot", "a.png", "--index", "9999"), "--index"),
     (("--out", "."), "folder"), (("--out", "a.txt"), "a.npz"), (("--per-class", "0"), "per-class")],
)  # fmt: skip
def test_wrong_options(here: Path, options: tuple[str, ...], reason: str) -> None:
    code, answer = run_json("events", "digits-events", *options)
    assert code == 2 and len(answer["errors"]) == 1 and reason in str(answer["errors"][0])
    assert list(here.iterdir()) == []


def test_wrong_sources(here: Path) -> None:
    for part, n in (("Train", 4), ("Test", 1)):
        for i in range(2 * n):
            nmnist(here / "data" / part / str(i // n) / f"{i}.bin", [(5, 0, 1, 1), (9, 1, 2, 2)])
    assert run_json("events", "data")[1]["data"]["n_samples"] == 10
    victim = here / "data" / "Test" / "1" / "1.bin"
    nmnist(victim, [(5, 0, 1, 1), (9, 1, 40, 2)])
    code, answer = run_json("events", "data", "--out", "out.npz")
    (error,) = answer["errors"]
    assert code == 2 and error["code"] == "event_outside" and error["where"].endswith("1.bin, event 1") and error["remedy"]
    nmnist(victim, [(9, 1, 3, 2), (5, 0, 1, 1)])
    code, answer = run_json("events", "data", "--out", "out.npz")
    (error,) = answer["errors"]
    assert code == 2 and error["code"] == "events_unsorted" and "--sort" in error["remedy"] and not Path("out.npz").exists()
    code, answer = run_json("events", "data", "--sort", "--out", "out.npz")
    assert code == 0 and Path("out.npz").exists()
    victim.write_bytes(bytes(7))
    assert run_json("events", "data")[0] == 6
    code, answer = run_json("events", "nowhere")
    assert code == 2 and "digits-events" in answer["errors"][0]["limit"]
    assert run_json("events", "out.npz", "--set", "camera.amplitude=2")[0] == 2


def test_plots_are_the_same_every_time_and_hold_odd_streams(here: Path) -> None:
    (stream,) = load_events("digits-events", per_class=1).streams[:1]
    for suffix in ("png", "svg"):
        for name in ("a", "b"):
            plot_events(stream, (2, 16, 16), 96_000, Path(f"{name}.{suffix}"), title="one")
        assert Path(f"a.{suffix}").read_bytes() == Path(f"b.{suffix}").read_bytes()
    plot_events(stream[:0], (2, 16, 16), 96_000, Path("nothing.png"))
    one_channel = np.array([[0, 0, 0, 0], [0, 0, 2, 3]])
    plot_events(one_channel, (1, 3, 4), 1, Path("short.png"), n_frames=1)
    assert all(Path(name).stat().st_size > 5000 for name in ("nothing.png", "short.png"))
    with pytest.raises(UsageError, match="outside"):
        plot_events(stream, (2, 4, 4), 96_000, Path("c.png"))


def test_the_command_from_python(here: Path) -> None:
    result = commands.events("digits-events", per_class=1, n_bins=64)
    assert result.n_samples == 30 and result.n_bins == 64 and result.out is None and result.index is None
