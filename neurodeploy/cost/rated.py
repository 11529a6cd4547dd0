"""A placed network as matrices: layer rates in, energy and busy time of every core out.

Every count but the updates is linear in the rates of the layers, and the updates are linear in those of classes of equal
neurons (`class_updates`). So a network is a few matrices over a basis of its nodes' rates, its classes' updates and one
constant; they depend on geometry, placement and profile, and are made once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.class_updates import Classes, class_updates, classes_of
from neurodeploy.cost.geometry import NetworkShape
from neurodeploy.cost.schedule import Schedule
from neurodeploy.cost.timing import around_steps
from neurodeploy.cost.unit_loads import UnitLayer, UnitLink
from neurodeploy.cost.unit_prices import LEVELS, LinkPrice, Price, UnitPrices
from neurodeploy.errors import UsageError
from neurodeploy.place.reach import Floats

Columns = slice | NDArray[np.int64]  # cores of a node


@dataclass(frozen=True, eq=False)
class Use:
    """A group of synapses where it is placed: node `source` into layer `layer`, and hops [2] of one spike per element."""

    source: int
    layer: int
    synapse: str
    unit: UnitLink
    price: LinkPrice
    hops: Floats


@dataclass(frozen=True, eq=False)
class Sums:
    """What one sample causes in its steps: basis vector [n_basis], and seconds of each step [3, n_steps]."""

    basis: Floats
    steps_s: Floats


@dataclass(frozen=True, eq=False)
class Rated:
    """A placed network. `columns` are the cores of each node, None for an input that sits on none.

    `n_steps`: chip timesteps of a run, `shape.n_steps` unless a run is longer or shorter than a sample needs.
    """

    shape: NetworkShape
    prices: UnitPrices
    uses: tuple[Use, ...]
    units: tuple[UnitLayer, ...]
    unit_prices: tuple[Price, ...]
    columns: tuple[Columns | None, ...]
    n_cores: int
    n_tiles: int
    n_chips: int
    n_steps: int

    @cached_property
    def classes(self) -> Classes:
        """Classes of equal neurons."""
        shape = self.shape
        return classes_of(
            self.units, shape.sources, [layer.memory for layer in shape.layers], shape.latencies, self.n_steps
        )

    @property
    def n_nodes(self) -> int:
        return len(self.shape.names)

    @cached_property
    def window(self) -> Floats:
        """[n_nodes, n_steps]: 1 in the steps in which a node works on the sample."""
        steps, start = np.arange(self.n_steps), np.array(self.shape.latencies)[:, None]
        return ((steps >= start) & (steps < start + self.shape.n_timesteps)).astype(np.float64)

    @cached_property
    def first_class(self) -> NDArray[np.int64]:
        """[n_layers + 1]: where each layer's classes begin in the basis."""
        counts = [len(unit.fan_in) for unit in self.units]
        return self.n_nodes + np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def energy_j(self) -> Floats:
        """[n_basis, n_terms, 3]: energy of each basis element; the last is a step in which nothing happens."""
        energy = np.zeros((int(self.first_class[-1]) + 1, len(self.prices.terms), len(LEVELS)))
        for use, sent in zip(self.uses, self.sent_j, strict=True):
            energy[use.source] += use.price.received_j
            energy[use.source] += sent
        first = self.first_class.tolist()
        for i, price in enumerate(self.unit_prices):
            energy[self.shape.n_inputs + i] += price.energy_j[0]
            energy[first[i] : first[i + 1]] = price.energy_j[1:-1]
            energy[-1] += price.energy_j[-1]
        return energy

    @cached_property
    def sent_j(self) -> Floats:
        """[n_uses, n_terms, 3]: packets and hops of one spike per element of each use's source."""
        if not self.uses:
            return np.zeros((0, len(self.prices.terms), len(LEVELS)))
        hops = np.array([use.hops for use in self.uses])
        from_input = np.array([use.source < self.shape.n_inputs for use in self.uses], dtype=np.int64)
        packets = np.array([use.price.sent_j for use in self.uses])
        return np.asarray(packets + np.einsum("ua,uatl->utl", hops, self.prices.hop_j[from_input]))

    @cached_property
    def busy_s(self) -> Floats:
        """[3, 2 n_cores, n_basis]: sending and receiving time of each core per basis element."""
        n, n_inputs = self.n_cores, self.shape.n_inputs
        busy = np.zeros((len(LEVELS), 2 * n, int(self.first_class[-1]) + 1))
        send, receive = busy[:, :n], busy[:, n:]
        for use in self.uses:
            own, target = self.columns[use.source], self.columns[n_inputs + use.layer]
            assert target is not None
            receive[:, target, use.source] += use.price.receive_s
            if own is not None:
                send[:, own, use.source] += use.price.send_s
        first = self.first_class.tolist()
        for i, price in enumerate(self.unit_prices):
            own = self.columns[n_inputs + i]
            assert own is not None
            send[:, own, n_inputs + i] += price.send_s[..., 0]
            if first[i + 1] > first[i]:
                send[:, own, first[i] : first[i + 1]] += price.send_s[..., 1:-1]
            send[:, own, -1] += price.send_s[..., -1]
        return busy

    def sums(self, rates: Floats, written: Floats, schedule: Schedule) -> Sums:
        """What rates [n_nodes, n_steps] in chip time cause. Raises UsageError for a schedule that the run does not cover."""
        if schedule not in ("single", "pipelined"):
            raise UsageError(f"unknown schedule {schedule!r}", limit="Known: single, pipelined")
        updates = class_updates(self.classes, rates, written)
        n = self.n_steps
        if schedule == "pipelined":
            if n < self.shape.n_steps:
                raise UsageError(f"{n} steps", limit=f"A pipeline needs all {self.shape.n_steps}", remedy="Rate them all")
            n = self.shape.n_timesteps
            # Column p holds what happens in chip steps congruent to p: in a full pipeline they coincide.
            start = np.array(self.shape.latencies)[:, None]
            steps = start + (np.arange(n) - start) % n
            rates, updates = np.take_along_axis(rates, steps, 1), np.take_along_axis(updates, steps[self.classes.node], 1)
        basis = np.concatenate([rates, updates, np.ones((1, n))])
        busiest = (self.busy_s @ basis).max(axis=1)
        floors, syncs = around_steps(self.prices.profile, self.n_tiles)
        return Sums(
            basis=basis.sum(axis=1),
            steps_s=np.maximum(busiest, np.array(floors)[:, None]) + np.array(syncs)[:, None],
        )
