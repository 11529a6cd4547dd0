"""Event-driven fixtures as networks, and random networks and streams."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from neurodeploy.sim.events_network import Destination, EventLayer, EventNetwork
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
RESETS = {"sub": "soft", "zero": "hard"}


def chain(input_shape: tuple[int, int, int], layers: list[dict[str, Any]], state_bits: int = 16) -> EventNetwork:
    """A plain chain of layers `l0`, `l1`, ... in the fixtures' words, each pooled towards the next one."""
    found: list[EventLayer] = []
    shape = input_shape
    for i, layer in enumerate(layers):
        pool = (layer["pool"], layer["pool"])
        last = i == len(layers) - 1
        found.append(
            EventLayer(
                f"l{i}", np.asarray(layer["weights"], dtype=np.int64), shape, layer["threshold_high"],
                layer["threshold_low"], tuple(layer["stride"]), tuple(layer["padding"]), RESETS[layer["reset"]],
                destinations=() if last else (Destination(f"l{i + 1}", pool),),
            )
        )
        out = found[-1].shape
        shape = (out[0], out[1] // pool[0], out[2] // pool[1])
    return EventNetwork(input_shape, (Destination("l0"),), tuple(found), state_bits)


def event_case(path: Path) -> tuple[EventNetwork, IntArray, dict[str, Any]]:
    """(network, events, content of the file) of an event_driven fixture."""
    case = json.loads(path.read_text(encoding="utf-8"))
    network = chain(tuple(case["input_shape"]), case["layers"])
    return network, np.asarray(case["events_t_c_y_x"], dtype=np.int64), case


def nir_network(folder: Path) -> EventNetwork:
    """The network of nmnist_nir, quantized."""
    described = json.loads((folder / "layers.json").read_text(encoding="utf-8"))
    with np.load(folder / "discretized_and_spikes.npz", allow_pickle=False) as file:
        weights = [file[f"int_w{i}"] for i in range(len(described))]
    layers = [
        {"weights": w, "threshold_high": round(layer["threshold"]), "threshold_low": round(layer["min_v_mem"]),
         "stride": layer["stride"], "padding": layer["padding"], "reset": "sub", "pool": layer["pool"][0][0]}
        for w, layer in zip(weights, described, strict=True)
    ]  # fmt: skip
    return chain(tuple(described[0]["in_shape"]), layers)


@st.composite
def networks(draw: st.DrawFn) -> EventNetwork:
    """One to four layers whose later ones read the input or earlier layers, one source or several, by feature shift or added.

    Weights below and far above the threshold, strides, paddings, odd pools, biases, narrow states.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits = draw(st.sampled_from([6, 9, 16]))
    top = (1 << (bits - 1)) - 1
    input_shape = (draw(st.integers(1, 2)), draw(st.integers(3, 9)), draw(st.integers(3, 9)))
    shapes = {"input": input_shape}
    onward: dict[str, list[Destination]] = {"input": []}
    layers: list[EventLayer] = []
    for i in range(draw(st.integers(1, 4))):
        name = f"l{i}"
        source = draw(st.sampled_from(list(shapes)))
        pool = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2)]))
        channels, height, width = shapes[source]
        map_ = (max(1, height // pool[0]), max(1, width // pool[1]))
        pool = (pool[0] if height >= pool[0] else 1, pool[1] if width >= pool[1] else 1)
        onward[source].append(Destination(name, pool))
        for other, shape in shapes.items():  # merges: beside the channels so far, or on top of them
            twin = draw(st.sampled_from(["no", "beside", "added"]))
            fits = [p for p in ((1, 1), (2, 2), (1, 2)) if (shape[1] // p[0], shape[2] // p[1]) == map_]
            if twin == "no" or not fits:
                continue
            shift = channels if twin == "beside" else 0
            channels = max(channels, shift + shape[0])
            onward[other].append(Destination(name, fits[0], shift))
        kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 4)))
        padding = tuple(draw(st.integers(max(0, -(-(k - m) // 2)), 2 + k // 2)) for k, m in zip(kernel, map_, strict=True))
        reach = draw(st.sampled_from([3, 20, top]))
        n_out = draw(st.integers(1, 3))
        v_th = draw(st.sampled_from([1, min(4, top), min(30, top), top]) | st.integers(0, min(40, top)))
        layers.append(
            EventLayer(
                name, rng.integers(-reach, reach + 1, (n_out, channels, *kernel)), (channels, *map_), v_th,
                -draw(st.sampled_from([0, 1, min(30, top), top + 1] if v_th else [1, min(30, top), top + 1])),
                (draw(st.integers(1, 3)), draw(st.integers(1, 5))), (padding[0], padding[1]),
                draw(st.sampled_from(["soft", "hard"])),
                draw(st.sampled_from([None, rng.integers(-5, 6, n_out)])),
            )
        )
        shapes[name], onward[name] = layers[-1].shape, []
    kept = tuple(replace(layer, destinations=tuple(onward[layer.name])) for layer in layers)
    return EventNetwork(input_shape, tuple(onward["input"]), tuple(draw(st.permutations(kept))), bits)


@st.composite
def streams(draw: st.DrawFn, network: EventNetwork, at_most: int = 25) -> IntArray:
    """Events (t, c, y, x) with repeated and skipped times."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(0, at_most))
    t = np.cumsum(rng.integers(0, 4, n))
    return np.stack([t, *(rng.integers(0, size, n) for size in network.input_shape)], axis=1).astype(np.int64)
