"""Counts of batches as one, and counts that end where samples stopped."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import pytest
from neurodeploy.cost.combine import concatenate, until
from neurodeploy.cost.counts import Counts, count
from neurodeploy.cost.model import cost
from neurodeploy.cost.timing import time_steps
from neurodeploy.data.chip_input import chip_input
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import IntGraph
from neurodeploy.lower import lower
from neurodeploy.place import Placement, place
from neurodeploy.quantize import quantize
from neurodeploy.sim.clocked import simulate

from deployable import ARCHS, autosnn, images

CHIP = target("loihi2")


@cache
def counted(first: int = 0, last: int = 9) -> tuple[IntGraph, Placement, Counts]:
    lowered = lower(autosnn(ARCHS[0], False), CHIP, "graded", n_levels=17)
    net = quantize(lowered, CHIP, images(9))
    plan = place(net, CHIP)
    return net, plan, count(simulate(net, chip_input(net, images(9)[first:last])), plan)


def arrays(counts: Counts) -> dict[str, Any]:
    found = {}
    for group in (*counts.activity.items(), *((f"{t.synapse}>{t.target}", t) for t in counts.traffic)):
        for f in fields(group[1]):
            value = getattr(group[1], f.name)
            if isinstance(value, np.ndarray):
                found[f"{group[0]}.{f.name}"] = value
    return found


def assert_equal(a: Counts, b: Counts) -> None:
    one, two = arrays(a), arrays(b)
    assert one.keys() == two.keys() and len(one) > 20
    assert sum(int(v.sum()) for v in one.values()) > 0
    for name in one:
        assert one[name].dtype == two[name].dtype and np.array_equal(one[name], two[name]), name
    assert (a.batch, a.n_steps, a.n_timesteps, a.exact) == (b.batch, b.n_steps, b.n_timesteps, b.exact)


def test_batches_put_together_are_the_whole() -> None:
    _, plan, whole = counted()
    parts = [counted(i, i + n)[2] for i, n in ((0, 4), (4, 1), (5, 4))]
    joined = concatenate(parts)
    assert_equal(joined, whole)
    assert joined.n_steps_run is None
    assert concatenate([whole]) is whole
    # The same numbers added in the same order per sample; means over the batch alike.
    assert cost(joined, plan, CHIP).energy_j == cost(whole, plan, CHIP).energy_j


def test_stopped_batches_put_together_are_the_whole_stopped() -> None:
    _, _, whole = counted()
    steps = np.array([3, 14, 11, 12, 13, 14, 12, 11, 1])
    parts = [until(counted(i, i + n)[2], steps[i : i + n]) for i, n in ((0, 4), (4, 1), (5, 4))]
    joined = concatenate(parts)
    assert_equal(joined, until(whole, steps))
    assert joined.n_steps_run is not None and joined.n_steps_run.tolist() == steps.tolist()
    # One batch that ran to its end, in either place.
    full = counted(4, 5)[2]
    for order in ([parts[0], full], [full, parts[0]]):
        run = concatenate(order).n_steps_run
        wanted = [s for p in order for s in ([14] if p is full else steps[:4].tolist())]
        assert run is not None and run.tolist() == wanted


def test_running_all_steps_is_the_original() -> None:
    net, plan, whole = counted()
    assert whole.n_steps == net.n_chip_steps == 14
    same = until(whole, np.full(9, whole.n_steps))
    assert_equal(same, whole)
    one, two = cost(same, plan, CHIP), cost(whole, plan, CHIP)
    assert (one.energy_j, one.energy_dynamic_j, one.latency_s, one.breakdown_j) == (
        two.energy_j, two.energy_dynamic_j, two.latency_s, two.breakdown_j
    )  # fmt: skip


def test_each_sample_keeps_its_first_steps_and_nothing_else() -> None:
    _, _, whole = counted()
    steps = np.array([1, 14, 5, 12, 13, 3, 7, 11, 2])
    cut = until(whole, steps)
    for name, values in arrays(cut).items():
        for b, n in enumerate(steps):
            assert np.array_equal(values[:n, b], arrays(whole)[name][:n, b])
            assert not values[n:, b].any()


def test_stopping_again_later_changes_nothing_and_earlier_does() -> None:
    _, plan, whole = counted()
    steps = np.array([3, 14, 5, 12, 13, 3, 7, 11, 2])
    once = until(whole, steps)
    later = until(once, np.full(9, 14))
    assert_equal(later, once)
    assert cost(later, plan, CHIP).latency_s == cost(once, plan, CHIP).latency_s
    assert_equal(until(once, np.full(9, 2)), until(whole, np.full(9, 2)))


def test_energy_and_time_grow_with_the_steps() -> None:
    _, plan, whole = counted()
    costs = [cost(until(whole, np.full(9, n)), plan, CHIP) for n in range(1, 15)]
    for pick in ("low", "nominal", "high"):
        for term in ("energy_j", "energy_dynamic_j", "latency_s"):
            values = [getattr(getattr(c, term), pick) for c in costs]
            assert values == sorted(values) and values[0] < values[-1]


def test_time_is_that_of_the_running_steps_only() -> None:
    """Each sample alone: the mean of times cut by hand. A stopped sample does not even cost the floor."""
    _, _, whole = counted()
    steps = np.array([3, 14, 5, 12, 13, 3, 7, 11, 2])
    alone = []
    for b, n in enumerate(steps):
        own = counted(b, b + 1)[2]
        alone.append(sum(time_steps(own, CHIP).steps_s[:n]))
    found = time_steps(until(whole, steps), CHIP)
    # The same numbers added in another order.
    assert found.total_s.nominal == pytest.approx(np.mean(alone), rel=1e-12)
    floor = CHIP.time["step_floor"].si[1]
    assert found.total_s.nominal >= floor * steps.mean() * (1 - 1e-12)
    assert time_steps(until(whole, np.ones(9, dtype=int)), CHIP).steps_s[1:].tolist() == [0.0] * 13


@pytest.mark.parametrize("steps", [np.full(8, 3), np.full(9, 0), np.full(9, 15), np.full((9, 1), 3)])
def test_steps_that_do_not_match_are_refused(steps: Any) -> None:
    with pytest.raises(UsageError, match=r"Expected \[9\] within 1 to 14"):
        until(counted()[2], steps)


def test_a_full_pipeline_has_no_early_exits() -> None:
    _, plan, whole = counted()
    assert cost(whole, plan, CHIP, "pipelined").energy_j.nominal > 0
    with pytest.raises(UsageError, match="stopped early"):
        cost(until(whole, np.full(9, 5)), plan, CHIP, "pipelined")
