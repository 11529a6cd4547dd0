"""How far the clocked simulation of a network is from the event-driven one, layer by layer.

Training and sinabs count the events of a time bin, add their weights at once, and let a neuron send floor(v / v_th) spikes.
The chip adds one weight after the other. From the same state and events, what differs within a bin:

* order: partial sums pass the threshold although the sum of the bin does not. Without a floor, and with weights at most v_th,
  a neuron has sent floor(M / v_th) spikes, M the largest that v_init + all its weights so far has ever been; the chip looks
  for that maximum after each event, the clocked simulation at the ends of bins. So the chip sends more, never fewer;
* the floor acts after every update: a partial sum below it is lifted although the sum of the bin is not below it. This charge
  is new, and no later bin takes back the spikes it makes;
* one spike per update: a weight of several thresholds makes one spike now, and the rest waits for the next update of that
  neuron, or for ever. With every weight at most v_th, v is below v_th after each update, and this part vanishes.

The shorter the bins, the smaller the first two. Where no neuron has two events in a bin, every weight is at most v_th (or each
spike resets to 0 and a timestep has one at most), and no state saturates, both are equal, spike for spike. A bin can be made
that short for the first layer only: one event of it may cause several spikes at once, which a deeper layer finds in one bin.

A layer's difference in the whole network (`total`) holds what came from the layers before; its `own` is what it adds itself:
the clocked layer on the very spikes that it received in the event-driven run, counted in bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.event_dataset import rasterize
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, Iaf, Input
from neurodeploy.ir.votes import predictions
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim import clocked, events
from neurodeploy.sim.event_runs import check_durations
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.events_network import INPUT, EventLayer, EventNetwork
from neurodeploy.sim.events_trace import EventTrace, Order, Spikes
from neurodeploy.sim.readout import readout

IntArray = NDArray[np.int64]
_CHUNK_VALUES = 2**23  # bins times neurons times samples that are worked on at once


@dataclass(frozen=True)
class Difference:
    """Spikes of one layer over all samples, clocked and event-driven; sum_abs: |difference| added over samples and neurons."""

    n_clocked: int
    n_event: int
    sum_abs: int

    @property
    def relative(self) -> float:
        """(event - clocked) / event; 0 where both are silent, negative infinity where only the event-driven one is."""
        if self.n_event == 0:
            return 0.0 if self.n_clocked == 0 else -float("inf")
        return (self.n_event - self.n_clocked) / self.n_event

    @property
    def per_neuron(self) -> float:
        """sum_abs per event-driven spike, in which differences of opposite sign do not cancel; infinite where there is none."""
        if self.n_event == 0:
            return 0.0 if self.sum_abs == 0 else float("inf")
        return self.sum_abs / self.n_event

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON; None for what is infinite."""
        figures = {"relative": self.relative, "per_neuron": self.per_neuron}
        return {**asdict(self), **{k: v if np.isfinite(v) else None for k, v in figures.items()}}


@dataclass(frozen=True)
class LayerGap:
    """`total`: in the whole network; `own`: with the event-driven run's input. n_over_threshold: weights above v_th."""

    name: str
    total: Difference
    own: Difference
    n_over_threshold: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"name": self.name, "n_over_threshold": self.n_over_threshold,
                "total": self.total.to_dict(), "own": self.own.to_dict()}  # fmt: skip


@dataclass(frozen=True)
class GapReport:
    """Layers from the input on; agreement: the share of samples that both runs answer alike, 0..1.

    n_bins of bin_us each. binary: the input takes 0 and 1, so several events of one address and bin count once when clocked.
    """

    n_bins: int
    bin_us: float
    n_samples: int
    binary: bool
    layers: tuple[LayerGap, ...]
    agreement: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "layers": [layer.to_dict() for layer in self.layers]}


def gap(
    net: IntGraph, streams: Sequence[Array], sensor: tuple[int, int, int], duration_us: int, n_bins: int, *,
    order: Order = "depth", tick_interval_us: int | None = None, progress: Progress = SILENT,
) -> GapReport:
    """The gap at one number of bins per sample; see `gap_table`."""
    (report,) = gap_table(
        net, streams, sensor, duration_us, (n_bins,), order=order, tick_interval_us=tick_interval_us, progress=progress
    )
    return report


def gap_table(
    net: IntGraph, streams: Sequence[Array], sensor: tuple[int, int, int], duration_us: int,
    bins: Sequence[int] = (16, 32, 64), *, order: Order = "depth", tick_interval_us: int | None = None,
    progress: Progress = SILENT,
) -> tuple[GapReport, ...]:
    """Run streams (t in microseconds, c, y, x) event by event once, and clocked at each number of bins; one report each.

    The clocked run adds a bias in every bin; `tick_interval_us` is the clock that adds it in the event-driven one. Raises
    UsageError for streams that do not fit, no samples or no bins; NeurodeployError for a network that is no event-driven one.
    """
    network, states = from_graph(net)
    check_durations(streams, duration_us)
    if not len(streams) or not bins:
        raise UsageError(f"{len(streams)} samples, {len(bins)} numbers of bins", limit="At least one")
    tables = [_Table(net, network, n_bins, duration_us, len(streams)) for n_bins in bins]
    largest = max(max(layer.n_neurons, int(np.prod(layer.in_shape))) for layer in network.layers)
    size = max(1, _CHUNK_VALUES // (largest * max(bins)))
    progress.start("clocked against event-driven", len(streams))
    for first in range(0, len(streams), size):
        part = slice(first, min(first + size, len(streams)))
        chunk = tuple(np.asarray(s, dtype=np.int64) for s in streams[part])
        traces = events.simulate_batch(
            network, chunk, order=order, tick_interval=tick_interval_us,
            t_end=None if tick_interval_us is None else duration_us, v_init=states,
        )
        for table in tables:
            raster = rasterize(chunk, sensor, duration_us, table.n_bins, table.binary)
            table.add(part, traces, chunk, np.moveaxis(raster, 0, 1).astype(np.int64))
        progress.advance("clocked against event-driven", part.stop - first)
    progress.done("clocked against event-driven")
    return tuple(table.report() for table in tables)


def layer_graph(layer: EventLayer, multi_spike: bool = True, v_init: Array | None = None, max_value: int = 255) -> IntGraph:
    """One core as a network of its own for the clocked simulator, counts up to max_value on its input map."""
    bias = np.zeros(1, dtype=np.int64) if layer.bias is None else layer.bias.reshape(-1, 1, 1)
    nodes = (
        Input("input", layer.in_shape, "graded", max_value),
        Conv2d("kernel", layer.weight.astype(np.int64), stride=layer.stride, padding=layer.padding),
        Iaf(layer.name, layer.shape, layer.v_th, layer.v_min, bias, layer.reset, multi_spike,
            np.zeros(1, dtype=np.int64) if v_init is None else v_init),
    )  # fmt: skip
    return IntGraph(nodes, (Edge("input", "kernel"), Edge("kernel", layer.name)), 1)


class _Table:
    """One number of bins: sums over the samples seen so far."""

    def __init__(self, net: IntGraph, network: EventNetwork, n_bins: int, duration_us: int, n_samples: int) -> None:
        self.net, self.network, self.n_bins, self.duration_us = net, network, n_bins, duration_us
        self.binary = net.inputs[0].kind == "spikes"
        self.readout = readout(net)
        self.neurons = {n.name: n for n in net.nodes if isinstance(n, Iaf)}
        self.total = {name: np.zeros(3, dtype=np.int64) for name in network.index}
        self.own = {name: np.zeros(3, dtype=np.int64) for name in network.index}
        self.n_alike, self.n_samples = 0, n_samples

    def add(self, part: slice, traces: Sequence[EventTrace], streams: Sequence[IntArray], raster: IntArray) -> None:
        """Samples of one chunk; raster [T, B, C, H, W] of the streams."""
        x = raster.reshape(*raster.shape[:2], *self.net.inputs[0].shape)
        run = clocked.simulate(self.net, x, self.n_bins, record="spikes")
        sent = {INPUT: self._binned([_of_stream(s, self.network.input_shape) for s in streams], self.binary)}
        answers = []
        for name in self.network.index:
            layer = self.network[name]
            driven = np.stack([trace.counts[name].ravel() for trace in traces])
            spikes = run.spikes[name].sum(axis=0, dtype=np.int64).reshape(driven.shape)
            self.total[name] += _sums(spikes, driven)
            if layer.destinations:
                sent[name] = self._binned([trace.spikes[name] for trace in traces])
            if name == self.readout.layer:
                answers = [self._answers(counts) for counts in (spikes, driven)]
        self.n_alike += int((answers[0] == answers[1]).sum())
        for name in self.network.index:
            driven = np.stack([trace.counts[name].ravel() for trace in traces])
            alone = self._alone(self.network[name], sent).sum(axis=0, dtype=np.int64).reshape(driven.shape)
            self.own[name] += _sums(alone, driven)

    def _alone(self, layer: EventLayer, sent: dict[str, IntArray]) -> IntArray:
        """The clocked layer on what all its sources sent [T, B, C, H, W]."""
        x = np.zeros((*sent[INPUT].shape[:2], *layer.in_shape), dtype=np.int64)
        for source, _, destination in self.network.connections:
            if destination.layer == layer.name:
                arriving = _pooled(sent[source], destination.pool)
                channels = slice(destination.feature_shift, destination.feature_shift + arriving.shape[2])
                x[:, :, channels] += arriving
        neuron = self.neurons[layer.name]
        v_init = np.broadcast_to(neuron.v_init, neuron.shape).reshape(layer.shape)
        graph = layer_graph(layer, neuron.multi_spike, v_init, max(1, int(x.max())))
        return np.asarray(clocked.simulate(graph, x, self.n_bins, record="spikes").spikes[layer.name])

    def _binned(self, spikes: Sequence[Spikes], binary: bool = False) -> IntArray:
        """Counts [T, B, C, H, W] of spikes of several samples, in the bins of `rasterize`."""
        found = []
        for one in spikes:
            # a tick at the very end of the sample belongs to the last bin
            at = np.minimum(one.t * self.n_bins // self.duration_us, self.n_bins - 1)
            found.append(Spikes(one.shape, at, one.cause, one.neuron).raster(self.n_bins))
        counts = np.stack(found, axis=1)
        return np.minimum(counts, 1) if binary else counts

    def _answers(self, counts: IntArray) -> IntArray:
        """Answers [B] from spikes [B, neurons] of the last layer."""
        of_class = (self.readout.classes[:, np.newaxis] == np.arange(self.readout.n_classes)).astype(np.int64)
        answers: IntArray = predictions((counts @ of_class)[np.newaxis])[0]
        return answers

    def report(self) -> GapReport:
        """Of all samples."""
        layers = []
        for i in self.network.order:
            layer = self.network.layers[i]
            total, own = (Difference(*map(int, table[layer.name])) for table in (self.total, self.own))
            layers.append(LayerGap(layer.name, total, own, int((layer.weight > layer.v_th).sum())))
        bin_us, agreement = self.duration_us / self.n_bins, self.n_alike / self.n_samples
        return GapReport(self.n_bins, bin_us, self.n_samples, self.binary, tuple(layers), agreement)


def _sums(clocked_counts: IntArray, driven: IntArray) -> IntArray:
    return np.asarray([clocked_counts.sum(), driven.sum(), np.abs(driven - clocked_counts).sum()])


def _of_stream(stream: IntArray, shape: tuple[int, int, int]) -> Spikes:
    neuron = np.asarray(np.ravel_multi_index(tuple(stream[:, 1:].T), shape), dtype=np.int64)
    return Spikes(shape, stream[:, 0], np.arange(len(stream)), neuron)


def _pooled(x: IntArray, pool: tuple[int, int]) -> IntArray:
    """Sums over blocks of the last two axes; what no whole block holds is dropped."""
    height, width = x.shape[-2] // pool[0], x.shape[-1] // pool[1]
    kept = x[..., : height * pool[0], : width * pool[1]]
    return np.asarray(kept.reshape(*x.shape[:-2], height, pool[0], width, pool[1]).sum(axis=(-3, -1)))
