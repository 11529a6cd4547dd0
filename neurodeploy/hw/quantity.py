"""A number of a profile: value, band, unit, source, status."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

Status = Literal["measured", "published", "estimated", "assumed"]
STATUS_ORDER: tuple[Status, ...] = ("measured", "published", "estimated", "assumed")  # most to least trustworthy

_SI = {
    "pJ": 1e-12, "nJ": 1e-9, "ns": 1e-9, "us": 1e-6, "W/chip": 1.0, "mW/chip": 1e-3, "W": 1.0, "mW": 1e-3, "uW": 1e-6,
    "synop/s": 1.0, "share": 1.0, "Top/s": 1e12, "GB/s": 1e9, "TB/s": 1e12, "GB": 1e9, "MB": 1e6, "value/op": 1.0,
    "value": 1.0, "kernel": 1.0,
}
_COUNTS = {
    "core", "tile", "neuron", "word", "bit", "axon", "group", "lsb", "pixel", "channel", "class", "cycle", "layer",
    "multiprocessor",
}


def weakest(statuses: list[Status]) -> Status:
    """The least trustworthy of the given statuses ("measured" for an empty list)."""
    return max(statuses, key=STATUS_ORDER.index, default="measured")


class Strict(BaseModel):
    """Nothing but the fields named. `added` names fields that older files lack: at their default they change no digest."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    added: ClassVar[frozenset[str]] = frozenset()


class Quantity(Strict):
    """A number of the profile: nominal `value`, band, unit, where it comes from and how far to trust it."""

    value: float
    unit: str
    status: Status
    source: str
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.unit not in _SI and self.unit not in _COUNTS:
            raise ValueError(f"unit {self.unit!r} is none of {', '.join(sorted(set(_SI) | _COUNTS))}")
        if not self.source.strip():
            raise ValueError("a source is missing")
        if not self.band[0] <= self.value <= self.band[2]:
            raise ValueError(f"the value {self.value} lies outside its band {self.low}..{self.high}")
        if self.value < 0 or self.band[0] < 0:
            raise ValueError("a negative quantity")
        return self

    @property
    def band(self) -> tuple[float, float, float]:
        """(low, nominal, high) in the profile's unit."""
        return (
            self.value if self.low is None else self.low,
            self.value,
            self.value if self.high is None else self.high,
        )

    @property
    def si(self) -> tuple[float, float, float]:
        """(low, nominal, high) in joule, second, watt, byte, their rates per second, or as it is."""
        factor = _SI[self.unit]
        low, value, high = self.band
        return (low * factor, value * factor, high * factor)

    @property
    def count(self) -> int:
        """The value as a whole number (capacities)."""
        return int(self.value)


class Counts(Strict):
    """Several whole numbers of one kind: one for each core, or the values that a field may take."""

    values: tuple[int, ...]
    unit: str
    status: Status
    source: str

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.unit not in _COUNTS:
            raise ValueError(f"unit {self.unit!r} is none of {', '.join(sorted(_COUNTS))}")
        if not self.source.strip():
            raise ValueError("a source is missing")
        if any(n < 0 for n in self.values):
            raise ValueError("a negative count")
        return self
