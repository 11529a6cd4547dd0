"""What a stream of events must be: inside the sensor, forward in time, over before the recording ends."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from neurodeploy.data.camera import Stream
from neurodeploy.errors import UsageError

SORT = (
    "Sort the events by time, keeping the order of equal times: `neurodeploy events SOURCE --sort --out sorted.npz`, or "
    "events[np.argsort(events[:, 0], kind='stable')]"
)


def check_streams(streams: Iterable[Stream], sensor: tuple[int, int, int], duration_us: int, where: str) -> None:
    """UsageError, naming the recording and the event, unless `check_stream` accepts every stream."""
    for i, stream in enumerate(streams):
        check_stream(stream, sensor, duration_us, f"{where}, recording {i}")


def check_stream(stream: Stream, sensor: tuple[int, int, int], duration_us: int | None, where: str) -> None:
    """UsageError, naming the event, unless a stream is int64 [n, 4] (t, c, y, x), lies inside `sensor` (C, H, W), starts at 0
    or later, never runs backwards and ends before `duration_us` (None: whenever it likes)."""
    if stream.ndim != 2 or stream.shape[1] != 4 or stream.dtype != np.int64:
        raise UsageError(f"events of shape {stream.shape} and type {stream.dtype}", where=where,
                         limit="A stream is int64 [n, 4]: t, c, y, x", remedy="Stack the four columns as np.int64")
    outside = np.flatnonzero(((stream[:, 1:] < 0) | (stream[:, 1:] >= np.asarray(sensor))).any(axis=1))
    if len(outside):
        i = int(outside[0])
        c, y, x = stream[i, 1:].tolist()
        raise UsageError(
            f"channel {c}, y {y}, x {x}; {len(outside)} of {len(stream)} events lie outside the sensor",
            where=f"{where}, event {i}", limit="The sensor has {} channels, height {}, width {}".format(*sensor),
            remedy="Check the order of the columns (t, c, y, x) and the size of the sensor", code="event_outside",
        )
    t = stream[:, 0]
    late = np.flatnonzero(np.diff(t) < 0)
    if len(late):
        i = int(late[0]) + 1
        raise UsageError(f"time {t[i]} us after {t[i - 1]} us; times decrease at {len(late)} place(s)",
                         where=f"{where}, event {i}", limit="Times never decrease", remedy=SORT, code="events_unsorted")
    if len(t) and t[0] < 0:
        raise UsageError(f"time {t[0]} us", where=f"{where}, event 0", limit="Times start at 0", code="event_time",
                         remedy="Subtract the first time of the recording")
    if duration_us is not None and len(t) and t[-1] >= duration_us:
        n = int(np.count_nonzero(t >= duration_us))
        raise UsageError(f"time {t[len(t) - n]} us; {n} event(s) come after the end", where=f"{where}, event {len(t) - n}",
                         limit=f"A recording lasts {duration_us} us", code="event_time",
                         remedy="Correct the duration, or leave these events out")
