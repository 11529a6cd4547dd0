"""Early exit on a GPU: by hand, against drawn batches, and at its ends."""

from __future__ import annotations

import numpy as np
import pytest
from neurodeploy.cost.gpu_cost import gpu_cost
from neurodeploy.cost.gpu_exit import GpuExitCosts, exit_costs
from neurodeploy.cost.gpu_work import LayerWork
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import GpuProfile, any_target

from gpu_profiles import q, round_gpu

SYNAPSE = LayerWork("fc", "synapse", 1, 2_000_000, 4_000, 400, n_macs=1_000_000, n_weights=1_000_000)
NEURON = LayerWork("n", "neuron", 3, 1200, 400, 400, n_state=400, each_step=True, n_once=2)
WORK = (SYNAPSE, NEURON)
HISTOGRAM = (5, 10, 0, 20, 5)


def h200() -> GpuProfile:
    profile = any_target("h200")
    assert isinstance(profile, GpuProfile)
    return profile


def test_two_samples_by_hand() -> None:
    """Half leave after the first of two timesteps. A batch of two runs 1.75 timesteps; compacted, the second one runs
    on two samples with 1/4, on one with 1/2. Each timestep 8 ns a sample: 1000 operations on one of 8 tiles' worth."""
    work = [LayerWork("c", "synapse", 1, 8_000, 0, 400)]
    profile = round_gpu(time={"launch": q(0.001, "us")}, power={"launch": None})
    found = exit_costs(work, profile, (3, 3), batch=2)
    assert found.mean_timesteps == 1.5
    assert found.stopping.n_timesteps == found.compacted.n_timesteps == 1.75
    assert found.stopping.latency_s.nominal == pytest.approx(1.75 * 16e-9, rel=1e-12)
    assert found.compacted.latency_s.nominal == pytest.approx(16e-9 + 0.25 * 16e-9 + 0.5 * 8e-9, rel=1e-12)
    assert found.all_step.latency_s.nominal == pytest.approx(32e-9, rel=1e-12)


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_against_drawn_batches(batch: int) -> None:
    """20,000 batches; 5 standard errors of each mean, so that one run in a million fails."""
    rng, profile, n_steps = np.random.default_rng(7), h200(), len(HISTOGRAM)
    found = exit_costs(WORK, profile, HISTOGRAM, batch=batch)
    drawn = rng.choice(np.arange(1, n_steps + 1), p=np.array(HISTOGRAM) / sum(HISTOGRAM), size=(20_000, batch))
    each = [None, *(gpu_cost(WORK, profile, n_steps, batch=b, form="step") for b in range(1, batch + 1))]
    joule = np.array([0.0, *(c.energy_j.nominal * c.batch / n_steps for c in each[1:] if c is not None)])
    seconds = np.array([0.0, *(c.latency_s.nominal / n_steps for c in each[1:] if c is not None)])
    last = drawn.max(axis=1)
    there = np.stack([(drawn >= t).sum(axis=1) for t in range(1, n_steps + 1)], axis=1)
    for cost, sizes in ((found.stopping, np.where(there > 0, batch, 0)), (found.compacted, there)):
        for value, samples in (
            (cost.energy_j.nominal, joule[sizes].sum(axis=1) / batch), (cost.latency_s.nominal, seconds[sizes].sum(axis=1)),
            (cost.n_timesteps, last),
        ):
            error = samples.std() / np.sqrt(len(samples))
            assert error > 0 and abs(samples.mean() - value) < 5 * error


def test_alone_there_is_nothing_to_compact() -> None:
    found = exit_costs(WORK, h200(), HISTOGRAM)
    assert found.stopping.n_timesteps == pytest.approx(found.mean_timesteps)
    assert found.compacted.energy_j.nominal == pytest.approx(found.stopping.energy_j.nominal, rel=1e-12)
    share = found.mean_timesteps / len(HISTOGRAM)
    assert found.stopping.energy_j.nominal == pytest.approx(found.all_step.energy_j.nominal * share, rel=1e-12)


def test_samples_of_equal_steps_share_batches() -> None:
    found = exit_costs(WORK, h200(), HISTOGRAM, batch=16, grouped=True)
    assert found.grouped is not None and "grouped" in found.to_dict()
    share = found.mean_timesteps / len(HISTOGRAM)
    assert found.grouped.n_timesteps == found.mean_timesteps == pytest.approx(np.arange(1, 6) @ np.array(HISTOGRAM) / 40)
    assert found.grouped.energy_j.nominal == pytest.approx(share * found.all_step.energy_j.nominal, rel=1e-12)
    assert found.grouped.latency_s.nominal == pytest.approx(share * found.all_step.latency_s.nominal, rel=1e-12)
    assert found.grouped.energy_j.nominal < found.compacted.energy_j.nominal < found.stopping.energy_j.nominal
    assert "grouped" not in exit_costs(WORK, h200(), HISTOGRAM, batch=16).to_dict()


def test_a_large_batch_waits_for_its_slowest_member() -> None:
    found = exit_costs(WORK, h200(), HISTOGRAM, batch=512)
    assert found.stopping.n_timesteps == pytest.approx(5, rel=1e-12)
    assert found.stopping.energy_j.nominal == pytest.approx(found.all_step.energy_j.nominal, rel=1e-12)
    ratio = found.compacted.energy_j.nominal / found.stopping.energy_j.nominal
    assert found.mean_timesteps / 5 < ratio < 1, "launches do not shrink"


def test_nobody_leaves_early() -> None:
    found = exit_costs(WORK, h200(), (0, 0, 9), batch=4)
    for cost in (found.stopping, found.compacted):
        assert cost.energy_j.nominal == pytest.approx(found.all_step.energy_j.nominal, rel=1e-12) and cost.n_timesteps == 3
        assert cost.energy_j.low <= cost.energy_j.nominal <= cost.energy_j.high


def test_early_exit_can_lose_to_the_unrolled_form() -> None:
    """Most samples leave at the last timestep: the step form launches each of three small synapses five times, not once."""
    small = [LayerWork(name, "synapse", 1, 2_000, 40, 25, n_weights=1_000) for name in "abc"]
    found = exit_costs([*small, NEURON], h200(), (0, 0, 0, 1, 9))
    assert found.all_unrolled.energy_j.nominal < found.stopping.energy_j.nominal < found.all_step.energy_j.nominal


def test_its_json_has_all_four() -> None:
    found: GpuExitCosts = exit_costs(WORK, h200(), HISTOGRAM, batch=2)
    entry = found.to_dict()
    for name in ("stopping", "compacted", "all_step", "all_unrolled"):
        assert entry[name]["energy_j"]["nominal"] > 0 and entry[name]["latency_s"] > 0
    assert entry["batch"] == 2 and entry["mean_timesteps"] == pytest.approx(130 / 40)


@pytest.mark.parametrize("histogram", [(), (0, 0), (-1, 5)])
def test_a_histogram_without_samples_is_refused(histogram: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="histogram"):
        exit_costs(WORK, h200(), histogram)
