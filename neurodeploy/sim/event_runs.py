"""Many samples on the event-driven simulator, and the clocked simulator's run of the same network in the same numbers.

Samples go through in chunks; what is kept of each is its totals by layer and its votes, so that memory does not grow with
what happens inside. Names are those of the graph's nodes, the input's own name among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.ir.votes import predictions
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim import clocked, events
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.events_load import CoreLoad, peak_synops
from neurodeploy.sim.events_network import INPUT, EventNetwork
from neurodeploy.sim.events_trace import EventTrace, Order, Spikes
from neurodeploy.sim.readout import Readout, readout

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
_CHUNK_BYTES = 2**27  # of what the samples of one chunk leave behind before it is added up


@dataclass(frozen=True, eq=False)
class Runs:
    """N samples of duration_us each. By layer of neurons, int64 [N]: n_spikes, n_synops (weights added).

    n_events [N]: input events. mean_counts: by input and layer, spikes (input: events) of each neuron, the mean over the
    samples, float64 of the node's shape. class_counts [N, C]: output spikes of each class. peak_synops_per_s [N]: the most
    synops that any window of `window_us` has, divided by its length.
    """

    duration_us: int
    window_us: int
    n_events: IntArray
    n_spikes: dict[str, IntArray]
    n_synops: dict[str, IntArray]
    mean_counts: dict[str, FloatArray]
    class_counts: IntArray
    peak_synops_per_s: dict[str, FloatArray]

    @property
    def predictions(self) -> IntArray:
        """Answers [N]: the class with most spikes, the lowest on a tie; so a sample without output spikes answers 0."""
        answers: IntArray = predictions(self.class_counts[np.newaxis])[0]
        return answers

    @property
    def n_silent(self) -> int:
        """Samples without any output spike, whose answer means nothing."""
        return int((self.class_counts.sum(axis=1) == 0).sum())

    @property
    def n_samples(self) -> int:
        """N."""
        return len(self.n_events)


@dataclass(frozen=True, eq=False)
class EventRuns(Runs):
    """Event-driven runs of `net`. n_saturations by layer [N]: additions that left the width of the states; n_dropped by input
    and layer [N]: spikes that a pool carried out of the next map. outputs: the votes of each sample, their `neuron` the class.
    """

    n_saturations: dict[str, IntArray]
    n_dropped: dict[str, IntArray]
    outputs: tuple[Spikes, ...]
    readout: Readout
    net: IntGraph

    def votes(self, edges: Array, by: Literal["event", "time"]) -> FloatArray:
        """[K, N, C]: votes in the windows edges[k]..edges[k + 1] - 1 of input events or microseconds, as a Vote counts them:
        output spikes of each class divided by the neurons it has."""
        counts = np.stack([spikes.votes(edges, by) for spikes in self.outputs], axis=1)
        return counts / self.readout.group


@dataclass(frozen=True, eq=False)
class ClockedRuns(Runs):
    """Clocked runs of `n_bins` timesteps; votes [n_bins, N, C] as those of EventRuns."""

    n_bins: int
    votes: FloatArray


def run_streams(
    net: IntGraph, streams: Sequence[Array], *, duration_us: int, order: Order = "depth", window_us: int = 1000,
    stop: int | Sequence[int] | None = None, tick_interval_us: int | None = None, progress: Progress = SILENT,
) -> EventRuns:
    """Run streams of events (t in microseconds, c, y, x) [n, 4], each from the network's initial states.

    stop: the number of events after which a sample ends, one for all or one each. tick_interval_us: the slow clock, which
    adds biases. As many threads as torch uses. Raises UsageError for streams that do not fit the network or duration_us,
    and NeurodeployError for a network that is no event-driven one.
    """
    network, states = from_graph(net)
    check_durations(streams, duration_us, window_us)
    stops = list(stop) if isinstance(stop, Sequence) else [stop] * len(streams)
    if len(stops) != len(streams):
        raise UsageError(f"{len(stops)} stops for {len(streams)} samples", limit="One for each")
    output = readout(net)
    totals = _Totals(net, network, len(streams))
    saturations, dropped = _zeros(network.index, len(streams)), _zeros([*network.index, INPUT], len(streams))
    outputs: list[Spikes] = []
    progress.start("event-driven runs", len(streams))
    for part in _chunks(network, streams):
        traces = events.simulate_batch(
            network, streams[part], order=order, stop=stops[part], tick_interval=tick_interval_us,
            t_end=None if tick_interval_us is None else duration_us, record=(output.layer,), by_event=True, v_init=states,
        )
        for i, (trace, stream) in enumerate(zip(traces, streams[part], strict=True), part.start):
            totals.add(i, trace, np.asarray(stream), window_us)
            for table, found in ((saturations, trace.n_saturations), (dropped, trace.n_dropped)):
                for name, n in found.items():
                    table[name][i] = n
            outputs.append(output.of(trace.spikes[output.layer]))
        progress.advance("event-driven runs", len(traces))
    progress.done("event-driven runs")
    counts = np.stack([np.bincount(spikes.neuron, minlength=output.n_classes) for spikes in outputs])
    return EventRuns(
        duration_us, window_us, **totals.fields(), class_counts=counts, n_saturations=saturations,
        n_dropped={net.inputs[0].name if name == INPUT else name: n for name, n in dropped.items()},
        outputs=tuple(outputs), readout=output, net=net,
    )


def run_rasters(
    net: IntGraph, rasters: Array, *, duration_us: int, window_us: int = 1000, progress: Progress = SILENT
) -> ClockedRuns:
    """The clocked simulator on rasters of counts [N, T, C, H, W], in the numbers of `run_streams`.

    A count of k is k events, and each event and spike makes the synops that it makes on the chip. Synops happen all over
    their timestep: windows of peak_synops_per_s are so many whole timesteps as reach window_us, one at least. Raises
    UsageError for rasters that the network cannot take.
    """
    network, _ = from_graph(net)
    if rasters.ndim < 3 or not len(rasters):
        raise UsageError(f"rasters of shape {rasters.shape}", limit="Counts [N, T, *input shape], one sample at least")
    n_samples, n_bins = rasters.shape[:2]
    check_durations((), duration_us, window_us)
    output = readout(net)
    totals = _Totals(net, network, n_samples)
    of_class = (output.classes[:, np.newaxis] == np.arange(output.n_classes)).astype(np.int64)
    votes = np.zeros((n_bins, n_samples, output.n_classes), dtype=np.int64)
    n_values = n_bins * sum(int(np.prod(shape)) for shape in net.shapes.values())
    size = max(1, _CHUNK_BYTES // (8 * n_values))
    progress.start("clocked runs", n_samples)
    for first in range(0, n_samples, size):
        part = slice(first, min(first + size, n_samples))
        x = np.moveaxis(rasters[part], 0, 1).astype(np.int64)
        trace = clocked.simulate(net, x, n_bins, record="spikes")
        totals.add_clocked(part, trace.spikes, duration_us / n_bins, window_us)
        spikes = trace.spikes[output.layer].reshape(n_bins, part.stop - first, -1)
        votes[:, part] = spikes @ of_class
        progress.advance("clocked runs", part.stop - first)
    progress.done("clocked runs")
    return ClockedRuns(
        duration_us, window_us, **totals.fields(), class_counts=votes.sum(axis=0), n_bins=n_bins, votes=votes / output.group
    )


def rates(runs: Runs, limit_per_s: float | None = None) -> tuple[CoreLoad, ...]:
    """Synops per second of each core over all samples, mean and peak; `over` where the peak exceeds the limit."""
    time_s = runs.duration_us * 1e-6 * runs.n_samples
    found = []
    for name, synops in runs.n_synops.items():
        total, peak = int(synops.sum()), float(runs.peak_synops_per_s[name].max())
        found.append(CoreLoad(name, total, total / time_s, peak, limit_per_s is not None and peak > limit_per_s))
    return tuple(found)


def check_durations(streams: Sequence[Array], duration_us: int, window_us: int = 1) -> None:
    """Raise UsageError for a length that is none, or events behind the end of their sample."""
    if duration_us < 1 or window_us < 1:
        raise UsageError(f"duration_us {duration_us}, window_us {window_us}", limit="At least 1")
    for i, stream in enumerate(streams):
        if len(stream) and stream[-1, 0] >= duration_us:
            raise UsageError(
                f"an event at {stream[-1, 0]} us", where=f"sample {i}", limit=f"Samples last {duration_us} us",
                remedy="Give the duration of the data set, or cut the stream", code="event_time",
            )


class _Totals:
    """What both simulators' runs add up to."""

    def __init__(self, net: IntGraph, network: EventNetwork, n_samples: int) -> None:
        if not n_samples:
            raise UsageError("no samples", limit="At least one")
        self.net, self.network, self.n = net, network, n_samples
        self.entry = net.inputs[0].name
        self.n_events = np.zeros(n_samples, dtype=np.int64)
        self.n_spikes, self.n_synops = _zeros(network.index, n_samples), _zeros(network.index, n_samples)
        self.peaks: dict[str, FloatArray] = {name: np.zeros(n_samples) for name in network.index}
        shapes = {name: net.shapes[name] for name in (self.entry, *network.index)}
        self.counts: dict[str, IntArray] = {name: np.zeros(shape, dtype=np.int64) for name, shape in shapes.items()}

    def add(self, i: int, trace: EventTrace, stream: Array, window_us: int) -> None:
        """One event-driven run."""
        self.n_events[i] = trace.n_events
        cyx = tuple(stream[trace.first : trace.first + trace.n_events, 1:].T)
        np.add.at(self.counts[self.entry].reshape(self.network.input_shape), cyx, 1)
        peaks = peak_synops(trace, window_us) / (window_us * 1e-6)
        for k, name in enumerate(self.network.index):
            self.counts[name] += trace.counts[name].reshape(self.net.shapes[name])
            self.n_spikes[name][i], self.n_synops[name][i] = trace.counts[name].sum(), trace.n_synops[name]
            self.peaks[name][i] = peaks[k]

    def add_clocked(self, part: slice, rasters: dict[str, Any], bin_us: float, window_us: int) -> None:
        """Clocked runs of some samples: rasters [T, B, *shape] by input and layer."""
        names = {self.entry: INPUT, **{name: name for name in self.network.index}}
        n_bins, batch = rasters[self.entry].shape[:2]
        synops = {name: np.zeros((n_bins, batch), dtype=np.int64) for name in self.network.index}
        for name, source in names.items():
            raster = rasters[name]
            self.counts[name] += raster.sum(axis=(0, 1), dtype=np.int64)
            n = raster.reshape(n_bins, batch, -1).sum(axis=(0, 2), dtype=np.int64)
            (self.n_events if source == INPUT else self.n_spikes[name])[part] = n
            for layer, fan_out in self.network.fan_outs(source):
                at_position = raster.reshape(n_bins, batch, -1, fan_out.size).sum(axis=2, dtype=np.int64)
                synops[layer] += at_position @ fan_out.reshape(-1)
        n_together = min(n_bins, max(1, int(np.ceil(window_us / bin_us))))
        for name, found in synops.items():
            self.n_synops[name][part] = found.sum(axis=0)
            windows = np.lib.stride_tricks.sliding_window_view(found, n_together, axis=0).sum(axis=-1)
            self.peaks[name][part] = windows.max(axis=0) / (n_together * bin_us * 1e-6)

    def fields(self) -> dict[str, Any]:
        """Fields of Runs."""
        return {
            "n_events": self.n_events, "n_spikes": self.n_spikes, "n_synops": self.n_synops,
            "mean_counts": {name: counts / self.n for name, counts in self.counts.items()},
            "peak_synops_per_s": self.peaks,
        }  # fmt: skip


def _zeros(names: Any, n: int) -> dict[str, IntArray]:
    return {name: np.zeros(n, dtype=np.int64) for name in names}


def _chunks(network: EventNetwork, streams: Sequence[Array]) -> Iterator[slice]:
    """Parts of the samples whose results fit in _CHUNK_BYTES, one sample at least."""
    n_neurons, n_layers = sum(layer.n_neurons for layer in network.layers), len(network.layers)
    first, used = 0, 0
    for i, stream in enumerate(streams):
        # counts and states, int64; rows, and synops by row and by event
        size = 18 * n_neurons + len(stream) * (16 * n_layers + 64)
        if i > first and used + size > _CHUNK_BYTES:
            yield slice(first, i)
            first, used = i, 0
        used += size
    yield slice(first, len(streams))
