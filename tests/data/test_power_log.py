"""Power logs: the same numbers from every format, and one clear refusal for each thing that can be wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from neurodeploy.data.power_log import PowerLog, describe_log, read_power_log
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError

import oracles

RAILS = ("io", "ram", "logic")
NEEDED = ("ram", "logic")


def read(path: Path) -> PowerLog:
    return read_power_log(path, RAILS, NEEDED)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_every_format_gives_the_same_log(tmp_path):
    t = np.array([2.0, 2.5, 3.0, 3.5])
    power = {"io": np.array([1e-6, 2e-6, 3e-6, 4e-6]), "ram": np.array([5e-5, 6e-5, 7e-5, 8e-5]), "logic": np.full(4, 3e-4)}
    rate = np.array([0.0, 1e6, 2e6, 3e6])
    rows = zip((t * 1e6).tolist(), *(p.tolist() for p in power.values()), (rate * 0.5).tolist(), strict=True)
    lines = ["t_us, io, ram_mw,logic_uw,synops,frame"]
    lines += [f"{us},{io!r},{ram * 1e3!r},{logic * 1e6!r},{n},7" for us, io, ram, logic, n in rows]
    csv = read(write(tmp_path / "a.csv", "\ufeff" + "\n".join(lines) + "\n\n"))
    np.savez(tmp_path / "a.npz", t_s=t, synops_per_s=rate, **power)
    np.save(tmp_path / "a.npy", np.stack([np.stack([t * 1e6 + i, p], axis=1) for i, p in enumerate(power.values())]))
    for log in (csv, read(tmp_path / "a.npz"), read(tmp_path / "a.npy")):
        np.testing.assert_allclose(log.t_s, [0, 0.5, 1, 1.5], atol=1e-5)
        assert list(log.power_w) == list(RAILS) and log.duration_s == pytest.approx(2.0)
        for rail, wanted in power.items():
            np.testing.assert_allclose(log.power_w[rail], wanted, rtol=1e-12)
        if log.path.suffix != ".npy":
            assert log.synops_per_s is not None
            np.testing.assert_allclose(log.synops_per_s, rate)
    assert csv.ignored == ("frame",) and read(tmp_path / "a.npy").synops_per_s is None
    assert describe_log(csv)["has_synops"] and describe_log(csv)["n"] == 4


def test_the_public_log_has_its_published_means():
    folder = oracles.folder("speck") / "power"
    logs = sorted(folder.glob("*.npy"))
    if not logs:
        pytest.skip(f"no power log in {folder}")
    totals = json.loads((folder / "measured_totals.json").read_text(encoding="utf-8"))
    for path in logs:
        wanted = next(t for t in totals if "rail_uW_mean" in t)
        log = read_power_log(path, tuple(wanted["rail_uW_mean"]), NEEDED)
        assert log.n == 2444 and log.duration_s == pytest.approx(122.2, abs=0.01)
        for rail, power in log.power_w.items():
            found = {"mean": power.mean(), "p5": np.percentile(power, 5), "max": power.max()}
            for what, value in found.items():
                assert value * 1e6 == pytest.approx(wanted[f"rail_uW_{what}"][rail], abs=0.06)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("t_s,ram\n0,1\n1,1\n2,1\n", "no column logic.*It has t_s, ram"),
        ("ram,logic\n0,1\n1,1\n2,1\n", "no column t_s"),
        ("t_s,ram,logic\n0,1,1\n1,1,1\n", "2 rows"),
        ("t_s,ram,ram\n0,1,1\n", "the header is t_s, ram, ram"),
        ("", "the header is empty"),
        ("t_s,ram,ram_mw,logic\n0,1,1,1\n1,1,1,1\n2,1,1,1\n", "ram stands there as ram and ram_mw"),
        ("t_s,ram,logic\n0,1,1\n2,1,1\n1,1,1\n", "row 2: time 1 s after 2 s.*Sort"),
        ("t_s,ram,logic\n0,1,1\n1,nan,1\n2,1,1\n", "ram holds values that are no numbers"),
        ("t_s,ram,logic\n0,1,1\n1,1e300,1\n2,1,1\n", "ram holds values.*below 1e\\+15"),
        ("t_s,ram,logic,synops_per_s\n0,1,1,5\n1,1,1,-1\n2,1,1,1\n", "synops_per_s of -1"),
    ],
)
def test_a_table_that_is_no_log(tmp_path, text, what):
    with pytest.raises(UsageError, match=what):
        read(write(tmp_path / "a.csv", text))


def test_damaged_and_dangerous_files(tmp_path):
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "ran"),)

    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Bomb()))
    np.save(tmp_path / "objects.npy", np.array([Bomb()] * 3, dtype=object), allow_pickle=True)
    whole = tmp_path / "whole.npy"
    np.save(whole, np.zeros((3, 4, 2)))
    (tmp_path / "short.npy").write_bytes(whole.read_bytes()[:-40])
    (tmp_path / "words.csv").write_text("t_s,ram,logic\n0,1,much\n", encoding="utf-8")
    (tmp_path / "long.csv").write_text("t_s,ram,logic\n0,1,2,3\n", encoding="utf-8")
    (tmp_path / "bytes.csv").write_bytes(b"t_s,ram,logic\n\xff\xfe\n")
    (tmp_path / "no.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "zip.npy.npz", x=np.zeros(3))
    (tmp_path / "zip.npy").write_bytes((tmp_path / "zip.npy.npz").read_bytes())
    for name in ("pickle.npy", "objects.npy", "short.npy", "words.csv", "long.csv", "bytes.csv", "no.npz", "zip.npy"):
        with pytest.raises(UnsafeFile):
            read(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_paths_and_shapes(tmp_path):
    np.save(tmp_path / "five.npy", np.zeros((5, 4, 2)))
    late = np.zeros((3, 4, 2))
    late[:, :, 0] = np.arange(4) * 1e4
    late[2, :, 0] += 2e4
    np.save(tmp_path / "late.npy", late)
    np.savez(tmp_path / "odd.npz", t_s=np.arange(4.0), ram=np.zeros(4), logic=np.zeros(5))
    for name, what in (
        ("five.npy", r"shape \(5, 4, 2\).*\[3, n, 2\].*io, ram, logic"), ("late.npy", "not read at the same times"),
        ("odd.npz", "columns of shapes"), ("none.csv", "no such file"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=what):
            read(tmp_path / name)
    write(tmp_path / "a.txt", "t_s")
    for path in (tmp_path / "a.txt", tmp_path):
        with pytest.raises(NeurodeployError, match=r"Known: \.csv, \.npz, \.npy|no regular file"):
            read(path)
