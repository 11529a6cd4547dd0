"""Where the first cores of a system are, and how far apart: for placements on consecutive cores."""

from __future__ import annotations

import numpy as np

from neurodeploy.hw.profile import Profile
from neurodeploy.place.noc import INPUT_POSITION, site
from neurodeploy.place.reach import Floats

_TABLE = 1024  # cores up to which all distances are kept (16 MB)


class CoreGrid:
    """The cores 0 to n_cores - 1 of a target."""

    def __init__(self, profile: Profile, n_cores: int) -> None:
        self.n_cores = n_cores
        places = [site(k, profile) for k in range(n_cores)]
        self._at = np.array([(s.x, s.y) for s in places], dtype=np.float64)
        self._chips = [s.chip for s in places]
        tiles: dict[tuple[int, int], int] = {}
        self._tiles_until = [len(tiles) for s in places if tiles.setdefault((s.chip, s.tile), len(tiles)) >= 0]
        self._entry = np.abs(self._at - np.array(INPUT_POSITION)).T[:, None, :]
        table = self._at[:_TABLE].T
        self._way = np.abs(table[:, :, None] - table[:, None, :])

    def n_tiles(self, n: int) -> int:
        """Tiles with one of the first n cores."""
        return self._tiles_until[n - 1]

    def n_chips(self, n: int) -> int:
        """Chips with one of the first n cores."""
        return self._chips[n - 1] + 1

    def way(self, sources: slice | None, targets: slice) -> Floats:
        """[2, J, K]: hops east-west and north-south, XY routing, from cores or (None) from where inputs enter."""
        if sources is None:
            return np.asarray(self._entry[:, :, targets])
        if max(sources.stop, targets.stop) <= _TABLE:
            return np.asarray(self._way[:, sources, targets])
        return np.asarray(np.abs(self._at[sources].T[:, :, None] - self._at[targets].T[:, None, :]))
