"""Cells and sizes of SNASNet as plain values. Imports no torch.

A cell has nodes 0 (input) to 3 (output) and is four rows of digits: digit `col` of row `row` is the operation from node `row`
to node `col`, one of `OPS`. With row < col the edge is a forward one; with row > col a backward one, whose result is added to
node `col` a timestep later. Source: Kim et al., SNASNet, ECCV 2022 (arXiv 2201.10355), and its released code, whose
`--cnt_mat` is this notation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Pair

Cell = tuple[str, ...]
Op = tuple[int, int, int]  # row, col, operation

N_NODES = 4
OPS = ("zero", "skip", "LIF-conv1x1-BN", "LIF-conv3x3-BN", "average pool 3x3")
ZERO, SKIP, CONV1, CONV3, POOL = range(len(OPS))
# With feedback, found by the authors for CIFAR-10 (last pool of 4) and for CIFAR-100. Source: README of the release.
RELEASED: dict[str, Cell] = {
    "snasnet_cifar10": ("0303", "0030", "2002", "0200"),
    "snasnet_cifar100": ("0302", "0030", "3003", "0000"),
}


def check_cell(cell: str | Sequence[str]) -> Cell:
    """The cell called so in RELEASED, or written "0303 0030 2002 0200" or as its four rows; UsageError for anything else."""
    rows = RELEASED.get(cell, cell.split()) if isinstance(cell, str) else cell
    digits = {str(op) for op in range(len(OPS))}
    if len(rows) != N_NODES or any(not isinstance(row, str) or len(row) != N_NODES or not set(row) <= digits for row in rows):
        raise UsageError(f"{cell!r} is no cell", where="cell", remedy=f"Or name one of {', '.join(RELEASED)}",
                         limit=f"Four rows of four digits, 0 to {len(OPS) - 1}, as in '0303 0030 2002 0200'")
    if any(rows[i][i] != "0" for i in range(N_NODES)):
        raise UsageError(f"{cell!r} has an edge from a node to itself", where="cell", remedy="Write 0 on the diagonal")
    return tuple(rows)


def edges(cell: Cell) -> tuple[Op, ...]:
    """Edges that do something: forward ones, then backward ones, each by destination and then by source."""
    found = [(row, col, int(cell[row][col])) for col in range(N_NODES) for row in range(N_NODES) if cell[row][col] != "0"]
    return tuple(sorted(found, key=lambda e: e[0] > e[1]))


def is_recurrent(cell: Cell) -> bool:
    """Whether it has a backward edge."""
    return any(row > col for row, col, _ in edges(cell))


def is_spiking(cell: Cell) -> bool:
    """Whether each loop of edges passes a layer of neurons: then every way from neurons to neurons is one linear map of spikes,
    and a node's real value needs no memory of its own."""
    return all(a != b for a, b in walks((row, col) for row, col, op in edges(cell) if op in (SKIP, POOL)))


def has_loop(cell: Cell) -> bool:
    """Whether edges lead from some node back to it. Backward edges alone need not: 0 -> 2, back to 1, on to 3."""
    return any(a == b for a, b in walks((row, col) for row, col, _ in edges(cell)))


def loop_delay(cell: Cell) -> int:
    """Timesteps after which backward edges arrive with feedback "loop": the fewest that a chip can keep on which every synapse
    takes one, 1 without loops.

    A way from neurons to neurons takes 1, and one over backward edges 2: behind neurons that feed back stands a layer that
    lets their spikes pass from the first timestep of a sample on (`lower.loops`). A loop of m layers of neurons with n ways
    back over b backward edges in all thus needs (m + n) / b; with as many timesteps as the network has (T) or more, backward
    edges carry constants only. Raises UsageError where a loop passes no neurons.
    """
    if not is_spiking(cell):
        raise UsageError("a loop of its edges passes no neurons", where=f"cell {' '.join(cell)}", code="cannot_lower",
                         limit="Feedback 'loop' delays spikes", remedy="Draw cells with spiking=True")
    ways = {(row, to, backs + (row > col)) for row, col, op in edges(cell) if op in (CONV1, CONV3)
            for to, backs in _led_on(cell, col)}
    firing = {row for row, _, op in edges(cell) if op in (CONV1, CONV3)}
    ways = {way for way in ways if way[1] in firing}
    delay = 1
    while True:  # too short while some loop takes more timesteps than its backward edges give it
        start = dict.fromkeys(firing, 0)
        for _ in range(len(firing) + 1):
            late = {to: max(start[to], *(start[row] + 1 + (b > 0) - b * delay for row, t, b in ways if t == to))
                    for to in {t for _, t, _ in ways}}
            if all(start[to] == at for to, at in late.items()):
                return delay
            start |= late
        delay += 1


def _led_on(cell: Cell, node: int) -> set[tuple[int, int]]:
    """(node, backward edges on the way) wherever skip and pool edges, which must not form loops, lead from `node`; itself."""
    found, front = {(node, 0)}, {(node, 0)}
    while front:
        front = {(col, backs + (row > col)) for at, backs in front for row, col, op in edges(cell)
                 if row == at and op in (SKIP, POOL)} - found
        found |= front
    return found


def walks(pairs: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """(a, b) for all nodes a from which edges `pairs` lead to b, by one edge or more."""
    found = set(pairs)
    for _ in range(N_NODES):
        found |= {(a, d) for a, b in found for c, d in found if b == c}
    return found


@dataclass(frozen=True)
class SnasConfig:
    """Everything about a SNASNet except its cell and weights.

    `image_size` is (H, W), `width` is C of the first cell (the second has 2C), `n_timesteps` is T, `group` the output units
    that vote for a class, `pool` kernel and stride of the last average pool. `linear_std` is the deviation of the two linear
    layers' first weights: the paper's 0.01 is for thousands of inputs; with fewer, the neurons behind need more to fire.

    ends "released": the first cell receives the stem's current, and a class's vote is the output layer's real value.
    "spikes", for chips: LIF, conv3x3, BN stand between stem and first cell, for what a skip edge leads on must be made of
    spikes, and neurons stand behind the output layer.

    feedback "released": backward edges arrive a timestep later, nothing before the first. "loop", for chips on which each
    synapse takes a timestep, needs ends "spikes": `loop_delay` timesteps later, and before that what they are without
    any spikes, the constants of their batch norms. Raises UsageError for sizes that give no network.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    in_channels: int
    image_size: Pair
    n_classes: int
    width: int = 128
    group: int = 5
    n_timesteps: int = 5
    hidden: int = 1024
    pool: int = 2
    stem_stride: int = 1
    tau: float = 4 / 3
    v_th: float = 1.0
    dropout: float = 0.5
    linear_std: float = 0.01
    ends: Literal["released", "spikes"] = "released"
    feedback: Literal["released", "loop"] = "released"

    def __post_init__(self) -> None:
        for name in ("in_channels", "n_classes", "width", "group", "n_timesteps", "hidden", "pool", "stem_stride"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", limit="At least 1", remedy=f"Raise {name}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}", limit="At least 0 and below 1", remedy="The paper uses 0.5")
        if not 0 < self.linear_std < float("inf"):
            raise UsageError(f"linear_std is {self.linear_std}", limit="Above 0", remedy="The paper uses 0.01")
        if self.ends not in ("released", "spikes"):
            raise UsageError(f"ends is {self.ends!r}", limit="Known: 'released', 'spikes'", remedy="Choose one of them")
        if self.feedback not in ("released", "loop"):
            raise UsageError(f"feedback is {self.feedback!r}", limit="Known: 'released', 'loop'", remedy="Choose one of them")
        if self.feedback == "loop" and self.ends != "spikes":
            raise UsageError("feedback 'loop' with ends 'released'", remedy="Set ends to 'spikes'",
                             limit="What backward edges carry before the first timestep is known where all comes from spikes")
        if min(self.last_size) < 1:
            h, w = self.image_size
            raise UsageError(f"images of {h} x {w} pixels vanish", where="SnasConfig", remedy="Enlarge them, or lower pool",
                             limit=f"Stem, pool of 2 and last pool divide by {self.stem_stride * 2 * self.pool}")

    @property
    def last_size(self) -> Pair:
        """(H, W) behind the last average pool."""
        h, w = ((n - 1) // self.stem_stride + 1 for n in self.image_size)
        return h // 2 // self.pool, w // 2 // self.pool

    def to_dict(self) -> dict[str, Any]:
        """Fields as plain JSON values; without `feedback` where it is as released, as before there was a choice."""
        fields = {**asdict(self), "image_size": list(self.image_size)}
        if self.feedback == "released":
            del fields["feedback"]
        return fields


# Sizes of the paper's main experiments; the release sets the last pool of CIFAR-10 to 4.
RELEASED_SIZES: dict[str, SnasConfig] = {
    "cifar10": SnasConfig(3, (32, 32), 10, width=256, group=10, pool=4),
    "cifar100": SnasConfig(3, (32, 32), 100),
    "tiny_imagenet": SnasConfig(3, (64, 64), 200, hidden=4096, stem_stride=2),
}
