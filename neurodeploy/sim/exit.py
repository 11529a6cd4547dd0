"""Early exit on the simulated chip: each sample runs until its running vote is confident, or for so many timesteps as were
set before, and then really stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.ir.reference import check_input, input_at
from neurodeploy.ir.votes import settled
from neurodeploy.sim.clocked import Clocked
from neurodeploy.sim.trace import Recorder, Trace, vote_latency, vote_node


@dataclass(frozen=True, eq=False)
class ExitTrace:
    """`trace` holds what happened until each sample stopped, zeros after it.

    exit_steps [B]: model timesteps that the decision took, 1-based; chip_steps [B]: chip timesteps until then, the
    pipeline of synapse layers included; answers [B]: predicted classes.
    """

    trace: Trace
    exit_steps: NDArray[np.int64]
    chip_steps: NDArray[np.int64]
    answers: NDArray[np.int64]


def simulate_until(graph: IntGraph, x: Array, policy: ConfidencePolicy) -> ExitTrace:
    """Run chip input x, integers [T, B, *input shape], sample by sample until the policy lets it go, at most T steps.

    Raises NeurodeployError for a graph without a read-out.
    """
    return _simulate(graph, check_input(graph, x), lambda _, z, t: policy.confidence(z, t) > policy.threshold)


def simulate_for(graph: IntGraph, x: Array, steps: NDArray[np.int64]) -> ExitTrace:
    """Run sample b of chip input x for steps[b] model timesteps, 1..T, which are known before: later messages never enter.

    Raises as `simulate_until`, and UsageError for other steps.
    """
    x = check_input(graph, x)
    if steps.shape != x.shape[1:2] or not np.all((steps >= 1) & (steps <= len(x))):
        raise UsageError(f"steps of shape {steps.shape}, {steps.min()} to {steps.max()}", where="early exit",
                         limit=f"[{x.shape[1]}] within 1 to {len(x)}")
    if graph.inputs[0].kind != "bias":  # biases stay written
        entered = np.arange(len(x))[:, np.newaxis] < steps
        x = x * entered.reshape(*entered.shape, *(1,) * (x.ndim - 2))
    return _simulate(graph, x, lambda running, _, t: steps[running] <= t)


def _simulate(
    graph: IntGraph, x: Array, stops: Callable[[NDArray[np.int64], NDArray[np.float64], int], NDArray[np.bool_]]
) -> ExitTrace:
    """`stops` says who of the samples `running` with running votes z stops after t timesteps."""
    if vote_node(graph) is None:
        raise NeurodeployError("early exit needs a graph with a read-out", where=graph.nodes[-1].name,
                               code="no_early_exit")
    n_timesteps, batch = x.shape[:2]
    latency = vote_latency(graph)
    recorder = Recorder(graph, batch, n_timesteps + latency, record_state=False)
    network = Clocked(graph, batch)
    running = np.arange(batch)
    sums = np.zeros((batch, graph.shapes[graph.output.name][0]))
    exit_steps, answers = np.zeros(batch, dtype=np.int64), np.zeros(batch, dtype=np.int64)
    entry = graph.inputs[0]
    for s in range(n_timesteps + latency):
        spikes = network.step(input_at(entry, x, s)[running])
        for kind, found in (("spikes", spikes), ("updated", network.updated)):
            for name, values in found.items():
                full = np.zeros((batch, *values.shape[1:]), dtype=values.dtype)
                full[running] = values
                recorder.add(s, kind, name, full)
        recorder.votes[s, running] = network.votes
        t = s - latency + 1
        if t < 1:
            continue
        sums[running] += network.votes
        z = settled(sums[running])
        done = stops(running, z, t) if t < n_timesteps else np.ones(len(running), dtype=bool)
        exit_steps[running[done]] = t
        answers[running[done]] = z[done].argmax(axis=1)
        network.keep(~done)
        running = running[~done]
        if not len(running):
            break
    return ExitTrace(recorder.trace(), exit_steps, exit_steps + latency, answers)
