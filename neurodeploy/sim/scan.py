"""Compiled loops: neuron layers advanced over a window of timesteps, block by block, so that a block's state stays in cache.

A block is up to BLOCK neurons of one sample. Its state lies in `state` as planes of BLOCK values behind each other, the
layer's constants in `params` likewise (one copy for all samples); `rows`, `a` are a Series (series.py). All index
arithmetic is unsigned and the distances between planes are constants: that lets LLVM see that nothing overlaps and use
the vector unit, 16 neurons at a time in int32. Every operation is cast back to the state's type, since numba widens.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba finds the types of the compiled functions from their arguments)

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.fixedpoint import DECAY_BITS

BLOCK = 1024
_U = np.uint64
_B1, _B2, _B3 = _U(BLOCK), _U(2 * BLOCK), _U(3 * BLOCK)
DELTA, SIGMA_DELTA, SIGMA = 0, 1, 2  # kinds of `scan_delta`
_LOW = (1 << DECAY_BITS) - 1
_WORTH_A_THREAD = 1 << 18  # neuron updates; below it, starting a thread costs more than it saves

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compiled at the first call and kept on disk where a folder for that can be written."""
    try:
        found: F = numba.njit(function, nogil=True, error_model="numpy", cache=True)
    except RuntimeError:  # numba found no such folder
        found = numba.njit(function, nogil=True, error_model="numpy")
    return found


@compiled
def _cuba_block(a, a0, state, s0, params, p0, fired, f0, n, half, shift):
    """One timestep of CubaLif (ir/nodes.py); whether anything fired. Planes: u, v; u kept, v kept, threshold, bias."""
    as_state = state.dtype.type
    upper, lap, top = as_state(half), as_state(2 * half), as_state(half - 1)
    count = as_state(0)
    for k in range(n):
        i = _U(k)
        u, v = state[s0 + i], state[s0 + _B1 + i]
        # |u| * kept / 4096 in two parts, so that no product needs more bits than the state has.
        m = as_state(abs(u))
        m = as_state(as_state(as_state(m >> DECAY_BITS) * params[p0 + i])
                     + as_state(as_state(as_state(m & _LOW) * params[p0 + i]) >> DECAY_BITS))
        u = as_state(-m) if u < 0 else m
        u = as_state(u + as_state(as_state(a[a0 + i]) << shift))
        u = as_state(u - lap) if u > upper else u
        u = as_state(u + lap) if u <= -upper else u
        m = as_state(abs(v))
        m = as_state(as_state(as_state(m >> DECAY_BITS) * params[p0 + _B1 + i])
                     + as_state(as_state(as_state(m & _LOW) * params[p0 + _B1 + i]) >> DECAY_BITS))
        v = as_state(-m) if v < 0 else m
        v = as_state(as_state(v + u) + params[p0 + _B3 + i])
        v = top if v > top else v
        v = as_state(-top) if v < -top else v
        fires = v > params[p0 + _B2 + i]
        v = as_state(0) if fires else v
        state[s0 + i] = u
        state[s0 + _B1 + i] = v
        fired[f0 + i] = fires
        count = as_state(count + as_state(fires))
    return count > 0


@compiled
def _delta_block(a, a0, state, s0, params, p0, sent, f0, n, sums, relu, scale, state_exp):
    """One timestep of Delta or SigmaDelta: (whether anything was sent, largest magnitude of sigma, act and change).

    Planes: sigma, act, residue; threshold, bias.
    """
    found, largest = np.int64(0), np.int64(0)
    for k in range(n):
        i = _U(k)
        x = np.int64(a[a0 + i])
        sigma = state[s0 + i] + x if sums else np.int64(0)
        act = sigma + params[p0 + _B1 + i] if sums else x << scale
        act = np.int64(0) if relu and act < 0 else act
        change = act - state[s0 + _B1 + i] + state[s0 + _B2 + i]
        out = change if abs(change) >= params[p0 + i] else np.int64(0)
        state[s0 + i] = sigma
        state[s0 + _B1 + i] = act
        state[s0 + _B2 + i] = change - out
        message = out >> state_exp
        sent[f0 + i] = message
        found |= message
        largest = max(largest, abs(sigma), abs(act), abs(change))
    return found != 0, largest


@compiled
def _sigma_block(a, a0, state, s0, sent, f0, n):
    """One timestep of Sigma, as `_delta_block`. Planes: sigma (and two unused)."""
    found, largest = np.int64(0), np.int64(0)
    for k in range(n):
        i = _U(k)
        sigma = state[s0 + i] + np.int64(a[a0 + i])
        state[s0 + i] = sigma
        sent[f0 + i] = sigma
        found |= sigma
        largest = max(largest, abs(sigma))
    return found != 0, largest


@compiled
def _iaf_block(a, a0, state, s0, params, p0, sent, f0, n, v_th, v_min, hard, multi):
    """One timestep of Iaf: (whether anything fired, largest magnitude of v before it fires). Planes: v; bias."""
    found, largest = np.int64(0), np.int64(0)
    for k in range(n):
        i = _U(k)
        v = state[s0 + i] + np.int64(a[a0 + i]) + params[p0 + i]
        largest = max(largest, abs(v))
        count = np.int64(0)
        if v >= v_th:  # few do, and a division takes longer than all the rest
            count = v // v_th if multi else np.int64(1)
            v = np.int64(0) if hard else v - count * v_th
        state[s0 + i] = max(v, v_min)
        sent[f0 + i] = count
        found |= count
    return found != 0, largest


@compiled
def _mark(state, s0, n_planes, flags, f0, n):
    """Flag the neurons of a block any of whose states is not zero."""
    for k in range(n):
        flags[f0 + _U(k)] = state[s0 + _U(k)] != 0
    for plane in range(1, n_planes):
        p0 = s0 + _U(plane) * _B1
        for k in range(n):
            flags[f0 + _U(k)] |= state[p0 + _U(k)] != 0


@compiled
def scan_cuba(
    a, rows, nothing, state, params, fired, spoke, updated, n_neurons, resets, half, shift, first, last
):
    """Blocks first..last-1 of a CubaLif layer through all timesteps of `rows` [W, B].

    a: sums, flat [R, n_neurons]; `nothing` [BLOCK] zeros of its type. Written: state; fired uint8, flat [W, B, n_neurons];
    spoke uint8 [W, B], set where anything fired; updated likewise flat, where any state was not zero before the step
    (empty: not asked). resets [W]: whether the state restarts in that step.
    """
    n_steps, batch = rows.shape
    per_sample = (n_neurons + BLOCK - 1) // BLOCK
    for job in range(first, last):
        sample, block = job // per_sample, job % per_sample
        start = block * BLOCK
        n = min(BLOCK, n_neurons - start)
        s0, p0 = _U(job * 2 * BLOCK), _U(block * 4 * BLOCK)
        for w in range(n_steps):
            f0 = _U((w * batch + sample) * n_neurons + start)
            if updated.size:
                _mark(state, s0, 2, updated, f0, n)
            if resets[w]:
                state[s0 : s0 + _B2] = 0
            row = rows[w, sample]
            if row < 0:
                any_fired = _cuba_block(nothing, _U(0), state, s0, params, p0, fired, f0, n, half, shift)
            else:
                any_fired = _cuba_block(a, _U(row * n_neurons + start), state, s0, params, p0, fired, f0, n, half, shift)
            if any_fired:
                spoke[w, sample] = 1


@compiled
def scan_delta(
    a, rows, nothing, state, params, sent, spoke, updated, n_neurons, peaks, kind, relu, scale, state_exp, first, last
):
    """As `scan_cuba` for sigma-delta layers: `kind` is one of those above; `sent` int64; three planes a block.

    peaks int64 [blocks of all samples]: the largest magnitude that a state took.
    """
    n_steps, batch = rows.shape
    per_sample = (n_neurons + BLOCK - 1) // BLOCK
    for job in range(first, last):
        sample, block = job // per_sample, job % per_sample
        start = block * BLOCK
        n = min(BLOCK, n_neurons - start)
        s0, p0 = _U(job * 3 * BLOCK), _U(block * 2 * BLOCK)
        for w in range(n_steps):
            f0 = _U((w * batch + sample) * n_neurons + start)
            if updated.size:
                _mark(state, s0, 3, updated, f0, n)
            row = rows[w, sample]
            source, a0 = (a, _U(row * n_neurons + start)) if row >= 0 else (nothing, _U(0))
            if kind == SIGMA:
                any_sent, peak = _sigma_block(source, a0, state, s0, sent, f0, n)
            else:
                any_sent, peak = _delta_block(
                    source, a0, state, s0, params, p0, sent, f0, n, kind == SIGMA_DELTA, relu, scale, state_exp
                )
            peaks[job] = max(peaks[job], peak)
            if any_sent:
                spoke[w, sample] = 1


@compiled
def scan_iaf(
    a, rows, nothing, state, params, sent, spoke, updated, n_neurons, peaks, v_th, v_min, hard, multi, first, last
):
    """As `scan_cuba` for Iaf layers: `sent` int64, one plane a block; `updated` is cleared: a state alone updates nothing.

    peaks int64 [blocks of all samples]: the largest magnitude that v took.
    """
    n_steps, batch = rows.shape
    per_sample = (n_neurons + BLOCK - 1) // BLOCK
    for job in range(first, last):
        sample, block = job // per_sample, job % per_sample
        start = block * BLOCK
        n = min(BLOCK, n_neurons - start)
        s0, p0 = _U(job * BLOCK), _U(block * BLOCK)
        for w in range(n_steps):
            f0 = _U((w * batch + sample) * n_neurons + start)
            if updated.size:
                updated[f0 : f0 + _U(n)] = 0
            row = rows[w, sample]
            source, a0 = (a, _U(row * n_neurons + start)) if row >= 0 else (nothing, _U(0))
            fired, peak = _iaf_block(source, a0, state, s0, params, p0, sent, f0, n, v_th, v_min, hard, multi)
            peaks[job] = max(peaks[job], peak)
            if fired:
                spoke[w, sample] = 1


def in_threads(scan: Callable[..., None], n_jobs: int, n_updates: int, *args: Any) -> None:
    """scan(*args, first, last) over all jobs, shared out among as many threads as torch uses where that pays."""
    n_threads = max(1, min(torch.get_num_threads(), n_jobs, n_updates // _WORTH_A_THREAD))
    if n_threads == 1:
        scan(*args, 0, n_jobs)
        return
    mine, *others = pairwise(np.linspace(0, n_jobs, n_threads + 1).astype(int).tolist())
    with ThreadPoolExecutor(n_threads - 1) as pool:
        running = [pool.submit(scan, *args, *theirs) for theirs in others]
        scan(*args, *mine)
        for other in running:
            other.result()


def blocked(values: NDArray[np.int64], dtype: Any) -> NDArray[Any]:
    """[planes, N] to [blocks, planes, BLOCK], padded with zeros."""
    n_planes, n = values.shape
    n_blocks = -(-n // BLOCK)
    padded = np.zeros((n_planes, n_blocks * BLOCK), dtype=dtype)
    padded[:, :n] = values
    return np.ascontiguousarray(padded.reshape(n_planes, n_blocks, BLOCK).transpose(1, 0, 2))
