"""Figures of SEENN-II on a chip: each sample as long as its policy says, the policy's own cost charged."""

from __future__ import annotations

import numpy as np
import pytest
from neurodeploy.cost.counts import count
from neurodeploy.cost.model import cost
from neurodeploy.cost.policy_cost import policy_on_host, waiting
from neurodeploy.data.chip_input import chip_input
from neurodeploy.early_exit.policy import StepPolicy
from neurodeploy.hw.profile import target
from neurodeploy.hw.quantity import Quantity
from neurodeploy.ir.votes import predictions
from neurodeploy.jobs.measure import measure
from neurodeploy.jobs.planned_exit import planned_exit_report
from neurodeploy.lower import lower
from neurodeploy.place import place
from neurodeploy.quantize import quantize
from neurodeploy.sim import reference

from deployable import ARCHS, autosnn, images

CHIP = target("loihi2")
PRICE = Quantity(value=10.0, unit="pJ", status="assumed", source="a round number")
TIME = Quantity(value=20.0, unit="ns", status="assumed", source="a round number")


def test_report_equals_samples_run_one_by_one() -> None:
    x = images(6, seed=7).astype(np.float32)
    net = quantize(lower(autosnn(ARCHS[0], False, T=4), CHIP, "graded", n_levels=17), CHIP, x)
    plan = place(net, CHIP)
    full = measure(net, plan, x)
    assert full.votes.sum() > 0
    steps = np.array([1, 3, 4, 2, 1, 3])
    answers = predictions(full.votes)[steps - 1, np.arange(6)]
    labels = np.where(np.arange(6) < 4, answers, (answers + 1) % 3)
    decider = policy_on_host(StepPolicy((1, 8, 8), 4, (8,)), "controller", PRICE, TIME)
    report = planned_exit_report(net, plan, CHIP, steps, x, labels, full, decider)

    latency = net.latencies["vote"]
    stopped = []
    for i, n in enumerate(steps):
        entered = chip_input(net, x[i : i + 1]) * (np.arange(4) < n).reshape(4, 1, 1, 1, 1)
        stopped.append(cost(count(reference.simulate(net, entered, n_steps=latency + int(n)), plan), plan, CHIP, "single"))
    assert report["accuracy"] == 4 / 6 and report["mean_timesteps"] == steps.mean()
    assert report["mean_chip_timesteps"] == steps.mean() + latency
    assert report["histogram"] == np.bincount(steps, minlength=5)[1:].tolist()
    chip = np.mean([c.energy_j.nominal for c in stopped])
    assert report["energy_j"]["nominal"] == pytest.approx(chip, rel=1e-12)  # sums in another order
    waits = waiting(CHIP, plan.n_chips, decider.latency_s)
    assert report["energy_waiting_j"] == waits.to_dict() and report["decider"] == decider.to_dict()
    wanted = chip + decider.energy_j.nominal + waits.nominal
    assert waits.nominal > 0 and report["energy_with_policy_j"]["nominal"] == pytest.approx(wanted, rel=1e-12)
    assert report["latency_with_policy_s"] == pytest.approx(report["latency_s"] + decider.latency_s.nominal, rel=1e-12)
    assert report["energy_saved_with_policy"] < report["energy_saved"]

    free = planned_exit_report(net, plan, CHIP, steps, x, labels, full)
    assert free["decider"] is None and free["energy_with_policy_j"] == free["energy_j"] == report["energy_j"]
    slow = planned_exit_report(net, plan, CHIP, steps, x, labels, full, decider, interval_s=1e-3)
    assert slow["energy_waiting_j"]["nominal"] == 0 and slow["energy_j"]["nominal"] > chip
