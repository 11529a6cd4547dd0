"""A deployed network on many images: votes, exactly counted events and early exits, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.combine import concatenate, until
from neurodeploy.cost.counts import Counts, count
from neurodeploy.cost.model import cost
from neurodeploy.cost.result import Cost
from neurodeploy.cost.schedule import Schedule
from neurodeploy.cost.windows import steps_until_settled
from neurodeploy.data.chip_input import chip_input
from neurodeploy.early_exit.confidence import ConfidencePolicy, fixed_accuracy, oracle_outcome
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import Profile, Zeros
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.votes import predictions
from neurodeploy.place import Placement
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim.clocked import simulate
from neurodeploy.sim.exit import ExitTrace, simulate_until

# Rasters of one batch take up to 5 bytes a neuron and chip step; this keeps them below half a gigabyte.
_RASTER_BYTES = 5e8
# Pairs of neuron and chip timestep of one sample; what is kept of each takes tens of bytes.
MAX_STEPS_OF_NEURONS = 2**27


@dataclass(frozen=True, eq=False)
class Measured:
    """Votes [T, N, n_classes] and counts of all N samples."""

    votes: NDArray[np.float64]
    counts: Counts


def batches(net: IntGraph, n: int) -> list[slice]:
    """Slices of n samples that keep a batch's rasters small."""
    n_elements = sum(int(np.prod(net.shapes[node.name])) for node in (*net.neurons, *net.inputs))
    size = int(min(256, max(1, _RASTER_BYTES / (5 * n_elements * net.n_chip_steps))))
    return [slice(i, i + size) for i in range(0, n, size)]


def check_length(net: Graph) -> None:
    """Raise UsageError where one sample of a network has more timesteps than can be held at once."""
    n_elements = sum(int(np.prod(net.shapes[node.name])) for node in (*net.neurons, *net.inputs))
    if n_elements * net.n_chip_steps > MAX_STEPS_OF_NEURONS:
        raise UsageError(
            f"{net.n_timesteps} timesteps of {n_elements} neurons and inputs", where="--timesteps", code="too_long",
            limit=f"At most {MAX_STEPS_OF_NEURONS // n_elements} timesteps of this network at once",
            remedy="Give fewer with --timesteps; the file's own number is used without it",
        )


def measure(
    net: IntGraph, plan: Placement, images: NDArray[Any], progress: Progress = SILENT, *, zeros: Zeros = "stored"
) -> Measured:
    """Run images [N, C, H, W] through the fast simulator and count every event; `zeros` as the profile has it."""
    votes, counts = [], []
    progress.start("simulation", len(images))
    for part in batches(net, len(images)):
        trace = simulate(net, chip_input(net, images[part]))
        votes.append(trace.votes)
        counts.append(count(trace, plan, zeros))
        progress.advance("simulation", trace.batch)
    progress.done("simulation")
    return Measured(np.concatenate(votes, axis=1), concatenate(counts))


@dataclass(frozen=True, eq=False)
class Given:
    """What a network did with inputs that a user gave: counts of all samples, and how many messages [*shape] each
    element of its inputs and layers sent, mean of the samples."""

    counts: Counts
    messages: dict[str, NDArray[np.float64]]


def measure_given(
    net: IntGraph, plan: Placement, x: NDArray[Any], progress: Progress = SILENT, *, zeros: Zeros = "stored"
) -> Given:
    """Run chip input x, integers [T, B, *input shape], from zero state until its last timestep has reached the output."""
    check_length(net)
    n_steps = steps_until_settled(net)
    counts: list[Counts] = []
    totals: dict[str, NDArray[np.float64]] = {n.name: np.zeros(net.shapes[n.name]) for n in (*net.inputs, *net.neurons)}
    progress.start("simulation", x.shape[1])
    for part in batches(net, x.shape[1]):
        trace = simulate(net, x[:, part], n_steps)
        counts.append(count(trace, plan, zeros))
        for name, total in totals.items():
            total += (trace.spikes[name] != 0).sum(axis=(0, 1))
        progress.advance("simulation", trace.batch)
    progress.done("simulation")
    return Given(concatenate(counts), {name: total / x.shape[1] for name, total in totals.items()})


def early_exit_report(
    net: IntGraph, plan: Placement, profile: Profile, policy: ConfidencePolicy, images: NDArray[Any], labels: NDArray[Any],
    full: Measured, *, interval_s: float | None = None,
) -> dict[str, Any]:
    """What stopping early gives on these samples, beside running all T steps; energies of one sample at a time, or of one
    every `interval_s` seconds where that is given (the time that stopping saves then saves no static power).

    The simulation of each sample really ends at its exit: what was injected or in flight until then is counted.
    """
    def run(part: slice) -> ExitTrace:
        return simulate_until(net, chip_input(net, images[part]), policy)

    figures = exit_figures(net, plan, profile, run, labels, full, interval_s=interval_s)
    return {"policy": policy.to_dict(), "threshold": policy.threshold, **figures}


def exit_figures(
    net: IntGraph, plan: Placement, profile: Profile, run: Callable[[slice], ExitTrace], labels: NDArray[Any],
    full: Measured, *, interval_s: float | None = None,
) -> dict[str, Any]:
    """The figures of `early_exit_report` for any rule to stop by: `run` simulates a slice of the samples until their exits."""
    steps, chip_steps, answers, counts = [], [], [], []
    for part in batches(net, len(labels)):
        found = run(part)
        steps.append(found.exit_steps)
        chip_steps.append(found.chip_steps)
        answers.append(found.answers)
        counts.append(until(count(found.trace, plan, profile.zeros), found.chip_steps))
    exit_steps, chips = np.concatenate(steps), np.concatenate(chip_steps)
    right = np.concatenate(answers) == labels
    whole = cost(full.counts, plan, profile, "single", interval_s=interval_s)
    stopped = cost(concatenate(counts), plan, profile, "single", interval_s=interval_s)
    fixed = fixed_accuracy(full.votes, labels)
    mean = float(exit_steps.mean())
    return {
        "accuracy": float(right.mean()), "n": len(labels),
        "mean_timesteps": mean, "mean_chip_timesteps": float(chips.mean()),
        "pipeline_timesteps": net.n_chip_steps - net.n_timesteps,
        "histogram": np.bincount(exit_steps, minlength=net.n_timesteps + 1)[1:].tolist(), "exit_steps": exit_steps.tolist(),
        "oracle": oracle_outcome(predictions(full.votes) == labels), "accuracy_fixed": fixed,
        "accuracy_fixed_at_mean": float(np.interp(mean, np.arange(1, len(fixed) + 1), fixed)),
        "energy_j": stopped.energy_j.to_dict(), "energy_dynamic_j": stopped.energy_dynamic_j.to_dict(),
        "energy_full_j": whole.energy_j.to_dict(), "energy_dynamic_full_j": whole.energy_dynamic_j.to_dict(),
        "latency_s": stopped.latency_s.nominal, "latency_full_s": whole.latency_s.nominal,
        "status": whole.status, "energy_saved": 1 - stopped.energy_j.nominal / whole.energy_j.nominal,
    }


def costs_of(
    counts: Counts, plan: Placement, profile: Profile, *, schedules: tuple[Schedule, ...] = ("single", "pipelined"),
    interval_s: float | None = None,
) -> dict[Schedule, Cost]:
    """Cost of one inference under each schedule; `interval_s` as `cost.model.cost`."""
    return {schedule: cost(counts, plan, profile, schedule, interval_s=interval_s) for schedule in schedules}
