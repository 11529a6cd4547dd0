"""Which core does what: the form in which the cost model sees a placement by blocks and one neuron by neuron."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError
from neurodeploy.place.assignment import Assignment
from neurodeploy.place.placement import Placement

Ints = NDArray[np.int64]
Plan = Placement | Assignment


@dataclass(frozen=True)
class MappedCore:
    """A core in use: where it is, which layers and inputs have a part on it, and how many elements of them."""

    index: int
    chip: int
    tile: int
    x: int
    y: int
    nodes: tuple[str, ...]
    n_neurons: int


@dataclass(frozen=True, eq=False)
class Mapping:
    """All cores in use, and which of them each layer's counts belong to.

    `columns`: of every layer, and every input that sits on cores, the indices into `cores` of its own cores, in the order
    of its counts; each core at most once. `own`: of those in `columns` that are placed neuron by neuron, for each
    element [N] the index into `columns[name]`.
    """

    cores: tuple[MappedCore, ...]
    columns: dict[str, Ints]
    own: dict[str, Ints]

    @property
    def n_tiles(self) -> int:
        """Tiles with a core in use."""
        return len({(core.chip, core.tile) for core in self.cores})

    @cached_property
    def positions(self) -> Ints:
        """[n_cores, 2]: router coordinates (x, y) over all chips."""
        return np.array([(core.x, core.y) for core in self.cores], dtype=np.int64).reshape(-1, 2)


@lru_cache(maxsize=32)
def read_mapping(plan: Plan) -> Mapping:
    """The mapping of a placement. Raises NeurodeployError where a layer has several blocks on one core."""
    return _of_assignment(plan) if isinstance(plan, Assignment) else _of_placement(plan)


def _of_placement(plan: Placement) -> Mapping:
    blocks = [core for name, _ in plan.shapes for core in plan.cores_of(name)]  # mapping order
    order = {index: k for k, index in enumerate(dict.fromkeys(core.index for core in blocks))}
    parts: dict[int, list[int]] = {}
    for k, core in enumerate(blocks):
        parts.setdefault(core.index, []).append(k)
    cores = []
    for index in order:
        held = [blocks[k] for k in parts[index]]
        names = tuple(core.node for core in held)
        if len(set(names)) != len(names):
            raise NeurodeployError(
                f"core {index} holds several blocks of one layer", where=names[0], code="bad_placement",
                remedy="Join them, or give the map neuron by neuron",
            )
        cores.append(MappedCore(
            index=index, chip=held[0].chip, tile=held[0].tile, x=held[0].x, y=held[0].y, nodes=names,
            n_neurons=sum(core.n_neurons for core in held),
        ))
    columns = {
        name: np.array([order[core.index] for core in plan.cores_of(name)], dtype=np.int64) for name, _ in plan.shapes
    }
    return Mapping(tuple(cores), columns, {})


def _of_assignment(plan: Assignment) -> Mapping:
    used = np.array(sorted(plan.sites), dtype=np.int64)
    columns, own = {}, {}
    names: dict[int, list[str]] = {int(k): [] for k in used}
    n_elements = dict.fromkeys(names, 0)
    for name, cores in plan.cores.items():
        found, local, counted = np.unique(cores.reshape(-1), return_inverse=True, return_counts=True)
        columns[name], own[name] = np.searchsorted(used, found), local.reshape(-1).astype(np.int64)
        for k, n in zip(found, counted, strict=True):
            names[int(k)].append(name)
            n_elements[int(k)] += int(n)
    sites = [(k, plan.sites[k]) for k in names]
    return Mapping(
        tuple(MappedCore(k, s.chip, s.tile, s.x, s.y, tuple(names[k]), n_elements[k]) for k, s in sites), columns, own
    )
