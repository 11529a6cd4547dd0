"""`golden.npz`: chip inputs of some samples, and the spikes of every layer that the chip must reproduce."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.ir import archive
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.ir.reference import input_range
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


_FRACTIONS = (0.3, 0.1, 0.03, 0.6, 1.0)  # of the input's range or of its elements; the first that drives most layers


def random_inputs(net: IntGraph, n_samples: int = 8, seed: int = 0) -> Array:
    """Chip input int64 [T, n_samples, *input shape] drawn at random, at the strength that makes most layers fire.

    Spikes are drawn with one probability, messages are sparse and uniform, counts of events as they fall, biases uniform and
    constant over time.
    """
    best, most = None, -1
    for fraction in _FRACTIONS:
        x = _draw(net, n_samples, np.random.default_rng(seed), fraction)
        trace = simulate(net, x[:, :1], net.n_chip_steps)
        n_firing = sum(bool(trace.spikes[n.name].any()) for n in net.neurons)
        if n_firing > most:
            best, most = x, n_firing
    assert best is not None  # there are fractions
    return best


def _draw(net: IntGraph, n_samples: int, rng: np.random.Generator, fraction: float) -> Array:
    entry = net.inputs[0]
    low, high = (int(v) for v in input_range(entry))
    once = (n_samples, *entry.shape)
    if entry.kind == "bias":
        values = np.rint(rng.uniform(low * fraction, high * fraction, size=once)).astype(np.int64)
        return np.repeat(values[np.newaxis], net.n_timesteps, axis=0)
    size = (net.n_timesteps, *once)
    if net.metadata.get("input") == "counts":
        return np.minimum(rng.poisson(fraction, size), high)
    values = rng.integers(low, high + 1, size=size) if entry.kind == "graded" else np.ones(size, dtype=np.int64)
    return np.asarray(values * (rng.random(size) < fraction), dtype=np.int64)


def small(values: Array) -> Array:
    """The smallest signed type that holds the values."""
    most = int(np.abs(values.astype(np.int64)).max(initial=0))
    return values.astype(np.int8 if most < 2**7 else np.int16 if most < 2**15 else np.int32)


def save(golden: Golden, path: Path) -> None:
    """Write golden vectors; equal ones give equal bytes."""
    arrays = {"x": small(golden.x), **{f"spikes/{name}": small(v) for name, v in golden.spikes.items()}}
    archive.write(path, archive.pack({"format": _FORMAT, "schema_version": 1}, arrays))


def load(path: Path) -> Golden:
    """Golden vectors of a file, as int64. Raises UnsafeFile where it is corrupt."""
    document, arrays = archive.unpack(archive.read(path), str(path))
    if document != {"format": _FORMAT, "schema_version": 1} or "x" not in arrays:
        raise UnsafeFile("no golden vectors of a known version", where=str(path), remedy="Export again")
    spikes = {name.removeprefix("spikes/"): v.astype(np.int64) for name, v in arrays.items() if name.startswith("spikes/")}
    return Golden(arrays["x"].astype(np.int64), spikes)
