"""What the reports say about many images, against one image at a time."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from neurodeploy.cost.counts import count
from neurodeploy.cost.model import cost
from neurodeploy.data.chip_input import chip_input
from neurodeploy.early_exit.confidence import ConfidencePolicy, exit_steps
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import IntGraph
from neurodeploy.jobs import measure as jobs
from neurodeploy.jobs.measure import Measured, early_exit_report, measure
from neurodeploy.lower import lower
from neurodeploy.place import Placement, place
from neurodeploy.quantize import quantize
from neurodeploy.sim import reference

from deployable import ARCHS, autosnn, images

CHIP = target("loihi2")
X = images(4, seed=7)  # some leave at different steps
Y = np.array([0, 1, 2, 1])


@cache
def deployed() -> tuple[IntGraph, Placement, Measured]:
    net = quantize(lower(autosnn(ARCHS[0], False, T=4), CHIP, "graded", n_levels=17), CHIP, images(6))
    plan = place(net, CHIP)
    return net, plan, measure(net, plan, X)


def brute(threshold: float, logits: str) -> list[dict[str, Any]]:
    """Each sample alone on the slow simulator, its votes added and its exit decided in plain Python."""
    net, plan, _ = deployed()
    latency = net.latencies["vote"]
    found = []
    for i in range(len(X)):
        x = chip_input(net, X[i : i + 1])
        votes = reference.simulate(net, x).votes[:, 0]
        z, right = np.zeros(3), []
        exit_step = None
        for t, vote in enumerate(votes, start=1):
            z = z + vote
            p = np.exp(z / (t if logits == "mean" else 1))
            right.append(int(np.round(z, 9).argmax()) == Y[i])
            if exit_step is None and (p.max() / p.sum() > threshold or t == 4):
                exit_step = t
        assert exit_step is not None
        chip_steps = latency + exit_step
        stopped = cost(count(reference.simulate(net, x, n_steps=chip_steps), plan), plan, CHIP, "single")
        whole = cost(count(reference.simulate(net, x), plan), plan, CHIP, "single")
        found.append({"exit": exit_step, "chip": chip_steps, "right": right, "stopped": stopped, "whole": whole})
    return found


@pytest.mark.parametrize("logits", ["sum", "mean"])
@pytest.mark.parametrize("batch", [None, 2])
def test_early_exit_report_equals_samples_run_one_by_one(
    logits: Any, batch: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, plan, full = deployed()
    if batch:
        monkeypatch.setattr(jobs, "batches", lambda net, n: [slice(i, i + batch) for i in range(0, n, batch)])
    base = ConfidencePolicy(1.0, logits=logits)
    observed = np.unique(np.round(base.confidences(full.votes)[:-1], 9))
    # Half way between observed confidences; of those the one whose exits differ most.
    candidates = [ConfidencePolicy(float(t), logits=logits) for t in (observed[:-1] + observed[1:]) / 2]
    policy = max(candidates, key=lambda p: len(set(exit_steps(full.votes, p).tolist())))
    threshold = policy.threshold
    report = early_exit_report(net, plan, CHIP, policy, X, Y, full)
    alone = brute(threshold, logits)
    exits = [a["exit"] for a in alone]
    assert len(set(exits)) > 1 and report["n"] == 4
    assert report["policy"] == policy.to_dict() and report["threshold"] == threshold
    assert report["mean_timesteps"] == pytest.approx(np.mean(exits))
    assert report["mean_chip_timesteps"] == pytest.approx(np.mean([a["chip"] for a in alone]))
    assert report["pipeline_timesteps"] == net.latencies["vote"]
    assert report["histogram"] == [exits.count(t) for t in range(1, 5)]
    assert report["accuracy"] == np.mean([a["right"][a["exit"] - 1] for a in alone])
    assert report["accuracy_fixed"] == [np.mean([a["right"][t] for a in alone]) for t in range(4)]
    below = int(np.mean(exits))
    share = np.mean(exits) - below
    fixed = [*report["accuracy_fixed"], 0.0]
    assert report["accuracy_fixed_at_mean"] == pytest.approx(fixed[below - 1] * (1 - share) + fixed[below] * share)
    for key, of, term in (
        ("energy_j", "stopped", "energy_j"), ("energy_dynamic_j", "stopped", "energy_dynamic_j"),
        ("energy_full_j", "whole", "energy_j"), ("energy_dynamic_full_j", "whole", "energy_dynamic_j"),
    ):
        for pick in ("low", "nominal", "high"):
            wanted = np.mean([getattr(getattr(a[of], term), pick) for a in alone])
            assert report[key][pick] == pytest.approx(wanted, rel=1e-12)  # sums in another order
    assert report["latency_s"] == pytest.approx(np.mean([a["stopped"].latency_s.nominal for a in alone]), rel=1e-12)
    assert report["latency_full_s"] == pytest.approx(np.mean([a["whole"].latency_s.nominal for a in alone]), rel=1e-12)
    assert report["energy_saved"] == pytest.approx(1 - report["energy_j"]["nominal"] / report["energy_full_j"]["nominal"])
    assert 0 < report["energy_saved"] < 1


def test_never_stopping_saves_nothing() -> None:
    net, plan, full = deployed()
    report = early_exit_report(net, plan, CHIP, ConfidencePolicy(1.0), X, Y, full)
    assert report["mean_timesteps"] == 4 and report["mean_chip_timesteps"] == net.n_chip_steps
    assert report["energy_saved"] == pytest.approx(0, abs=1e-12)
    assert report["accuracy"] == report["accuracy_fixed"][-1]


def test_measuring_in_batches_is_measuring_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net, plan, full = deployed()
    assert [s.indices(600) for s in jobs.batches(net, 600)] == [(0, 256, 1), (256, 512, 1), (512, 600, 1)]
    monkeypatch.setattr(jobs, "_RASTER_BYTES", 5.0 * sum(int(np.prod(net.shapes[n.name])) for n in net.neurons) * 15)
    assert [s.stop - s.start for s in jobs.batches(net, 4)] == [1, 1, 1, 1]
    one_by_one = measure(net, plan, X)
    assert np.array_equal(one_by_one.votes, full.votes) and full.votes.sum() > 0
    costs = [cost(m.counts, plan, CHIP) for m in (one_by_one, full)]
    assert costs[0].energy_j == costs[1].energy_j and costs[0].counts == costs[1].counts
    both = jobs.costs_of(full.counts, plan, CHIP)
    assert both["single"].latency_s.nominal > 0 and both["pipelined"].schedule == "pipelined"
