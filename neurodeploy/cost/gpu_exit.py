"""What early exit saves on a GPU, from how many samples leave at each timestep.

Samples of a batch are taken to leave independently. With F(t) the share that has left by timestep t and N the batch:

    stopping:   the batch runs until its slowest member, E[steps] = sum over t of 1 - F(t-1)^N
    compacted:  timestep t runs on those still there, B_t ~ Binomial(N, 1 - F(t-1)), and on nothing where B_t = 0

Compaction shrinks operations and activations; launches and weights stay. Early exit needs the step form, whose weights are
read and whose kernels are launched anew each timestep: so both stand beside all timesteps in that form and in the unrolled
one. Deciding and picking out the survivors' states are left out. At batch 1 stopping and compacting are one. Where steps are
known beforehand (SEENN-II), samples of equal steps share a batch that runs just so long:

    grouped:    timestep t runs on a whole batch or on none, E[batches] = 1 - F(t-1) of all
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma
from typing import Any

import numpy as np

from neurodeploy.cost.band import Band
from neurodeploy.cost.gpu_cost import asked_precision, band, check_asked, gpu_cost
from neurodeploy.cost.gpu_energy import energies, sum_of
from neurodeploy.cost.gpu_time import FloatArray, layer_runs
from neurodeploy.cost.gpu_work import LayerWork
from neurodeploy.errors import UsageError
from neurodeploy.hw.gpu_profile import GpuProfile, Precision


@dataclass(frozen=True)
class ExitCost:
    """Expected energy of a sample, expected time of its batch, and timesteps that the batch runs."""

    energy_j: Band
    energy_dynamic_j: Band
    latency_s: Band
    n_timesteps: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "energy_j": self.energy_j.to_dict(), "energy_dynamic_j": self.energy_dynamic_j.to_dict(),
            "latency_s": self.latency_s.nominal, "latency_band_s": self.latency_s.to_dict(), "n_timesteps": self.n_timesteps,
        }


@dataclass(frozen=True)
class GpuExitCosts:
    """A batch that leaves early, in both ways, beside one that runs all timesteps in both forms.

    mean_timesteps: of a sample, what early exit would save were it alone.
    """

    target: str
    precision: Precision
    batch: int
    mean_timesteps: float
    stopping: ExitCost
    compacted: ExitCost
    all_step: ExitCost
    all_unrolled: ExitCost
    grouped: ExitCost | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        costs = ("stopping", "compacted", "all_step", "all_unrolled")
        return {
            "target": self.target, "precision": self.precision, "batch": self.batch, "mean_timesteps": self.mean_timesteps,
            **{name: getattr(self, name).to_dict() for name in costs},
            **({} if self.grouped is None else {"grouped": self.grouped.to_dict()}),
        }


def exit_costs(
    work: Sequence[LayerWork], profile: GpuProfile, histogram: Sequence[int], *, batch: int = 1,
    precision: Precision | None = None, grouped: bool = False,
) -> GpuExitCosts:
    """Costs of batches drawn from samples of which `histogram[t - 1]` leave at timestep t; `grouped`: also of batches sorted by
    it, which needs steps that are known beforehand.

    Raises UsageError as `gpu_cost`, and for a histogram without samples.
    """
    left = np.asarray(histogram, dtype=np.float64)
    if left.ndim != 1 or not left.size or left.min() < 0 or not left.sum() > 0:
        raise UsageError(f"histogram {list(histogram)}", where="early exit",
                         limit="A number of samples for each timestep, not all of them 0")
    n_timesteps = len(left)
    check_asked(work, n_timesteps, batch, "step")
    chosen = asked_precision(profile, precision)
    share = left / left.sum()
    gone = np.concatenate([[0.0], np.cumsum(share)[:-1]])  # F(t - 1) for t = 1..T
    runs = layer_runs(work, profile, n_timesteps, np.arange(1, batch + 1), chosen, "step")
    energy = energies(runs, profile, chosen)
    of_all = (energy.total, energy.dynamic, sum_of([r.time_s for r in runs]))  # [3, N]
    steps = [a / n_timesteps for a in of_all]
    slowest = 1.0 - gone**batch
    whole = np.zeros((n_timesteps, batch))
    whole[:, -1] = slowest  # the whole batch runs, or nothing
    sorted_by = np.zeros_like(whole)
    sorted_by[:, -1] = 1.0 - gone
    return GpuExitCosts(
        target=profile.name, precision=chosen, batch=batch, mean_timesteps=float(np.sum(1.0 - gone)),
        stopping=_expected(steps, whole, batch, float(slowest.sum())),
        compacted=_expected(steps, np.stack([_survivors(batch, 1.0 - f) for f in gone]), batch, float(slowest.sum())),
        all_step=_all(work, profile, n_timesteps, batch, chosen, "step"),
        all_unrolled=_all(work, profile, n_timesteps, batch, chosen, "unrolled"),
        grouped=_expected(steps, sorted_by, batch, float(np.sum(1.0 - gone))) if grouped else None,
    )  # fmt: skip


def _survivors(n: int, share: float) -> FloatArray:
    """P(b of n samples are still there) for b = 1..n."""
    if share >= 1.0:
        return np.asarray(np.eye(n)[-1])
    if share <= 0.0:
        return np.zeros(n)
    b = np.arange(1, n + 1)
    ways = np.array([lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) for k in b])
    return np.asarray(np.exp(ways + b * np.log(share) + (n - b) * np.log1p(-share)))


def _expected(steps: Sequence[FloatArray], probability: FloatArray, batch: int, n_timesteps: float) -> ExitCost:
    """Costs of one timestep for every batch size, weighted with the probability [T, N] of each size at each timestep."""
    energy, dynamic, time = (cost @ probability.sum(axis=0)[:, None] for cost in steps)
    return ExitCost(band(energy, batch), band(dynamic, batch), band(time), n_timesteps)


def _all(
    work: Sequence[LayerWork], profile: GpuProfile, n_timesteps: int, batch: int, precision: Precision, form: Any
) -> ExitCost:
    cost = gpu_cost(work, profile, n_timesteps, batch=batch, precision=precision, form=form)
    return ExitCost(cost.energy_j, cost.energy_dynamic_j, cost.latency_s, float(n_timesteps))
