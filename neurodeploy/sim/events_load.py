"""How many synops a second each core has to do: a core that cannot keep up holds the whole chip up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.sim.events_trace import EventTrace


@dataclass(frozen=True)
class CoreLoad:
    """One core over some samples. mean_per_s: synops over the time of all samples; peak_per_s: the most that any window of
    any sample has, divided by its length; over: whether the peak exceeds the limit (False where there is none)."""

    name: str
    n_synops: int
    mean_per_s: float
    peak_per_s: float
    over: bool


def core_loads(
    traces: Sequence[EventTrace], t_unit_s: float, window_s: float, limit_per_s: float | None = None,
    duration_s: float | None = None,
) -> tuple[CoreLoad, ...]:
    """The load of each core, from traces with `synops_by_event`.

    t_unit_s: seconds of one unit of the events' times; window_s: length of the windows that the peak is sought in, one
    beginning at each event; duration_s: length of each sample (None: from its first to its last event, at least one unit).
    The synops of an event count at its own time, whenever they are done. Raises UsageError for lengths that are not
    positive, no samples, or traces without synops_by_event.
    """
    if not (t_unit_s > 0 and window_s > 0 and (duration_s is None or duration_s > 0)):
        raise UsageError(f"t_unit_s {t_unit_s}, window_s {window_s}, duration_s {duration_s}", limit="Above 0")
    if not traces:
        raise UsageError("no samples", where="core loads", limit="At least one")
    names = list(traces[0].network.index)
    totals, peaks, time_s = np.zeros(len(names), dtype=np.int64), np.zeros(len(names)), 0.0
    for trace in traces:
        peaks = np.maximum(peaks, peak_synops(trace, window_s / t_unit_s))
        totals += list(trace.n_synops.values())
        t = trace.t_event
        length = int(t[-1] - t[0]) + 1 if len(t) else 1
        time_s += length * t_unit_s if duration_s is None else duration_s
    return tuple(
        CoreLoad(name, int(total), float(total / time_s), float(peak / window_s),
                 limit_per_s is not None and bool(peak / window_s > limit_per_s))
        for name, total, peak in zip(names, totals, peaks, strict=True)
    )  # fmt: skip


def peak_synops(trace: EventTrace, window: float) -> NDArray[np.int64]:
    """[layers]: the most synops in any window of that length (in the unit of t) that begins at an event.

    Raises UsageError for a trace without synops_by_event.
    """
    if trace.synops_by_event is None:
        raise UsageError("a trace without synops_by_event", where="core loads", remedy="Simulate with by_event=True")
    t, n_layers = trace.t_event, trace.synops_by_event.shape[1]
    if not len(t):
        return np.zeros(n_layers, dtype=np.int64)
    cumulated = np.concatenate([np.zeros((1, n_layers), dtype=np.int64), trace.synops_by_event.cumsum(axis=0)])
    behind = np.searchsorted(t, t + window, side="left")
    return np.asarray((cumulated[behind] - cumulated[: len(t)]).max(axis=0))
