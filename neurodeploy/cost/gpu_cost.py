"""Energy and latency of a network on a GPU, in closed form from its shapes (`gpu_time`, `gpu_energy`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from neurodeploy.cost.band import Band
from neurodeploy.cost.gpu_energy import Energies, energies, sum_of
from neurodeploy.cost.gpu_time import Bound, FloatArray, Form, LayerRun, layer_runs
from neurodeploy.cost.gpu_work import LayerWork
from neurodeploy.errors import UsageError
from neurodeploy.hw.gpu_profile import GpuProfile, Precision
from neurodeploy.hw.quantity import Quantity, Status, weakest


@dataclass(frozen=True)
class GpuLayerCost:
    """A layer's part of one inference: counts and dynamic energy per sample, kernels and nominal time of the whole batch."""

    name: str
    n_kernels: int
    counts: dict[str, float]
    time_s: float
    bound: Bound
    energy_dynamic_j: Band
    breakdown_j: dict[str, Band | None]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name, "is_input": False, "n_kernels": self.n_kernels, "counts": dict(self.counts),
            "time_s": self.time_s, "bound": self.bound, "energy_dynamic_j": self.energy_dynamic_j.to_dict(),
            "breakdown_j": _plain(self.breakdown_j),
        }


@dataclass(frozen=True)
class GpuCost:
    """Cost of one inference of a batch: energies in joule and counts per sample, `latency_s` of the whole batch.

    `breakdown_j` maps compute, memory, launch and idle to their bands, None where not available. Bands of compute and memory
    exclude each other's ends, so `energy_j` is narrower than their sum; nominal values add up. `interval_s` is the time
    from one sample to the next, for which idle power runs. `edp_js` is energy_j x latency_s. counts: `launches` are the
    whole batch's.
    """

    target: str
    precision: Precision
    batch: int
    form: Form
    n_timesteps: int
    boundary: str
    energy_j: Band
    energy_dynamic_j: Band
    breakdown_j: dict[str, Band | None]
    latency_s: Band
    interval_s: Band
    edp_js: Band
    counts: dict[str, float | None]
    layers: tuple[GpuLayerCost, ...]
    limiting: dict[str, float]
    status: Status
    breakdown_status: dict[str, Status | None]
    excluded: tuple[str, ...]
    provenance: dict[str, dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the contract's names; `latency_s` and `edp_js` are nominal, their bands stand beside.
        `limiting` has the shares of the time by what sets it. A GPU has no cores to list."""
        return {
            "target": self.target,
            "schedule": "single" if self.batch == 1 else "batch",
            "n_cores": None,
            "n_chips": 1,
            "precision": self.precision,
            "batch": self.batch,
            "form": self.form,
            "n_timesteps": self.n_timesteps,
            "boundary": self.boundary,
            "energy_j": self.energy_j.to_dict(),
            "energy_dynamic_j": self.energy_dynamic_j.to_dict(),
            "breakdown_j": _plain(self.breakdown_j),
            "latency_s": self.latency_s.nominal,
            "latency_band_s": self.latency_s.to_dict(),
            "interval_s": self.interval_s.nominal,
            "edp_js": self.edp_js.nominal,
            "edp_band_js": self.edp_js.to_dict(),
            "counts": dict(self.counts),
            "layers": [layer.to_dict() for layer in self.layers],
            "cores": [],
            "limiting": dict(self.limiting),
            "status": self.status,
            "breakdown_status": dict(self.breakdown_status),
            "excluded": list(self.excluded),
            "provenance": {name: dict(entry) for name, entry in self.provenance.items()},
            "exact_counts": True,
        }


def gpu_cost(
    work: Sequence[LayerWork], profile: GpuProfile, n_timesteps: int, *, batch: int = 1, precision: Precision | None = None,
    form: Form = "unrolled", interval_s: float | None = None,
) -> GpuCost:
    """Cost of one inference of `batch` samples over `n_timesteps`, in the profile's first precision unless asked.

    interval_s: the time from one sample to the next, for which idle power runs; the batch's own time over its samples unless
    given. Raises UsageError for a precision the profile lacks, no work, and an interval shorter than that.
    """
    chosen = asked_precision(profile, precision)
    check_asked(work, n_timesteps, batch, form)
    runs = layer_runs(work, profile, n_timesteps, np.array([batch]), chosen, form)
    time = sum_of([r.time_s for r in runs])
    idle_s = None if interval_s is None else _held(interval_s, time[1, 0] / batch) * batch * np.ones_like(time)
    found = energies(runs, profile, chosen, idle_s)
    energy, latency = band(found.total, batch), band(time)
    used = _used(profile, chosen)
    breakdown = _breakdown(found, batch)
    return GpuCost(
        target=profile.name, precision=chosen, batch=batch, form=form, n_timesteps=n_timesteps, boundary=profile.boundary,
        energy_j=energy, energy_dynamic_j=band(found.dynamic, batch), breakdown_j=breakdown, latency_s=latency,
        interval_s=band(time if idle_s is None else idle_s, batch), edp_js=energy.times(latency),
        counts={
            "synops": None, "neuron_updates": float(sum(w.n_state for w in work) * n_timesteps), "spikes": None,
            "messages": None, "hops": None, **_counts(runs, batch), "launches": float(sum(r.n_kernels for r in runs)),
        },
        layers=tuple(_layer(name, profile, chosen, batch, runs) for name in dict.fromkeys(r.name for r in runs)),
        limiting=_shares_of_time(runs), status=weakest([q.status for q in used.values()]),
        breakdown_status={
            term: None if breakdown[term] is None else weakest([used[n].status for n in names if n in used])
            for term, names in _behind(chosen).items()
        },
        excluded=_excluded(profile, breakdown), provenance={name: q.model_dump() for name, q in used.items()},
    )  # fmt: skip


def asked_precision(profile: GpuProfile, precision: Precision | None) -> Precision:
    """The precision asked for, else the profile's first; UsageError where the profile has no numbers for it."""
    known = profile.arithmetic.precisions
    if precision is not None and precision not in known:
        raise UsageError(f"precision {precision!r}", where=profile.name, limit=f"It has numbers for {', '.join(known)}",
                         remedy="Ask for one of them, or add rates, energy and eta to a profile of your own")
    return precision or known[0]


def check_asked(work: Sequence[LayerWork], n_timesteps: int, batch: int, form: Form) -> None:
    """Raise UsageError for work, timesteps, a batch or a form that no inference has."""
    if not work or n_timesteps < 1 or batch < 1:
        asked = f"{len(work)} layers, {n_timesteps} timesteps, batch {batch}"
        raise UsageError(asked, where="gpu", limit="At least one of each")
    if form not in get_args(Form):
        raise UsageError(f"form {form!r}", where="gpu", limit=f"Known: {', '.join(get_args(Form))}")


def band(triple: FloatArray, batch: int = 1) -> Band:
    """[3, 1] of a batch as the band of one sample."""
    low, nominal, high = (float(x) / batch for x in triple[:, 0])
    return Band(low, nominal, high)


def _held(interval_s: float, least: float) -> float:
    if not least <= interval_s < math.inf:
        raise UsageError(f"interval_s is {interval_s}", where="gpu", limit=f"At least the {least:.3g} s that a sample takes",
                         remedy="Leave it out for samples that follow each other at once")
    return interval_s


def _breakdown(found: Energies, batch: int) -> dict[str, Band | None]:
    terms = {"compute": found.compute, "memory": found.memory, "launch": found.launch, "idle": found.idle}
    return {name: None if joule is None else band(joule, batch) for name, joule in terms.items()}


def _counts(runs: Sequence[LayerRun], batch: int) -> dict[str, float]:
    """Per sample."""
    return {
        "macs": float(sum(r.n_macs[0] for r in runs)) / batch, "ops": float(sum(r.n_ops[0] for r in runs)) / batch,
        "bytes": float(sum(r.n_bytes[0] for r in runs)) / batch,
    }


def _layer(name: str, profile: GpuProfile, precision: Precision, batch: int, runs: Sequence[LayerRun]) -> GpuLayerCost:
    own = [r for r in runs if r.name == name]
    found = energies(own, profile, precision)
    return GpuLayerCost(
        name, sum(r.n_kernels for r in own), _counts(own, batch), float(sum(r.time_s[1, 0] for r in own)),
        max(own, key=lambda r: r.time_s[1, 0]).bound, band(found.dynamic, batch),
        {term: joule for term, joule in _breakdown(found, batch).items() if term != "idle"},
    )


def _shares_of_time(runs: Sequence[LayerRun]) -> dict[str, float]:
    time = math.fsum(r.time_s[1, 0] for r in runs)
    return {bound: math.fsum(r.time_s[1, 0] for r in runs if r.bound == bound) / time for bound in get_args(Bound)}


def _behind(precision: Precision) -> dict[str, tuple[str, ...]]:
    """Entries of the profile behind each term."""
    time = (
        f"rates.{precision}", "rates.bandwidth", f"factors.eta_{precision}", "factors.tile", "factors.fusion", "time.launch",
        "time.gap", "capacity.multiprocessors", "capacity.cache",
    )
    return {
        "compute": (f"energy.op_{precision}", "energy.byte", "factors.values_per_op"),
        "memory": ("energy.byte", "capacity.cache"), "launch": ("power.launch", *time), "idle": ("power.idle", *time),
    }


def _used(profile: GpuProfile, precision: Precision) -> dict[str, Quantity]:
    """Every entry of the profile that a figure rests on, by its dotted name."""
    tables: dict[str, dict[str, Quantity]] = {
        "capacity": vars(profile.capacity), "rates": profile.rates, "energy": profile.energy, "time": profile.time,
        "power": profile.power, "factors": profile.factors,
    }
    wanted = dict.fromkeys(name for names in _behind(precision).values() for name in names)
    return {name: tables[table][entry] for name in wanted for table, entry in [name.split(".")] if entry in tables[table]}


def _excluded(profile: GpuProfile, breakdown: dict[str, Band | None]) -> tuple[str, ...]:
    found = ["copying inputs to the GPU and results back", "what the host's own program does between launches"]
    if profile.boundary == "board":
        found.append("host processor, fans and losses of the power supply: the figures are the board's")
    found += [f"{term}: not available, {profile.name} lacks its entry" for term, joule in breakdown.items() if joule is None]
    return tuple(found)


def _plain(breakdown: dict[str, Band | None]) -> dict[str, dict[str, float] | None]:
    return {name: None if joule is None else joule.to_dict() for name, joule in breakdown.items()}
