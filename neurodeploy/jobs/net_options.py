"""What a lava-dl `.net` leaves open: the arguments of netx that its reader takes beside the file."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from neurodeploy.errors import UsageError

PREFIX = "net."  # of the keys of --set


@dataclass(frozen=True)
class NetOptions:
    """netx's arguments under its own names; None stands for its default.

    reset_interval, reset_offset: all neurons are reset every so many timesteps (`LIFReset`); message_bits: bits of the
    messages that enter the first synapse, 0 for spikes (netx: input_message_bits), `signed_messages` where they may be
    negative; num_layers, skip_layers: read a part of the file; input_shape: (C, H, W) where it has no input layer;
    spike_exp: of sigma-delta networks.
    """

    reset_interval: int | None = None
    reset_offset: int | None = None
    message_bits: int | None = None
    signed_messages: bool | None = None
    num_layers: int | None = None
    skip_layers: int | None = None
    input_shape: tuple[int, ...] | None = None
    spike_exp: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The options that were set."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def check(self, path: Path) -> None:
        """Raise UsageError where an option has no meaning for the file."""
        if self.given and (path.suffix != ".net" or path.is_dir()):
            raise UsageError(
                f"{', '.join(self.given)} cannot be set", where=str(path), limit="Only a lava-dl .net leaves them open",
                remedy="Leave them out: the file says how its network is reset and what it receives",
            )
        if self.reset_interval is None and self.reset_offset is not None:
            raise UsageError("a reset offset without an interval", where="--reset-offset", remedy="Give --reset-interval too")

    def overridden(self, overrides: dict[str, Any]) -> tuple[Self, dict[str, Any]]:
        """(the options with those among the overrides that begin with `net.`, the other overrides).

        Raises UsageError for an unknown name or a value of the wrong type.

        >>> NetOptions(reset_interval=16).overridden({"net.num_layers": 2, "seed": 1})[1]
        {'seed': 1}
        """
        known = {f.name: str(f.type) for f in fields(self)}
        found: dict[str, Any] = {}
        for key, value in overrides.items():
            if not key.startswith(PREFIX):
                continue
            name = key.removeprefix(PREFIX)
            if name not in known:
                raise UsageError(f"no option {name!r} of a .net", where=f"--set {key}", limit=f"Known: {', '.join(known)}")
            found[name] = _typed(value, known[name], f"--set {key}={value}")
        return replace(self, **found), {k: v for k, v in overrides.items() if not k.startswith(PREFIX)}


def _typed(value: Any, kind: str, where: str) -> Any:
    wanted, fits = "a whole number", type(value) is int
    if kind.startswith("bool"):
        wanted, fits = "true or false", type(value) is bool
    elif kind.startswith("tuple"):
        wanted, fits = "a list such as [2, 34, 34]", isinstance(value, list) and all(type(v) is int for v in value)
    if not fits:
        raise UsageError(f"{value!r} is not {wanted}", where=where, limit=f"Expected {wanted}")
    return tuple(value) if isinstance(value, list) else value
