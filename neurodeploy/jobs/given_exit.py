"""What a bundle's policy of SEENN-II says of the samples that a user gives to `simulate`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.event_dataset import rasterize
from neurodeploy.early_exit.event_windows import PlannedExit
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.errors import NeurodeployWarning
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array
from neurodeploy.jobs.opened import Opened
from neurodeploy.validate.event_bundle import EventBundle
from neurodeploy.validate.gpu_bundle import GpuBundle


def steps_of_images(opened: Opened, graph: Graph, x: NDArray[Any]) -> list[int] | None:
    """How long each sample of an input x [T, B, *input shape] shall run, where the bundle has a policy and the input is the
    image that it sees, the same in every timestep; None without one. Warns (`policy_not_asked`) where it cannot be asked."""
    policy = opened.bundle.policy if isinstance(opened.bundle, GpuBundle) else opened.policy
    if not isinstance(policy, PlannedPolicy):
        return None
    entry = graph.inputs[0]
    shows = entry.kind != "spikes" and graph.host is None and x.shape[2:] == policy.network.shape and bool((x == x[:1]).all())
    if policy.sees != "image" or not shows:
        _not_asked(opened, "the input is not the image that it sees")
        return None
    return [int(n) for n in policy.steps((x[0] / entry.value_scale).astype(np.float32))]


def steps_of_events(opened: Opened, streams: Sequence[Array], duration_us: int) -> list[int] | None:
    """The same in readings of the vote, for streams of events and a policy that sees those of the first reading."""
    exit_ = opened.bundle.policy if isinstance(opened.bundle, EventBundle) else None
    if not isinstance(exit_, PlannedExit):
        return None
    if exit_.planned.sees != "events":
        _not_asked(opened, "it sees the image in front of the camera, which no stream of events holds")
        return None
    first = tuple(np.asarray(exit_.first(stream), dtype=np.int64) for stream in streams)
    views = rasterize(first, exit_.planned.network.shape, duration_us, 1)[:, 0].astype(np.float32)
    return [int(n) for n in exit_.planned.steps(views)]


def _not_asked(opened: Opened, why: str) -> None:
    warnings.warn(NeurodeployWarning(
        f"the bundle's early-exit policy was not asked: {why}", code="policy_not_asked", where=str(opened.path),
        remedy="The recording is of all timesteps either way",
    ), stacklevel=3)
