"""Compiled loops of the event-driven simulator: the same updates as events_reference.py, in rows that lie together.

Potentials lie as [y, x, channel] and weights so that one row of an event's updates is one stretch of both: for each input
channel and kernel row, the kernel's columns by their remainder modulo the stride, backwards, output channels innermost.
A row is added at once and searched for spikes only where its largest potential reached the threshold; the order of the
spikes stays y, x, channel, and since no spike acts on the core that sends it, nothing else depends on that order.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba finds the types of the compiled functions from their arguments)

from __future__ import annotations

import numba
import numpy as np

from neurodeploy.sim.scan import compiled

# Columns of the table of layers.
(V0, N, N_OUT, H, W, IN_H, IN_W, K_H, K_W, S_H, S_W, P_H, P_W, W0, G0, V_TH, V_MIN, HARD, SATURATES, BIAS0, FIRST, LAST,
 SOURCE0, SOURCE1, RECORDED) = range(25)  # fmt: skip
SYNOPS, SATURATIONS, TICK_UPDATES, DROPPED = range(4)  # columns of the tally
DST, POOL_H, POOL_W, SHIFT = range(4)  # columns of the table of connections
LAYER, NEXT, BEHIND, EDGE = range(4)  # columns of the stack: layer, its next spike, the end of its spikes, next connection
_U, _I, _S = np.uint64, np.int32, np.int16

# Arrays are seven arguments each: calls of these would take longer than what they do.
_inlined = numba.njit(inline="always", error_model="numpy")


@_inlined
def _over(a, b):
    """a // b for a from 0 and b from 1, which is 1 more often than not: division is slow, with signs slower still."""
    return a if b == 1 else np.int64(_U(a) // _U(b))


@compiled
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


@compiled
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


@_inlined
def _meet(layers, at, c, y, x, weights, groups, v, spikes, n_spikes, tally, top):
    """One event at core `at`: its spikes, as places in the layer, are appended; the new number of spikes."""
    bottom_y, bottom_x = y + layers[at, P_H], x + layers[at, P_W]
    s_h, s_w, n_out, width = layers[at, S_H], layers[at, S_W], layers[at, N_OUT], layers[at, W]
    quotient = _over(bottom_x, s_w)
    group = layers[at, G0] + 2 * (bottom_x - quotient * s_w)
    n_taps = groups[group + 1]
    left, right = max(0, quotient - n_taps + 1), min(width - 1, quotient)
    if right < left:
        return n_spikes
    n = (right - left + 1) * n_out
    tap = groups[group] + n_taps - 1 - (quotient - left)
    upper = _over(max(0, bottom_y - layers[at, K_H] + s_h), s_h)
    lower = min(layers[at, H] - 1, _over(bottom_y, s_h))
    w0 = layers[at, W0] + ((c * layers[at, K_H] + bottom_y - upper * s_h) * layers[at, K_W] + tap) * n_out
    n_rows = max(0, lower - upper + 1)
    tally[at, SYNOPS] += n_rows * n
    # One output row further down, the event lies s_h kernel rows further up.
    return _stretches(
        layers, at, (upper * width + left) * n_out, width * n_out, w0, -s_h * layers[at, K_W] * n_out, n, n_rows, weights, v,
        spikes, n_spikes, tally, top,
    )


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
def _deliver(layers, edges, connection, source, place, rows, row, groups, weights, spikes, n_spikes, v, tally, by_row, top):
    """A source's spike at `place`, or the row's event, over one connection; the new number of spikes.

    One that arrives outside the next map is dropped.
    """
    if source == len(layers) - 1:
        c, y, x = rows[row, 0], rows[row, 1], rows[row, 2]
    else:
        place = np.int64(place)
        position = _over(place, layers[source, N_OUT])
        y = _over(position, layers[source, W])
        c = place - position * layers[source, N_OUT]
        x = position - y * layers[source, W]
    into = edges[connection, DST]
    y, x = _over(y, edges[connection, POOL_H]), _over(x, edges[connection, POOL_W])
    if y >= layers[into, IN_H] or x >= layers[into, IN_W]:
        tally[source, DROPPED] += 1
        return n_spikes
    before = tally[into, SYNOPS]
    c += edges[connection, SHIFT]
    n_spikes = _meet(layers, into, c, y, x, weights, groups, v, spikes, n_spikes, tally, top)
    if by_row.size:
        by_row[row, into] += tally[into, SYNOPS] - before
    return n_spikes


@compiled
def run_depth(net, rows, v, counts, tally, by_row, top, log_row, log_neuron):
    """Rows (c, y, x), or (-1, ..) for a tick, through the network; a spike's consequences come before the next spike.

    The last rows of the table of layers and of `tally` stand for the input. by_row [rows, layers]: synops that each row
    caused, not wanted where it is empty. Written: v, counts, tally, by_row. Returns the log: row and place of each spike of
    the recorded layers, the place among the neurons of all layers, and how many there are.
    """
    layers, edges, order, _, groups, weights = net
    n_layers, n_log = len(layers) - 1, 0
    spikes = np.empty(v.size + 1, dtype=np.int32)  # of all layers: none has two events at work
    stack = np.empty((n_layers + 1, 4), dtype=np.int64)
    for row in range(len(rows)):
        is_tick = rows[row, 0] < 0
        for turn in range(n_layers if is_tick else 1):
            source, n = n_layers, 1
            if is_tick:
                source = order[turn]
                if layers[source, BIAS0] < 0:
                    continue
                n = _tick(layers, source, weights, v, spikes, 0, tally, top)
                log_row, log_neuron = _room(log_row, n_log + n), _room(log_neuron, n_log + n)
                n_log = _note(layers, source, row, spikes, 0, n, counts, log_row, log_neuron, n_log)
            depth = 0
            stack[0, LAYER], stack[0, NEXT], stack[0, BEHIND], stack[0, EDGE] = source, 0, n, layers[source, FIRST]
            while depth >= 0:
                at, following, behind, connection = (
                    stack[depth, LAYER], stack[depth, NEXT], stack[depth, BEHIND], stack[depth, EDGE]
                )
                first, last = layers[at, FIRST], layers[at, LAST]
                if connection == last:  # this spike has been everywhere
                    following, connection = following + 1, first
                if following >= behind or first == last:
                    depth -= 1
                    continue
                stack[depth, NEXT], stack[depth, EDGE] = following, connection + 1
                n = _deliver(
                    layers, edges, connection, at, spikes[following], rows, row, groups, weights, spikes, behind, v, tally,
                    by_row, top,
                )
                if n > behind:
                    into = edges[connection, DST]
                    if n_log + n - behind > log_row.size:
                        log_row, log_neuron = _room(log_row, n_log + n), _room(log_neuron, n_log + n)
                    n_log = _note(layers, into, row, spikes, behind, n, counts, log_row, log_neuron, n_log)
                    depth += 1
                    stack[depth, LAYER], stack[depth, NEXT], stack[depth, BEHIND] = into, behind, n
                    stack[depth, EDGE] = layers[into, FIRST]
    return log_row, log_neuron, n_log


@compiled
def run_breadth(net, rows, v, counts, tally, by_row, top, log_row, log_neuron):
    """As `run_depth`, but a core finishes all that a row brings it before the next core starts."""
    layers, edges, order, sources, groups, weights = net
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
                                layers, edges, connection, source, spikes[spike], rows, row, groups, weights, spikes, n, v,
                                tally, by_row, top,
                            )
            if is_tick and layers[at, BIAS0] >= 0:
                spikes = _room(spikes, n + layers[at, N])
                n = _tick(layers, at, weights, v, spikes, n, tally, top)
            sent[at, 0], sent[at, 1] = begin, n
            if n_log + n - begin > log_row.size:
                log_row, log_neuron = _room(log_row, n_log + n), _room(log_neuron, n_log + n)
            n_log = _note(layers, at, row, spikes, begin, n, counts, log_row, log_neuron, n_log)
    return log_row, log_neuron, n_log
