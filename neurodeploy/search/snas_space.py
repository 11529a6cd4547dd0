"""The cells that SNASNet's search draws from, and which of them count. Source: Kim et al., SNASNet, ECCV 2022, and its
released code."""

from __future__ import annotations

import random
from typing import Literal, get_args

from neurodeploy.errors import UsageError
from neurodeploy.models.snas_cell import N_NODES, OPS, Cell, edges, has_loop, is_recurrent, is_spiking, walks
from neurodeploy.search.space import draw_index

CellType = Literal["forward", "backward"]


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


def draw(rng: random.Random, kind: CellType, *, spiking: bool = False) -> Cell:
    """A sanitised, accepted cell; `spiking`: one of which `models.snas_convert.to_graph` makes a graph."""
    while True:
        cell = sanitise(draw_raw(rng, kind))
        if is_accepted(cell) and (not spiking or (is_spiking(cell) and has_loop(cell) == is_recurrent(cell))):
            return cell
