"""`golden.npz`: chip inputs of some samples, and the spikes of every layer that the chip must reproduce."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.ir import archive
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.sim.clocked import simulate

GOLDEN = "golden.npz"
_FORMAT = "neurodeploy golden"


@dataclass(frozen=True, eq=False)
class Golden:
    """x [T, B, *input shape]; spikes by neuron layer, [T', B, *shape], in chip time from the first timestep."""

    x: Array
    spikes: dict[str, Array]

    @property
    def n_spikes(self) -> dict[str, int]:
        """Spikes of each layer over all samples."""
        return {name: int(np.count_nonzero(raster)) for name, raster in self.spikes.items()}


def record(net: IntGraph, x: Array) -> Golden:
    """Golden vectors of a network for chip inputs x [T, B, *input shape]; each sample starts from zero state."""
    if x.ndim < 2 or x.shape[0] != net.n_timesteps:
        raise UsageError(
            f"golden inputs have shape {x.shape}", where=net.inputs[0].name,
            limit=f"Expected [{net.n_timesteps}, B, *{net.inputs[0].shape}]",
        )
    trace = simulate(net, x, net.n_chip_steps)
    return Golden(np.asarray(x), {n.name: trace.spikes[n.name] for n in net.neurons})


def _small(values: Array) -> Array:
    """The smallest signed type that holds the values."""
    most = int(np.abs(values.astype(np.int64)).max(initial=0))
    return values.astype(np.int8 if most < 2**7 else np.int16 if most < 2**15 else np.int32)


def save(golden: Golden, path: Path) -> None:
    """Write golden vectors; equal ones give equal bytes."""
    arrays = {"x": _small(golden.x), **{f"spikes/{name}": _small(v) for name, v in golden.spikes.items()}}
    archive.write(path, archive.pack({"format": _FORMAT, "schema_version": 1}, arrays))


def load(path: Path) -> Golden:
    """Golden vectors of a file, as int64. Raises UnsafeFile where it is corrupt."""
    document, arrays = archive.unpack(archive.read(path), str(path))
    if document != {"format": _FORMAT, "schema_version": 1} or "x" not in arrays:
        raise UnsafeFile("no golden vectors of a known version", where=str(path), remedy="Export again")
    spikes = {name.removeprefix("spikes/"): v.astype(np.int64) for name, v in arrays.items() if name.startswith("spikes/")}
    return Golden(arrays["x"].astype(np.int64), spikes)
