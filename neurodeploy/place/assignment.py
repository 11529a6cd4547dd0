"""A placement neuron by neuron: any map of neurons to cores, where `Placement` holds blocks of layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError, UnsafeFile
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Graph
from neurodeploy.place.noc import Site, site

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Assignment:
    """Cores of single neurons. `cores` maps every neuron layer to core numbers over all chips, in the layer's shape.

    Inputs may be there too: their elements then sit on those cores, as relays would; an input that is not there enters at
    the first tile. Layers may share cores. What a core can hold is not checked: this is how a given map is costed.
    `sites` has every core in use.
    """

    target: str
    n_chips: int
    cores: dict[str, Ints]
    sites: dict[int, Site]

    @classmethod
    def of(cls, graph: Graph, profile: Profile, cores: Mapping[str, NDArray[Any]], n_chips: int = 1) -> Self:
        """Assignment of a graph on a target. Raises NeurodeployError for a map that misses neurons or names no core."""
        last = profile.capacity.cores_per_chip.count * n_chips
        names = {n.name for n in (*graph.neurons, *graph.inputs)}
        missing = [n.name for n in graph.neurons if n.name not in cores]
        if missing or set(cores) - names:
            what = f"no cores for {missing}" if missing else f"cores for {sorted(set(cores) - names)}"
            raise NeurodeployError(what, limit=f"Neurons and inputs: {sorted(names)}", code="bad_placement")
        found = {}
        for name, given in cores.items():
            wanted = graph.shapes[name]
            if given.dtype.kind not in "iu" or given.size != int(np.prod(wanted)):
                raise NeurodeployError(
                    f"a map of {given.size} values of type {given.dtype}", where=name, code="bad_placement",
                    limit=f"One core number for each of {wanted}",
                )
            found[name] = given.astype(np.int64).reshape(wanted)
            if found[name].size and not 0 <= found[name].min() <= found[name].max() < last:
                raise NeurodeployError(
                    f"cores {found[name].min()} to {found[name].max()}", where=name, code="bad_placement",
                    limit=f"{n_chips} chip{'s' if n_chips > 1 else ''} of {profile.name}: 0 to {last - 1}",
                )
        used = np.unique(np.concatenate([m.reshape(-1) for m in found.values()]))
        return cls(profile.name, n_chips, found, {int(k): site(int(k), profile) for k in used})

    @property
    def n_cores(self) -> int:
        """Cores in use, those that hold only inputs included."""
        return len(self.sites)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        return {
            "target": self.target, "n_chips": self.n_chips,
            "cores": {name: {"shape": list(m.shape), "cores": m.reshape(-1).tolist()} for name, m in self.cores.items()},
            "sites": [[index, s.chip, s.tile, s.x, s.y] for index, s in self.sites.items()],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Assignment from `to_dict` values. Raises UnsafeFile when they are none."""
        try:
            cores = {
                str(name): np.array([int(c) for c in entry["cores"]], dtype=np.int64).reshape([int(n) for n in entry["shape"]])
                for name, entry in data["cores"].items()
            }
            sites = {int(k): Site(int(chip), int(tile), int(x), int(y)) for k, chip, tile, x, y in data["sites"]}
            found = cls(str(data["target"]), int(data["n_chips"]), cores, sites)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as err:
            raise UnsafeFile("not an assignment", limit=f"{type(err).__name__}: {err}", remedy="Write it again") from err
        lost = sorted({int(k) for m in cores.values() for k in np.unique(m)} ^ set(sites))
        if lost:
            raise UnsafeFile(f"cores {lost[:4]} have no site, or a site without neurons", remedy="Write it again")
        return found
