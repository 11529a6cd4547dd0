"""Event files of our own: an `.npz` with plain integer arrays, which `numpy.savez` writes too.

`events` [M, 4] holds the streams of all samples one after the other, columns (t in us, c, y, x); sample i is
events[offsets[i]:offsets[i + 1]], so `offsets` has N + 1 entries. `y` [N] are the labels 0..K-1, `sensor` is (C, H, W),
`duration_us` one number; `train`, `validation` and `test` are optional arrays of indices.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data import splits as fixed_splits
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.data.event_reading import Selection, check_labels, chosen
from neurodeploy.data.one_array import read_named
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.ir import archive

REQUIRED = ("events", "offsets", "y", "sensor", "duration_us")
REMEDY = "Write it with `neurodeploy events SOURCE --out FILE.npz`, or numpy.savez(file, " + ", ".join(
    f"{name}={name}" for name in REQUIRED) + ")"
MAX_SIDE, MAX_CHANNELS, MAX_DURATION_US = 8192, 1024, 2**40


def save_events(path: Path, dataset: EventDataset) -> None:
    """Write a dataset as an event file, in one move; equal datasets give equal bytes. UsageError where it cannot be written."""
    offsets = np.cumsum([0, *map(len, dataset.streams)])
    events = np.concatenate([np.zeros((0, 4), dtype=np.int64), *dataset.streams])
    small = np.int32 if events.max(initial=0) < 2**31 else np.int64
    content = io.BytesIO()
    arrays: dict[str, Any] = {
        "events": events.astype(small), "offsets": offsets, "y": dataset.y, "sensor": dataset.sensor,
        "duration_us": dataset.duration_us, **{name: dataset.splits[name] for name in fixed_splits.NAMES},
    }
    np.savez_compressed(content, **arrays)
    archive.write(path, content.getvalue())


def read_events(path: Path, selection: Selection) -> EventDataset:
    """The dataset in an event file; without stored splits every class is divided as in `splits.stratified`.

    Raises UsageError for arrays that are missing or unsuitable, UnsafeFile for a file that is damaged, too large or holds
    anything but arrays of numbers.
    """
    where = str(path)
    try:
        arrays = read_named(path, (*REQUIRED, *fixed_splits.NAMES))
    except UnsafeFile as error:
        raise UnsafeFile(error.what, where=error.where, limit=error.limit, remedy=REMEDY) from error
    for name in REQUIRED:
        if name not in arrays:
            raise UsageError(f"has no array {name!r}", where=where, limit=f"An event file holds {', '.join(REQUIRED)}",
                             remedy=REMEDY)
    for name, array in arrays.items():
        if array.dtype.kind not in "iu" or array.dtype == np.uint64:
            raise _unsuitable(name, array, "Integers of at most 63 bits", where)
    y = arrays["y"].astype(np.int64)
    n_classes = check_labels(y, where)
    sensor, duration_us = _sensor(arrays["sensor"], where), _duration(arrays["duration_us"], where)
    parts = _parts(arrays["events"], arrays["offsets"], len(y), where)
    streams = [chosen(part, sensor, selection, f"{where}, recording {i}", duration_us) for i, part in enumerate(parts)]
    stored = {name: arrays[name] for name in fixed_splits.NAMES if name in arrays}
    splits = fixed_splits.check(stored, len(y), where) if stored else fixed_splits.stratified(y, where=where)
    kept, splits = selection.samples(y, splits)
    return EventDataset(path.stem, tuple(streams[i] for i in kept), y[kept], n_classes, sensor,
                        selection.length_us(duration_us), splits)


def _unsuitable(name: str, array: NDArray[Any], limit: str, where: str) -> UsageError:
    return UsageError(f"{name} has shape {array.shape} and type {array.dtype}", where=where, limit=limit, remedy=REMEDY)


def _sensor(array: NDArray[Any], where: str) -> tuple[int, int, int]:
    limit = f"sensor is (C, H, W), at most {MAX_CHANNELS} channels and {MAX_SIDE} pixels a side"
    if array.shape != (3,):
        raise _unsuitable("sensor", array, limit, where)
    c, h, w = array.tolist()
    if not (1 <= c <= MAX_CHANNELS and 1 <= h <= MAX_SIDE and 1 <= w <= MAX_SIDE):
        raise UsageError(f"sensor is {(c, h, w)}", where=where, limit=limit, remedy=REMEDY)
    return c, h, w


def _duration(array: NDArray[Any], where: str) -> int:
    if array.shape != ():
        raise _unsuitable("duration_us", array, "duration_us is one number", where)
    if not 1 <= int(array) <= MAX_DURATION_US:
        raise UsageError(f"duration_us is {array}", where=where, limit=f"1 to {MAX_DURATION_US}", remedy=REMEDY)
    return int(array)


def _parts(events: NDArray[Any], offsets: NDArray[Any], n: int, where: str) -> list[NDArray[np.int64]]:
    if events.ndim != 2 or events.shape[1] != 4:
        raise _unsuitable("events", events, "events is [M, 4]: t, c, y, x", where)
    ends = offsets.astype(np.int64)
    if offsets.shape != (n + 1,) or ends[0] != 0 or ends[-1] != len(events) or (np.diff(ends) < 0).any():
        raise UsageError(
            f"offsets of shape {offsets.shape} do not divide {len(events)} events into {n} recordings", where=where,
            limit=f"{n + 1} entries that never decrease, from 0 to the number of events", remedy=REMEDY,
        )
    return np.split(events.astype(np.int64), ends[1:-1])
