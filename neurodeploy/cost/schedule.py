"""How samples follow each other on the chip, and hence which steps of each layer belong to one sample.

single:     one sample alone, from its first input to its last output; everything in between counts.
pipelined:  a sample every T steps; a layer works on it in its own window [latency, latency + T), while the layers before
            and behind it work on its neighbours. Each step's load is taken from one sample, as if its neighbours were alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from neurodeploy.cost.counts import Activity, Array, Counts, Traffic
from neurodeploy.errors import NeurodeployError, UsageError

Schedule = Literal["single", "pipelined"]


def apply_schedule(counts: Counts, schedule: Schedule) -> Counts:
    """Counts of one sample's steps: all of them, or the T steps in which a full pipeline works on it.

    Raises UsageError for an unknown schedule, a trace that ends before the last window or samples that stopped early,
    NeurodeployError for a network whose layers have no window (recurrent or unbalanced).
    """
    if schedule == "single":
        return counts
    if schedule != "pipelined":
        raise UsageError(f"unknown schedule {schedule!r}", limit="Known: single, pipelined")
    if counts.n_steps_run is not None:
        raise UsageError(
            "samples that stopped early leave no full pipeline", where="cost", remedy="Use schedule = 'single' for early exit"
        )
    latencies, T = counts.latencies, counts.n_timesteps
    if latencies is None:
        raise NeurodeployError(
            "a recurrent or unbalanced network has no pipeline", code="unbalanced", remedy="Use schedule = 'single'"
        )
    needed = T + max(latencies[name] for name in counts.activity)
    if counts.n_steps < needed:
        raise UsageError(f"counted {counts.n_steps} steps", limit=f"A pipeline needs all {needed}", remedy="Simulate them all")

    def window(values: Array, latency: int) -> Array:
        # Row p holds what happens in chip steps congruent to p: in a full pipeline they coincide.
        return values[latency + (np.arange(T) - latency) % T]

    activity = {
        name: Activity(*(window(a, latencies[name]) for a in (act.n_updates_active, act.n_updates_inactive, act.n_spikes)))
        for name, act in counts.activity.items()
    }
    traffic = tuple(
        Traffic(t.source, t.synapse, t.kind, t.target, *(
            window(a, latencies[t.source])
            for a in (t.n_synops, t.n_packets_in, t.n_packets_out, t.n_hops_ew, t.n_hops_ns)
        ))
        for t in counts.traffic
    )
    return replace(counts, n_steps=T, activity=activity, traffic=traffic)
