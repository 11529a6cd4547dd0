"""Compiled loops of the event-driven simulator: the same updates as events_reference.py, in rows that lie together.

Potentials lie as [y, x, channel] and weights so that one row of an event's updates is one stretch of both: for each input
channel and kernel row, the kernel's columns by their remainder modulo the stride, backwards, output channels innermost.
A row is added at once and searched for spikes only where its largest potential reached the threshold; the order of the
spikes stays y, x, channel, and since no spike acts on the core that sends it, nothing else depends on that order.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba finds the types of the compiled functions from their arguments)

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from neurodeploy.sim.scan import compiled

# Columns of the table of layers.
(V0, N, N_OUT, W, W0, W_CHANNEL, ROW_PLACE, ROW_W, V_TH, V_MIN, HARD, SATURATES, BIAS0, FIRST, LAST, SOURCE0, SOURCE1,
 RECORDED) = range(18)  # fmt: skip
N_COLUMNS = 18
SYNOPS, SATURATIONS, TICK_UPDATES, DROPPED = range(4)  # columns of the tally
DST, ARRIVALS, SHIFT = range(3)  # columns of the table of connections
# Columns of the table of positions on input maps: the first neuron that an event there reaches, the weight of it for the first
# input channel (both within the layer), how many neurons lie together in a row of updates, and how many rows there are.
PLACE, TAP, LENGTH, ROWS = range(4)
LAYER, NEXT, BEHIND, EDGE = range(4)  # columns of the stack: layer, its next spike, the end of its spikes, next connection
_U, _I, _S = np.uint64, np.int32, np.int16

# Called for every event: as part of the caller, since arrays are seven arguments each, and without counting references to
# them (numba's _nrt: these allocate nothing), since the two locked instructions an array took three quarters of the time.
_OPTIONS: dict[str, Any] = {"forceinline": True, "error_model": "numpy", "_nrt": False}
_inlined = numba.njit(**_OPTIONS)


@_inlined
def _add(v, v0, weights, w0, n, low):
    """Add without a limit to what fits anyway; the largest potential."""
    peak = _S(-32768)
    for k in range(n):
        i = _U(k)
        u = _S(v[v0 + i] + weights[w0 + i])
        u = low if u < low else u
        v[v0 + i] = u
        peak = u if u > peak else peak
    return peak


@_inlined
def _add_saturating(v, v0, weights, w0, n, low, bottom, top):
    """Add and saturate to bottom..top; the largest potential, and how many additions left that range."""
    peak, n_left = _I(-32768), _I(0)
    for k in range(n):
        i = _U(k)
        u = _I(_I(v[v0 + i]) + _I(weights[w0 + i]))
        kept = top if u > top else u
        kept = bottom if kept < bottom else kept
        n_left = _I(n_left + _I(kept != u))
        kept = low if kept < low else kept
        v[v0 + i] = _S(kept)
        peak = kept if kept > peak else peak
    return peak, n_left


@_inlined
def _stretches(layers, at, place, place_step, w0, w_step, n, n_rows, weights, v, spikes, n_spikes, tally, top):
    """`n` updates of neurons that lie together, from `place` of layer `at` on, `n_rows` times; the new number of spikes."""
    v_th, low, start = layers[at, V_TH], layers[at, V_MIN], layers[at, V0]
    hard, threshold, saturates = layers[at, HARD], _S(v_th), layers[at, SATURATES]
    n_left_all = 0
    for _ in range(n_rows):
        v0 = _U(start + place)
        if saturates:
            peak, n_left = _add_saturating(v, v0, weights, _U(w0), n, _I(low), _I(-top - 1), _I(top))
            n_left_all += n_left
            fires = peak >= v_th
        else:
            fires = _add(v, v0, weights, _U(w0), n, _S(low)) >= v_th
        if fires:
            for k in range(n):
                i = v0 + _U(k)
                if v[i] >= threshold:
                    v[i] = _S(0) if hard else _S(v[i] - threshold)
                    spikes[_U(n_spikes)] = place + k
                    n_spikes += 1
        place += place_step
        w0 += w_step
    tally[at, SATURATIONS] += n_left_all
    return n_spikes


@compiled
def _tick(layers, at, weights, v, spikes, n_spikes, tally, top):
    """One tick of the slow clock at a core: its bias is added to every neuron."""
    n_out, n = layers[at, N_OUT], layers[at, N]
    n_spikes = _stretches(
        layers, at, 0, n_out, layers[at, BIAS0], 0, n_out, n // n_out, weights, v, spikes, n_spikes, tally, top
    )
    tally[at, TICK_UPDATES] += n
    return n_spikes


@compiled
def _room(array, n):
    """The array itself, or a longer copy, with room for `n` values."""
    if n <= array.size:
        return array
    longer = np.empty(max(n, 2 * array.size), dtype=array.dtype)
    longer[: array.size] = array
    return longer


@_inlined
def _note(layers, at, row, spikes, first, last, counts, log_row, log_neuron, n_log):
    """Count spikes first..last-1 and, where the layer is recorded, write them to the log; its new length."""
    v0 = layers[at, V0]
    for k in range(first, last):
        counts[_U(v0 + spikes[_U(k)])] += 1
    if layers[at, RECORDED]:
        for k in range(first, last):
            log_row[_U(n_log)] = row
            log_neuron[_U(n_log)] = v0 + spikes[_U(k)]
            n_log += 1
    return n_log


@_inlined
def _deliver(
    layers, edges, reach, arrivals, weights, connection, source, place, rows, row, spikes, n_spikes, v, tally, by_row, top
):
    """A source's spike at `place`, or the row's event, over one connection; the new number of spikes.

    One that arrives outside the next map is dropped.
    """
    if source == len(layers) - 1:
        c, position = rows[row, 0], rows[row, 1] * layers[source, W] + rows[row, 2]
    else:
        n_out = np.uint32(layers[source, N_OUT])
        position = np.int64(np.uint32(place) // n_out)
        c = np.int64(place) - position * layers[source, N_OUT]
    at, to = edges[connection, DST], np.int64(arrivals[_U(edges[connection, ARRIVALS] + position)])
    if to < 0:
        tally[source, DROPPED] += 1
        return n_spikes
    n, n_rows = reach[_U(to), LENGTH], reach[_U(to), ROWS]
    tally[at, SYNOPS] += n * n_rows
    if by_row.size:
        by_row[row, at] += n * n_rows
    w0 = layers[at, W0] + reach[_U(to), TAP] + (c + edges[connection, SHIFT]) * layers[at, W_CHANNEL]
    # One output row further down, the event lies a stride of kernel rows further up.
    return _stretches(
        layers, at, reach[_U(to), PLACE], layers[at, ROW_PLACE], w0, -layers[at, ROW_W], n, n_rows, weights, v, spikes,
        n_spikes, tally, top,
    )


@compiled
def run_depth(net, rows, v, counts, tally, by_row, top, log_row, log_neuron):
    """Rows (c, y, x), or (-1, ..) for a tick, through the network; a spike's consequences come before the next spike.

    The last rows of the table of layers and of `tally` stand for the input. by_row [rows, layers]: synops that each row
    caused, not wanted where it is empty. Written: v, counts, tally, by_row. Returns the log: row and place of each spike of
    the recorded layers, the place among the neurons of all layers, and how many there are.
    """
    layers, edges, order, _, reach, arrivals, weights = net
    n_layers, n_log = len(layers) - 1, 0
    spikes = np.empty(v.size + 1, dtype=np.int32)  # of all layers: none has two events at work
    stack = np.empty((n_layers + 1, 4), dtype=np.int64)
    for row in range(len(rows)):
        is_tick = rows[row, 0] < 0
        for turn in range(n_layers if is_tick else 1):
            at, following, behind = n_layers, 0, 1
            if is_tick:
                at = order[turn]
                if layers[at, BIAS0] < 0:
                    continue
                behind = _tick(layers, at, weights, v, spikes, 0, tally, top)
                log_row, log_neuron = _room(log_row, n_log + behind), _room(log_neuron, n_log + behind)
                n_log = _note(layers, at, row, spikes, 0, behind, counts, log_row, log_neuron, n_log)
            connection, last, depth = layers[at, FIRST], layers[at, LAST], 0
            if connection == last:
                continue
            while True:
                if following >= behind:  # all spikes of this layer have been everywhere
                    if depth == 0:
                        break
                    depth -= 1
                    at, following, behind, connection = (
                        stack[depth, LAYER], stack[depth, NEXT], stack[depth, BEHIND], stack[depth, EDGE]
                    )
                    last = layers[at, LAST]
                    continue
                place, through, source = spikes[following], connection, at
                connection += 1
                if connection == last:
                    following, connection = following + 1, layers[at, FIRST]
                n = _deliver(
                    layers, edges, reach, arrivals, weights, through, source, place, rows, row, spikes, behind, v, tally,
                    by_row, top,
                )
                if n > behind:
                    into = edges[through, DST]
                    if n_log + n - behind > log_row.size:
                        log_row, log_neuron = _room(log_row, n_log + n), _room(log_neuron, n_log + n)
                    n_log = _note(layers, into, row, spikes, behind, n, counts, log_row, log_neuron, n_log)
                    if layers[into, FIRST] < layers[into, LAST]:
                        if following < behind:
                            stack[depth, LAYER], stack[depth, NEXT] = at, following
                            stack[depth, BEHIND], stack[depth, EDGE] = behind, connection
                            depth += 1
                        at, following, behind = into, behind, n
                        connection, last = layers[at, FIRST], layers[at, LAST]
    return log_row, log_neuron, n_log


@compiled
def run_breadth(net, rows, v, counts, tally, by_row, top, log_row, log_neuron):
    """As `run_depth`, but a core finishes all that a row brings it before the next core starts."""
    layers, edges, order, sources, reach, arrivals, weights = net
    n_layers, n_log = len(layers) - 1, 0
    spikes = np.empty(v.size + 1, dtype=np.int32)
    sent = np.zeros((n_layers + 1, 2), dtype=np.int64)  # first and behind the last of each source's spikes of this row
    for row in range(len(rows)):
        is_tick = rows[row, 0] < 0
        sent[n_layers, 1] = 0 if is_tick else 1
        n = 1
        for at in order:
            begin = n
            for k in range(layers[at, SOURCE0], layers[at, SOURCE1]):
                source = sources[k]
                for spike in range(sent[source, 0], sent[source, 1]):
                    for connection in range(layers[source, FIRST], layers[source, LAST]):
                        if edges[connection, DST] == at:
                            if n + layers[at, N] > spikes.size:
                                spikes = _room(spikes, n + layers[at, N])
                            n = _deliver(
                                layers, edges, reach, arrivals, weights, connection, source, spikes[spike], rows, row, spikes,
                                n, v, tally, by_row, top,
                            )
            if is_tick and layers[at, BIAS0] >= 0:
                spikes = _room(spikes, n + layers[at, N])
                n = _tick(layers, at, weights, v, spikes, n, tally, top)
            sent[at, 0], sent[at, 1] = begin, n
            if n_log + n - begin > log_row.size:
                log_row, log_neuron = _room(log_row, n_log + n), _room(log_neuron, n_log + n)
            n_log = _note(layers, at, row, spikes, begin, n, counts, log_row, log_neuron, n_log)
    return log_row, log_neuron, n_log
