"""The fast event-driven simulator: events_reference.py in compiled loops, equal to it in every spike and its order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Array
from neurodeploy.sim import events_kernel as kernel
from neurodeploy.sim.events_network import EventNetwork
from neurodeploy.sim.events_reference import check_order, check_states
from neurodeploy.sim.events_stream import Rows, rows
from neurodeploy.sim.events_tables import Tables
from neurodeploy.sim.events_trace import EventTrace, Order, Spikes

_RUNS: dict[Order, Callable[..., Any]] = {"depth": kernel.run_depth, "breadth": kernel.run_breadth}


def simulate(
    network: EventNetwork, events: Array, *, order: Order = "depth", first: int = 0, stop: int | None = None,
    v_init: dict[str, Array] | None = None, tick_interval: int | None = None, t_end: int | None = None,
    record: Collection[str] | None = None, by_event: bool = True,
) -> EventTrace:
    """As `events_reference.simulate`. `record`: the layers whose spikes are kept (None: all); `by_event`: keep synops_by_event.

    Neither changes what happens, only the memory it takes.
    """
    window = rows(network, events, first, stop, tick_interval, t_end)
    return _run(Tables(network), window, order, v_init, record, by_event)


def simulate_batch(
    network: EventNetwork, streams: Sequence[Array], *, order: Order = "depth", stop: int | Sequence[int | None] | None = None,
    tick_interval: int | None = None, t_end: int | None = None, record: Collection[str] | None = None,
    by_event: bool = False, v_init: dict[str, Array] | None = None,
) -> list[EventTrace]:
    """`simulate` for each of several samples, all from the same states, on as many threads as torch uses.

    `stop`: the number of events after which a sample ends, one for all or one each. Raises UsageError where their numbers
    differ, besides what `simulate` raises.
    """
    stops = list(stop) if isinstance(stop, Sequence) else [stop] * len(streams)
    if len(stops) != len(streams):
        raise UsageError(f"{len(stops)} stops for {len(streams)} samples", limit="One for each")
    tables = Tables(network)
    windows = [rows(network, x, 0, n, tick_interval, t_end) for x, n in zip(streams, stops, strict=True)]
    if not windows:
        return []
    # The first one here, so that the tables exist and the loops are compiled before threads share them.
    head = _run(tables, windows[0], order, v_init, record, by_event)
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        return [head, *pool.map(lambda window: _run(tables, window, order, v_init, record, by_event), windows[1:])]


def _run(
    tables: Tables, window: Rows, order: Order, v_init: dict[str, Array] | None, record: Collection[str] | None, by_event: bool
) -> EventTrace:
    network = tables.network
    check_order(order)
    states = network.first_states() if v_init is None else check_states(network, v_init)
    recorded = tuple(network.index) if record is None else tuple(record)
    v = tables.flat(states)
    counts = np.zeros(len(v), dtype=np.int64)
    tally = np.zeros((len(network.layers) + 1, 4), dtype=np.int64)
    by_row = np.zeros((len(window.t), len(network.layers)) if by_event else (0, 0), dtype=np.int64)
    top = (1 << (network.state_bits - 1)) - 1
    log_row, log_neuron, n_log = _RUNS[order](
        tables.net(recorded, states), np.ascontiguousarray(window.cyx), v, counts, tally, by_row, top,
        np.empty(1024, dtype=np.int64), np.empty(1024, dtype=np.int32),
    )
    synops = None
    if by_event:
        synops = np.zeros((len(window.t_event) + 1, len(network.layers)), dtype=np.int64)
        np.add.at(synops, window.cause - window.first, by_row)
    columns = {
        what: dict(zip(tables.sources_of_drops, tally[:, column].tolist(), strict=True))
        for what, column in (("synops", kernel.SYNOPS), ("saturations", kernel.SATURATIONS),
                             ("ticks", kernel.TICK_UPDATES), ("dropped", kernel.DROPPED))
    }  # fmt: skip
    own = {what: {name: n for name, n in found.items() if name in network.index} for what, found in columns.items()}
    return EventTrace(
        network, window.first, window.t_event, _spikes(tables, window, recorded, log_row[:n_log], log_neuron[:n_log]),
        tables.maps(counts), tables.maps(v), own["synops"], own["saturations"], own["ticks"], columns["dropped"], synops,
    )


def _spikes(
    tables: Tables, window: Rows, recorded: Collection[str], row: NDArray[np.int64], neuron: NDArray[np.int32]
) -> dict[str, Spikes]:
    """The log by layer; within a layer it is in the order of the spikes."""
    found = {}
    for i, layer in enumerate(tables.network.layers):
        if layer.name in recorded:
            mine = (neuron >= tables.v_starts[i]) & (neuron < tables.v_starts[i + 1])
            n_out, height, width = layer.shape
            place = neuron[mine].astype(np.int64) - tables.v_starts[i]
            flat = place % n_out * (height * width) + place // n_out
            found[layer.name] = Spikes(layer.shape, window.t[row[mine]], window.cause[row[mine]], flat)
    return found
