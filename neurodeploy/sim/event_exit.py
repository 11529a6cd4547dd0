"""Early exit on the event-driven simulator: what samples cost that really stop at their decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.early_exit.event_windows import (
    EventExitPolicy,
    PlannedExit,
    Readings,
    Windows,
    exit_report,
    exit_windows,
    n_events_at,
    planned_windows,
    windows,
)
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim.event_runs import EventRuns, FloatArray, IntArray, run_streams
from neurodeploy.sim.events_trace import Order


@dataclass(frozen=True, eq=False)
class ExitRuns:
    """`report`: see `exit_report`; `stopped`: the runs of the samples, each up to its decision."""

    report: dict[str, Any]
    stopped: EventRuns


def read_votes(runs: EventRuns, streams: Sequence[Array], policy: Readings) -> tuple[FloatArray, Windows]:
    """(votes [K, N, C], windows) of finished runs of these streams, to choose thresholds by and for `exit_report`."""
    if len(streams) != runs.n_samples:
        raise UsageError(f"{len(streams)} streams for {runs.n_samples} runs", where="early exit", limit="Those of the runs")
    read = windows(policy, [np.asarray(stream)[:, 0] for stream in streams], runs.duration_us)
    return runs.votes(read.edges, policy.by), read


def run_until_exit(
    net: IntGraph, streams: Sequence[Array], labels: IntArray, policy: EventExitPolicy | PlannedExit, runs: EventRuns, *,
    steps: IntArray | None = None, order: Order = "depth", tick_interval_us: int | None = None, progress: Progress = SILENT,
) -> ExitRuns:
    """Run each stream again up to the decision of `policy` on its whole run, one of `runs`, or where windows `steps` [N] are
    known beforehand up to those.

    The share of synops is exact, since what a sample does until then does not depend on what would come later. order and
    tick_interval_us must be those of `runs`. Raises UsageError for runs of other streams.
    """
    votes, read = read_votes(runs, streams, policy)
    if steps is not None:
        steps = planned_windows(steps, read)
    elif isinstance(policy, EventExitPolicy):
        steps = exit_windows(votes, policy, read)
    else:
        raise UsageError("a policy that does not look at votes", where="early exit", limit="Its steps are needed")
    stops = n_events_at(steps, read).tolist()
    stopped = run_streams(
        net, streams, duration_us=runs.duration_us, order=order, window_us=runs.window_us, stop=stops,
        tick_interval_us=tick_interval_us, progress=progress,
    )
    at_exit, in_full = (np.sum(list(r.n_synops.values()), axis=0) for r in (stopped, runs))
    report = exit_report(votes, labels, policy, read, steps, synops_at_exit=at_exit, synops_in_full=in_full)
    return ExitRuns(report, stopped)
