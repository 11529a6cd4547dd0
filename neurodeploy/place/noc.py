"""The network on chip: cores in tiles, tiles in a mesh, XY routing.

Cores are numbered chip by chip, `cores_per_tile` consecutive cores a tile, tiles down a column of the mesh first
(tile = core // cores_per_tile, x = tile // mesh_height, y = tile % mesh_height, as SANA-FE numbers Loihi). Several
chips stand side by side along x; what a link between chips costs on top of its hops is not public.
"""

from __future__ import annotations

from dataclasses import dataclass

from neurodeploy.hw.profile import Profile

INPUT_POSITION = (0, 0)  # where messages from outside enter: the first tile


@dataclass(frozen=True)
class Site:
    """Where core number `index` is; x and y count routers over all chips."""

    chip: int
    tile: int
    x: int
    y: int


def site(index: int, profile: Profile) -> Site:
    """Site of the core with this number (0-based, over all chips)."""
    capacity = profile.capacity
    chip, local = divmod(index, capacity.cores_per_chip.count)
    tile = local // capacity.cores_per_tile.count
    x, y = divmod(tile, capacity.mesh_height.count)
    return Site(chip=chip, tile=tile, x=chip * capacity.mesh_width.count + x, y=y)


def hops(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """(east-west, north-south) router-to-router steps of a packet from router a to router b, (x, y) each.

    >>> hops((0, 3), (2, 1))
    (2, 2)
    """
    return abs(a[0] - b[0]), abs(a[1] - b[1])
