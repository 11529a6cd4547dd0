"""P(a neuron is updated) from layer rates: the recursion of `estimate.update_probability` for classes of equal neurons.

Neurons of a layer that have equally many synapses from each source are one class, and every source fires at its layer's
rate, so a network has a few dozen classes instead of thousands of neurons. Sources and steps count as independent, as
there. All classes of a network advance together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.estimate import ALMOST_ONE
from neurodeploy.cost.geometry import Memory
from neurodeploy.cost.unit_loads import UnitLayer
from neurodeploy.place.reach import Floats


@dataclass(frozen=True, eq=False)
class States:
    """What classes keep and start with, [n] 0 or 1 each, and in which steps they forget, [n_steps, n]."""

    keeps_v: Floats
    keeps_u: Floats
    hard: Floats
    start_v: Floats
    start_u: Floats
    any_current: bool
    resets: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of all layers of a network, in mapping order of the layers.

    fan_in: (timesteps on the way, [n_classes, n_nodes] synapses from each node that take so long).
    node: [n_classes] the class's own layer as a node; layer: [n_classes] as a layer. remembering: the classes that keep a
    membrane or a current or start with one, which `states` is about.
    """

    fan_in: tuple[tuple[int, Floats], ...]
    node: NDArray[np.int64]
    layer: NDArray[np.int64]
    remembering: NDArray[np.int64]
    states: States | None


def classes_of(
    units: Sequence[UnitLayer], sources: Sequence[Sequence[int]], memories: Sequence[Memory], latencies: Sequence[int],
    n_steps: int,
) -> Classes:
    """Classes of a network: per layer its neurons, the nodes that its groups come from, and what they keep."""
    n_nodes, n_inputs = len(latencies), len(latencies) - len(units)
    counts = [len(unit.fan_in) for unit in units]
    layer = np.repeat(np.arange(len(units)), counts)
    tables: dict[int, Floats] = {}
    first = 0
    for i, unit in enumerate(units):
        if not counts[i]:
            continue
        for k, (group, delay) in enumerate(unit.links):
            if delay not in tables:
                tables[delay] = np.zeros((len(layer), n_nodes))
            tables[delay][first : first + counts[i], sources[i][group]] += unit.fan_in[:, k]
        first += counts[i]
    keeping = [m.keeps_v or m.keeps_u or m.start_u or m.start_v for m in memories]
    remembering = np.flatnonzero(np.repeat(keeping, counts))
    own = [memories[i] for i in layer[remembering]]
    return Classes(
        fan_in=tuple(sorted(tables.items())), node=layer + n_inputs, layer=layer, remembering=remembering,
        states=_states(own, np.array(latencies)[n_inputs:][layer[remembering]], n_steps) if own else None,
    )


def _states(own: Sequence[Memory], latencies: NDArray[np.int64], n_steps: int) -> States:
    steps = np.arange(n_steps)[:, None] - latencies
    interval = np.array([m.interval or 0 for m in own])
    return States(
        keeps_v=_flags([m.keeps_v for m in own]), keeps_u=_flags([m.keeps_u for m in own]),
        hard=_flags([m.hard_reset for m in own]), start_v=_flags([m.start_v for m in own]),
        start_u=_flags([m.start_u for m in own]), any_current=any(m.keeps_u or m.start_u for m in own),
        resets=(steps % np.maximum(1, interval) == np.array([m.phase for m in own])) & (interval > 0),
    )


def _flags(values: Sequence[bool]) -> Floats:
    return np.array(values, dtype=np.float64)


def class_updates(found: Classes, rates: Floats, written: Floats) -> Floats:
    """P(updated) [n_classes, n_steps] from rates [n_nodes, n_steps] in chip time.

    written: [n_layers] probability that the host writes a bias that is not zero.
    """
    event = _event(found, rates)
    fired = rates[found.node]
    before = np.zeros_like(event)
    before[:, 1:] = event[:, :-1]  # what a neuron without memory has in the next step
    if found.states is not None:
        before[found.remembering] = _before(found.states, event[found.remembering], fired[found.remembering])
    updated: Floats = np.maximum(1.0 - (1.0 - event) * (1.0 - before), fired)
    if written.any():
        always = written[found.layer][:, None]
        updated = always + (1.0 - always) * updated
    return updated


def _event(found: Classes, rates: Floats) -> Floats:
    """At least one spike arrives: 1 - product over the fan-in of (1 - rate)."""
    log_quiet = np.log1p(-np.minimum(rates, ALMOST_ONE))
    silent = np.zeros((len(found.node), rates.shape[1]))
    for delay, fan_in in found.fan_in:
        late = max(0, rates.shape[1] - delay)
        silent[:, rates.shape[1] - late :] += fan_in @ log_quiet[:, :late]
    arrived: Floats = -np.expm1(silent)
    return arrived


def _before(found: States, event: Floats, fired: Floats) -> Floats:
    """P(current or membrane is not zero before each step) [n_remembering, n_steps]."""
    n_steps = event.shape[1]
    before = np.zeros((n_steps, len(event)))
    u, v = found.start_u, found.start_v
    before[0] = np.maximum(u, v)
    happens = event.any(axis=0)
    if not before[0].any() and not happens.any():
        return before.T
    first = 0 if before[0].any() else int(happens.argmax())  # until then nothing has reached any class
    quiet, lost = np.ascontiguousarray(1.0 - event.T), np.ascontiguousarray((fired * found.hard[:, None]).T)
    kept = 1.0 - found.resets
    keeps_v, keeps_u = kept * found.keeps_v, kept * found.keeps_u
    for t in range(first, n_steps - 1):  # a reset forgets before the step's dynamics, so does not carry u and v into them
        u_quiet = quiet[t] * (1.0 - u * keeps_u[t]) if found.any_current else quiet[t]
        touched = 1.0 - u_quiet * (1.0 - v * keeps_v[t])
        before[t + 1] = touched
        u, v = 1.0 - u_quiet, np.maximum(touched - lost[t], 0.0)
    return before.T
