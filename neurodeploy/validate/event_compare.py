"""Where two recordings of an event-driven network first differ: tables of spikes in the order in which they were sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.errors import Mismatch
from neurodeploy.ir.nodes import Array

Tables = Mapping[str, Sequence[Array]]  # by layer, of each sample int64 [n, 4]: t in us, c, y, x


@dataclass(frozen=True)
class EventDivergence:
    """The first spike that differs: number `index` (from 0) of its layer and sample.

    timestep: its time in microseconds, since these chips have no timesteps; neuron: (c, y, x). expected 1 and got 0: the
    spike is missing; 0 and 1: it is one too many. instead: what the other recording has in its place, (t, c, y, x).
    """

    layer: str
    timestep: int
    neuron: tuple[int, int, int]
    expected: int
    got: int
    sample: int
    index: int
    instead: tuple[int, int, int, int] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        instead = None if self.instead is None else list(self.instead)
        return {**vars(self), "neuron": list(self.neuron), "instead": instead}

    def __str__(self) -> str:
        other = "no spike" if self.instead is None else f"at {self.instead[0]} us neuron {self.instead[1:]}"
        mine = f"at {self.timestep} us neuron {self.neuron}"
        expected, got = (mine, other) if self.expected else (other, mine)
        return f"layer {self.layer}, sample {self.sample}, spike {self.index}: expected {expected}, got {got}"


def first_event_divergence(layers: Iterable[str], expected: Tables, got: Tables) -> EventDivergence | None:
    """The earliest difference of the first sample that has one, or None where both recordings are equal.

    layers: in the order of the network; of two differences at one time the layer that comes first counts, which caused the
    rest. Raises Mismatch where a layer or a sample is missing from one of the recordings.
    """
    names = list(layers)
    for name in names:
        if name not in expected or name not in got or len(expected[name]) != len(got[name]):
            found = [f"{len(r[name])} samples" if name in r else "nothing" for r in (expected, got)]
            raise Mismatch(f"recordings hold {found[0]} and {found[1]}", where=name, remedy="Record all layers again")
    n_samples = len(expected[names[0]]) if names else 0
    for sample in range(n_samples):
        found_ones = [_first(name, sample, expected[name][sample], got[name][sample]) for name in names]
        differing = [d for d in found_ones if d is not None]
        if differing:
            return min(differing, key=lambda d: d.timestep)
    return None


def n_spike_differences(expected: Tables, got: Tables) -> tuple[int, int]:
    """(spikes that differ, spikes compared) over all layers of `expected`, spike k of one table with spike k of the other."""
    n_differ = n_compared = 0
    for name, samples in expected.items():
        for mine, other in zip(samples, got[name], strict=True):
            longer = max(len(mine), len(other))
            n_compared += longer
            n_differ += longer - int(_equal(mine, other).sum())
    return n_differ, n_compared


def _equal(mine: Array, other: Array) -> Array:
    n = min(len(mine), len(other))
    return np.asarray((mine[:n] == other[:n]).all(axis=1))


def _first(layer: str, sample: int, expected: Array, got: Array) -> EventDivergence | None:
    same = _equal(expected, got)
    if same.all() and len(expected) == len(got):
        return None
    k = int(np.argmin(same)) if not same.all() else len(same)
    wanted, found = (_row(table, k) for table in (expected, got))
    if wanted is not None and (found is None or wanted[0] <= found[0]):
        return EventDivergence(layer, wanted[0], wanted[1:], 1, 0, sample, k, found)
    assert found is not None  # one of the two goes on
    return EventDivergence(layer, found[0], found[1:], 0, 1, sample, k, wanted)


def _row(table: Array, k: int) -> tuple[int, int, int, int] | None:
    if k >= len(table):
        return None
    t, c, y, x = map(int, table[k])
    return t, c, y, x
