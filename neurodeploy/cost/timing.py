"""How long each timestep takes: the busiest core decides, on its sending or its receiving side, down to a floor.

time of a step = max(step_floor, max over cores of send, max over cores of receive) + synchronisation
send    = updates x update time + packets sent x spike time          receive = synops x synapse time (+ packets x axon in)
The simple form that SANA-FE reproduces boards with (Boyle et al., TCAD 2025): both sides of a core overlap. A core's work is
that of all layers on it, and of inputs that sit on it. `events` says which entries of a profile the times are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.band import Band
from neurodeploy.cost.counts import Counts, LayerCounts
from neurodeploy.cost.events import FLOOR, Charge, Prices
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import Profile


@dataclass(frozen=True, eq=False)
class Timing:
    """Times of a batch of samples. `send_s`, `receive_s`: nominal [n_cores], summed over steps, mean of the samples.

    `total_s` is the mean time of all steps, `steps_s` its nominal parts [n_steps]; `share_send`, `share_receive`
    [n_cores] are the shares of steps whose length that side of that core sets (the floor sets the rest); a synchronisation
    is in total_s and steps_s, and nobody's share.
    """

    total_s: Band
    steps_s: NDArray[np.float64]
    send_s: NDArray[np.float64]
    receive_s: NDArray[np.float64]
    share_send: NDArray[np.float64]
    share_receive: NDArray[np.float64]


def time_steps(counts: Counts, profile: Profile, prices: Prices | None = None) -> Timing:
    """Timing of all steps of the counts, cores in mapping order. Raises UsageError where the profile lacks a time."""
    prices = Prices(profile, counts) if prices is None else prices
    check_times(prices)
    floors, syncs = around_steps(profile, prices.n_tiles)
    totals = []
    for i in range(3):
        send, receive = _load(counts, prices.send, i), _load(counts, prices.receive, i)
        floor = floors[i]
        busy = np.maximum(np.maximum(send.max(axis=-1), receive.max(axis=-1)), floor)
        steps = busy + syncs[i]
        if counts.n_steps_run is not None:  # a sample that has stopped takes no time, not even the floor
            steps = steps * (np.arange(counts.n_steps)[:, None] < counts.n_steps_run)
        totals.append(float(steps.sum(axis=0).mean()))
        if i == 1:
            nominal = (send, receive, steps, busy > floor)
    send, receive, steps, above = nominal
    both = np.concatenate([send, receive], axis=-1)
    limiting = np.zeros(both.shape[-1])
    np.add.at(limiting, both.argmax(axis=-1)[above], 1.0 / above.size)
    n = send.shape[-1]
    return Timing(
        total_s=Band(*totals), steps_s=steps.mean(axis=1), send_s=send.sum(axis=0).mean(axis=0),
        receive_s=receive.sum(axis=0).mean(axis=0), share_send=limiting[:n], share_receive=limiting[n:],
    )


def check_times(prices: Prices) -> None:
    """Raise UsageError where the profile lacks a time that a latency rests on."""
    missing = [name for name in prices.times() if name not in prices.profile.time]
    if missing:
        raise UsageError(
            f"no time for {', '.join(missing)}", where=f"profile {prices.profile.name}",
            remedy="Add the entries under [time], see hw_profiles/_template.toml",
        )


def around_steps(profile: Profile, n_tiles: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(floor of a step, synchronisation added to it) in seconds, low, nominal and high each."""
    sync = profile.sync_of(n_tiles)
    return profile.time[FLOOR].si if FLOOR in profile.time else (0.0,) * 3, sync[1].si if sync is not None else (0.0,) * 3


def _load(counts: Counts, side: Callable[[LayerCounts], list[Charge]], i: int) -> NDArray[np.float64]:
    """Seconds of work per core, [n_steps, B, n_cores], at the low (0), nominal (1) or high (2) constants."""
    work = np.zeros((counts.n_steps, counts.batch, len(counts.mapping.cores)))
    for layer in counts.layers.values():
        terms = [count * quantity.si[i] for count, quantity in side(layer)]
        if layer.columns is not None and terms:  # an input that sits on no core keeps none busy
            work[..., layer.columns] += sum(terms[1:], terms[0])
    return work
