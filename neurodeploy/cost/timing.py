"""How long each timestep takes: the busiest core decides, on its sending or its receiving side, down to a floor.

time of a step = max(step_floor, max over cores of send, max over cores of receive)
send    = updates x update time + packets sent x spike time          receive = synops x synapse time
The simple form that SANA-FE reproduces boards with (Boyle et al., TCAD 2025): both sides of a core overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.band import Band
from neurodeploy.cost.counts import Counts
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import Profile

# count -> entry of the profile's time table
SEND = {"n_updates_active": "update_active", "n_updates_inactive": "update_inactive", "n_packets_out": "spike"}
RECEIVE = {"n_synops": "synapse"}
FLOOR = "step_floor"
TIME_ENTRIES = (*SEND.values(), *RECEIVE.values(), FLOOR)


@dataclass(frozen=True, eq=False)
class Timing:
    """Times of a batch of samples. `send_s`, `receive_s`: nominal [n_cores], summed over steps, mean of the samples.

    `total_s` is the mean time of all steps, `steps_s` its nominal parts [n_steps]; `share_send`, `share_receive`
    [n_cores] are the shares of steps whose length that side of that core sets (the floor sets the rest).
    """

    total_s: Band
    steps_s: NDArray[np.float64]
    send_s: NDArray[np.float64]
    receive_s: NDArray[np.float64]
    share_send: NDArray[np.float64]
    share_receive: NDArray[np.float64]


def time_steps(counts: Counts, profile: Profile) -> Timing:
    """Timing of all steps of the counts, cores in mapping order. Raises UsageError where the profile lacks a time."""
    missing = [name for name in TIME_ENTRIES if name not in profile.time]
    if missing:
        raise UsageError(
            f"no time for {', '.join(missing)}", where=f"profile {profile.name}",
            remedy="Add the entries under [time], see hw_profiles/_template.toml",
        )
    totals = []
    for i in range(3):
        send, receive = _load(counts, SEND, profile, i), _load(counts, RECEIVE, profile, i)
        floor = profile.time[FLOOR].si[i]
        steps = np.maximum(np.maximum(send.max(axis=-1), receive.max(axis=-1)), floor)
        if counts.n_steps_run is not None:  # a sample that has stopped takes no time, not even the floor
            steps = steps * (np.arange(counts.n_steps)[:, None] < counts.n_steps_run)
        totals.append(float(steps.sum(axis=0).mean()))
        if i == 1:
            nominal = (send, receive, steps, steps > floor)
    send, receive, steps, above = nominal
    both = np.concatenate([send, receive], axis=-1)
    limiting = np.zeros(both.shape[-1])
    np.add.at(limiting, both.argmax(axis=-1)[above], 1.0 / above.size)
    n = send.shape[-1]
    return Timing(
        total_s=Band(*totals), steps_s=steps.mean(axis=1), send_s=send.sum(axis=0).mean(axis=0),
        receive_s=receive.sum(axis=0).mean(axis=0), share_send=limiting[:n], share_receive=limiting[n:],
    )


def _load(counts: Counts, entries: dict[str, str], profile: Profile, i: int) -> NDArray[np.float64]:
    """Seconds of work per core, [n_steps, B, n_cores], at the low (0), nominal (1) or high (2) constants."""
    parts = []
    for layer in counts.layers.values():
        if not layer.is_input:  # an input has no core that could be busy
            terms: list[Any] = [getattr(layer, key) * profile.time[entry].si[i] for key, entry in entries.items()]
            parts.append(sum(terms[1:], terms[0]))
    return np.concatenate(parts, axis=-1)
