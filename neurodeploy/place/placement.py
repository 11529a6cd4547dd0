"""Which core holds which neurons: a frozen value that a bundle's manifest stores as plain JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError, UnsafeFile
from neurodeploy.ir.nodes import Shape

Range = tuple[int, int]


@dataclass(frozen=True)
class Core:
    """One core: where it is, and the block of its layer's neurons that it holds (half-open ranges; a vector uses
    channels only). `tile` counts within its chip; x and y are router coordinates over all chips."""

    index: int
    chip: int
    tile: int
    x: int
    y: int
    node: str
    channels: Range
    rows: Range
    cols: Range
    n_neurons: int
    n_words: int
    n_axons_in: int
    n_axons_out: int


@dataclass(frozen=True)
class Placement:
    """Cores for every neuron layer of a network. `shapes` holds (layer, shape) in mapping order."""

    target: str
    n_chips: int
    shapes: tuple[tuple[str, Shape], ...]
    cores: tuple[Core, ...]

    @property
    def n_cores(self) -> int:
        return len(self.cores)

    @cached_property
    def _by_node(self) -> dict[str, tuple[Core, ...]]:
        return {name: tuple(c for c in self.cores if c.node == name) for name, _ in self.shapes}

    def cores_of(self, node: str) -> tuple[Core, ...]:
        """Cores of a neuron layer in local order; raises NeurodeployError for a node without cores."""
        if node not in self._by_node:
            raise NeurodeployError(
                "the placement has no cores for it", where=node, limit=f"Placed: {', '.join(self._by_node)}",
                remedy="Place the network that is costed", code="not_placed",
            )
        return self._by_node[node]

    def core_map(self, node: str) -> NDArray[np.int64]:
        """Local core index (into `cores_of(node)`) of every neuron, in the layer's shape."""
        shape = dict(self.shapes)[node] if node in self._by_node else ()
        cores = self.cores_of(node)
        found = np.full((*shape, 1, 1)[:3], -1, dtype=np.int64)
        for local, core in enumerate(cores):
            found[slice(*core.channels), slice(*core.rows), slice(*core.cols)] = local
        return found.reshape(shape)

    def grid(self, node: str) -> tuple[tuple[Range, ...], tuple[Range, ...], tuple[Range, ...]]:
        """The channel, row and column ranges whose product is `cores_of(node)`, in that order.

        Raises NeurodeployError where the cores are no such grid.
        """
        cores = self.cores_of(node)
        axes = tuple(
            tuple(dict.fromkeys(getattr(c, axis) for c in cores)) for axis in ("channels", "rows", "cols")
        )
        channels, rows, cols = axes
        if [(c.channels, c.rows, c.cols) for c in cores] != [(a, b, d) for a in channels for b in rows for d in cols]:
            raise NeurodeployError("its cores are no grid of channel, row and column ranges", where=node, code="bad_placement")
        return channels, rows, cols

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        return {
            "target": self.target,
            "n_chips": self.n_chips,
            "shapes": [[name, list(shape)] for name, shape in self.shapes],
            "cores": [{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(c).items()} for c in self.cores],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Placement from `to_dict` values. Raises UnsafeFile when they are not a placement."""
        try:
            cores = tuple(Core(**{f.name: _plain(c[f.name], f.name) for f in fields(Core)}) for c in data["cores"])
            shapes = tuple((str(name), tuple(int(n) for n in shape)) for name, shape in data["shapes"])
            plan = cls(target=str(data["target"]), n_chips=int(data["n_chips"]), shapes=shapes, cores=cores)
        except (KeyError, TypeError, ValueError) as err:
            raise UnsafeFile(
                "not a placement", limit=f"Wanted: cores, each with {', '.join(f.name for f in fields(Core))} ({err})",
                remedy="Export again",
            ) from err
        for name, shape in shapes:
            covered = sum(c.n_neurons for c in plan.cores_of(name))
            if covered != int(np.prod(shape)) or (plan.core_map(name) < 0).any():
                raise UnsafeFile(
                    f"cores hold {covered} of {int(np.prod(shape))} neurons", where=name, remedy="Export again"
                )
        return plan


def _plain(value: Any, name: str) -> Any:
    if name == "node":
        return str(value)
    if name in ("channels", "rows", "cols"):
        low, high = value
        return (int(low), int(high))
    return int(value)
