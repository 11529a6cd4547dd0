"""What a network on an event-driven chip does with a sample: spikes and synops of each layer, counted or expected.

One synop is one weight added because one event arrived; zero weights count, as the core adds them too. What an event at
an address meets depends on geometry alone, so synops follow exactly from the mean number of spikes at every address:
a run's own spike counts give the run's own synops.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.event_layers import as_map, read_cores
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.sim.event_runs import EventRuns, Runs
from neurodeploy.sim.events_network import INPUT, EventLayer, EventNetwork

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EventActivity:
    """Means of `n_samples` samples; the dicts hold every neuron layer.

    duration_s: how long a sample lasts, or takes until its decision. depth: cores that an event passes on the longest
    path. exact: counted on the event-driven simulator; False for spikes that come from rates or another simulator.
    peak_synops_per_s: of the busiest time window that was looked at, where one was.
    """

    n_events_in: float
    n_spikes: dict[str, float]
    n_synops: dict[str, float]
    n_neurons: dict[str, int]
    depth: int
    duration_s: float
    exact: bool
    n_samples: int = 1
    peak_synops_per_s: dict[str, float] | None = None

    def __post_init__(self) -> None:
        layers = set(self.n_neurons)
        for field in ("n_spikes", "n_synops", "peak_synops_per_s"):
            found = getattr(self, field)
            if found is not None and set(found) != layers:
                raise UsageError(f"{field} has layers {sorted(found)}", where="event activity",
                                 limit=f"Those of n_neurons: {sorted(layers)}")
        numbers = [self.n_events_in, *self.n_spikes.values(), *self.n_synops.values(), *(self.peak_synops_per_s or {}).values()]
        if not all(math.isfinite(n) and n >= 0 for n in numbers):
            raise UsageError("a count that is negative or no number", where="event activity")
        if not 0 < self.duration_s < math.inf or self.depth < 1:
            raise UsageError(f"duration_s {self.duration_s}, depth {self.depth}", where="event activity",
                             limit="A positive number of seconds, at least one core")

    @cached_property
    def synops(self) -> float:
        """Synops of a sample, all layers."""
        return math.fsum(self.n_synops.values())

    @cached_property
    def spikes(self) -> float:
        """Spikes of a sample, all layers; events of the input are none."""
        return math.fsum(self.n_spikes.values())

    @property
    def synops_per_s(self) -> float:
        """Mean rate while the sample lasts."""
        return self.synops / self.duration_s

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Activity from `to_dict` values; raises UsageError when they are none."""
        try:
            peak = data.get("peak_synops_per_s")
            return cls(
                n_events_in=float(data["n_events_in"]), n_spikes=_floats(data["n_spikes"]), n_synops=_floats(data["n_synops"]),
                n_neurons={str(k): int(n) for k, n in data["n_neurons"].items()}, depth=int(data["depth"]),
                duration_s=float(data["duration_s"]), exact=bool(data["exact"]), n_samples=int(data.get("n_samples", 1)),
                peak_synops_per_s=None if peak is None else _floats(peak),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as err:
            raise UsageError("no event activity", where="event activity", limit=f"{type(err).__name__}: {err}") from err


def activity_of(net: IntGraph, runs: Runs, duration_s: float | None = None) -> EventActivity:
    """Activity of a network in its runs; exact where they are event-driven ones.

    duration_s: the mean time that a sample took, where that was not runs.duration_us (early exit). The peak rate is that
    of the sample in which it is highest.
    """
    network = wiring(net)
    return EventActivity(
        float(runs.n_events.mean()), _means(runs.n_spikes), _means(runs.n_synops),
        {layer.name: layer.n_neurons for layer in network.layers}, depth_of(network),
        runs.duration_us / 1e6 if duration_s is None else duration_s, isinstance(runs, EventRuns), runs.n_samples,
        {name: float(peaks.max()) for name, peaks in runs.peak_synops_per_s.items()},
    )


def expected_activity(
    graph: Graph, mean_counts: Mapping[str, Floats], duration_s: float, *, exact: bool = False, n_samples: int = 1
) -> EventActivity:
    """Activity of a lowered network, real-valued or integers, from mean spikes per sample of its input and neuron layers.

    mean_counts holds an array of the layer's shape under the name of each, counts of samples that lasted duration_s;
    exact says whether they are those of the event-driven simulator. Raises NeurodeployError for a network that no such
    cores can run, UsageError for counts that are not the network's.
    """
    network = wiring(graph)
    named = {INPUT: graph.inputs[0].name, **{name: name for name in network.index}}
    missing = [name for name in named.values() if name not in mean_counts]
    if missing:
        raise UsageError(f"no counts of {', '.join(missing)}", where="mean counts",
                         limit="One array for each layer and the input")
    shapes = {INPUT: network.input_shape, **{layer.name: layer.shape for layer in network.layers}}
    counts: dict[str, Floats] = {}
    for key, name in named.items():
        given = np.asarray(mean_counts[name], dtype=np.float64)
        if given.size != math.prod(shapes[key]):
            raise UsageError(f"counts of shape {given.shape}", where=name, limit=f"The layer's: {shapes[key]}")
        counts[key] = given.reshape(shapes[key])
    synops = synops_of(network, counts)
    return EventActivity(
        float(counts[INPUT].sum()), {name: float(counts[name].sum()) for name in network.index}, synops,
        {layer.name: layer.n_neurons for layer in network.layers}, depth_of(network), float(duration_s), exact, n_samples,
    )


def synops_of(network: EventNetwork, counts: Mapping[str, Floats]) -> dict[str, float]:
    """Synops of each layer from the counts [C, H, W] of every source, the input's under INPUT: linear in the counts."""
    found = dict.fromkeys(network.index, 0.0)
    for source, events in counts.items():
        at_position = events.sum(axis=0)  # every channel meets as many weights
        for layer, fan_out in network.fan_outs(source):
            found[layer] += float((at_position * fan_out).sum())
    return found


def depth_of(network: EventNetwork) -> int:
    """Cores on the longest path from the input."""
    depth = dict.fromkeys(network.index, 0)
    for destination in network.entry:
        depth[destination.layer] = 1
    for i in network.order:
        layer = network.layers[i]
        for destination in layer.destinations:
            depth[destination.layer] = max(depth[destination.layer], depth[layer.name] + 1)
    return max(depth.values())


def wiring(graph: Graph) -> EventNetwork:
    """The cores of a lowered network, real-valued or integers, with all weights zero: only their geometry counts here.

    Raises NeurodeployError for what such cores cannot do.
    """
    cores = read_cores(graph)
    layers = tuple(
        EventLayer(
            core.name, np.broadcast_to(np.int64(0), (core.out_shape[0], core.in_shape[0], *core.kernel)), core.in_shape, 1, 0,
            core.stride, core.padding, destinations=core.destinations,
        )
        for core in cores.layers
    )  # fmt: skip
    return EventNetwork(as_map(cores.entry.shape), cores.entry_destinations, layers)


def _means(by_layer: Mapping[str, NDArray[np.int64]]) -> dict[str, float]:
    return {name: float(n.mean()) for name, n in by_layer.items()}


def _floats(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()}
