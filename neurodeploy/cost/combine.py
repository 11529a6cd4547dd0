"""Counts of several batches as one, and counts that end where samples stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.counts import Activity, Array, Counts, Traffic
from neurodeploy.errors import UsageError


def concatenate(parts: Sequence[Counts]) -> Counts:
    """Counts of all samples of several batches of one network on one placement."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return replace(
        _map(lambda *arrays: np.concatenate(arrays, axis=1), *parts), batch=sum(p.batch for p in parts),
        n_steps_run=None if all(p.n_steps_run is None for p in parts) else np.concatenate([_steps_run(p) for p in parts]),
    )


def until(counts: Counts, n_steps: NDArray[np.int64]) -> Counts:
    """Counts of samples that each ran only their first `n_steps` [B] chip timesteps: later steps cost nothing.

    Raises UsageError where the steps do not match the counts.
    """
    n_steps = np.asarray(n_steps)
    if n_steps.shape != (counts.batch,) or n_steps.min() < 1 or n_steps.max() > counts.n_steps:
        raise UsageError(
            f"steps of shape {n_steps.shape}, {n_steps.min()} to {n_steps.max()}",
            limit=f"Expected [{counts.batch}] within 1 to {counts.n_steps}",
        )
    running = np.arange(counts.n_steps)[:, None] < n_steps
    return replace(
        _map(lambda a: a * running[..., None].astype(a.dtype), counts), n_steps_run=np.minimum(n_steps, _steps_run(counts))
    )


def _steps_run(counts: Counts) -> NDArray[np.int64]:
    return np.full(counts.batch, counts.n_steps) if counts.n_steps_run is None else counts.n_steps_run


def _map(function: Callable[..., Array], *parts: Counts) -> Counts:
    """The first of the counts with `function` applied to corresponding arrays [T', B, cores] of all of them."""

    def merged(values: Sequence[Any]) -> Any:
        changed = {
            f.name: function(*(getattr(v, f.name) for v in values))
            for f in fields(values[0])
            if isinstance(getattr(values[0], f.name), np.ndarray)
        }
        return replace(values[0], **changed)

    activity: dict[str, Activity] = {name: merged([p.activity[name] for p in parts]) for name in parts[0].activity}
    traffic: tuple[Traffic, ...] = tuple(merged(same) for same in zip(*(p.traffic for p in parts), strict=True))
    return replace(parts[0], activity=activity, traffic=traffic)
