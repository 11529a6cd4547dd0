"""SEENN-II on a chip with timesteps: every sample runs as long as its policy said, and the policy's own cost is charged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.band import Band, total
from neurodeploy.cost.policy_cost import PolicyCost, waiting
from neurodeploy.data.chip_input import chip_input
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import IntGraph
from neurodeploy.jobs.measure import Measured, exit_figures
from neurodeploy.place import Placement
from neurodeploy.sim.exit import ExitTrace, simulate_for


def planned_exit_report(
    net: IntGraph, plan: Placement, profile: Profile, steps: NDArray[np.int64], images: NDArray[Any], labels: NDArray[Any],
    full: Measured, decider: PolicyCost | None = None, *, interval_s: float | None = None,
) -> dict[str, Any]:
    """What stopping after `steps` [N] (`StepPolicy.steps`, or the same number for all) gives on these samples, as
    `measure.early_exit_report`: figures of the chip alone.

    Beside it what the policy adds: `decider` (its own cost; None where steps cost nothing), `energy_waiting_j` (chips that
    wait for it; nothing where `interval_s` is given, which their power covers), and the sums `energy_with_policy_j`,
    `latency_with_policy_s` and `energy_saved_with_policy`.
    """
    def run(part: slice) -> ExitTrace:
        return simulate_for(net, chip_input(net, images[part]), steps[part])

    figures = exit_figures(net, plan, profile, run, labels, full, interval_s=interval_s)
    nothing = Band(0.0, 0.0, 0.0)
    own, latency = (nothing, nothing) if decider is None else (decider.energy_j, decider.latency_s)
    waits = waiting(profile, plan.n_chips, latency) if interval_s is None else nothing
    energy = total([Band(**figures["energy_j"]), own, waits])
    return {
        **figures, "decider": None if decider is None else decider.to_dict(), "energy_waiting_j": waits.to_dict(),
        "energy_with_policy_j": energy.to_dict(), "latency_with_policy_s": figures["latency_s"] + latency.nominal,
        "energy_saved_with_policy": 1 - energy.nominal / figures["energy_full_j"]["nominal"],
    }
