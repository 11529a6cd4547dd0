"""The event-driven simulator of DYNAP-CNN and Speck: compiled loops against plain Python, and against merely adding weights.

    python benchmarks/bench_events.py [--events 10000] [--repeats 5]

A convolutional network of four cores on a random stream of events of a 34 x 34 sensor. The floor is a compiled loop that gets
every event of every core handed in and adds the same weights to the same potentials in the same order: no limits, no spikes,
no routing. Plain Python runs the end of the stream only. Rates are updates (synops) a second on one core. Exit code 1
where the two simulators differ, or the compiled one is below 0.1 of the floor or 100 times plain Python.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any, get_args

import numba
import numpy as np
from neurodeploy.sim import events, events_reference
from neurodeploy.sim.events_network import Destination, EventLayer, EventNetwork
from neurodeploy.sim.events_trace import EventTrace, Order, first_difference
from numpy.typing import NDArray

# (output channels, kernel, stride, padding, pool towards the next core) of each core
CORES = ((16, 3, 1, 1, 2), (32, 3, 1, 1, 2), (32, 3, 1, 1, 2), (10, 4, 1, 0, 1))
INPUT = (2, 34, 34)
MAX_WEIGHT = 127
LEAST_OF_FLOOR, LEAST_OF_PYTHON = 0.1, 100


def random_network(rng: np.random.Generator, saturating: bool) -> EventNetwork:
    """Random weights around a positive mean, so that every core fires; `saturating`: the first core has some beyond v_th."""
    layers: list[EventLayer] = []
    shape = INPUT
    for i, (n_out, kernel, stride, padding, pool) in enumerate(CORES):
        weight = np.clip(rng.normal(6, 50, (n_out, shape[0], kernel, kernel)), -MAX_WEIGHT - 1, MAX_WEIGHT).astype(np.int64)
        onward = () if i == len(CORES) - 1 else (Destination(f"core{i + 1}", (pool, pool)),)
        v_th = 90 if saturating and i == 0 else 4 * MAX_WEIGHT
        layers.append(EventLayer(f"core{i}", weight, shape, v_th, -v_th, (stride, stride), (padding, padding),
                                 destinations=onward))  # fmt: skip
        shape = (n_out, layers[-1].shape[1] // pool, layers[-1].shape[2] // pool)
    return EventNetwork(INPUT, (Destination("core0"),), tuple(layers))


def stream(rng: np.random.Generator, n_events: int) -> NDArray[np.int64]:
    """Events all over the sensor, one a microsecond."""
    return np.stack([np.arange(n_events), *(rng.integers(0, n, n_events) for n in INPUT)], axis=1)


@numba.njit(nogil=True, error_model="numpy")
def _only_add(events_in: Any, weight: Any, v: Any, stride: int, padding: int) -> None:
    """weight [C, kH, kW, O], v [H, W, O]; events (c, y, x)."""
    _, k_height, k_width, n_out = weight.shape
    height, width, _ = v.shape
    for e in range(len(events_in)):
        c, y, x = events_in[e, 0], events_in[e, 1] + padding, events_in[e, 2] + padding
        for oy in range(max(0, (y - k_height + stride) // stride), min(height - 1, y // stride) + 1):
            for ox in range(max(0, (x - k_width + stride) // stride), min(width - 1, x // stride) + 1):
                ky, kx = y - oy * stride, x - ox * stride
                for f in range(n_out):
                    v[oy, ox, f] += weight[c, ky, kx, f]


def arrivals(network: EventNetwork, events_in: NDArray[np.int64], trace: EventTrace) -> list[NDArray[np.int64]]:
    """The events (c, y, x) that each core of a chain received."""
    found = [events_in[:, 1:]]
    for layer in network.layers[:-1]:
        destination = layer.destinations[0]
        cyx = trace.spikes[layer.name].tcyx[:, 1:] // (1, *destination.pool)
        inside = (cyx < network[destination.layer].in_shape).all(axis=1)
        found.append(cyx[inside])
    return found


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """The shortest of several runs."""
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    return min(spent)


def fast_seconds(network: EventNetwork, x: NDArray[np.int64], order: Order, repeats: int) -> float:
    """Time of the fast simulator, from the checks of the stream to its results."""
    return seconds(lambda: events.simulate(network, x, order=order, record=(), by_event=False), repeats)


def floor_seconds(network: EventNetwork, received: list[NDArray[np.int64]], repeats: int) -> float:
    """Time of adding the weights alone."""
    parts = []
    for layer, cyx in zip(network.layers, received, strict=True):
        n_out, height, width = layer.shape
        weight = np.ascontiguousarray(layer.weight.transpose(1, 2, 3, 0).astype(np.int16))
        parts.append((np.ascontiguousarray(cyx), weight, np.zeros((height, width, n_out), dtype=np.int16),
                      layer.stride[0], layer.padding[0]))  # fmt: skip

    def run() -> None:
        for part in parts:
            _only_add(*part)

    run()
    return seconds(run, repeats)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000, help="input events of the fast run")
    parser.add_argument("--slow-events", type=int, default=200, help="input events that plain Python runs")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    wrong = slow_somewhere = False
    for saturating in (False, True):
        rng = np.random.default_rng(0)
        network, x = random_network(rng, saturating), stream(rng, args.events)
        last = max(0, len(x) - args.slow_events)
        print("weights beyond the threshold" if saturating else "weights at most the threshold")
        for order in get_args(Order):
            states = events.simulate(network, x, order=order, stop=last).v_mem  # every core is at work by then
            fast_few = events.simulate(network, x, order=order, first=last, v_init=states)
            began = time.perf_counter()
            slow = events_reference.simulate(network, x, order=order, first=last, v_init=states)
            slow_rate = sum(slow.n_synops.values()) / (time.perf_counter() - began)
            found = first_difference(slow, fast_few)
            trace = events.simulate(network, x, order=order)
            n_synops = sum(trace.n_synops.values())
            spent = fast_seconds(network, x, order, args.repeats)
            floor = floor_seconds(network, arrivals(network, x, trace), args.repeats)
            print(f"  {order:8} {len(x)} events, spikes {trace.n_spikes}, {n_synops / len(x):.0f} synops an event")
            print(f"    {'plain Python':14}{slow_rate:14.3g} synops/s")
            print(f"    {'compiled':14}{n_synops / spent:14.3g} synops/s {len(x) / spent:10.0f} events/s, "
                  f"{n_synops / spent / slow_rate:.0f} times plain Python, {floor / spent:.2f} of the floor")
            print(f"    {'only adding':14}{n_synops / floor:14.3g} synops/s")
            if floor / spent < LEAST_OF_FLOOR or n_synops / spent / slow_rate < LEAST_OF_PYTHON:
                print(f"    SLOW: expected {LEAST_OF_FLOOR} of the floor and {LEAST_OF_PYTHON} times plain Python at least")
                slow_somewhere = True
            if found or not all(slow.n_spikes.values()):
                print(f"    DIFFERENT: {found or 'a core without spikes'}")
                wrong = True
    if not wrong:
        print("equal: every spike in its order, potential and count")
    return int(wrong or slow_somewhere)


if __name__ == "__main__":
    sys.exit(main())
