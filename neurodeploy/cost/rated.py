"""A placed network as matrices: layer rates in, energy and busy time of every core out.

Every count but the updates is linear in the rates of the layers, and the updates are linear in those of classes of equal
neurons (`class_updates`). So a network is a few matrices over a basis of its nodes' rates, its classes' updates and one
constant; they depend on geometry, placement and profile, and are made once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.class_updates import Classes, class_updates, classes_of
from neurodeploy.cost.geometry import NetworkShape
from neurodeploy.cost.schedule import Schedule
from neurodeploy.cost.unit_loads import UnitLayer, UnitLink
from neurodeploy.cost.unit_prices import LEVELS, LinkPrice, Price, UnitPrices
from neurodeploy.errors import UsageError
from neurodeploy.place.reach import Floats

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Use:
    """A group of synapses where it is placed: from node `source` into layer `layer`."""

    source: int
    layer: int
    unit: UnitLink
    price: LinkPrice


@dataclass(frozen=True, eq=False)
class Sums:
    """What one sample causes in its steps: basis vector [n_basis], and seconds of each step [3, n_steps]."""

    basis: Floats
    steps_s: Floats


@dataclass(frozen=True, eq=False)
class Rated:
    """A placed network. `columns` are the cores of each node, None for an input that sits on none; `hops` [n_uses, 2] those
    east-west and north-south of one spike per element of each use's source.

    `n_steps`: chip timesteps of a run, `shape.n_steps` unless a run is longer or shorter than a sample needs.
    """

    shape: NetworkShape
    prices: UnitPrices
    uses: tuple[Use, ...]
    hops: Floats
    units: tuple[UnitLayer, ...]
    unit_prices: tuple[Price, ...]
    columns: tuple[Ints | None, ...]
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
    def first_class(self) -> list[int]:
        """[n_layers + 1]: where each layer's classes begin in the basis."""
        return list(accumulate((len(unit.fan_in) for unit in self.units), initial=self.n_nodes))

    @cached_property
    def sources(self) -> Ints:
        """[n_uses]: the node that each use comes from."""
        return np.array([use.source for use in self.uses], dtype=np.int64)

    @cached_property
    def sent_j(self) -> Floats:
        """[n_uses, n_terms, 3]: packets and hops of one spike per element of each use's source."""
        packets = np.array([use.price.sent_j for use in self.uses]).reshape(-1, len(self.prices.terms), len(LEVELS))
        hop_j = self.prices.hop_j[(self.sources < self.shape.n_inputs).astype(np.int64)]
        return np.asarray(packets + np.einsum("ua,uatl->utl", self.hops, hop_j))

    @cached_property
    def energy_j(self) -> Floats:
        """[n_basis, n_terms, 3]: energy of each basis element; the last is a step in which nothing happens."""
        n_inputs, first = self.shape.n_inputs, self.first_class
        energy = np.zeros((first[-1] + 1, len(self.prices.terms), len(LEVELS)))
        if self.uses:
            caused = self.sent_j + np.array([use.price.received_j for use in self.uses])
            is_source = np.arange(self.n_nodes)[:, None] == self.sources
            energy[: self.n_nodes] = np.tensordot(is_source.astype(np.float64), caused, axes=1)
        rows = np.concatenate([price.energy_j for price in self.unit_prices])
        ends = np.cumsum([len(price.energy_j) for price in self.unit_prices])
        spikes = np.concatenate([[0], ends[:-1]])
        energy[n_inputs : self.n_nodes] += rows[spikes]
        energy[-1] += rows[ends - 1].sum(axis=0)
        for i, price in enumerate(self.unit_prices):
            if first[i + 1] > first[i]:
                energy[first[i] : first[i + 1]] = price.energy_j[1:-1]
        return energy

    @cached_property
    def busy_s(self) -> Floats:
        """[3 x 2 n_cores, n_basis]: sending, then receiving time of each core per basis element, low, nominal and high."""
        n, n_inputs, first = self.n_cores, self.shape.n_inputs, self.first_class
        n_basis = first[-1] + 1
        rows: list[Ints] = []  # cores, one entry for each stretch of a column
        columns: list[int] = []
        seconds: list[Floats] = []  # [3, cores of one or more entries]
        for use in self.uses:
            if self.columns[use.source] is not None:
                rows.append(self._cores(use.source))
                columns.append(use.source)
                seconds.append(use.price.send_s)
        for i, price in enumerate(self.unit_prices):
            rows += [self._cores(n_inputs + i)] * len(price.energy_j)
            columns += [n_inputs + i, *range(first[i], first[i + 1]), n_basis - 1]
            seconds.append(price.sends_s)
        n_sent = sum(map(len, rows))
        for use in self.uses:
            rows.append(self._cores(n_inputs + use.layer))
            columns.append(use.source)
            seconds.append(use.price.receive_s)
        flat = np.concatenate(rows)
        flat[n_sent:] += n
        flat = flat * n_basis + np.repeat(columns, list(map(len, rows)))
        values = np.concatenate(seconds, axis=1)
        return np.concatenate([
            np.bincount(flat, values[level], minlength=2 * n * n_basis).reshape(2 * n, n_basis) for level in LEVELS
        ])

    def _cores(self, node: int) -> Ints:
        cores = self.columns[node]
        assert cores is not None  # only an input may sit on none, and its time is no core's
        return cores

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
            rates = rates[np.arange(self.n_nodes)[:, None], steps]
            updates = updates[np.arange(len(updates))[:, None], steps[self.classes.node]]
        basis = np.concatenate([rates, updates, np.ones((1, n))])
        busiest = (self.busy_s @ basis).reshape(len(LEVELS), 2 * self.n_cores, n).max(axis=1)
        floors, syncs = self.prices.around_steps(self.n_tiles)
        return Sums(basis=basis.sum(axis=1), steps_s=np.maximum(busiest, floors) + syncs)
