"""A network as an event-driven chip of the DYNAP-CNN family runs it: cores that add one weight a synapse and event.

Maps are (C, H, W) and pairs (y, x). What a core does with an event is written out in events_reference.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.event_layers import Destination as Destination
from neurodeploy.ir.event_layers import Map as Map
from neurodeploy.ir.nodes import Array, Pair, Reset

INPUT = "input"  # the name of what enters, where results are listed by the source of events


@dataclass(frozen=True, eq=False)
class EventLayer:
    """One core. weight int64 [O, I, kH, kW]; in_shape (I, H, W), events outside of it are dropped on their way in.

    v_th >= 0 is the potential at which it fires, v_min <= 0 the one below which it never stays, less than v_th. reset
    `soft` subtracts v_th, `hard` sets 0. bias [O] or None is added to every neuron at each tick of the slow clock, not at
    events.
    """

    name: str
    weight: Array
    in_shape: Map
    v_th: int
    v_min: int
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    reset: Reset = "soft"
    bias: Array | None = None
    destinations: tuple[Destination, ...] = ()

    @cached_property
    def shape(self) -> Map:
        """The map of neurons (O, H, W), before any pooling."""
        rows, columns = (
            (self.in_shape[1 + a] + 2 * self.padding[a] - self.weight.shape[2 + a]) // self.stride[a] + 1 for a in (0, 1)
        )
        return int(self.weight.shape[0]), rows, columns

    @property
    def n_neurons(self) -> int:
        """Neurons of the map."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @cached_property
    def fan_out(self) -> NDArray[np.int64]:
        """Synops of one event at each position of the input map, [H, W]; the same for all its channels."""
        reached = []
        for axis in (0, 1):
            size, n_out, kernel = self.in_shape[1 + axis], self.shape[1 + axis], self.weight.shape[2 + axis]
            tap = np.arange(size)[:, np.newaxis] + self.padding[axis] - np.arange(n_out) * self.stride[axis]
            reached.append(((tap >= 0) & (tap < kernel)).sum(axis=1))
        return np.asarray(np.outer(*reached) * self.shape[0], dtype=np.int64)

    def _bad(self, what: str, limit: str) -> NoReturn:
        raise NeurodeployError(what, where=self.name, limit=limit, code="bad_node")

    def check(self, state_bits: int) -> None:
        """Raise NeurodeployError for values that define no core."""
        top = (1 << (state_bits - 1)) - 1
        if self.weight.ndim != 4 or self.weight.dtype.kind != "i" or not self.weight.size:
            self._bad(f"weight has shape {self.weight.shape} and type {self.weight.dtype}", "Integers [O, I, kH, kW]")
        if self.in_shape[0] != self.weight.shape[1]:
            self._bad(f"{self.in_shape[0]} input channels for weights of {self.weight.shape[1]}", "The same number")
        if min(self.stride) < 1 or min(self.padding) < 0:
            self._bad(f"stride {self.stride}, padding {self.padding}", "Strides from 1, paddings from 0")
        if min(self.shape) < 1:
            self._bad(f"kernel {self.weight.shape[2:]} does not fit the input map {self.in_shape[1:]}", "At least one position")
        if not 0 <= self.v_th <= top or not -top - 1 <= self.v_min <= 0:
            self._bad(f"v_th {self.v_th}, v_min {self.v_min}", f"v_th in 0..{top}, v_min in {-top - 1}..0")
        if self.v_min == self.v_th:  # both 0; the compiled loops raise to the floor before they compare
            self._bad("v_th 0 on a floor of 0: every update would fire", "v_th above v_min")
        if self.reset not in ("soft", "hard"):
            self._bad(f"reset {self.reset!r}", "soft or hard")
        if self.bias is not None and (self.bias.shape != self.weight.shape[:1] or self.bias.dtype.kind != "i"):
            self._bad(f"bias has shape {self.bias.shape} and type {self.bias.dtype}", f"{self.weight.shape[0]} integers")
        for values in (self.weight, self.bias):
            if values is not None and not -top - 1 <= values.min() <= values.max() <= top:
                self._bad(f"a weight or bias beyond {state_bits} bits", f"{-top - 1}..{top}")


@dataclass(frozen=True, eq=False)
class EventNetwork:
    """Cores and where events enter. States saturate to `state_bits` bits with sign, 16 at most.

    input_shape (C, H, W) of the sensor; `entry` is where its events go. Raises NeurodeployError where names repeat,
    destinations are unknown or do not fit, or events would run in a circle (on the chip they may block it forever).
    """

    input_shape: Map
    entry: tuple[Destination, ...]
    layers: tuple[EventLayer, ...]
    state_bits: int = field(default=16)

    def __post_init__(self) -> None:
        if not 2 <= self.state_bits <= 16:
            raise NeurodeployError(f"state_bits is {self.state_bits}", limit="2..16", code="bad_graph")
        if len(self.index) != len(self.layers) or INPUT in self.index:
            raise NeurodeployError(f"layers need names of their own, none of them {INPUT!r}", code="bad_graph")
        if not self.layers or not self.entry:
            raise NeurodeployError("no layer, or none that takes the input", code="bad_graph")
        for layer in self.layers:
            layer.check(self.state_bits)
        for name, shape, destination in self.connections:
            self._check(name, shape, destination)
        _ = self.order

    @cached_property
    def index(self) -> dict[str, int]:
        """The place of each layer in `layers`, by name."""
        return {layer.name: i for i, layer in enumerate(self.layers)}

    def __getitem__(self, name: str) -> EventLayer:
        return self.layers[self.index[name]]

    @property
    def connections(self) -> Iterator[tuple[str, Map, Destination]]:
        """(name of the source, its map, destination), those of the input first, in the order in which they are served."""
        yield from ((INPUT, self.input_shape, d) for d in self.entry)
        yield from ((layer.name, layer.shape, d) for layer in self.layers for d in layer.destinations)

    def _check(self, name: str, shape: Map, destination: Destination) -> None:
        where, (py, px), shift = f"{name} -> {destination.layer}", destination.pool, destination.feature_shift
        if destination.layer not in self.index:
            raise NeurodeployError("an unknown destination", where=where, limit=f"Layers: {', '.join(self.index)}",
                                   code="bad_graph")
        into = self[destination.layer].in_shape
        if min(py, px) < 1 or shift < 0 or shift + shape[0] > into[0]:
            raise NeurodeployError(
                f"pool {destination.pool}, channels {shift}..{shift + shape[0] - 1}", where=where, code="bad_graph",
                limit=f"Pools from 1, channels 0..{into[0] - 1}",
            )
        if (shape[1] // py, shape[2] // px) != into[1:]:
            raise NeurodeployError(
                f"a map of {shape[1:]}, pooled by {destination.pool}, meets an input map of {into[1:]}", where=where,
                limit="Equal, the pooled size rounded down", code="bad_graph",
            )

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Places of the layers so that every source comes before its destinations, ties as in `layers`."""
        sources = [{n for n, _, d in self.connections if d.layer == layer.name} - {INPUT} for layer in self.layers]
        waiting, order, done = list(range(len(self.layers))), [], set[str]()
        while waiting:
            ready = next((i for i in waiting if sources[i] <= done), None)
            if ready is None:
                raise NeurodeployError(
                    "events would run in a circle", where=", ".join(self.layers[i].name for i in waiting), code="recurrent",
                    limit="The chip may block forever", remedy="Remove the recurrent connection",
                )
            waiting.remove(ready)
            order.append(ready)
            done.add(self.layers[ready].name)
        return tuple(order)

    def fan_outs(self, source: str) -> list[tuple[str, NDArray[np.int64]]]:
        """(layer, synops of one spike at each position [H, W] of the source's map) for each destination of a source.

        0 where the spike would arrive outside the next map. The input's name is `INPUT`.
        """
        shape = self.input_shape if source == INPUT else self[source].shape
        found = []
        for destination in self.entry if source == INPUT else self[source].destinations:
            (py, px), fan_out = destination.pool, self[destination.layer].fan_out
            here = np.zeros(shape[1:], dtype=np.int64)
            spread = fan_out.repeat(py, axis=0).repeat(px, axis=1)
            here[: spread.shape[0], : spread.shape[1]] = spread
            found.append((destination.layer, here))
        return found

    @property
    def outputs(self) -> tuple[str, ...]:
        """Layers whose spikes go nowhere else."""
        return tuple(layer.name for layer in self.layers if not layer.destinations)

    def first_states(self) -> dict[str, Array]:
        """All potentials zero, int16 [O, H, W] by layer."""
        return {layer.name: np.zeros(layer.shape, dtype=np.int16) for layer in self.layers}
