"""Fitness of a candidate: AutoSNN's accuracy and spikes, and the energy and latency that the target's profile gives.

    F = accuracy * (spikes / ref)^lambda * (energy / ref)^mu * (latency / ref)^nu        exponents <= 0

times (value / ref)^exponent of every term of one's own (`search/terms.py`).

A candidate that cannot run on the chip, or that does not work, has no fitness at all (`reasons` says why): a product
could otherwise prefer a network that is silent, and therefore cheap.

Source: Na et al., ICML 2022 (arXiv 2201.12738), eq. 5, is the first two factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from neurodeploy.errors import UsageError, Violation


class FitnessSettings(BaseModel):
    """Exponents of the fitness (0 leaves a term out), which energy counts, and what counts as guessing.

    `terms`: exponents of terms of one's own, by name (0: recorded only; above 0: more is better).
    `objective`: the energy of the whole window, or of one sample that stops when it is confident; `energy`: with static
    power times time (total), or without (dynamic; the latency term then stands for time).

    A candidate whose accuracy is at most 1 / n_classes + `chance_margin` is infeasible.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lambda_spikes: float = Field(default=-0.08, le=0, allow_inf_nan=False)
    mu_energy: float = Field(default=0.0, le=0, allow_inf_nan=False)
    nu_latency: float = Field(default=0.0, le=0, allow_inf_nan=False)
    objective: Literal["energy", "energy_at_exit"] = "energy"
    energy: Literal["total", "dynamic"] = "total"
    chance_margin: float = Field(default=0.05, ge=0, lt=1)
    terms: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(default_factory=dict)


@dataclass(frozen=True)
class References:
    """What each term is divided by: means over the space or its supernet, or another fixed candidate's figures."""

    spikes: float
    energy_j: float
    latency_s: float
    terms: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain fields; terms only where there are some."""
        return _without_empty_terms(asdict(self))


@dataclass(frozen=True)
class Metrics:
    """What is known of one candidate on one target; energies and latency per inference, None where not available.

    `spikes_paper` counts by AutoSNN's rule (max-pool outputs count, timesteps after T do not exist), `spikes` are the
    events of the lowered network; both, and `synops` (None where a target makes no difference between synapses that a spike
    met and others), are means per sample.
    """

    accuracy: float
    spikes_paper: float
    spikes: float
    synops: float | None
    energy_j: float | None
    energy_dynamic_j: float | None
    energy_at_exit_j: float | None
    energy_dynamic_at_exit_j: float | None
    latency_s: float | None
    n_cores: int | None
    fits: bool
    silent_layers: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()
    terms: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON and the search's storage; terms only where there are some."""
        return _without_empty_terms(asdict(self)) | {
            "silent_layers": list(self.silent_layers),
            "violations": [v.to_dict() for v in self.violations],
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Metrics:
        """The inverse of `to_dict`."""
        return cls(
            **{
                **fields,
                "silent_layers": tuple(fields["silent_layers"]),
                "violations": tuple(Violation(**v) for v in fields["violations"]),
            }
        )


@dataclass(frozen=True)
class Fitness:
    """A fitness, or None with every reason why the candidate is infeasible."""

    value: float | None
    reasons: tuple[str, ...] = ()


def fitness(metrics: Metrics, settings: FitnessSettings, references: References, n_classes: int) -> Fitness:
    """The fitness of a candidate, or why it has none.

    The spike term takes `spikes_paper`, as in the paper. Raises UsageError where a term with an exponent other than 0
    has no figure, or its figure or reference is not a positive number.
    """
    reasons = infeasible(metrics, settings, n_classes)
    if reasons:
        return Fitness(None, reasons)
    which = energy_field(settings)
    value = (
        metrics.accuracy
        * _term("spikes_paper", metrics.spikes_paper, references.spikes, settings.lambda_spikes)
        * _term(
            which,
            getattr(metrics, which),
            references.energy_j,
            settings.mu_energy,
        )
        * _term("latency_s", metrics.latency_s, references.latency_s, settings.nu_latency)
    )
    for name, exponent in settings.terms.items():
        value *= _term(name, metrics.terms.get(name), references.terms.get(name), exponent)
    return Fitness(value)


def energy_field(settings: FitnessSettings) -> str:
    """The field of `Metrics` that the energy term reads."""
    part = "_dynamic" if settings.energy == "dynamic" else ""
    return f"energy{part}_at_exit_j" if settings.objective == "energy_at_exit" else f"energy{part}_j"


def infeasible(metrics: Metrics, settings: FitnessSettings, n_classes: int) -> tuple[str, ...]:
    """Every reason why a candidate must not be scored; empty where it may be."""
    reasons = [f"does not fit: {violation}" for violation in metrics.violations]
    if not metrics.fits and not reasons:
        reasons.append("does not fit the target")
    reasons += [f"layer {name} is silent" for name in metrics.silent_layers]
    if metrics.spikes_paper <= 0 or metrics.spikes <= 0:
        reasons.append("the network never spikes")
    chance = 1 / n_classes + settings.chance_margin
    # Written so that an accuracy of NaN is at chance too.
    if not metrics.accuracy > chance:
        reasons.append(f"accuracy {metrics.accuracy:.4f} is not above chance ({chance:.4f} for {n_classes} classes)")
    return tuple(reasons)


def _without_empty_terms(plain: dict[str, Any]) -> dict[str, Any]:
    return plain if plain["terms"] else {name: value for name, value in plain.items() if name != "terms"}


def _term(name: str, value: float | None, reference: float | None, exponent: float) -> float:
    if exponent == 0:
        return 1.0
    for what, number in ((name, value), (f"the reference of {name}", reference)):
        if number is None or not math.isfinite(number) or number <= 0:
            raise UsageError(
                f"{what} is {number}; with exponent {exponent:g} it must be a positive number",
                where="fitness",
                remedy="Set the term's exponent to 0, or deliver the figure",
            )
    assert value is not None and reference is not None
    return float((value / reference) ** exponent)
