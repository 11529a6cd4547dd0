"""The macro architecture as plain values: sizes, neuron, positions, and the names of blocks. Imports no torch.

AutoSNN_C: stem | TBD(C) | pool | TBD(2C) | TBD(2C) | pool | TBD(4C) | TBD(4C) | pool | classifier. Each of the TBD
("to be determined") positions takes one of `ALL_BLOCKS`, or of `OWN_BLOCKS`. Source: Na et al., AutoSNN, ICML 2022 (macro
AutoSNN_C). `published` has the paper's other macros. Other layouts have other positions, and with `neuron` "if", `pool` "sum"
and `norm` "none" the network is one that event-driven chips run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, TypeVar, get_args

from pydantic import ConfigDict

from neurodeploy.errors import UsageError
from neurodeploy.extensions import Registry
from neurodeploy.ir.nodes import Fire, Pair, Reset
from neurodeploy.models.plain import read_fields

Arch = tuple[str, ...]
BnTime = Literal["merged", "per_step"]
PoolKind = Literal["max", "sum", "average"]
StemKind = Literal["plain", "tiny_imagenet", "dvs"]

BLOCKS: Arch = ("skip_connect", "SCB_k3", "SCB_k5", "SRB_k3", "SRB_k5")  # in the order of the release's block ids
ALL_BLOCKS: Arch = (  # the others stand in the release's code, outside of its space
    *BLOCKS, "SCB_k7", "SRB_k7", *(f"SIB_k{kernel}_e{expansion}" for kernel in (3, 5) for expansion in (1, 3, 6)),
)
AUTOSNN: tuple[int | None, ...] = (1, None, 2, 2, None, 4, 4, None)  # multiples of C; None is a pool
N_POSITIONS = sum(w is not None for w in AUTOSNN)
B = TypeVar("B", bound=type)


def _check_block(name: str, thing: Any, where: str) -> None:
    from torch import nn

    if not (isinstance(thing, type) and issubclass(thing, nn.Module) and callable(getattr(thing, "to_graph", None))):
        raise UsageError(f"is {thing!r}", where=f"block {name!r} ({where})", remedy="docs/extending.md has an example",
                         limit="A block is a class of torch modules with a method to_graph(graph, name, source)")
    if hasattr(nn.ModuleDict(), name) or "-" in name:  # a supernet keeps blocks there by name, and genomes are joined with it
        raise UsageError(f"{name!r} cannot name a block", where=where, remedy="Choose another name, without -")


OWN_BLOCKS: Registry[type] = Registry("block", "neurodeploy.blocks", "nd.register_block", _check_block, (*ALL_BLOCKS, "skip"))


def register_block(name: str) -> Callable[[B], B]:
    """Names a class of torch modules a block that recipes may list under `network.blocks`.

    It is made with (c_in, c_out, layers), where `layers` (`blocks.Layers`) makes convolutions, norms and neurons as the
    network's settings have them; `forward` takes spikes [T, B, c_in, H, W] to spikes [T, B, c_out, H, W]; and
    `to_graph(graph, name, source)` adds the same to a graph with `graph.conv`, `graph.bn` and `graph.neuron`
    (`convert.Builder`) under the names that the layers have in the module, `name` in front, and returns the last one.
    """
    return OWN_BLOCKS.register(name)


@dataclass(frozen=True)
class Position:
    """One layer between stem and classifier; a pool when `index`, its place in the architecture, is None."""

    name: str
    index: int | None
    c_in: int
    c_out: int
    stride: int = 1


@dataclass(frozen=True)
class MacroConfig:
    """Everything about a network except its architecture and weights.

    `image_size` is (H, W), `width` is C, `n_timesteps` is T, `group` the voting neurons per class. `bn_time` says over
    what training takes batch statistics: T*B together ("merged") or each timestep's B ("per_step", as released).
    `layout`: a width in multiples of C for each position, null for a pool; `strides`: 1 or 2 for each of them, pools having 1,
    or empty where all are 1. `pool` "average" has neurons of its own, and so has the mean of the whole map that `global_pool`
    puts in front of the classifier. `stem` "tiny_imagenet" adds a max-pool and a convolution with neurons, "dvs" these and
    another max-pool (sum pools where `pool` is "sum"). `multi_spike`, `v_min`: see `models.neurons`.
    `w_max`: no weight exceeds w_max * v_th, in training either (None: no limit). `norm` "weights"
    standardises the weights instead of the currents, which leaves no bias; their gains start at `gain`, and `centre` of
    their mean is subtracted. With "none" weights
    start normal with deviation gain / sqrt(fan in). Raises UsageError for sizes that give no network.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    in_channels: int
    image_size: Pair
    n_classes: int
    width: int = 16
    n_timesteps: int = 8
    group: int = 10
    tau0: float = 2.0
    decay_input: bool = True
    v_th: float = 1.0
    v_reset: float = 0.0
    fire: Fire = ">="
    reset: Reset = "hard"
    surrogate_alpha: float = 2.0
    bn_time: BnTime = "merged"
    layout: tuple[int | None, ...] = AUTOSNN
    neuron: Literal["plif", "if"] = "plif"
    pool: PoolKind = "max"
    norm: Literal["batch", "weights", "none"] = "batch"
    multi_spike: bool = False
    v_min: float | None = None
    w_max: float | None = None
    gain: float = 1.0
    centre: float = 0.5
    strides: tuple[int, ...] = ()
    stem: StemKind = "plain"
    global_pool: bool = False

    def __post_init__(self) -> None:
        for name in ("in_channels", "n_classes", "width", "n_timesteps", "group"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", limit="At least 1", remedy=f"Raise {name}")
        if self.n_positions < 1 or any(w is not None and w < 1 for w in self.layout):
            raise UsageError(f"layout is {list(self.layout)}", where="macro", limit="Widths from 1, at least one of them",
                             remedy="Give a width for each position, and null for each pool")
        if self.strides and (len(self.strides) != len(self.layout) or any(
            stride not in (1, 2) or (stride == 2 and factor is None)
            for stride, factor in zip(self.strides, self.layout, strict=True)
        )):
            raise UsageError(f"strides are {list(self.strides)}", where="macro", limit=f"The layout is {list(self.layout)}",
                             remedy="Give 1 or 2 for each of its entries, 1 for a pool, or none at all")
        for name, known in (("bn_time", BnTime), ("pool", PoolKind), ("stem", StemKind)):
            if getattr(self, name) not in get_args(known):
                raise UsageError(f"{name} is {getattr(self, name)!r}", limit=f"Known: {', '.join(map(repr, get_args(known)))}",
                                 remedy="Choose one of them")
        least = 1
        for rounds_up in reversed(self._halvings):
            least = 2 * least - rounds_up
        if min(self.image_size) < least:
            raise UsageError(
                f"images of {self.image_size[0]} x {self.image_size[1]} pixels vanish in {self.n_pools} pools",
                where="macro", limit=f"This layout needs at least {least} x {least}", remedy="Enlarge or pad the images",
            )

    @property
    def n_positions(self) -> int:
        """Positions that take a block."""
        return sum(w is not None for w in self.layout)

    @property
    def n_pools(self) -> int:
        """Pools, each of which halves the map, those of the stem among them; the one of `global_pool` aside."""
        return len(self._halvings) - sum(self._halvings)

    @property
    def _halvings(self) -> list[bool]:
        """For each layer that halves the map, in order, if it rounds odd sides up (a stride) and not down (a pool)."""
        in_stem = {"plain": 0, "tiny_imagenet": 1, "dvs": 2}[self.stem]
        return [False] * in_stem + [p.stride == 2 for p in self.positions if p.index is None or p.stride == 2]

    @property
    def positions(self) -> tuple[Position, ...]:
        """The layers between stem and classifier, in order."""
        found: list[Position] = []
        channels, index = self.width, 0
        for i, (factor, stride) in enumerate(zip(self.layout, self.strides or (1,) * len(self.layout), strict=True)):
            out = channels if factor is None else factor * self.width
            found.append(Position(f"layers.{i}", None if factor is None else index, channels, out, stride))
            channels, index = out, index + (factor is not None)
        return tuple(found)

    @property
    def n_features(self) -> int:
        """Inputs of the classifier's Linear: channels times pixels after the last layer."""
        h, w = self.image_size
        for rounds_up in self._halvings:
            h, w = (h + rounds_up) // 2, (w + rounds_up) // 2
        return self.positions[-1].c_out * (1 if self.global_pool else h * w)

    def to_dict(self) -> dict[str, Any]:
        """Fields as plain JSON values; those that AutoSNN_C does not need only where they differ from it."""
        plain = asdict(self)
        plain |= {name: list(plain[name]) for name in ("image_size", "layout", "strides")}
        return {k: v for k, v in plain.items() if k not in _ADDED or getattr(self, k) != _ADDED[k]}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> MacroConfig:
        """The inverse of `to_dict`; raises UsageError naming every unknown, missing or mistyped field."""
        return read_fields(cls, fields, "macro")


_ADDED = {f.name: f.default for f in fields(MacroConfig) if f.name in (
    "layout", "neuron", "pool", "norm", "multi_spike", "v_min", "w_max", "gain", "centre",
    "strides", "stem", "global_pool",
)}


def check_arch(arch: Sequence[str], n_positions: int = N_POSITIONS, blocks: Sequence[str] | None = None) -> Arch:
    """`arch` as a tuple; raises UsageError unless it names one of `blocks` (None: all there are) for each of the positions."""
    if isinstance(arch, str) or len(arch) != n_positions:
        given = repr(arch) if isinstance(arch, str) else f"{len(arch)} blocks ({', '.join(map(str, arch))})"
        raise UsageError(
            f"the architecture is {given}", where="arch", limit=f"The network has {n_positions} positions",
            remedy="Give one block for each; pools are not listed",
        )
    for i, block in enumerate(arch):
        if block not in ALL_BLOCKS and not (isinstance(block, str) and block in OWN_BLOCKS):
            raise UsageError(
                f"unknown block {block!r:.80}", where=f"arch position {i}",
                limit=f"Known: {', '.join((*ALL_BLOCKS, *OWN_BLOCKS.names()))}",
                remedy=f"Choose one of them, or {OWN_BLOCKS.remedy}",
                code="unknown_extension" if isinstance(block, str) else None,
            )
        if blocks is not None and block not in blocks:
            raise UsageError(f"block {block!r} is not in this network's list", where=f"arch position {i}",
                             limit=f"It has {', '.join(map(str, blocks))}", remedy="Add it to network.blocks")
    return tuple(arch)
