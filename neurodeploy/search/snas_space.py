"""The cells that SNASNet's search draws from, and which of them count. Source: Kim et al., SNASNet, ECCV 2022, and its
released code."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal, get_args

from neurodeploy.errors import UsageError
from neurodeploy.models.snas_cell import N_NODES, OPS, Cell, edges, has_loop, is_recurrent, is_spiking, walks
from neurodeploy.search.space import Genome, Space, draw_index

CellType = Literal["forward", "backward"]
# Redraws before all cells are listed, which takes half a minute with feedback: reached only where nearly all have been seen.
_REDRAWS = 10_000


def draw_raw(rng: random.Random, kind: CellType) -> Cell:
    """Any operation on every pair of nodes: forward or, in cells of kind "backward", on the forward or the backward edge."""
    if kind not in get_args(CellType):
        raise UsageError(f"no cells of kind {kind!r}", where="cell type", remedy=f"Known: {', '.join(get_args(CellType))}")
    rows = [["0"] * N_NODES for _ in range(N_NODES)]
    for row in range(N_NODES):
        for col in range(row + 1, N_NODES):
            a, b = (col, row) if kind == "backward" and draw_index(rng, 2) else (row, col)
            rows[a][b] = str(draw_index(rng, len(OPS)))
    return tuple("".join(row) for row in rows)


def sanitise(cell: Cell) -> Cell:
    """The cell without the edges of nodes that are on no directed walk from node 0 to node 3, backward edges included."""
    nodes = range(N_NODES)
    reach, last = walks((row, col) for row, col, _ in edges(cell)), N_NODES - 1
    kept = {n for n in nodes if (n == 0 or (0, n) in reach) and (n == last or (n, last) in reach)}
    if (0, last) not in reach:
        kept = set()
    return tuple("".join(cell[a][b] if {a, b} <= kept else "0" for b in nodes) for a in nodes)


def is_accepted(cell: Cell) -> bool:
    """Whether the search takes a sanitised cell: those with an edge from node 0 straight to node 3."""
    return cell[0][-1] != "0"


def is_convertible(cell: Cell) -> bool:
    """Whether `models.snas_convert.to_graph` makes a graph of a sanitised cell."""
    return is_spiking(cell) and has_loop(cell) == is_recurrent(cell)


def draw(rng: random.Random, kind: CellType, *, spiking: bool = False) -> Cell:
    """A sanitised, accepted cell; `spiking`: one of which `models.snas_convert.to_graph` makes a graph."""
    while True:
        cell = sanitise(draw_raw(rng, kind))
        if is_accepted(cell) and (not spiking or is_convertible(cell)):
            return cell


@dataclass(frozen=True)
class CellSpace(Space):
    """The cells that `draw` gives, as genomes of four rows; what draws them is `draw`, not a uniform one. `positions` lists the
    rows that there are, of which only some make a cell."""

    kind: CellType = "backward"
    spiking: bool = True

    @classmethod
    def of(cls, kind: CellType, *, spiking: bool = True) -> CellSpace:
        """All cells of a kind."""
        digits = [tuple(map(str, range(len(OPS))))] * N_NODES
        rows = [product(*digits[:i], "0", *digits[i + 1 :]) for i in range(N_NODES)]
        return cls(tuple(tuple("".join(row) for row in found) for found in rows), kind, spiking)

    @property
    def size(self) -> int:
        """Number of different cells."""
        return len(self._cells)

    @cached_property
    def _cells(self) -> tuple[Cell, ...]:
        pairs = [(row, col) for row in range(N_NODES) for col in range(row + 1, N_NODES)]
        backs = (False, True) if self.kind == "backward" else (False,)
        ways = [(op, back) for op in range(len(OPS)) for back in (backs if op else (False,))]
        found = dict[Cell, None]()
        for chosen in product(ways, repeat=len(pairs)):
            rows = [["0"] * N_NODES for _ in range(N_NODES)]
            for (row, col), (op, back) in zip(pairs, chosen, strict=True):
                a, b = (col, row) if back else (row, col)
                rows[a][b] = str(op)
            if rows[0][-1] != "0" and self._takes(cell := sanitise(tuple("".join(row) for row in rows))):
                found[cell] = None
        return tuple(found)

    def _takes(self, cell: Cell) -> bool:
        return not self.spiking or is_convertible(cell)

    def __contains__(self, genome: object) -> bool:
        if not super().__contains__(genome):
            return False
        assert isinstance(genome, tuple)
        return sanitise(genome) == genome and is_accepted(genome) and self._takes(genome)

    def draw(self, rng: random.Random) -> Genome:
        return draw(rng, self.kind, spiking=self.spiking)

    def draw_unseen(self, rng: random.Random, seen: Collection[Genome]) -> Genome | None:
        for _ in range(_REDRAWS):
            if (cell := self.draw(rng)) not in seen:
                return cell
        unseen = [cell for cell in self._cells if cell not in seen]
        return unseen[draw_index(rng, len(unseen))] if unseen else None

    def genome(self, number: int) -> Genome:
        return self._cells[number]

    def number(self, genome: Genome) -> int:
        self.check(genome)
        return self._cells.index(genome)

    def mutated(self, genome: Genome, p: float, rng: random.Random) -> Genome:
        """Cells are drawn, not bred: each is a new one."""
        return self.draw(rng)
