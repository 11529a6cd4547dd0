"""The slow event-driven simulator: one event at one core at a time, in plain integers. The definition.

An event at (c, y, x) of a core updates every neuron (f, oy, ox) whose kernel covers it, 0 <= y + pad - oy * stride < kernel
and the same for x, oy outermost, then ox, then f. One update is one synop:

    v = v + w[f, c, y + pad - oy * stride, x + pad - ox * stride], saturated to the states' width
    where v >= v_th: ONE spike, and v = v - v_th (soft) or 0 (hard)
    v = max(v, v_min)

so that a neuron left at v_th or above stays silent until its next update. A tick of the slow clock is one update with the
bias instead of w for every neuron of a core that has one, in the same order, cores in `EventNetwork.order`; it is no synop.
Sources: sinabs 3.1.3, docs/speck and tests/test_specksim; the order of the positions is free on the chip and chosen here.

A spike goes to its core's destinations in their order. `depth`, as on the chip: what follows from it at the first
destination, down to the outputs, comes before the second destination, and that before the next spike. `breadth`, as in
specksim, which knows chains only: what an input event (or tick) brings to a core is finished there before the next core,
in `EventNetwork.order`, starts; a core with several sources takes the input's event first, then the spikes of one source
after the other, and its own tick comes last. So both orders differ only where paths meet, and the result does not depend on
how a stream is cut.
"""

from __future__ import annotations

from typing import get_args

import numpy as np

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.nodes import Array
from neurodeploy.sim.events_network import INPUT, Destination, EventLayer, EventNetwork
from neurodeploy.sim.events_stream import Rows, rows
from neurodeploy.sim.events_trace import EventTrace, Order, Spikes

Address = tuple[int, int, int]


class _Run:
    """States and results of one run."""

    def __init__(self, network: EventNetwork, v_init: dict[str, Array], n_rows: int) -> None:
        self.network = network
        self.top = (1 << (network.state_bits - 1)) - 1
        self.v = {name: v.astype(np.int64) for name, v in v_init.items()}
        self.spikes: dict[str, list[tuple[int, Address]]] = {layer.name: [] for layer in network.layers}
        self.n_saturations = dict.fromkeys(network.index, 0)
        self.n_tick_updates = dict.fromkeys(network.index, 0)
        self.n_dropped = dict.fromkeys([*network.index, INPUT], 0)
        self.synops = np.zeros((n_rows, len(network.layers)), dtype=np.int64)

    def update(self, layer: EventLayer, neuron: Address, weight: int) -> bool:
        """One update of one neuron; whether it fires."""
        v = int(self.v[layer.name][neuron]) + weight
        if not -self.top - 1 <= v <= self.top:
            self.n_saturations[layer.name] += 1
            v = max(-self.top - 1, min(self.top, v))
        fires = v >= layer.v_th
        if fires:
            v = v - layer.v_th if layer.reset == "soft" else 0
        self.v[layer.name][neuron] = max(v, layer.v_min)
        return fires

    def meet(self, row: int, layer: EventLayer, event: Address) -> list[Address]:
        """One event at one core; the spikes it sends."""
        c, y, x = event
        (sy, sx), (py, px) = layer.stride, layer.padding
        n_out, height, width = layer.shape
        k_height, k_width = layer.weight.shape[2:]
        found = []
        for oy in range(height):
            ky = y + py - oy * sy
            if not 0 <= ky < k_height:
                continue
            for ox in range(width):
                kx = x + px - ox * sx
                if not 0 <= kx < k_width:
                    continue
                for f in range(n_out):
                    self.synops[row, self.network.index[layer.name]] += 1
                    if self.update(layer, (f, oy, ox), int(layer.weight[f, c, ky, kx])):
                        found.append((f, oy, ox))
        self.spikes[layer.name] += [(row, spike) for spike in found]
        return found

    def tick(self, row: int, layer: EventLayer, bias: Array) -> list[Address]:
        """One tick at one core; the spikes it sends."""
        n_out, height, width = layer.shape
        everyone = [(f, oy, ox) for oy in range(height) for ox in range(width) for f in range(n_out)]
        found = [neuron for neuron in everyone if self.update(layer, neuron, int(bias[neuron[0]]))]
        self.n_tick_updates[layer.name] += len(everyone)
        self.spikes[layer.name] += [(row, spike) for spike in found]
        return found

    def arrive(self, row: int, source: str, destination: Destination, spike: Address) -> list[Address]:
        """A spike at one of its destinations; the spikes which that sends."""
        layer = self.network[destination.layer]
        event = (spike[0] + destination.feature_shift, spike[1] // destination.pool[0], spike[2] // destination.pool[1])
        if event[1] >= layer.in_shape[1] or event[2] >= layer.in_shape[2]:
            self.n_dropped[source] += 1
            return []
        return self.meet(row, layer, event)

    def depth(self, row: int, source: str, destinations: tuple[Destination, ...], spike: Address) -> None:
        """A spike and all that follows from it."""
        for destination in destinations:
            for following in self.arrive(row, source, destination, spike):
                self.depth(row, destination.layer, self.network[destination.layer].destinations, following)

    def depth_row(self, row: int, event: Address | None) -> None:
        """One input event, or tick (None), depth first."""
        if event is not None:
            self.depth(row, INPUT, self.network.entry, event)
            return
        for i in self.network.order:
            layer = self.network.layers[i]
            if layer.bias is not None:
                for spike in self.tick(row, layer, layer.bias):
                    self.depth(row, layer.name, layer.destinations, spike)

    def breadth_row(self, row: int, event: Address | None) -> None:
        """One input event, or tick (None), core after core."""
        sent = [(INPUT, self.network.entry, [event] if event is not None else [])]
        for i in self.network.order:
            layer = self.network.layers[i]
            found: list[Address] = []
            for source, destinations, spikes in sent:
                for spike in spikes:
                    for destination in destinations:
                        if destination.layer == layer.name:
                            found += self.arrive(row, source, destination, spike)
            if event is None and layer.bias is not None:
                found += self.tick(row, layer, layer.bias)
            sent.append((layer.name, layer.destinations, found))


def simulate(
    network: EventNetwork, events: Array, *, order: Order = "depth", first: int = 0, stop: int | None = None,
    v_init: dict[str, Array] | None = None, tick_interval: int | None = None, t_end: int | None = None,
) -> EventTrace:
    """Run events first..stop-1 of a stream (t, c, y, x) [N, 4] from the states v_init ([C, H, W] by layer; None: zero).

    `tick_interval` and `t_end` are those of `events_stream.rows`. Raises UsageError for a stream that is none, and
    NeurodeployError for states that the network cannot have.
    """
    check_order(order)
    window = rows(network, events, first, stop, tick_interval, t_end)
    run = _Run(network, network.first_states() if v_init is None else check_states(network, v_init), len(window.t))
    for row, (c, y, x) in enumerate(window.cyx.tolist()):
        (run.depth_row if order == "depth" else run.breadth_row)(row, (c, y, x) if c >= 0 else None)
    return _trace(run, window)


def check_order(order: str) -> None:
    """Raise UsageError for an order that is none."""
    if order not in get_args(Order):
        raise UsageError(f"order {order!r}", limit=f"Known: {', '.join(get_args(Order))}")


def check_states(network: EventNetwork, v_init: dict[str, Array]) -> dict[str, Array]:
    """The states themselves; raises NeurodeployError unless every layer has integers of its shape and width."""
    half = 1 << (network.state_bits - 1)
    for layer in network.layers:
        v = v_init.get(layer.name)
        if v is None or v.shape != layer.shape or v.dtype.kind != "i" or not -half <= v.min() <= v.max() < half:
            raise NeurodeployError(
                "no initial states, or not such", where=layer.name, code="bad_state",
                limit=f"Integers {layer.shape} in {-half}..{half - 1}",
            )
    return v_init


def _trace(run: _Run, window: Rows) -> EventTrace:
    network = run.network
    spikes, counts = {}, {}
    for layer in network.layers:
        at = np.asarray([row for row, _ in run.spikes[layer.name]], dtype=np.int64)
        where = np.asarray([spike for _, spike in run.spikes[layer.name]], dtype=np.int64).reshape(-1, 3)
        neuron = np.asarray(np.ravel_multi_index(tuple(where.T), layer.shape), dtype=np.int64)
        spikes[layer.name] = Spikes(layer.shape, window.t[at], window.cause[at], neuron)
        counts[layer.name] = np.bincount(neuron, minlength=layer.n_neurons).reshape(layer.shape)
    by_event = np.zeros((len(window.t_event) + 1, len(network.layers)), dtype=np.int64)
    np.add.at(by_event, window.cause - window.first, run.synops)
    n_synops = dict(zip(network.index, run.synops.sum(axis=0).tolist(), strict=True))
    return EventTrace(
        network, window.first, window.t_event, spikes, counts, run.v, n_synops, run.n_saturations, run.n_tick_updates,
        run.n_dropped, by_event,
    )
