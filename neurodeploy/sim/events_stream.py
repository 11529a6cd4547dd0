"""Streams of input events, int64 [N, 4] with columns (t, c, y, x) in the order in which they are processed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Array
from neurodeploy.sim.events_network import EventNetwork

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rows:
    """What a run goes through: events first..stop-1 of a stream, and the ticks of the slow clock between them.

    cyx [R, 3]: the event's address, (-1, -1, -1) for a tick; t [R]; cause [R]: the index of the event in the stream, for a
    tick that of the next event. t_event [stop - first]: the times of the events alone.
    """

    cyx: IntArray
    t: IntArray
    cause: IntArray
    t_event: IntArray
    first: int


def from_raster(x: Array) -> IntArray:
    """The events of counts x [T, C, H, W]: steps in order, then (c, y, x), a count of k as k events in a row.

    Raises UsageError for values that are no counts.
    """
    if x.ndim != 4 or x.dtype.kind not in "iub" or (x.size and x.min() < 0):
        raise UsageError(f"a raster of shape {x.shape} and type {x.dtype}", limit="Counts [T, C, H, W], none below 0")
    where = np.argwhere(x)
    return np.repeat(where.astype(np.int64), x[tuple(where.T)].astype(np.int64), axis=0)


def rows(
    network: EventNetwork, events: Array, first: int = 0, stop: int | None = None, tick_interval: int | None = None,
    t_end: int | None = None,
) -> Rows:
    """Check a stream and cut the window out of it; a part run after another one sees the same rows as the whole.

    The slow clock ticks at tick_interval, 2 * tick_interval, ... in the unit of t, a tick before events of the same time.
    Ticks up to t_end come after the last event where the window reaches the end of the stream. Raises UsageError for events
    that are no such table, lie outside the sensor, or run backwards in time, and for a window outside of the stream.
    """
    events = np.asarray(events)
    if events.ndim != 2 or events.shape[1] != 4 or (events.dtype.kind not in "iu" and events.size):
        raise UsageError(f"events of shape {events.shape} and type {events.dtype}", limit="Integers [N, 4]: t, c, y, x")
    events = events.astype(np.int64)
    _check(network, events)
    stop = len(events) if stop is None else min(stop, len(events))
    if not 0 <= first <= stop:
        raise UsageError(f"events {first} to {stop}", where="event window", limit=f"0 <= first <= stop, {len(events)} events")
    t = events[first:stop, 0]
    cause = np.arange(first, stop, dtype=np.int64)
    if tick_interval is None:
        return Rows(events[first:stop, 1:], t, cause, t, first)
    if tick_interval < 1:
        raise UsageError(f"tick_interval is {tick_interval}", limit="At least 1, in the unit of t")
    until = [t]
    if t_end is not None and stop == len(events):
        until.append(np.asarray([max(t_end, t[-1] if len(t) else 0)]))
    started = events[first - 1, 0] if first else 0
    n_ticks = np.diff(np.concatenate(until) // tick_interval, prepend=started // tick_interval)
    before = np.repeat(np.arange(len(n_ticks)), n_ticks)  # the event that each tick precedes
    t_tick = (started // tick_interval + 1 + np.arange(len(before))) * tick_interval
    blank = np.full((len(before), 3), -1, dtype=np.int64)
    return Rows(
        np.insert(events[first:stop, 1:], before, blank, axis=0), np.insert(t, before, t_tick),
        np.insert(cause, before, before + first), t, first,
    )


def _check(network: EventNetwork, events: IntArray) -> None:
    limits = np.asarray(network.input_shape)
    outside = np.flatnonzero(((events[:, 1:] < 0) | (events[:, 1:] >= limits)).any(axis=1))
    if len(outside):
        i = int(outside[0])
        raise UsageError(
            f"(c, y, x) = {tuple(events[i, 1:].tolist())}; {len(outside)} of {len(events)} events lie outside the sensor",
            where=f"event {i}", limit=f"The input is {network.input_shape}",
            remedy="Check the order of the columns: t, c, y, x", code="event_outside",
        )
    if len(events) and events[0, 0] < 0:
        raise UsageError(f"the first event is at time {events[0, 0]}", where="event 0", limit="Times start at 0",
                         remedy="Subtract the first time", code="events_unsorted")
    late = np.flatnonzero(np.diff(events[:, 0]) < 0)
    if len(late):
        i = int(late[0]) + 1
        raise UsageError(
            f"time {events[i, 0]} after {events[i - 1, 0]}", where=f"event {i}", limit="Times never decrease",
            remedy="Sort the events by time, with a sort that keeps the order of equal times", code="events_unsorted",
        )
