"""Energy of work on a GPU, one term a line.

    compute = operations * max(0, e_op - e_byte * width * values_per_op)     net of the memory that e_op contains
    memory  = bytes * e_byte
    launch  = P_launch * time that waits for launches
    idle    = P_idle * time

`energy.op_<precision>` is all-in, of work that moves `factors.values_per_op` values an operation (docs/gpu.md). What the
bytes take of it the operations lack: compute and memory together have a narrower band than each, and `dynamic` has that
of their sum. A term whose entry the profile lacks is None, "not available"; without `energy.byte` compute stays all-in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neurodeploy.cost.gpu_time import FloatArray, LayerRun
from neurodeploy.hw.gpu_profile import VALUE_BYTES, GpuProfile, Precision

Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Energies:
    """Joule [3, n] of a whole batch at the low, nominal and high end, for n batch sizes; None where not available.

    dynamic: compute and memory at ends that belong together, and launch.
    """

    compute: FloatArray | None
    memory: FloatArray | None
    launch: FloatArray | None
    idle: FloatArray | None
    dynamic: FloatArray
    total: FloatArray


def energies(runs: Sequence[LayerRun], profile: GpuProfile, precision: Precision, idle_s: FloatArray | None = None) -> Energies:
    """Energy of these runs; idle power runs for `idle_s` [3, n], their own time unless given."""
    ops, moved = sum_of([r.n_ops for r in runs]), sum_of([r.n_bytes for r in runs])
    time, waiting = sum_of([r.time_s for r in runs]), sum_of([r.waiting_s for r in runs])
    op, byte = (profile.energy.get(name) for name in (f"op_{precision}", "byte"))
    contained = VALUE_BYTES[precision] * profile.factors["values_per_op"].si[1]
    launch = _power(profile, "launch", waiting)
    idle = _power(profile, "idle", time if idle_s is None else idle_s)
    if op is None or byte is None:
        compute = None if op is None else np.stack([ops * e for e in op.si])
        memory = None if byte is None else np.stack([moved * e for e in byte.si])
        both = _added(compute, memory, like=time)
    else:
        compute = np.stack([ops * max(0.0, e - contained * b) for e, b in zip(op.si, byte.si[::-1], strict=True)])
        memory = np.stack([moved * e for e in byte.si])
        both = _together(ops, moved, op.si, byte.si, contained)
    dynamic = _added(both, launch, like=time)
    return Energies(compute, memory, launch, idle, dynamic, _added(dynamic, idle, like=time))


def _together(ops: FloatArray, moved: FloatArray, op: Triple, byte: Triple, contained: float) -> FloatArray:
    """Compute and memory for one energy per byte at a time: convex in it, so its ends and its kink decide."""

    def at(e: float, b: float) -> FloatArray:
        return ops * max(0.0, e - contained * b) + moved * b

    def all_of(e: float) -> FloatArray:
        kink = e / contained if contained else byte[0]
        return np.stack([at(e, min(max(b, byte[0]), byte[2])) for b in (*byte, kink)])

    return np.stack([all_of(op[0]).min(axis=0), at(op[1], byte[1]), all_of(op[2]).max(axis=0)])


def _power(profile: GpuProfile, name: str, seconds: FloatArray) -> FloatArray | None:
    power = profile.power.get(name)
    return None if power is None else np.asarray(power.si)[:, None] * seconds


def _added(*terms: FloatArray | None, like: FloatArray) -> FloatArray:
    return sum_of([t for t in terms if t is not None]) if any(t is not None for t in terms) else np.zeros_like(like)


def sum_of(arrays: Sequence[FloatArray]) -> FloatArray:
    """Sum of at least one array of one shape."""
    return np.asarray(np.sum(np.stack(list(arrays)), axis=0), dtype=np.float64)
