"""AutoSNN's macro architecture as plain values: sizes, neuron, positions. Imports no torch.

stem | TBD(C) | pool | TBD(2C) | TBD(2C) | pool | TBD(4C) | TBD(4C) | pool | classifier. Each of the five TBD
("to be determined") positions takes one of `BLOCKS`. Source: Na et al., AutoSNN, ICML 2022 (macro AutoSNN_C).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Fire, Pair, Reset

Arch = tuple[str, ...]
BnTime = Literal["merged", "per_step"]

BLOCKS: Arch = ("skip_connect", "SCB_k3", "SCB_k5", "SRB_k3", "SRB_k5")  # in the order of the release's block ids
_WIDTHS: tuple[int | None, ...] = (1, None, 2, 2, None, 4, 4, None)  # multiples of C; None is a max pool
N_POSITIONS = sum(w is not None for w in _WIDTHS)
N_POOLS = len(_WIDTHS) - N_POSITIONS


@dataclass(frozen=True)
class Position:
    """One layer between stem and classifier; a pool when `index`, its place in the architecture, is None."""

    name: str
    index: int | None
    c_in: int
    c_out: int


@dataclass(frozen=True)
class MacroConfig:
    """Everything about an AutoSNN_C network except its architecture and weights.

    `image_size` is (H, W), `width` is C, `n_timesteps` is T, `group` the voting neurons per class. `bn_time` says over
    what training takes batch statistics: T*B together ("merged") or each timestep's B ("per_step", as released).
    Raises UsageError for sizes that give no network.
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

    def __post_init__(self) -> None:
        for name in ("in_channels", "n_classes", "width", "n_timesteps", "group"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", limit="At least 1", remedy=f"Raise {name}")
        least = 2**N_POOLS
        if min(self.image_size) < least:
            raise UsageError(
                f"images of {self.image_size[0]} x {self.image_size[1]} pixels vanish in {N_POOLS} max pools",
                where="macro", limit=f"AutoSNN needs at least {least} x {least}", remedy="Enlarge or pad the images",
            )
        if self.bn_time not in ("merged", "per_step"):
            raise UsageError(
                f"bn_time is {self.bn_time!r}", limit="Known: 'merged', 'per_step'", remedy="Choose one of them"
            )

    @property
    def positions(self) -> tuple[Position, ...]:
        """The layers between stem and classifier, in order."""
        found: list[Position] = []
        channels, index = self.width, 0
        for i, factor in enumerate(_WIDTHS):
            out = channels if factor is None else factor * self.width
            found.append(Position(f"layers.{i}", None if factor is None else index, channels, out))
            channels, index = out, index + (factor is not None)
        return tuple(found)

    @property
    def n_features(self) -> int:
        """Inputs of the classifier's Linear: channels times pixels after the last pool."""
        h, w = self.image_size
        return self.positions[-1].c_out * (h >> N_POOLS) * (w >> N_POOLS)

    def to_dict(self) -> dict[str, Any]:
        """Fields as plain JSON values."""
        return {**asdict(self), "image_size": list(self.image_size)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> MacroConfig:
        """The inverse of `to_dict`; raises UsageError naming every unknown, missing or mistyped field."""
        try:
            return _adapter().validate_json(json.dumps(fields))
        except (TypeError, ValueError, RecursionError) as error:
            if not isinstance(error, ValidationError):
                raise UsageError(
                    "its fields are not plain JSON values", where="macro", limit=str(error), remedy="Use numbers and strings"
                ) from error
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'macro'}: {e['msg']}" for e in error.errors())
            raise UsageError(wrong, where="macro", remedy="Correct these fields") from error


@cache
def _adapter() -> TypeAdapter[MacroConfig]:
    return TypeAdapter(MacroConfig)


def check_arch(arch: Sequence[str]) -> Arch:
    """`arch` as a tuple; raises UsageError unless it names one block of `BLOCKS` for each position."""
    if isinstance(arch, str) or len(arch) != N_POSITIONS:
        given = repr(arch) if isinstance(arch, str) else f"{len(arch)} blocks ({', '.join(map(str, arch))})"
        raise UsageError(
            f"the architecture is {given}", where="arch", limit=f"AutoSNN has {N_POSITIONS} positions",
            remedy="Give one block for each; max pools are not listed",
        )
    for i, block in enumerate(arch):
        if block not in BLOCKS:
            raise UsageError(
                f"unknown block {block!r}", where=f"arch position {i}", limit=f"Known: {', '.join(BLOCKS)}",
                remedy="Choose one of them",
            )
    return tuple(arch)
