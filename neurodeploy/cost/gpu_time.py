"""How long each layer takes on a GPU, and what it moves: a roofline a kernel, beside the launches that it cannot hide.

    busy = max(operations / (eta * peak * share), bytes / bandwidth)      of a layer's kernels at one call
    time = max(busy + kernels * gap, kernels * launch / fusion),   waiting = time - busy

The host issues a launch while the kernel before it runs: it is hidden as far as that kernel takes longer, so a kernel takes
the longer of a launch and its own work with the gap to the next; the very first launch, which nothing hides, is left out.
`share` is that of the multiprocessors that have a tile of outputs to do: 5 tiles on 4 of them take two rounds, 5/8. The
unrolled form calls a layer once for all timesteps, except what has to go step after step (`LayerWork.each_step`); the step
form, which early exit needs, calls each once a timestep.

Bytes: the values of one call pass through the memory unless all of them fit into the cache together. Weights are read once a
call, or once a batch where the whole network's stay in the cache. The intermediate values of a neuron's elementwise kernels are
taken to stay in the cache. Everything takes an array of batch sizes, because early exit asks for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.gpu_work import Kind, LayerWork
from neurodeploy.hw.gpu_profile import VALUE_BYTES, GpuProfile, Precision

Form = Literal["unrolled", "step"]
Bound = Literal["launch", "compute", "memory"]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LayerRun:
    """An entry of work over one inference of a batch, for n batch sizes: times [3, n] are those at the fast, nominal and slow
    end of the profile's bands, operations and bytes [n]."""

    name: str
    kind: Kind
    n_kernels: int
    n_macs: FloatArray
    n_ops: FloatArray
    n_bytes: FloatArray
    time_s: FloatArray
    waiting_s: FloatArray
    compute_bound: bool

    @property
    def bound(self) -> Bound:
        """What sets its time at nominal constants and the first batch size."""
        if self.waiting_s[1, 0] * 2 >= self.time_s[1, 0]:
            return "launch"
        return "compute" if self.compute_bound else "memory"


def layer_runs(
    work: Sequence[LayerWork], profile: GpuProfile, n_timesteps: int, batches: NDArray[Any], precision: Precision, form: Form
) -> tuple[LayerRun, ...]:
    """Every entry of work, run for `n_timesteps` on each of the batch sizes."""
    width, cache = VALUE_BYTES[precision], profile.capacity.cache.si[1]
    weights_stay = width * sum(w.n_weights for w in work) <= cache
    batch = np.asarray(batches, dtype=np.float64)
    return tuple(_run(w, profile, n_timesteps, batch, precision, form, weights_stay) for w in work)


def _run(
    work: LayerWork, profile: GpuProfile, n_timesteps: int, batch: FloatArray, precision: Precision, form: Form,
    weights_stay: bool,
) -> LayerRun:
    merged = form == "unrolled" and not work.each_step
    calls, rows = (1, batch * n_timesteps) if merged else (n_timesteps, batch)
    width, cache = VALUE_BYTES[precision], profile.capacity.cache.si[1]
    values = width * rows * (work.n_read + work.n_written + 2 * work.n_state)
    weights = width * work.n_weights / (calls if weights_stay else 1)
    n_bytes, n_ops = weights + np.where(values <= cache, 0.0, values), work.n_ops * rows
    peak, eta, bandwidth = profile.rates[precision].si, profile.factors[f"eta_{precision}"].si, profile.rates["bandwidth"].si
    launch, gap, fusion = profile.time["launch"].si, profile.time["gap"].si, profile.factors["fusion"].si
    shares = _shares(rows * work.n_written, profile)
    n_once = work.n_once if form == "unrolled" else 0
    time, waiting, bound = [], [], False
    for side in (0, 1, 2):  # fast, nominal, slow: of rates the other end
        compute = n_ops / (eta[2 - side] * peak[2 - side] * shares[side])
        memory = n_bytes / bandwidth[2 - side]
        busy, one = np.maximum(compute, memory), launch[side] / fusion[2 - side]
        call = np.maximum(busy + work.n_kernels * gap[side], work.n_kernels * one)
        time.append(calls * call + n_once * one)
        waiting.append(calls * (call - busy) + n_once * one)
        bound = bool(compute[0] >= memory[0]) if side == 1 else bound
    return LayerRun(
        work.name, work.kind, work.n_kernels * calls + n_once, n_timesteps * work.n_macs * batch, calls * n_ops,
        calls * n_bytes, np.stack(time), np.stack(waiting), bound,
    )


def _shares(outputs: FloatArray, profile: GpuProfile) -> FloatArray:
    """Share [3, n] of the multiprocessors that work: the best of all tile sizes in the band, the nominal one's, the worst."""
    n_multiprocessors = profile.capacity.multiprocessors.count
    found = []
    for tile in profile.factors["tile"].si:
        tiles = np.maximum(np.ceil(outputs / tile), 1.0)
        found.append(tiles / (np.ceil(tiles / n_multiprocessors) * n_multiprocessors))
    return np.stack([np.max(found, axis=0), found[1], np.min(found, axis=0)])
