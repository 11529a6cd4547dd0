"""Where the first cores of a system are, and how far apart: for placements on consecutive cores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neurodeploy.cost.unit_loads import UnitLink
from neurodeploy.hw.profile import Profile
from neurodeploy.place.noc import INPUT_POSITION, site
from neurodeploy.place.reach import Floats


class CoreGrid:
    """The cores 0 to n_cores - 1 of a target; core number ENTRY stands for where inputs enter."""

    ENTRY = -1

    def __init__(self, profile: Profile, n_cores: int) -> None:
        self.n_cores = n_cores
        places = [site(k, profile) for k in range(n_cores)]
        self._at = np.array([*((s.x, s.y) for s in places), INPUT_POSITION], dtype=np.float64)  # the entry is the last row
        self._chips = [s.chip for s in places]
        tiles: dict[tuple[int, int], int] = {}
        self._tiles_until = []
        for s in places:
            tiles.setdefault((s.chip, s.tile), len(tiles))
            self._tiles_until.append(len(tiles))

    def n_tiles(self, n: int) -> int:
        """Tiles with one of the first n cores."""
        return self._tiles_until[n - 1]

    def n_chips(self, n: int) -> int:
        """Chips with one of the first n cores."""
        return self._chips[n - 1] + 1

    def hops(self, links: Sequence[UnitLink], sources: Sequence[int], targets: Sequence[int]) -> Floats:
        """[n_links, 2]: hops east-west and north-south (XY routing) of one spike per source element, given the first core
        of each link's source (or ENTRY) and target."""
        if not links:
            return np.zeros((0, 2))
        flat = [link.flat for link in links]
        sizes = [len(packets) for packets, _, _ in flat]
        packets, j, k = (np.concatenate(parts) for parts in zip(*flat, strict=True))
        way = np.abs(self._at[j + np.repeat(sources, sizes)] - self._at[k + np.repeat(targets, sizes)])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return np.asarray(np.add.reduceat(packets[:, None] * way, starts, axis=0))
