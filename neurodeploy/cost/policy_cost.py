"""What SEENN-II's policy network itself costs: a dense pass of it on a GPU, or on a host whose price is stated.

It runs once a sample, in front of the spiking network, which waits: `waiting` is the power of the chip meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from neurodeploy.cost.band import Band, total
from neurodeploy.cost.gpu_cost import gpu_cost
from neurodeploy.cost.gpu_work import LayerWork
from neurodeploy.cost.model import POWER_TERMS
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.early_exit.policy import StepPolicy
from neurodeploy.errors import UsageError
from neurodeploy.hw.gpu_profile import GpuProfile, Precision
from neurodeploy.hw.profile import AnyProfile, EventProfile, any_target
from neurodeploy.hw.quantity import Quantity, Status, weakest
from neurodeploy.search.recipe import DEFAULT_HOST, PolicySettings


@dataclass(frozen=True)
class PolicyCost:
    """A sample's share of one pass of the policy: energy in joule, time in seconds; where it runs and how far to trust it."""

    where: str
    n_macs: int
    n_weights: int
    energy_j: Band
    latency_s: Band
    status: Status
    excluded: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "where": self.where, "n_macs": self.n_macs, "n_weights": self.n_weights, "energy_j": self.energy_j.to_dict(),
            "latency_s": self.latency_s.nominal, "latency_band_s": self.latency_s.to_dict(), "status": self.status,
            "excluded": list(self.excluded),
        }


def policy_work(policy: StepPolicy) -> tuple[LayerWork, ...]:
    """Its kernels: convolutions with batch norm folded and ReLU fused, the mean over the map, the matrix."""
    shape, work = policy.shape, []
    for i, conv in enumerate(policy.convs):
        assert isinstance(conv, nn.Conv2d)
        target = (conv.out_channels, math.ceil(shape[1] / 2), math.ceil(shape[2] / 2))
        work.append(LayerWork.of_synapse(f"conv{i + 1}", tuple(conv.weight.shape), shape, target, n_biases=target[0]))
        shape = target
    n_values = math.prod(shape)
    work.append(LayerWork("mean", "pool", 1, n_values, n_values, shape[0]))
    logits = (len(policy.lengths),)
    work.append(LayerWork.of_synapse("linear", tuple(policy.linear.weight.shape), (shape[0],), logits, n_biases=logits[0]))
    return tuple(work)


def policy_on_gpu(
    policy: StepPolicy, profile: GpuProfile, *, batch: int = 1, precision: Precision | None = None
) -> PolicyCost:
    """By the roofline of `gpu_cost`; in a batch every sample waits for the whole of it. Raises UsageError as that."""
    work = policy_work(policy)
    found = gpu_cost(work, profile, 1, batch=batch, precision=precision)
    return PolicyCost(
        f"{profile.name}, {found.precision}, batch {batch}", *_size(work), found.energy_j, found.latency_s, found.status,
        found.excluded,
    )


def policy_on_host(
    policy: StepPolicy, where: str, energy_per_mac: Quantity, time_per_mac: Quantity | None = None
) -> PolicyCost:
    """By a price that the caller states and sources: joule and seconds of a multiply-accumulate with all that belongs to it."""
    work = policy_work(policy)
    n_macs, n_weights = _size(work)
    stated = [q for q in (energy_per_mac, time_per_mac) if q is not None]
    return PolicyCost(
        where, n_macs, n_weights, Band(*energy_per_mac.si).scaled(n_macs),
        Band(0.0, 0.0, 0.0) if time_per_mac is None else Band(*time_per_mac.si).scaled(n_macs),
        weakest([q.status for q in stated]),
        ("whatever the stated price leaves out", *(("its time: none was stated",) if time_per_mac is None else ())),
    )


def decider_of(policy: PlannedPolicy, target: AnyProfile, *, batch: int = 1) -> PolicyCost:
    """What its host says of a deployed policy; the target itself where that is a GPU and nothing else was asked for.

    Raises UsageError for a host that is no GPU and states no price.
    """
    host = policy.settings.policy
    if host.energy_per_mac_j is not None:
        source = host.source or ""  # checked: it has one
        joule = Quantity(value=1e12 * host.energy_per_mac_j, unit="pJ", status="assumed", source=source)
        second = host.time_per_mac_s
        time = None if second is None else Quantity(value=1e9 * second, unit="ns", status="assumed", source=source)
        return policy_on_host(policy.network, host.host or "a host of stated price", joule, time)
    profile = host_of(host, target)
    return policy_on_gpu(policy.network, profile, batch=batch)


def host_of(asked: PolicySettings, target: AnyProfile | None) -> GpuProfile:
    """The GPU that runs a policy without a stated price; UsageError where the host named is none."""
    if asked.host is None and isinstance(target, GpuProfile):
        return target
    profile = any_target(asked.host or DEFAULT_HOST)
    if not isinstance(profile, GpuProfile):
        raise UsageError(f"{profile.name} is no GPU", where="early_exit.policy.host", code="other_arithmetic",
                         limit="A policy is a dense pass of a small network",
                         remedy="Name a GPU's profile, or state early_exit.policy.energy_per_mac_j and its source")
    return profile


def runs_on(policy: PlannedPolicy, target: AnyProfile) -> bool:
    """Whether the target decides itself, so that nothing waits."""
    asked = policy.settings.policy
    return asked.energy_per_mac_j is None and host_of(asked, target).name == target.name


def waiting(profile: AnyProfile, n_chips: int, latency_s: Band) -> Band:
    """Static and management energy of chips, or idle energy of a GPU, that wait for the policy."""
    powers: Mapping[str, Quantity] = profile.power
    entries = ("idle",) if isinstance(profile, GpuProfile) else (
        profile.static_rails if isinstance(profile, EventProfile) else tuple(POWER_TERMS.values()))
    return total(Band(*powers[entry].si).times(latency_s).scaled(n_chips) for entry in entries if entry in powers)


def with_decider(figures: Mapping[str, Any], decider: PolicyCost | None, waits: Band, latency_s: float) -> dict[str, Any]:
    """The figures of an early exit with what its policy adds: `decider`, its own cost (None: steps cost nothing),
    `energy_waiting_j`, and the sums `energy_with_policy_j`, `latency_with_policy_s` and `energy_saved_with_policy`.
    latency_s: of the exit without it.
    """
    own, time_s = (Band(0.0, 0.0, 0.0), 0.0) if decider is None else (decider.energy_j, decider.latency_s.nominal)
    energy = total([Band(**figures["energy_j"]), own, waits])
    return {
        **figures, "decider": None if decider is None else decider.to_dict(), "energy_waiting_j": waits.to_dict(),
        "energy_with_policy_j": energy.to_dict(), "latency_with_policy_s": latency_s + time_s,
        "energy_saved_with_policy": 1 - energy.nominal / figures["energy_full_j"]["nominal"],
    }


def _size(work: Sequence[LayerWork]) -> tuple[int, int]:
    return sum(w.n_macs for w in work), sum(w.n_weights for w in work)
