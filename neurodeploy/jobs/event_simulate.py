"""`neurodeploy simulate` on streams of events: every layer's spikes in the order in which the chip sends them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.event_input import read_streams
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, Iaf
from neurodeploy.jobs.given_exit import steps_of_events
from neurodeploy.jobs.opened import Opened
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim import events, events_reference
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.events_load import peak_synops
from neurodeploy.sim.events_network import INPUT
from neurodeploy.sim.events_trace import EventTrace, Order
from neurodeploy.sim.files import write_arrays

MAX_SPIKES = 2**26  # of one recording; as int32 [n, 4] they take 1 GiB
_WINDOW_US = 1000  # that peaks are sought in
_BATCH = 64  # samples between two looks at the size of the recording


@dataclass(frozen=True)
class EventSimulateResult:
    """What was run and what fired. Counts are sums over the samples, `synops_per_s` has `mean` over their whole time and the
    `peak` of any 1 ms, by layer; `n_saturations`: additions that left the width of the states; `n_dropped`: spikes that a pool
    carried out of the next map. `duration_us`: of a sample, `duration_from` the file or its last event. `errors`: as in
    `simulate.SimulateResult`."""

    out: Path
    target: str | None
    fits: bool | None
    n_samples: int
    n_events: int
    duration_us: int
    duration_from: str
    order: Order
    input: str
    spikes_per_layer: dict[str, int]
    neurons_per_layer: dict[str, int]
    synops_per_layer: dict[str, int]
    synops_per_s: dict[str, dict[str, float]]
    n_saturations: dict[str, int]
    n_dropped: dict[str, int]
    simulator: str
    arrays: dict[str, list[int]]
    errors: tuple[NeurodeployError, ...]
    n_timesteps: None = None
    exit_steps: list[int] | None = None  # readings of the vote

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**{k: v for k, v in vars(self).items() if k != "errors"}, "out": str(self.out)}


def simulate_events(
    opened: Opened, graph: IntGraph, given: Path, out: Path, *, target: str | None, order: Order, use_reference: bool,
    errors: tuple[NeurodeployError, ...], progress: Progress = SILENT,
) -> EventSimulateResult:
    """Run the streams in `given` (`data.event_input.read_streams`), each from the network's first states, and write for every
    layer `spikes/<layer>` [n, 4] (t in us, c, y, x) of all samples one after the other, and `offsets/<layer>` [N + 1].

    order: `depth`, as the chip, or `breadth`, a core finishes its events first. Raises UsageError for a network that is no
    event-driven one, and for recordings of more than 1 GiB.
    """
    check_event_driven(graph, given)
    network, states = from_graph(graph)
    read = read_streams(given, graph.inputs[0].shape)
    totals = _Totals()
    progress.start("event-driven runs", len(read.streams))
    for i in range(0, len(read.streams), _BATCH):
        part = read.streams[i : i + _BATCH]
        totals.add(
            [events_reference.simulate(network, stream, order=order, v_init=states) for stream in part] if use_reference
            else events.simulate_batch(network, part, order=order, v_init=states, by_event=True)
        )
        progress.advance("event-driven runs", len(part))
    progress.done("event-driven runs")
    arrays = totals.arrays()
    write_arrays(out, arrays)
    time_s = len(read.streams) * read.duration_us * 1e-6
    return EventSimulateResult(
        out=out, target=target, fits=None if target is None else not errors, n_samples=len(read.streams),
        n_events=sum(map(len, read.streams)), duration_us=read.duration_us,
        duration_from="file" if read.stated else "last event", order=order, input=graph.inputs[0].name,
        spikes_per_layer=dict(totals.spikes),
        neurons_per_layer={layer.name: layer.n_neurons for layer in network.layers},
        synops_per_layer=dict(totals.synops),
        synops_per_s={
            name: {"mean": n / time_s, "peak": totals.peaks[name] / (_WINDOW_US * 1e-6)} for name, n in totals.synops.items()
        },
        n_saturations=dict(totals.saturations),
        n_dropped={graph.inputs[0].name if name == INPUT else name: n for name, n in totals.dropped.items()},
        simulator="reference" if use_reference else "fast",
        arrays={name: list(values.shape) for name, values in arrays.items()}, errors=errors,
        exit_steps=steps_of_events(opened, read.streams, read.duration_us),
    )


class _Totals:
    """What the samples leave behind, added up part by part."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Array]] = {}
        self.spikes, self.synops, self.saturations, self.dropped = (Counter[str]() for _ in range(4))
        self.peaks: dict[str, int] = {}

    def add(self, traces: Sequence[EventTrace]) -> None:
        """Some samples more. Raises UsageError where the recording gets too long."""
        for trace in traces:
            for name in trace.network.index:
                table = trace.spikes[name].tcyx
                self.tables.setdefault(name, []).append(table.astype(np.int32 if table.max(initial=0) < 2**31 else np.int64))
            for total, counts in (
                (self.spikes, trace.n_spikes), (self.synops, trace.n_synops), (self.saturations, trace.n_saturations),
                (self.dropped, trace.n_dropped),
            ):
                total.update(counts)
            for name, peak in zip(trace.network.index, peak_synops(trace, _WINDOW_US).tolist(), strict=True):
                self.peaks[name] = max(peak, self.peaks.get(name, 0))
        if self.spikes.total() > MAX_SPIKES:
            raise UsageError(f"more than {MAX_SPIKES} spikes", where="--out", limit="They would take over 1 GiB",
                             remedy="Run fewer samples at a time")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`spikes/<layer>` and `offsets/<layer>`."""
        found: dict[str, NDArray[Any]] = {}
        for name, tables in self.tables.items():
            found[f"spikes/{name}"] = np.concatenate(tables)
            found[f"offsets/{name}"] = np.cumsum([0, *map(len, tables)])
        return found


def check_event_driven(graph: IntGraph, given: Path) -> None:
    """Raise UsageError where streams of events cannot enter the network."""
    foreign = next((n for n in graph.neurons if not isinstance(n, Iaf)), None)
    if foreign is not None:
        raise UsageError(
            f"events for a network of {type(foreign).__name__} neurons", where=str(given), code="other_arithmetic",
            limit="It is a network of a chip with timesteps, which takes an array [T, B, *shape]",
            remedy="numpy.savez(file, input=x), x an array of integers",
        )
