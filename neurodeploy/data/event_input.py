"""Streams of events that a user gives a network: an event file, golden events of a bundle, or a bare table of one sample."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.camera import Stream
from neurodeploy.data.event_checks import check_streams
from neurodeploy.data.event_files import MAX_DURATION_US
from neurodeploy.data.event_reading import check_total
from neurodeploy.data.one_array import read_bare, read_named
from neurodeploy.errors import UnsafeFile, UsageError

_EVENTS, _OFFSETS, _COUNTS = "events", "offsets", "n/events"
_REMEDY = "numpy.savez(file, events=e, offsets=o, duration_us=d), e integers [M, 4]: t in microseconds, c, y, x"


@dataclass(frozen=True, eq=False)
class EventInput:
    """streams: int64 [n, 4] (t in us, c, y, x) of each sample, inside the sensor and in order.

    duration_us: how long every sample lasts; `stated` where the file says so, else to the end of the last event.
    """

    streams: tuple[Stream, ...]
    duration_us: int
    stated: bool


def holds_events(path: Path) -> bool:
    """Whether a file is meant as events rather than as an array over timesteps: a `.npy`, or an `.npz` with `events`."""
    if path.suffix.lower() == ".npy":
        return True
    try:
        with zipfile.ZipFile(path) as file:
            return f"{_EVENTS}.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError):
        return False  # whoever reads it as an array says what is wrong with it


def read_streams(path: Path, sensor: tuple[int, ...]) -> EventInput:
    """The streams in a file, for an input of this shape (C, H, W).

    An `.npz` holds `events` [M, 4], with several samples `offsets` [N + 1] (`data.event_files`; labels and splits are not
    looked at), and where known `duration_us`. A `.npy` holds the table of one sample. Raises UsageError for events that are
    none, lie outside the sensor or run backwards, UnsafeFile for a damaged file.
    """
    where = str(path)
    if len(sensor) != 3:
        raise UsageError("events enter maps (C, H, W)", where=where, limit=f"The network's input has shape {list(sensor)}",
                         remedy="Give an array over timesteps instead")
    try:
        bare = path.suffix.lower() == ".npy"
        names = (_EVENTS, _OFFSETS, _COUNTS, "sensor", "duration_us")
        arrays = {_EVENTS: read_bare(path)} if bare else read_named(path, names)
    except UnsafeFile as error:
        raise UnsafeFile(error.what, where=error.where, limit=error.limit, remedy=_REMEDY) from error
    if _EVENTS not in arrays:
        raise UsageError(f"has no array {_EVENTS!r}", where=where, limit="An event file holds events", remedy=_REMEDY)
    for name, array in arrays.items():
        if array.dtype.kind not in "iu" or array.dtype == np.uint64:
            raise _unsuitable(name, array, "Integers of at most 63 bits", where)
    events = arrays[_EVENTS]
    if events.ndim != 2 or events.shape[1] != 4:
        raise _unsuitable(_EVENTS, events, "A table [M, 4]: t, c, y, x", where)
    recorded = arrays.get("sensor")
    if recorded is not None and tuple(recorded.reshape(-1).tolist()) != tuple(sensor):
        raise UsageError(f"events of a sensor {recorded.reshape(-1).tolist()}", where=where, code="wrong_data",
                         limit=f"The network takes {list(sensor)} (channels, height, width)",
                         remedy="Give the kind of data that the network was trained on")
    check_total(len(events), where)
    streams = tuple(np.split(events.astype(np.int64), _ends(arrays, where)))
    stated = arrays.get("duration_us")
    if stated is not None and (stated.shape != () or not 1 <= int(stated) <= MAX_DURATION_US):
        raise _unsuitable("duration_us", stated, f"One number, 1 to {MAX_DURATION_US}", where)
    duration_us = None if stated is None else int(stated)
    c, h, w = sensor
    check_streams(streams, (c, h, w), MAX_DURATION_US if duration_us is None else duration_us, where)
    if duration_us is None:
        duration_us = 1 + max((int(stream[-1, 0]) for stream in streams if len(stream)), default=0)
    return EventInput(streams, duration_us, stated is not None)


def _ends(arrays: dict[str, NDArray[Any]], where: str) -> NDArray[np.int64]:
    """Where one sample ends and the next begins."""
    n_events = len(arrays[_EVENTS])
    offsets, counts = arrays.get(_OFFSETS), arrays.get(_COUNTS)
    if offsets is None and counts is not None:
        offsets = np.concatenate([[0], np.cumsum(counts.reshape(-1), dtype=np.int64)])
    if offsets is None:
        return np.zeros(0, dtype=np.int64)
    ends: NDArray[np.int64] = offsets.astype(np.int64)
    if ends.ndim != 1 or len(ends) < 2 or ends[0] != 0 or ends[-1] != n_events or (np.diff(ends) < 0).any():
        raise UsageError(
            f"offsets of shape {ends.shape} do not divide {n_events} events into samples", where=where,
            limit="Entries that never decrease, from 0 to the number of events", remedy=_REMEDY,
        )
    return ends[1:-1]


def _unsuitable(name: str, array: NDArray[Any], limit: str, where: str) -> UsageError:
    return UsageError(f"{name} has shape {array.shape} and type {array.dtype}", where=where, limit=limit, remedy=_REMEDY)
