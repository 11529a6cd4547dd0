"""`golden.npz` of an event-driven bundle: input events of some samples, and every spike that the chip must send for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.export.golden import GOLDEN
from neurodeploy.ir import archive
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.sim.events import simulate_batch
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.events_network import Map
from neurodeploy.sim.events_trace import IntArray

_DOCUMENT = {"format": "neurodeploy golden events", "schema_version": 1}
_EVENTS = "events"
Streams = tuple[IntArray, ...]


@dataclass(frozen=True, eq=False)
class GoldenEvents:
    """Tables of one sample each, int64 [n, 4] with columns (t in us, c, y, x) in the order of processing.

    events: what enters. spikes: what each neuron layer sends, before pooling. Every sample starts from the first states.
    """

    events: Streams
    spikes: dict[str, Streams]

    @property
    def n_samples(self) -> int:
        """Samples."""
        return len(self.events)

    @property
    def n_spikes(self) -> dict[str, int]:
        """Spikes of each layer over all samples."""
        return {name: sum(map(len, tables)) for name, tables in self.spikes.items()}


def record_events(net: IntGraph, streams: Sequence[Array]) -> GoldenEvents:
    """The golden spikes of a network for these input events, in the chip's order (depth first).

    Raises UsageError for streams that are none, or where initial states are not 0 (NeurodeployError: no such network).
    """
    network, states = from_graph(net)
    odd = [name for name, v in states.items() if v.any()]
    if odd:
        raise UsageError("its states do not start at 0", where=odd[0], remedy="Reset the states before the export")
    traces = simulate_batch(network, streams, order="depth")
    return GoldenEvents(
        tuple(np.asarray(stream, dtype=np.int64) for stream in streams),
        {layer.name: tuple(trace.spikes[layer.name].tcyx for trace in traces) for layer in network.layers},
    )


_EVENTS_PER_ADDRESS = (1, 4, 16, 64)  # mean number in a sample; the first that drives most layers
_MAX_RANDOM = 2**16  # events of a random sample
_PER_EVENT_US = 10  # time between them, on average


def random_streams(net: IntGraph, n_samples: int = 4, seed: int = 0) -> Streams:
    """Streams of random events, each at a random address, as many as make most layers fire."""
    network, _ = from_graph(net)
    best: Streams = ()
    most = -1
    for share in _EVENTS_PER_ADDRESS:
        rng = np.random.default_rng(seed)
        n = min(_MAX_RANDOM, share * int(np.prod(network.input_shape)))
        streams = tuple(_random(network.input_shape, n, rng) for _ in range(n_samples))
        firing = simulate_batch(network, streams[:1], record=())[0].n_spikes
        n_firing = sum(spikes > 0 for spikes in firing.values())
        if n_firing > most:
            best, most = streams, n_firing
    return best


def _random(shape: Map, n: int, rng: np.random.Generator) -> IntArray:
    t = np.sort(rng.integers(0, n * _PER_EVENT_US, size=n))
    return np.stack([t, *(rng.integers(0, size, size=n) for size in shape)], axis=1).astype(np.int64)


def save_events(golden: GoldenEvents, path: Path) -> None:
    """Write them: of each table the rows of all samples, int32, and how many rows each sample has. Equal ones, equal bytes."""
    arrays: dict[str, Array] = {}
    tables: Mapping[str, Streams] = {_EVENTS: golden.events, **{f"spikes/{name}": t for name, t in golden.spikes.items()}}
    for name, samples in tables.items():
        rows = np.concatenate([*samples, np.zeros((0, 4), dtype=np.int64)])
        last = int(rows.max(initial=0))
        if last >= 2**31:
            raise UsageError(f"an event at {last} us", where=name, limit="Below 2^31", remedy="Begin each sample at 0")
        arrays[name] = rows.astype(np.int32)
        arrays[f"n/{name}"] = np.array([len(sample) for sample in samples], dtype=np.int32)
    archive.write(path, archive.pack(_DOCUMENT, arrays))


def load_events(path: Path) -> GoldenEvents:
    """Golden events of a file. Raises UsageError where there is none, UnsafeFile where it is corrupt."""
    document, arrays = archive.unpack(archive.read(path), str(path))
    tables = {name: _split(arrays, name, path) for name in arrays if not name.startswith("n/")}
    if document != _DOCUMENT or _EVENTS not in tables or len(arrays) != 2 * len(tables):
        raise UnsafeFile("no golden events of a known version", where=str(path), remedy="Export again")
    events = tables.pop(_EVENTS)
    if any(len(samples) != len(events) for samples in tables.values()):
        raise UnsafeFile("layers with other numbers of samples", where=str(path), remedy="Export again")
    return GoldenEvents(events, {name.removeprefix("spikes/"): samples for name, samples in tables.items()})


def _split(arrays: Mapping[str, Array], name: str, path: Path) -> Streams:
    rows, counts = arrays[name], arrays.get(f"n/{name}")
    sound = (
        rows.dtype.kind == "i" and rows.ndim == 2 and rows.shape[1] == 4 and counts is not None and counts.ndim == 1
        and counts.dtype.kind == "i" and (counts >= 0).all() and int(counts.sum()) == len(rows)
        and (not rows.size or int(rows.min()) >= 0)
    )
    if not sound or counts is None:
        raise UnsafeFile(f"its table {name} is none of events", where=str(path), remedy="Export again")
    return tuple(np.split(rows.astype(np.int64), np.cumsum(counts.astype(np.int64))[:-1])) if len(counts) else ()


def is_events(path: Path) -> bool:
    """Whether a golden file holds events rather than spike trains by timestep. Errors as `load_events`."""
    return archive.unpack(archive.read(path), str(path))[0] == _DOCUMENT


__all__ = ["GOLDEN", "GoldenEvents", "Streams", "is_events", "load_events", "random_streams", "record_events", "save_events"]
