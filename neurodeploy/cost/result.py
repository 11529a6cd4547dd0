"""Cost of one inference on one target, and its JSON form (the contract's energy row)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from neurodeploy.cost.band import Band
from neurodeploy.hw.profile import Status


@dataclass(frozen=True)
class LayerCost:
    """A layer's dynamic energy and its counts per sample. `spike_rate` is per neuron and model timestep, None for an
    input, which has no cores either."""

    name: str
    is_input: bool
    n_neurons: int
    n_cores: int
    spike_rate: float | None
    energy_dynamic_j: Band
    breakdown_j: dict[str, Band | None]
    counts: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name, "is_input": self.is_input, "n_neurons": self.n_neurons, "n_cores": self.n_cores,
            "spike_rate": self.spike_rate, "energy_dynamic_j": self.energy_dynamic_j.to_dict(),
            "breakdown_j": _plain(self.breakdown_j), "counts": dict(self.counts),
        }


@dataclass(frozen=True)
class CoreCost:
    """A core's dynamic energy and its work per sample (nominal seconds); the busiest one is flagged."""

    index: int
    chip: int
    x: int
    y: int
    node: str
    n_neurons: int
    energy_dynamic_j: Band
    send_s: float
    receive_s: float
    share_of_steps: float
    busiest: bool

    @property
    def side(self) -> Literal["send", "receive"]:
        """The side on which the core works longer."""
        return "send" if self.send_s >= self.receive_s else "receive"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "index": self.index, "chip": self.chip, "x": self.x, "y": self.y, "node": self.node,
            "n_neurons": self.n_neurons, "energy_dynamic_j": self.energy_dynamic_j.to_dict(), "send_s": self.send_s,
            "receive_s": self.receive_s, "side": self.side, "share_of_steps": self.share_of_steps, "busiest": self.busiest,
        }


@dataclass(frozen=True)
class Limiting:
    """What sets the length of most steps: a side of a core, or the floor of a step."""

    core: int | None
    node: str | None
    side: Literal["send", "receive", "floor"]
    share_of_steps: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"core": self.core, "node": self.node, "side": self.side, "share_of_steps": self.share_of_steps}


@dataclass(frozen=True)
class Cost:
    """Mean cost of one inference. Energies in joule, times in second; `interval_s` is the time between samples.

    `breakdown_j` maps each term to its band, or to None where it is not available; `energy_j` is the sum of those that
    are, `energy_dynamic_j` of those without static and management. `edp_js` is energy_j x latency_s.
    `breakdown_status` is the weakest status behind a term.
    """

    target: str
    schedule: str
    n_cores: int
    n_chips: int
    energy_j: Band
    energy_dynamic_j: Band
    breakdown_j: dict[str, Band | None]
    latency_s: Band
    interval_s: Band
    edp_js: Band
    latency_steps_s: tuple[float, ...]
    counts: dict[str, float]
    layers: tuple[LayerCost, ...]
    cores: tuple[CoreCost, ...]
    limiting: Limiting
    status: Status
    breakdown_status: dict[str, Status | None]
    excluded: tuple[str, ...]
    provenance: dict[str, dict[str, Any]]
    exact_counts: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the contract's names; `latency_s` and `edp_js` are nominal, their bands stand beside."""
        return {
            "target": self.target,
            "schedule": self.schedule,
            "n_cores": self.n_cores,
            "n_chips": self.n_chips,
            "energy_j": self.energy_j.to_dict(),
            "energy_dynamic_j": self.energy_dynamic_j.to_dict(),
            "breakdown_j": _plain(self.breakdown_j),
            "latency_s": self.latency_s.nominal,
            "latency_band_s": self.latency_s.to_dict(),
            "interval_s": self.interval_s.nominal,
            "edp_js": self.edp_js.nominal,
            "edp_band_js": self.edp_js.to_dict(),
            "latency_steps_s": list(self.latency_steps_s),
            "counts": dict(self.counts),
            "layers": [layer.to_dict() for layer in self.layers],
            "cores": [core.to_dict() for core in self.cores],
            "limiting": self.limiting.to_dict(),
            "status": self.status,
            "breakdown_status": dict(self.breakdown_status),
            "excluded": list(self.excluded),
            "provenance": {name: dict(entry) for name, entry in self.provenance.items()},
            "exact_counts": self.exact_counts,
        }


def _plain(breakdown: dict[str, Band | None]) -> dict[str, dict[str, float] | None]:
    return {name: band.to_dict() if band is not None else None for name, band in breakdown.items()}
