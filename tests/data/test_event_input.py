"""Streams that a user gives a network: read as they lie in the file, refused with the event that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.data.event_input import holds_events, read_streams
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.export import golden_events
from neurodeploy.export.golden_events import GoldenEvents

SENSOR = (2, 8, 8)
EVENTS = np.array([[0, 0, 1, 1], [5, 1, 3, 3], [9, 0, 2, 2]])


def written(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "given.npz", **arrays)
    return folder / "given.npz"


def test_samples_lie_one_after_the_other(tmp_path: Path) -> None:
    found = read_streams(written(tmp_path, events=EVENTS.astype(np.int16), offsets=[0, 1, 1, 3], duration_us=50, y=[7]), SENSOR)
    assert [s.tolist() for s in found.streams] == [EVENTS[:1].tolist(), [], EVENTS[1:].tolist()]
    assert found.streams[0].dtype == np.int64 and (found.duration_us, found.stated) == (50, True)


def test_one_table_is_one_sample_until_its_last_event(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", EVENTS)
    for path in (tmp_path / "one.npy", written(tmp_path, events=EVENTS)):
        found = read_streams(path, SENSOR)
        assert len(found.streams) == 1 and np.array_equal(found.streams[0], EVENTS)
        assert (found.duration_us, found.stated) == (10, False)


def test_golden_events_of_a_bundle_are_read(tmp_path: Path) -> None:
    golden_events.save_events(GoldenEvents((EVENTS, EVENTS[:2]), {"n": (EVENTS[:0], EVENTS[:1])}), tmp_path / "golden.npz")
    assert [len(s) for s in read_streams(tmp_path / "golden.npz", SENSOR).streams] == [3, 2]


def test_which_files_are_events(tmp_path: Path) -> None:
    assert holds_events(written(tmp_path, events=EVENTS)) and holds_events(tmp_path / "x.npy")
    assert not holds_events(written(tmp_path, input=EVENTS)) and not holds_events(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    ("arrays", "code", "what"),
    [
        ({"events": [[0, 0, 1, 1], [5, 1, 3, 8]]}, "event_outside", "event 1: channel 1, y 3, x 8"),
        ({"events": EVENTS[::-1]}, "events_unsorted", "event 1: time 5 us after 9 us"),
        ({"events": EVENTS - [1, 0, 0, 0]}, "event_time", "event 0: time -1 us"),
        ({"events": EVENTS, "duration_us": 9}, "event_time", "event 2: time 9 us"),
        ({"events": EVENTS, "sensor": (2, 16, 16)}, "wrong_data", "16, 16"),
        ({"events": EVENTS * 1.0}, "usage", "float64"),
        ({"events": EVENTS[:, :3]}, "usage", "t, c, y, x"),
        ({"events": EVENTS, "offsets": [0, 2]}, "usage", "do not divide 3 events"),
        ({"events": EVENTS, "offsets": [0, 2, 1, 3]}, "usage", "do not divide 3 events"),
        ({"events": EVENTS, "duration_us": 0}, "usage", "duration_us"),
        ({"spikes": EVENTS}, "usage", "no array 'events'"),
    ],
)
def test_what_is_no_stream_is_refused(tmp_path: Path, arrays: dict[str, Any], code: str, what: str) -> None:
    path = written(tmp_path, **arrays)
    with pytest.raises(UsageError, match=what) as caught:
        read_streams(path, SENSOR)
    assert caught.value.error_code == code and str(path) in caught.value.where and caught.value.remedy


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    whole = written(tmp_path, events=EVENTS).read_bytes()
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name, payload in {"half.npz": whole[: len(whole) // 2], "empty.npz": b"", "junk.npy": b"\x93NUMPYjunk"}.items():
        (tmp_path / name).write_bytes(payload)
    for name in ("half.npz", "empty.npz", "junk.npy", "objects.npy"):
        with pytest.raises(UnsafeFile) as caught:
            read_streams(tmp_path / name, SENSOR)
        assert name in caught.value.where and "events" in caught.value.remedy


def test_events_enter_maps(tmp_path: Path) -> None:
    with pytest.raises(NeurodeployError, match="enter maps"):
        read_streams(written(tmp_path, events=EVENTS), (10,))
