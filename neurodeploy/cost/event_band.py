"""Whether the ranking of networks by energy depends on an energy per synop that nobody has measured.

The energy of a network is a straight line in e, n_synops * e + static power * interval. Two lines cross at most once, so
the ranking of a front inside the band of e is known from its ends and crossings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import EventProfile


@dataclass(frozen=True)
class Candidate:
    """One network of a front: synops of a sample, and the seconds for which static power runs."""

    name: str
    accuracy: float
    n_synops: float
    interval_s: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(x) and x >= 0 for x in (self.accuracy, self.n_synops, self.interval_s)):
            raise UsageError(f"accuracy {self.accuracy}, {self.n_synops} synops, {self.interval_s} s", where=self.name,
                             limit="Numbers from 0")


@dataclass(frozen=True)
class Flip:
    """Two networks whose order by energy turns at e_at_flip_pj: `below` costs less at smaller e, `above` at larger.

    beaten: the one that is less accurate, which is off the front where it costs more; None for equal accuracies.
    """

    below: str
    above: str
    e_at_flip_pj: float
    beaten: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(vars(self))


@dataclass(frozen=True)
class FrontFlips:
    """All pairs of a front whose order turns inside the band, and names by energy, the cheapest first, at its two ends."""

    low_pj: float
    high_pj: float
    pairs: tuple[Flip, ...]
    ranking_low: tuple[str, ...]
    ranking_high: tuple[str, ...]

    @property
    def flips(self) -> bool:
        """Whether any pair does."""
        return bool(self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "flips": self.flips, "low_pj": self.low_pj, "high_pj": self.high_pj, "pairs": [p.to_dict() for p in self.pairs],
            "ranking_low": list(self.ranking_low), "ranking_high": list(self.ranking_high),
        }

    def sentence(self) -> str:
        """What a report says about it."""
        band = f"{self.low_pj:g} to {self.high_pj:g} pJ per synop"
        if not self.pairs:
            return f"The ranking of the front by the energy of whole samples is the same for every energy in {band}."
        listed = "; ".join(f"{p.below} costs less than {p.above} below {p.e_at_flip_pj:.3g} pJ, more above" for p in self.pairs)
        return f"The ranking of the front by the energy of whole samples turns inside {band}: {listed}. Calibrate your board."


def front_flips(front: Sequence[Candidate], profile: EventProfile) -> FrontFlips:
    """Where the order of a front by energy turns for e inside the band of `energy.synop`, ends excluded.

    Static power has its nominal value. Candidates of one interval cannot turn, whatever e is. Raises UsageError for a
    profile without an energy per synop, which could rank nothing.
    """
    if "synop" not in profile.energy:
        raise UsageError("no energy.synop", where=profile.name, limit="Networks cannot be ranked by energy without it",
                         remedy="Calibrate it on your board")
    low, _, high = profile.energy["synop"].si
    static_w = math.fsum(profile.power[rail].si[1] for rail in profile.static_rails)
    pairs = [
        flip
        for a, b in combinations(front, 2)
        if (flip := _flip(*((a, b) if a.n_synops >= b.n_synops else (b, a)), static_w, low, high)) is not None
    ]
    at = {
        e: tuple(x.name for x in sorted(front, key=lambda x: x.n_synops * e + x.interval_s * static_w)) for e in (low, high)
    }
    return FrontFlips(
        low * 1e12, high * 1e12, tuple(sorted(pairs, key=lambda p: p.e_at_flip_pj)), at[low], at[high]
    )


def _flip(more: Candidate, less: Candidate, static_w: float, low: float, high: float) -> Flip | None:
    """The turn between two networks, the one with more synops (cheaper below) first; None where there is none in the band."""
    if more.n_synops == less.n_synops:
        return None
    e = (less.interval_s - more.interval_s) * static_w / (more.n_synops - less.n_synops)
    if not low < e < high:
        return None
    beaten = None if more.accuracy == less.accuracy else min(more, less, key=lambda x: x.accuracy).name
    return Flip(more.name, less.name, e * 1e12, beaten)
