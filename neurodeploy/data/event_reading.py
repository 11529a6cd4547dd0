"""What the readers of recordings share: which part of the data is wanted, and what every stream must pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.camera import Stream
from neurodeploy.data.event_checks import check_stream
from neurodeploy.errors import UsageError

MAX_EVENTS = 2**26  # of one dataset; as int64 [n, 4] they take 2 GiB
Splits = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Selection:
    """Which part of a source is wanted: the first `per_class` samples of every class in every split (of a folder: in every
    one of its parts), events before `duration_us`, and whether events may be sorted by time."""

    per_class: int | None = None
    duration_us: int | None = None
    sort: bool = False

    def __post_init__(self) -> None:
        for name in ("per_class", "duration_us"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}", where="events", limit="At least 1")

    def length_us(self, recorded_us: int) -> int:
        """How long a recording of `recorded_us` is after the cut."""
        return recorded_us if self.duration_us is None else min(self.duration_us, recorded_us)

    def samples(self, y: NDArray[np.int64], splits: Splits) -> tuple[NDArray[np.int64], Splits]:
        """(indices of the samples that are kept, splits as indices into those)."""
        if self.per_class is None:
            return np.arange(len(y)), splits
        few = {}
        for name, index in splits.items():
            first = [index[y[index] == label][: self.per_class] for label in np.unique(y)]
            few[name] = np.sort(np.concatenate(first))
        kept = np.sort(np.concatenate(list(few.values())))
        return kept, {name: np.searchsorted(kept, index).astype(np.int64) for name, index in few.items()}


def chosen(
    stream: Stream, sensor: tuple[int, int, int], selection: Selection, where: str, recorded_us: int | None = None
) -> Stream:
    """The wanted part of a stream, sorted where that was asked for. Raises UsageError for what `check_stream` refuses."""
    if selection.sort:
        stream = stream[np.argsort(stream[:, 0], kind="stable")]
    check_stream(stream, sensor, recorded_us, where)
    if selection.duration_us is None:
        return stream
    return stream[: np.searchsorted(stream[:, 0], selection.duration_us)]


def check_total(n_events: int, where: str) -> None:
    """Raise UsageError where a dataset has more events than are held at a time."""
    if n_events > MAX_EVENTS:
        raise UsageError(f"more than {MAX_EVENTS} events", where=where, limit=f"They would take over {MAX_EVENTS >> 25} GiB",
                         remedy="Read fewer with --per-class, or shorter recordings with --duration")


def check_labels(y: NDArray[np.int64], where: str) -> int:
    """The number of classes. Raises UsageError unless y [N] holds 0..K-1, every one of them, K at least 2."""
    if y.ndim != 1 or not y.size:
        raise UsageError(f"y has shape {y.shape}", where=where, limit="One label a recording, at least one recording")
    present = np.unique(y)
    n_classes = int(present[-1]) + 1
    if present[0] < 0 or n_classes < 2 or len(present) < n_classes:
        gap = np.flatnonzero(present != np.arange(len(present)))
        what = f"class {gap[0]} is empty" if present[0] >= 0 and gap.size else f"labels lie in {present[0]}..{present[-1]}"
        raise UsageError(what, where=where, limit="Labels are 0..K-1, each present, K at least 2", remedy="Renumber the labels",
                         code="empty_class")
    return n_classes
