"""SEENN-I on an event-driven chip, which has no timesteps: the running vote is read every so many events, or microseconds.

Window k holds the output spikes caused by input events edges[k]..edges[k + 1] - 1, or sent in edges[k]..edges[k + 1] - 1 us;
counted by class they are the votes of a "timestep", and `confidence` decides on them as it does on those of a clocked chip. By
event, a sample whose stream ends inside window k stops there at the latest; by time, at the end of its duration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from neurodeploy.early_exit.confidence import ConfidencePolicy, exit_steps, fixed_accuracy, oracle_outcome
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.errors import UsageError
from neurodeploy.ir.votes import predictions

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
By = Literal["event", "time"]


@dataclass(frozen=True)
class Readings:
    """The vote is read every `step` input events (by "event") or microseconds (by "time"); UsageError for other values."""

    by: By
    step: int

    def __post_init__(self) -> None:
        if self.by not in get_args(By) or self.step < 1:
            raise UsageError(f"by {self.by!r}, step {self.step}", where="early exit",
                             limit="By event or time, in steps of at least 1 event or microsecond")

    def first(self, stream: NDArray[Any]) -> NDArray[Any]:
        """The events of a stream [n, 4] until the first reading."""
        return stream[: self.step] if self.by == "event" else stream[: int(np.searchsorted(stream[:, 0], self.step))]


@dataclass(frozen=True)
class EventExitPolicy(Readings):
    """At every reading, `confidence` says whether a sample is done. Raises UsageError for values that are no policy."""

    confidence: ConfidencePolicy

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {"by": self.by, "step": self.step, "confidence": self.confidence.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The opposite of `to_dict`. Raises UsageError for what is none."""
        try:
            return cls(data["by"], int(data["step"]), ConfidencePolicy(**data["confidence"]))
        except (KeyError, TypeError, ValueError) as err:
            raise UsageError(f"no early-exit policy ({err})", where="early exit", limit="by, step, confidence") from err


@dataclass(frozen=True, eq=False)
class PlannedExit(Readings):
    """`planned` says beforehand at which reading a sample is done; where it sees events, it does so at the first one."""

    planned: PlannedPolicy

    def to_dict(self) -> dict[str, Any]:
        """What stands in a manifest, plain values."""
        return {"by": self.by, "step": self.step, **self.planned.to_dict()}


@dataclass(frozen=True, eq=False)
class Windows:
    """Readings of N samples: edges int64 [K + 1] in events or microseconds.

    n_events [K, N]: events of each sample until the end of each window. time_us [K, N]: the time of the reading, at a window
    of events that of its last event, and at the last window of a sample the sample's end. last [N]: the window, 1-based, at
    which each sample stops at the latest.
    """

    edges: IntArray
    n_events: IntArray
    time_us: IntArray
    last: IntArray

    @property
    def n_windows(self) -> int:
        """K."""
        return len(self.edges) - 1


def windows(policy: Readings, times: Sequence[IntArray], duration_us: int) -> Windows:
    """The readings of a policy for samples given by the times of their events, int64 [n] each, never decreasing.

    By event there are as many windows as the longest sample needs; by time they cover duration_us. The last one may be shorter.
    """
    lengths = np.asarray([len(t) for t in times], dtype=np.int64)
    if not len(lengths) or duration_us < 1:
        raise UsageError(f"{len(lengths)} samples of {duration_us} us", where="early exit", limit="At least one, of 1 us")
    edges = window_edges(policy, int(lengths.max()), duration_us)
    if policy.by == "event":
        n_events = np.minimum(edges[1:, np.newaxis], lengths)
        last_time = [np.concatenate([[0], t])[n] for t, n in zip(times, n_events.T, strict=True)]
        # Nobody knows that an event was the last one: a sample's last window lasts as long as the sample.
        time_us = np.where(edges[1:, np.newaxis] >= lengths, duration_us, np.stack(last_time, axis=1))
        return Windows(edges, n_events, time_us, np.maximum(1, -(-lengths // policy.step)))
    n_events = np.stack([np.searchsorted(t, edges[1:]) for t in times], axis=1).astype(np.int64)
    time_us = np.broadcast_to(np.minimum(edges[1:, np.newaxis], duration_us), n_events.shape)
    return Windows(edges, n_events, time_us, np.full(len(times), len(edges) - 1))


def window_edges(policy: Readings, n_events_max: int, duration_us: int) -> IntArray:
    """[K + 1] edges 0, step, 2 step, ... that cover n_events_max events or duration_us; one window at least."""
    until = n_events_max if policy.by == "event" else duration_us
    return np.arange(max(1, -(-until // policy.step)) + 1, dtype=np.int64) * policy.step


def exit_windows(votes: FloatArray, policy: EventExitPolicy, read: Windows) -> IntArray:
    """The window at which each sample stops [N], 1-based, for votes [K, N, C]."""
    _check(votes, read)
    return np.minimum(exit_steps(votes, policy.confidence), read.last)


def planned_windows(steps: IntArray, read: Windows) -> IntArray:
    """The window at which each sample stops [N] that was to run `steps` [N] windows: no stream lasts longer than it does."""
    return np.minimum(steps, read.last)


def n_events_at(stops: IntArray, read: Windows) -> IntArray:
    """Input events [N] until windows `stops` [N]; a sample that has fewer than its window needs its own number."""
    return np.asarray(read.n_events[stops - 1, np.arange(len(stops))])


def n_events_to_decision(votes: FloatArray, policy: EventExitPolicy, read: Windows) -> IntArray:
    """Input events that each sample needs [N] (`n_events_at`)."""
    return n_events_at(exit_windows(votes, policy, read), read)


def exit_report(
    votes: FloatArray, labels: IntArray, policy: EventExitPolicy | PlannedExit, read: Windows, steps: IntArray, *,
    synops_at_exit: IntArray | None = None, synops_in_full: IntArray | None = None,
) -> dict[str, Any]:
    """What stopping at windows `steps` [N], as a policy says, gives on votes [K, N, C] and labels [N], plain values for JSON.

    accuracy in 0..1; mean_timesteps: windows; mean_events and mean_time_s to the decision; histogram: samples that leave at
    window 1..K; exit_steps: the window of each; oracle: the first window with a right answer; synops_share: synops until the
    exit per synops of whole samples, from their numbers [N] (None without them); full and fixed: the same without early exit,
    and after exactly 1..K windows.
    """
    _check(votes, read)
    correct = predictions(votes) == labels
    samples = np.arange(votes.shape[1])
    share = None
    if synops_at_exit is not None and synops_in_full is not None:
        in_full = int(synops_in_full.sum())
        share = float(synops_at_exit.sum() / in_full) if in_full else 1.0
    every = [
        {"window": k + 1, "accuracy": accuracy, "mean_events": float(read.n_events[k].mean()),
         "mean_time_s": float(read.time_us[k].mean() * 1e-6)}
        for k, accuracy in enumerate(fixed_accuracy(votes, labels))
    ]  # fmt: skip
    return {
        "policy": policy.to_dict(),
        "threshold": policy.confidence.threshold if isinstance(policy, EventExitPolicy) else None,
        "accuracy": float(correct[steps - 1, samples].mean()), "mean_timesteps": float(steps.mean()),
        "mean_events": float(read.n_events[steps - 1, samples].mean()),
        "mean_time_s": float(read.time_us[steps - 1, samples].mean() * 1e-6),
        "histogram": np.bincount(steps, minlength=read.n_windows + 1)[1:].tolist(), "exit_steps": steps.tolist(),
        "oracle": oracle_outcome(correct), "synops_share": share,
        "full": {**every[-1], "mean_timesteps": float(read.last.mean())}, "fixed": every,
    }  # fmt: skip


def _check(votes: FloatArray, read: Windows) -> None:
    if votes.ndim != 3 or votes.shape[:2] != read.n_events.shape:
        raise UsageError(f"votes of shape {votes.shape}", where="early exit",
                         limit="[{}, {}, classes] for these windows and samples".format(*read.n_events.shape))
