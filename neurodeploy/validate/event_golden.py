"""The golden spikes of an event-driven bundle, computed again by both simulators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.sim import events, events_reference
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.events_trace import EventTrace, IntArray
from neurodeploy.validate.compare import golden_mismatch, silent_golden
from neurodeploy.validate.event_bundle import EventBundle
from neurodeploy.validate.event_compare import EventDivergence, Tables, first_event_divergence, n_spike_differences
from neurodeploy.validate.verdict import Check

SLOW_SYNOPS = 1_000_000  # that the reference simulator adds one by one: some seconds


@dataclass(frozen=True, eq=False)
class Replayed:
    """simulated: what the fast simulator sends now. The numbers are those of both simulators together."""

    simulated: Tables
    divergence: EventDivergence | None
    n_differ: int
    n_compared: int
    checks: tuple[Check, ...]
    errors: tuple[NeurodeployError, ...]


def replay(opened: EventBundle, slow_synops: int = SLOW_SYNOPS) -> Replayed:
    """Compare the golden spikes with those of the fast simulator, all samples, and of the reference simulator: samples in
    their order, and of the last one as many events, as `slow_synops` synops allow, one event at least."""
    network, states = from_graph(opened.net)
    golden = opened.golden
    traces = events.simulate_batch(network, golden.events, v_init=states, by_event=True)
    stops = _affordable(traces, slow_synops)
    slow = [
        events_reference.simulate(network, stream, stop=stop, v_init=states)
        for stream, stop in zip(golden.events, stops, strict=False)
    ]
    fast, reference = _tables(traces), _tables(slow)
    until = {
        name: tuple(_part(table, stop, trace, name) for table, stop, trace in zip(tables, stops, traces, strict=False))
        for name, tables in golden.spikes.items()
    }
    n_spikes = sum(golden.n_spikes.values())
    errors: list[NeurodeployError] = [] if n_spikes else [silent_golden(str(opened.path))]
    silent = [name for name, n in golden.n_spikes.items() if not n]
    all_samples = _count(golden.n_samples, "sample") + (f"; silent: {', '.join(silent)}" if silent else "")
    checks, first, n_differ, n_compared = [], None, 0, 0
    for simulator, wanted, got, what in (
        ("fast", golden.spikes, fast, all_samples),
        ("reference", until, reference, _extent(stops, traces, slow, slow_synops)),
    ):
        order = [network.layers[i].name for i in network.order]
        found = first_event_divergence(order, wanted, got)
        differ, compared = n_spike_differences(wanted, got)
        n_differ, n_compared = n_differ + differ, n_compared + compared
        first = first or found
        checks.append(Check(
            f"golden spikes, {simulator} simulator", found is None and n_spikes > 0,
            f"{compared - differ:,} of {compared:,} spikes equal, in their order: {what}",
        ))
        if found is not None:
            errors.append(golden_mismatch(simulator, found, differ, compared, str(opened.path), values="spikes"))
    return Replayed(fast, first, n_differ, n_compared, tuple(checks), tuple(errors))


def _tables(traces: Sequence[EventTrace]) -> Tables:
    names = list(traces[0].spikes)
    return {name: tuple(trace.spikes[name].tcyx for trace in traces) for name in names}


def _affordable(traces: Sequence[EventTrace], synops: int) -> list[int]:
    """How many events of each sample are run slowly: whole samples from the first on, then the part of one that still fits."""
    stops: list[int] = []
    for trace in traces:
        assert trace.synops_by_event is not None  # asked for
        until = np.cumsum(trace.synops_by_event[: trace.n_events].sum(axis=1))
        n = int(np.searchsorted(until, synops, side="right"))
        if not stops:
            n = max(n, min(1, trace.n_events))
        if n == 0 and trace.n_events:
            break
        stops.append(n)
        synops -= int(until[n - 1]) if n else 0
        if n < trace.n_events:
            break
    return stops


def _part(golden: IntArray, stop: int, trace: EventTrace, layer: str) -> IntArray:
    """The golden spikes of the first `stop` events; a table of spikes has no events, so the fast run says how many they are."""
    if stop == trace.n_events:
        return golden
    return golden[: int(np.searchsorted(trace.spikes[layer].cause, stop))]


def _extent(stops: Sequence[int], traces: Sequence[EventTrace], slow: Sequence[EventTrace], most: int) -> str:
    whole = sum(stop == trace.n_events for stop, trace in zip(stops, traces, strict=False))
    n_synops = sum(sum(trace.n_synops.values()) for trace in slow)
    said = f"{whole} of {_count(len(traces), 'sample')}"
    if whole < len(stops):
        said += f" and {stops[-1]:,} of {traces[len(stops) - 1].n_events:,} events of the next"
    return f"{said}, {n_synops:,} synops" + ("" if whole == len(traces) else f" (it stops at {most:,})")


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"
