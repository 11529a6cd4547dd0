"""What an event-driven run leaves behind; both simulators fill the same values, so that they can be compared for equality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Array
from neurodeploy.sim.events_network import EventNetwork, Map

Order = Literal["depth", "breadth"]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Spikes:
    """The spikes of a layer, before pooling, in the order in which it sent them.

    t [n]: the time of the input event (or tick) that caused them; cause [n]: the index of that event in the stream;
    neuron [n]: place in the map (C, H, W), flattened.
    """

    shape: Map
    t: IntArray
    cause: IntArray
    neuron: IntArray

    def __len__(self) -> int:
        return len(self.neuron)

    @property
    def tcyx(self) -> IntArray:
        """[n, 4]: t, c, y, x."""
        return np.stack([self.t, *np.unravel_index(self.neuron, self.shape)], axis=1)

    def raster(self, n_steps: int, per_step: int = 1) -> IntArray:
        """Counts [n_steps, C, H, W], step i holding times i * per_step and on; raises UsageError for times behind it."""
        step = self.t // per_step
        if len(step) and step.max() >= n_steps:
            raise UsageError(f"a spike at time {self.t.max()}", limit=f"{n_steps} steps of {per_step}")
        counts = np.zeros((n_steps, int(np.prod(self.shape))), dtype=np.int64)
        np.add.at(counts, (step, self.neuron), 1)
        return counts.reshape(n_steps, *self.shape)

    def votes(self, edges: Array, by: Literal["event", "time"]) -> IntArray:
        """[len(edges) - 1, C]: spikes of each channel in the windows edges[i]..edges[i + 1] - 1 of input events or of time.

        For early exit: the answer after edges[i + 1] events is the largest of the first i + 1 rows' sum.
        """
        at = np.searchsorted(np.asarray(edges), self.cause if by == "event" else self.t, side="right") - 1
        inside = (at >= 0) & (at < len(edges) - 1)
        counts = np.zeros((len(edges) - 1, self.shape[0]), dtype=np.int64)
        np.add.at(counts, (at[inside], self.neuron[inside] // (self.shape[1] * self.shape[2])), 1)
        return counts


@dataclass(frozen=True, eq=False)
class EventTrace:
    """One run of one sample: events first..first + n_events - 1 of its stream.

    t_event [n_events]: their times. spikes: of the recorded layers. By layer name: counts, spikes of each neuron, and
    v_mem at the end, int64 [C, H, W]; n_synops, weights added; n_saturations, additions that left the width of the states;
    n_tick_updates, biases added. n_dropped, by the name of the source, the input among them: spikes that a connection
    carried out of the next map. synops_by_event [n_events + 1, layers], the last row for ticks after the last event, or None.
    """

    network: EventNetwork
    first: int
    t_event: IntArray
    spikes: dict[str, Spikes]
    counts: dict[str, IntArray]
    v_mem: dict[str, IntArray]
    n_synops: dict[str, int]
    n_saturations: dict[str, int]
    n_tick_updates: dict[str, int]
    n_dropped: dict[str, int]
    synops_by_event: IntArray | None

    @property
    def n_events(self) -> int:
        """Input events of the run."""
        return len(self.t_event)

    @property
    def n_spikes(self) -> dict[str, int]:
        """Spikes of each layer."""
        return {name: int(counts.sum()) for name, counts in self.counts.items()}


def first_difference(a: EventTrace, b: EventTrace) -> str | None:
    """Where two runs of one network first differ, layer by layer from the input on, or None."""
    if (a.first, a.n_events) != (b.first, b.n_events):
        return f"events {a.first} + {a.n_events} != {b.first} + {b.n_events}"
    for i in a.network.order:
        name = a.network.layers[i].name
        mine, other = a.spikes.get(name), b.spikes.get(name)
        if (mine is None) != (other is None):
            return f"spikes of {name} recorded in only one of the runs"
        if mine is not None and other is not None:
            for k in range(min(len(mine), len(other))):
                one, two = ((s.t[k], s.cause[k], s.neuron[k]) for s in (mine, other))
                if one != two:
                    return f"spike {k} of {name} (t, event, neuron): {one} != {two}"
            if len(mine) != len(other):
                return f"{name} has {len(mine)} spikes != {len(other)}"
        for what in ("counts", "v_mem", "n_synops", "n_saturations", "n_tick_updates", "n_dropped"):
            left, right = getattr(a, what)[name], getattr(b, what)[name]
            if not np.array_equal(left, right):
                return f"{what} of {name}: {left} != {right}"
    if a.n_dropped != b.n_dropped:
        return f"n_dropped: {a.n_dropped} != {b.n_dropped}"
    if (a.synops_by_event is None) != (b.synops_by_event is None) or (
        a.synops_by_event is not None and not np.array_equal(a.synops_by_event, b.synops_by_event)  # type: ignore[arg-type]
    ):
        return "synops_by_event"
    return None
