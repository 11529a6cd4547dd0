"""A figure with its band: what the profile's low, nominal and high constants give."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Band:
    """low <= nominal <= high, in the unit that the field's name ends with."""

    low: float
    nominal: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    def times(self, other: Band) -> Band:
        """Product of two non-negative bands."""
        return Band(self.low * other.low, self.nominal * other.nominal, self.high * other.high)

    def scaled(self, factor: float) -> Band:
        """The band times a non-negative number."""
        return Band(self.low * factor, self.nominal * factor, self.high * factor)


def total(bands: Iterable[Band | None]) -> Band:
    """Sum of the bands that are available (math.fsum, so the order does not matter)."""
    known = [b for b in bands if b is not None]
    return Band(*(math.fsum(getattr(b, side) for b in known) for side in ("low", "nominal", "high")))
