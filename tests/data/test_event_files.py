"""Event files of our own and of others: what is written comes back, and what is wrong is named with its file and event."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.data import event_files_aedat, event_files_nmnist
from neurodeploy.data.camera import CameraSettings
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.data.event_files import save_events
from neurodeploy.data.event_sources import load_events
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError

from event_writers import aedat2, aedat3, gestures, nmnist, random_events


def own(n: int = 12) -> EventDataset:
    rng = np.random.RandomState(1)
    streams = tuple(np.array(random_events(rng, 1 + i, 9, 1000), dtype=np.int64) for i in range(n))
    splits = {"train": np.arange(4, n), "validation": np.array([0, 1]), "test": np.array([2, 3])}
    return EventDataset("own", streams, np.arange(n) % 2, 2, (2, 9, 11), 1000, splits)


def same(a: EventDataset, b: EventDataset) -> None:
    assert all(np.array_equal(s, t) and t.dtype == np.int64 for s, t in zip(a.streams, b.streams, strict=True))
    assert np.array_equal(a.y, b.y) and (a.n_classes, a.sensor, a.duration_us) == (b.n_classes, b.sensor, b.duration_us)
    assert all(np.array_equal(a.splits[k], b.splits[k]) for k in ("train", "validation", "test"))


def test_an_event_file_comes_back(tmp_path: Path) -> None:
    save_events(tmp_path / "deep" / "own.npz", own())
    found = load_events(tmp_path / "deep" / "own.npz")
    same(own(), found)
    assert found.name == "own" and found.camera is None
    save_events(tmp_path / "again.npz", found)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "deep" / "own.npz").read_bytes()
    few = load_events(tmp_path / "again.npz", per_class=1, duration_us=500)
    assert {k: len(v) for k, v in few.splits.items()} == {"train": 2, "validation": 2, "test": 2} and few.duration_us == 500
    assert all(s[:, 0].max(initial=0) < 500 for s in few.streams)
    assert load_events(tmp_path / "again.npz", duration_us=5000).duration_us == 1000, "a cut makes nothing longer"
    with pytest.raises(UsageError, match="recordings"):
        load_events(tmp_path / "again.npz", CameraSettings())


def plain(**changes: Any) -> dict[str, Any]:
    """Arrays of a small event file without splits: 8 samples of 2 classes, 2 events each."""
    events = np.tile([[1, 0, 2, 3], [4, 1, 0, 0]], (8, 1)).astype(np.uint16)
    arrays = {"events": events, "offsets": np.arange(9) * 2, "y": np.arange(8) % 2, "sensor": [2, 4, 5], "duration_us": 10}
    return {k: v for k, v in {**arrays, **changes}.items() if v is not None}


def test_a_file_that_numpy_wrote(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", **plain())
    found = load_events(tmp_path / "plain.npz")
    assert found.sensor == (2, 4, 5) and [len(s) for s in found.streams] == [2] * 8
    assert sorted(np.concatenate(list(found.splits.values()))) == list(range(8))


def changed(i: int, row: list[int]) -> np.ndarray:
    events = plain()["events"].astype(np.int64)
    events[i] = row
    return events


WRONG = [
    ({"events": None}, "no array 'events'"), ({"y": None}, "no array 'y'"), ({"duration_us": None}, "no array"),
    ({"events": np.zeros((16, 3), int)}, "events has shape"), ({"events": np.zeros((16, 4))}, "float64"),
    ({"events": np.zeros((16, 4), np.uint64)}, "uint64"), ({"offsets": np.arange(9)}, "do not divide"),
    ({"offsets": np.arange(8) * 2}, "do not divide"), ({"offsets": np.array([0, 4, 2, 6, 8, 10, 12, 14, 16])}, "divide"),
    ({"y": np.arange(8) % 2 * 2}, "class 1 is empty"), ({"y": np.arange(8) % 2 - 1}, "labels lie in -1..0"),
    ({"y": np.zeros(8, int)}, "labels lie in 0..0"), ({"y": np.zeros((8, 1), int)}, "y has shape"),
    ({"y": np.zeros(0, int), "offsets": np.zeros(1, int)}, "y has shape"),
    ({"y": np.array([2**62, 0] * 4)}, "class 1 is empty"), ({"sensor": [4, 5]}, "sensor has shape"),
    ({"sensor": [2, 0, 5]}, "sensor is"), ({"sensor": [2, 2**40, 5]}, "sensor is"), ({"duration_us": 0}, "duration_us is 0"),
    ({"duration_us": [10]}, "duration_us has shape"), ({"train": np.arange(8)}, "lack"),
    ({"events": changed(5, [4, 0, 0, 5])}, "recording 2, event 1: channel 0, y 0, x 5; 1 of 2 events lie outside"),
    ({"events": changed(5, [4, 0, -1, 0])}, "recording 2, event 1: channel 0, y -1"),
    ({"events": changed(3, [0, 0, 0, 0])}, "recording 1, event 1: time 0 us after 1 us"),
    ({"events": changed(2, [-1, 0, 0, 0])}, "recording 1, event 0: time -1 us"),
    ({"events": changed(3, [10, 0, 0, 0])}, "recording 1, event 1: time 10 us; 1 event"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason"), WRONG, ids=[reason for _, reason in WRONG])
def test_arrays_that_are_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    np.savez(tmp_path / "wrong.npz", **plain(**changes))
    with pytest.raises(UsageError) as caught:
        load_events(tmp_path / "wrong.npz")
    assert reason in str(caught.value)
    assert caught.value.remedy or caught.value.limit


def test_unsorted_events_can_be_sorted(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **plain(events=changed(3, [0, 0, 1, 1])))
    with pytest.raises(UsageError, match="--sort") as caught:
        load_events(tmp_path / "a.npz")
    assert caught.value.error_code == "events_unsorted"
    assert load_events(tmp_path / "a.npz", sort=True).streams[1].tolist() == [[0, 0, 1, 1], [1, 0, 2, 3]]


def test_dangerous_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, **plain(y=np.array([print] * 8, dtype=object)))
    with pytest.raises(UnsafeFile, match="Python objects"):
        load_events(path)
    np.savez(path, **plain())
    whole = path.read_bytes()
    for content in (b"", b"PK", whole[: len(whole) // 2], b"\x80\x04N.", b"\x93NUMPY" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(UnsafeFile) as caught:
            load_events(path)
        assert "neurodeploy events" in caught.value.remedy


# N-MNIST


def test_nmnist_bytes_worked_by_hand(tmp_path: Path) -> None:
    # x 3, y 5, ON, 0x010203 us; then x 33, y 0, OFF, the largest time of 23 bits
    (tmp_path / "a.bin").write_bytes(bytes([3, 5, 0x81, 2, 3, 33, 0, 0x7F, 0xFF, 0xFF]))
    assert event_files_nmnist.read(tmp_path / "a.bin").tolist() == [[0x010203, 1, 5, 3], [2**23 - 1, 0, 0, 33]]


def test_nmnist_overflow_markers(tmp_path: Path) -> None:
    nmnist(tmp_path / "a.bin", [(8000, 1, 1, 2), (8191, 0, 240, 0), (5, 0, 3, 4), (10, 0, 240, 0), (7, 1, 5, 6)])
    assert event_files_nmnist.read(tmp_path / "a.bin").tolist() == [[8000, 1, 1, 2], [8197, 0, 3, 4], [16391, 1, 5, 6]]


def write_nmnist(folder: Path, per_class: dict[str, int], classes: int = 11) -> dict[str, list[list[tuple[int, ...]]]]:
    """Train and Test with the classes "0", "1", ..., and what was written in the order in which it is read."""
    rng, written = np.random.RandomState(2), {}
    for part, n in per_class.items():
        streams = [random_events(rng, 20, 34, 300_000) for _ in range(n * classes)]
        for i, events in enumerate(streams):
            nmnist(folder / part / str(i // n) / f"{i:05d}.bin", events)
        written[part] = [list(events) for events in streams]
    (folder / "Readme.txt").write_text("ignored")
    return written


def test_nmnist_folder(tmp_path: Path) -> None:
    written = write_nmnist(tmp_path, {"Train": 5, "Test": 2})
    found = load_events(tmp_path)
    assert found.sensor == (2, 34, 34) and found.n_classes == 11, "10 comes after 9"
    assert {k: len(v) for k, v in found.splits.items()} == {"train": 44, "validation": 11, "test": 22}
    streams, y = found.split("test")
    assert [[tuple(e) for e in s.tolist()] for s in streams] == written["Test"] and y.tolist() == [i // 2 for i in range(22)]
    assert [[tuple(e) for e in s.tolist()] for s in found.streams[:55]] == written["Train"]
    assert found.duration_us % 1000 == 0 and 290_000 < found.duration_us <= 300_000
    assert found.rasters("test", 16).sum() == 22 * 20
    few = load_events(tmp_path, per_class=4, duration_us=100_000)
    assert len(few.streams) == 11 * (4 + 2) and few.duration_us == 100_000
    alone = load_events(tmp_path / "Train")
    assert len(alone.streams) == 55 and len(alone.splits["test"]) >= 11, "one part alone is divided"


def test_nmnist_files_that_are_refused(tmp_path: Path) -> None:
    write_nmnist(tmp_path, {"Train": 4, "Test": 1}, classes=2)
    victim = tmp_path / "Test" / "1" / "00001.bin"
    cases: list[tuple[type[NeurodeployError], list[tuple[int, ...]] | bytes, str, str]] = [
        (UsageError, [(1, 0, 1, 1), (2, 1, 34, 0)], "event 1: channel 1, y 34, x 0; 1 of 2 events lie outside", "sensor"),
        (UsageError, [(1, 0, 1, 1), (2, 1, 0, 255)], "x 255", "sensor"),
        (UsageError, [(9, 0, 1, 1), (8, 1, 2, 0)], "event 1: time 8 us after 9 us", "--sort"),
        (UnsafeFile, bytes(12), "12 bytes; event 2 is cut off", "Unpack"), (UnsafeFile, b"", "empty", "Unpack"),
    ]
    for kind, content, reason, remedy in cases:
        if isinstance(content, bytes):
            victim.write_bytes(content)
        else:
            nmnist(victim, content)  # type: ignore[arg-type]
        with pytest.raises(kind) as caught:
            load_events(tmp_path)
        assert reason in str(caught.value) and "00001.bin" in caught.value.where and remedy in caught.value.remedy
    nmnist(victim, [(9, 0, 1, 1), (8, 1, 2, 0)])
    assert load_events(tmp_path, sort=True).streams[-1][:, 0].tolist() == [8, 9]


# CIFAR10-DVS


def test_aedat2_bytes_worked_by_hand(tmp_path: Path) -> None:
    # address 0x0302: bit 0 is 0, ON; bits 1-7 are 1, the second row from below; bits 8-14 are 3, the fourth column from right
    (tmp_path / "a.aedat").write_bytes(b"#!AER-DAT2.0\r\n# a comment\r\n" + bytes([0, 0, 3, 2, 0, 0, 1, 0]))
    assert event_files_aedat.read_2(tmp_path / "a.aedat").tolist() == [[0, 1, 126, 124]]


def write_cifar(folder: Path) -> list[list[tuple[int, ...]]]:
    rng = np.random.RandomState(3)
    streams = [random_events(rng, 30, 128, 5000) for _ in range(8)]
    for i, events in enumerate(streams):
        aedat2(folder / ("airplane", "bird")[i // 4] / f"cifar10_{i}.aedat", events, start=1_000_000 * i)
    return [list(events) for events in streams]


def test_cifar10_dvs_folder(tmp_path: Path) -> None:
    written = write_cifar(tmp_path)
    found = load_events(tmp_path)
    assert [[tuple(e) for e in s.tolist()] for s in found.streams] == written
    assert found.sensor == (2, 128, 128) and found.y.tolist() == [0] * 4 + [1] * 4 and found.duration_us == 5000
    with pytest.raises(UsageError, match="recordings"):
        load_events(tmp_path, CameraSettings())


def test_aedat2_external_signals_are_left_out(tmp_path: Path) -> None:
    header = b"#!AER-DAT2.0\r\n"
    (tmp_path / "a.aedat").write_bytes(header + struct.pack(">4i", 2**15, 7, 2, 9))
    assert event_files_aedat.read_2(tmp_path / "a.aedat").tolist() == [[2, 1, 126, 127]]


def test_aedat2_files_that_are_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    victim, header = tmp_path / "bird" / "cifar10_7.aedat", b"#!AER-DAT2.0\r\n"
    cases = [
        (UsageError, header + struct.pack(">4i", 2, 1, 2**17, 2), "event 1: address 0x20000"),
        (UsageError, header + struct.pack(">4i", -1, 1, 2, 2), "event 0: address 0xffffffff; 1 of 2"),
        (UsageError, header + struct.pack(">4i", 2, 5, 4, 3), "event 1: time -2 us after 0 us"),
        (UnsafeFile, header + bytes(11), "event 1 is cut off"), (UnsafeFile, header, "no event"), (UnsafeFile, b"", "begins"),
        (UnsafeFile, b"#!AER-DAT3.1\r\n" + bytes(8), "begins with '#!AER-DAT3.1'"), (UnsafeFile, b"#!AER-DAT2.0", "not end"),
    ]
    for kind, content, reason in cases:
        victim.write_bytes(content)
        with pytest.raises(kind) as caught:
            load_events(tmp_path)
        assert reason in str(caught.value) and "cifar10_7.aedat" in caught.value.where and caught.value.remedy


# DVS128-Gesture


def write_gestures(folder: Path) -> dict[str, np.ndarray]:
    """Five users with two trials of each of three gestures, and all events of every file."""
    rng, written = np.random.RandomState(4), {}
    for user in range(5):
        events = random_events(rng, 400, 128, 60_000)
        trials = [(1 + k % 3, 10_000 * k, 10_000 * k + 9_000) for k in range(6)]
        gestures(folder, "test" if user == 4 else "train", f"user0{user}_lab", trials, events)
        written[f"user0{user}_lab"] = np.array(events)
    return written


def test_gesture_folder(tmp_path: Path) -> None:
    written = write_gestures(tmp_path)
    found = load_events(tmp_path)
    assert found.sensor == (2, 128, 128) and found.n_classes == 3 and len(found.streams) == 30
    assert {k: len(v) for k, v in found.splits.items()} == {"train": 18, "validation": 6, "test": 6}
    streams, y = found.split("test")
    assert y.tolist() == [0, 1, 2, 0, 1, 2] and 8000 < found.duration_us <= 9000
    whole = written["user04_lab"]
    for k, stream in enumerate(streams):
        t = whole[:, 0] - 10_000 * k
        expected = whole[(t >= 0) & (t < 9_000)] - [10_000 * k, 0, 0, 0]
        assert len(expected) > 20 and np.array_equal(stream, expected)
    few = load_events(tmp_path, per_class=4, duration_us=1000)
    assert np.bincount(few.y).tolist() == [4 + 2] * 3 and few.duration_us == 1000


def test_aedat3_times_beyond_31_bits_and_invalid_events(tmp_path: Path) -> None:
    events = [(5, 1, 2, 3), (9, 0, 4, 5), (2**31 + 1, 1, 127, 0)]
    aedat3(tmp_path / "a.aedat", events, packet=2, invalid=[1])
    assert event_files_aedat.read_3(tmp_path / "a.aedat").tolist() == [list(events[0]), list(events[2])]


def test_gesture_files_that_are_refused(tmp_path: Path) -> None:
    write_gestures(tmp_path)
    victim = tmp_path / "user03_lab.aedat"
    whole = victim.read_bytes()
    start = whole.index(b"#!END-HEADER\r\n") + 14
    aedat3(tmp_path / "outside", [(1, 0, 0, 0), (2, 1, 3, 128)])
    aedat3(tmp_path / "late", [(4, 0, 0, 0), (3, 1, 3, 12)])
    odd = bytearray(whole)
    odd[start + 4] = 16
    minus = bytearray(whole)
    minus[start + 20 : start + 24] = b"\xff" * 4
    cases = [
        (UsageError, (tmp_path / "outside").read_bytes(), "event 1: channel 1, y 3, x 128"),
        (UsageError, (tmp_path / "late").read_bytes(), "event 1: time 3 us after 4 us"),
        (UnsafeFile, whole[:-3], "says it has 2 events of 12 bytes"), (UnsafeFile, whole[: start + 9], "packet 0 is cut off"),
        (UnsafeFile, bytes(minus), "-1 events"), (UnsafeFile, bytes(odd), "bytes"),
        (UnsafeFile, whole.replace(b"RAW", b"Serial-TS"), "coded as Serial-TS"), (UnsafeFile, whole[5:], "begins with"),
    ]
    for kind, content, reason in cases:
        victim.write_bytes(content)
        with pytest.raises(kind) as caught:
            load_events(tmp_path)
        assert reason in str(caught.value) and "user03_lab.aedat" in caught.value.where and caught.value.remedy
    victim.write_bytes(whole)
    labels = tmp_path / "user03_lab_labels.csv"
    columns = "class,startTime_usec,endTime_usec\n"
    lines = ("12,0,5", "0,0,5", "1,5,5", "1,x,5", "1,5", "1,0,5,9", "1,0," + "5" * 2**18)
    for text in ("", "class,start\n", *(columns + line for line in lines)):
        labels.write_text(text)
        with pytest.raises(UsageError, match=r"user03_lab_labels\.csv"):
            load_events(tmp_path)


def test_gesture_lists_that_are_refused(tmp_path: Path) -> None:
    write_gestures(tmp_path)
    (tmp_path / "other").mkdir()
    for name in ("../user00_lab.aedat", "/etc/hostname", "user99.aedat", "a" * 5000, "user\0.aedat"):
        (tmp_path / "trials_to_test.txt").write_text(name)
        with pytest.raises(UsageError, match="not there"):
            load_events(tmp_path)
    (tmp_path / "trials_to_test.txt").unlink()
    with pytest.raises(UsageError, match=r"trials_to_test\.txt"):
        load_events(tmp_path)
