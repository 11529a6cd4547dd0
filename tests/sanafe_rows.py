"""Rows of the SANA-FE fixtures as networks, maps and traces; the neurons are simulated again, in the floats of the row.

The fixtures' README has the semantics. Nothing here is shared with the package but the values it makes: synapses are listed
one by one into dense matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from neurodeploy.hw.profile import Profile, target
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Linear, Node
from neurodeploy.place.assignment import Assignment
from neurodeploy.sim.trace import Trace

from oracles import described, npz

PROFILE = target("loihi1", {"synapses.zeros": "culled"})  # in every row a weight of zero is no synapse


@dataclass(frozen=True, eq=False)
class Row:
    """A row's json, its network, where its neurons are, what they did, and the synapse unit of each layer."""

    name: str
    told: dict[str, Any]
    graph: IntGraph
    plan: Assignment
    trace: Trace
    units: dict[str, str]

    @property
    def layers(self) -> list[str]:
        return [layer["name"] for layer in self.told["inputs"]["layers"]]

    @property
    def profile(self) -> Profile:
        return PROFILE


def rows() -> list[tuple[str, dict[str, Any], Path]]:
    """(name, json, path of the npz) of every row in the folder."""
    return [row for row in described("*.json", "sanafe") if "synaptic_events_per_layer" in row[1].get("counts", {})]


@cache
def load(name: str) -> Row:
    told, path = next((told, path) for stem, told, path in rows() if stem == name)
    arrays, layers, T = npz(path), told["inputs"]["layers"], told["T"]
    graph = network(layers, arrays, T)
    cores = {layer["name"]: arrays[f"map{i}"].astype(np.int64) for i, layer in enumerate(layers)}
    given = {
        layer["name"]: np.unpackbits(arrays[f"spikes{i}"], axis=1)[:, : layer["neurons"]].astype(np.int32)
        for i, layer in enumerate(layers)
    }
    spikes, updated = {layers[0]["name"]: given[layers[0]["name"]]}, {}
    for i, (before, layer) in enumerate(pairwise(layers), start=1):
        own = layer["name"]
        spikes[own], updated[own] = simulate(layer, matrix(layer, arrays[f"w{i}"]), spikes[before["name"]])
        assert np.array_equal(spikes[own], given[own]), f"{name}: {own} fires otherwise"

    def shaped(raster: np.ndarray, node: str) -> np.ndarray:
        return raster.reshape(T, 1, *graph.shapes[node])

    trace = Trace(
        graph=graph, n_steps=T, spikes={n: shaped(r, n) for n, r in spikes.items()},
        updated={n: shaped(r, n) for n, r in updated.items()}, votes=np.zeros((0, 1, 0)),
    )
    units = {f"{layer['name']}.synapses": layer["synapse_unit"].split("_")[1] for layer in layers[1:]}
    return Row(name, told, graph, Assignment.of(graph, PROFILE, cores), trace, units)


def network(layers: list[dict[str, Any]], arrays: dict[str, np.ndarray], n_timesteps: int) -> IntGraph:
    """The row's network; thresholds and leaks as close as integers of the chip come, for nothing here reads them."""
    nodes: list[Node] = [Input(layers[0]["name"], shape=tuple(layers[0]["shape"]), kind="spikes")]
    edges, source = [], nodes[0]
    for i, layer in enumerate(layers[1:], start=1):
        weight, synapses = arrays[f"w{i}"].astype(np.int64), f"{layer['name']}.synapses"
        shape = tuple(layer["shape"])
        if layer["kind"] == "conv2d":
            stride, padding = (int(layer.get(key, default)) for key, default in (("stride", 1), ("padding", 0)))
            node: Node = Conv2d(synapses, weight=weight.transpose(3, 2, 0, 1), stride=(stride,) * 2, padding=(padding,) * 2)
        else:
            node = Linear(synapses, weight=weight.T)
            if len(getattr(source, "shape", ())) == 3:
                flat = Flatten(f"{layer['name']}.flat")
                nodes.append(flat)
                edges.append(Edge(source.name, flat.name))
                source = flat
        decay = round(4096 * (1 - float(layer["leak_decay"])))
        neurons = CubaLif(layer["name"], shape=shape, v_th=round(layer["threshold"]), v_decay=decay)
        nodes += [node, neurons]
        edges += [Edge(source.name, node.name, 1), Edge(node.name, neurons.name)]
        source = neurons
    return IntGraph(nodes=tuple(nodes), edges=tuple(edges), n_timesteps=n_timesteps, target="loihi1")


def matrix(layer: dict[str, Any], weight: np.ndarray) -> np.ndarray:
    """[source, target] of a layer, entry by entry; 0 where there is no synapse."""
    if layer["kind"] != "conv2d":
        return weight.astype(np.float64)
    c_in, h, w = layer["in_shape"]
    c_out, h_out, w_out = layer["shape"]
    stride, padding = int(layer.get("stride", 1)), int(layer.get("padding", 0))
    full = np.zeros((c_in, h, w, c_out, h_out, w_out))
    for y, x in np.ndindex(h_out, w_out):
        for ky, kx in np.ndindex(weight.shape[:2]):
            sy, sx = y * stride - padding + ky, x * stride - padding + kx
            if 0 <= sy < h and 0 <= sx < w:
                full[:, sy, sx, :, y, x] = weight[ky, kx]
    return full.reshape(c_in * h * w, -1)


def simulate(layer: dict[str, Any], weight: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spikes and updates [T, N] of a layer that `source` [T, N_in] feeds."""
    leak = float(np.float32(layer["leak_decay"]))
    present = (weight != 0).astype(np.float64)
    v = np.zeros(weight.shape[1])
    fired, updated = (np.zeros((len(source), len(v)), dtype=d) for d in (np.int32, bool))
    before = np.zeros(weight.shape[0])
    for t in range(len(source)):
        updated[t] = (np.abs(v) > 0) | (before @ present > 0)
        v = np.trunc((v * leak if t else v) * 64) / 64 + before @ weight
        fired[t] = v > layer["threshold"]
        v[fired[t] > 0] = 0
        before = source[t].astype(np.float64)
    return fired, updated
