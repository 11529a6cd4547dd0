"""What the rules of a target look at."""

from __future__ import annotations

from dataclasses import dataclass

from neurodeploy.hw.profile import Profile
from neurodeploy.place.layers import Network
from neurodeploy.place.partition import Cut


@dataclass(frozen=True, eq=False)
class Case:
    """What the rules look at."""

    network: Network
    profile: Profile
    n_chips: int
    cuts: tuple[Cut | None, ...]  # one per layer of the network

    @property
    def n_cores(self) -> int:
        """Cores of the layers that can be cut."""
        return sum(c.n_cores for c in self.cuts if c is not None)


def spaced(n: int) -> str:
    """73 728 for 73728, in messages."""
    return f"{n:,}".replace(",", " ")
