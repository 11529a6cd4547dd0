"""Cost of one sample on an event-driven chip, and its JSON form: the keys of `result.Cost` where they make sense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neurodeploy.cost.band import Band
from neurodeploy.hw.profile import Status


@dataclass(frozen=True)
class EventLayerCost:
    """A layer's dynamic energy and its counts per sample; of the input the events, which cost nothing of their own."""

    name: str
    is_input: bool
    n_neurons: int
    core: int | None
    n_spikes: float
    n_synops: float
    synops_per_s: float
    peak_synops_per_s: float | None
    energy_dynamic_j: Band | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        joule = _band(self.energy_dynamic_j)
        return {
            "name": self.name, "is_input": self.is_input, "n_neurons": self.n_neurons, "n_cores": int(not self.is_input),
            "core": self.core, "energy_dynamic_j": joule, "breakdown_j": {} if self.is_input else {"synapse": joule},
            "counts": {"n_spikes": self.n_spikes, "n_synops": self.n_synops}, "synops_per_s": self.synops_per_s,
            "peak_synops_per_s": self.peak_synops_per_s,
        }


@dataclass(frozen=True)
class EventCoreCost:
    """A core's work while a sample lasts; `over_limit` is None where no limit is known."""

    index: int
    node: str
    n_neurons: int
    n_synops: float
    synops_per_s: float
    share: float
    limit_synops_per_s: float | None
    over_limit: bool | None
    busiest: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(vars(self))


@dataclass(frozen=True)
class EventCost:
    """Mean cost of one sample. Energies in joule, times in second.

    `duration_s` is the time that the sample's events take, `interval_s` that from one sample to the next, for which static
    power runs. `latency_s` is what the chip adds: the way of one event through the cores. `decision_s`, the duration and
    that way, is when the answer is there; `edp_js` is energy_j x decision_s, since the energy is that of the whole sample.
    `breakdown_j` maps each term to its band, or to None where it is not available; `energy_j` is the sum of those that are.
    """

    target: str
    n_cores: int
    energy_j: Band
    energy_dynamic_j: Band
    breakdown_j: dict[str, Band | None]
    latency_s: Band | None
    decision_s: Band | None
    duration_s: float
    interval_s: float
    interval_given: bool
    power_w: Band
    edp_js: Band | None
    counts: dict[str, float | None]
    synops_per_s: float
    layers: tuple[EventLayerCost, ...]
    cores: tuple[EventCoreCost, ...]
    status: Status
    breakdown_status: dict[str, Status | None]
    excluded: tuple[str, ...]
    provenance: dict[str, dict[str, Any]]
    exact_counts: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the contract's names; single numbers are nominal, their bands stand beside."""
        return {
            "target": self.target,
            "schedule": "single",
            "n_cores": self.n_cores,
            "n_chips": 1,
            "energy_j": self.energy_j.to_dict(),
            "energy_dynamic_j": self.energy_dynamic_j.to_dict(),
            "breakdown_j": {name: _band(band) for name, band in self.breakdown_j.items()},
            "latency_s": _nominal(self.latency_s),
            "latency_band_s": _band(self.latency_s),
            "decision_s": _nominal(self.decision_s),
            "decision_band_s": _band(self.decision_s),
            "duration_s": self.duration_s,
            "interval_s": self.interval_s,
            "interval_source": "given" if self.interval_given else "duration",
            "power_w": self.power_w.to_dict(),
            "edp_js": _nominal(self.edp_js),
            "edp_band_js": _band(self.edp_js),
            "counts": dict(self.counts),
            "synops_per_s": self.synops_per_s,
            "layers": [layer.to_dict() for layer in self.layers],
            "cores": [core.to_dict() for core in self.cores],
            "limiting": next(
                {"core": c.index, "node": c.node, "synops_per_s": c.synops_per_s, "share": c.share}
                for c in self.cores
                if c.busiest
            ),
            "status": self.status,
            "breakdown_status": dict(self.breakdown_status),
            "excluded": list(self.excluded),
            "provenance": {name: dict(entry) for name, entry in self.provenance.items()},
            "exact_counts": self.exact_counts,
        }


def _band(band: Band | None) -> dict[str, float] | None:
    return None if band is None else band.to_dict()


def _nominal(band: Band | None) -> float | None:
    return None if band is None else band.nominal
