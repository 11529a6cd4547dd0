"""Networks that sinabs recorded (`nets`) as graphs of neurodeploy: the quantized layers as an IntGraph, the others as a Graph.

A layer is a convolution `c<i>` and its neurons `n<i>`; towards each destination its spikes are pooled (`p<i>.<k>`, absent
where the pool is 1x1), and a convolution's input is the sum of all that name it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, Iaf, Input, Lif, Node, Reset, SumPool2d

import oracles

RESETS: dict[str, Reset] = {"MembraneSubtract": "soft", "MembraneReset": "hard"}
SPIKES = {"MultiSpike": True, "SingleSpike": False}
MAY_BE_SILENT = ("min_v_none", "thr_dominates")  # families whose quantization leaves nothing


@dataclass(frozen=True, eq=False)
class Recorded:
    """One file: its description and its arrays."""

    name: str
    meta: dict[str, Any]
    arrays: dict[str, Array]

    @property
    def x(self) -> Array:
        """The input [T, 1, C, H, W]."""
        return self.arrays["input"].astype(np.int64)[:, np.newaxis]

    @property
    def must_spike(self) -> bool:
        """Whether its quantized output has spikes."""
        return not self.meta["family"].startswith(MAY_BE_SILENT)

    def layers(self, which: str) -> list[dict[str, Any]]:
        """The layers in real numbers (`float`) or quantized ones (`int`)."""
        return [layer for layer in self.meta["layers"] if layer["which"] == which]

    def sent(self, which: str, layer: dict[str, Any]) -> Iterator[tuple[SumPool2d, Array]]:
        """(pool, what arrives behind it [T, C, H, W]) for each destination of a layer."""
        for k, (to, pool) in enumerate(zip(layer["destinations"], layer["pool_per_destination"], strict=True)):
            node = SumPool2d(f"p{layer['layer']}.{k}", kernel=(int(pool[0]), int(pool[1])))
            yield node, self.arrays[f"{which}_layer{layer['layer']}_to{to}"]

    def received(self, which: str, layer: dict[str, Any]) -> Array:
        """The recorded input of a layer [T, 1, C, H, W]: the sum of all that name it."""
        number = layer["layer"]
        found = [self.arrays[f"{which}_layerinput_to{number}"]] if takes_input(self, which, number) else []
        for other in self.layers(which):
            ends = zip(other["destinations"], self.sent(which, other), strict=True)
            found += [values for to, (_, values) in ends if to == number]
        total: Array = np.sum(found, axis=0, dtype=np.float64)
        return total[:, np.newaxis]


def paths() -> list[Path]:
    """The descriptions of all recorded networks."""
    return [path for _, meta, path in oracles.described("**/*.json", "speck") if _is_network(meta) and path.is_file()]


def _is_network(meta: Any) -> bool:
    return isinstance(meta, dict) and any("which" in layer for layer in meta.get("layers", ()))


def load(path: Path) -> Recorded:
    """The network of an `.npz` with its description beside it."""
    (meta,) = (m for _, m, p in oracles.described(f"**/{path.stem}.json", "speck") if p == path)
    return Recorded(path.stem, meta, oracles.npz(path))


def nir_paths() -> list[Path]:
    """Quantized networks with their clocked spikes beside a list of layers (`nmnist_nir`)."""
    found = sorted(oracles.folder("speck").glob("*/discretized_and_spikes.npz"))
    return [path for path in found if (path.parent / "layers.json").is_file()]


def load_nir(path: Path) -> tuple[Recorded, Array]:
    """(network, input [T, B, C, H, W]) of such a file: a plain chain, all resets by subtraction, all spikes counted.

    Its `sent` arrays are those of the first sample.
    """
    arrays = oracles.npz(path)
    described = json.loads((path.parent / "layers.json").read_text(encoding="utf-8"))
    common = {"which": "int", "reset": "MembraneSubtract", "spike_fn": "MultiSpike"}
    ends = [*range(1, len(described)), -1]
    layers = [
        {**common, **layer, "destinations": [end], "pool_per_destination": layer["pool"]}
        for layer, end in zip(described, ends, strict=True)
    ]
    assert not any(layer["bias_nonzero"] for layer in layers)
    samples = [arrays[f"input{k}"] for k in range(sum(key.startswith("input") for key in arrays))]
    held = {f"int{key.removeprefix('sample0')}": values for key, values in arrays.items() if key.startswith("sample0")}
    held |= {key: values for key, values in arrays.items() if key.startswith("int_")}
    meta = {"family": path.parent.name, "input_shape": described[0]["in_shape"], "layers": layers}
    case = Recorded(path.stem, meta, {**held, "input": np.max(samples, axis=0)})
    return case, np.stack(samples, axis=1).astype(np.int64)


def takes_input(case: Recorded, which: str, number: int) -> bool:
    """Whether a layer hears the network's input."""
    return f"{which}_layerinput_to{number}" in case.arrays


def merges(case: Recorded, which: str) -> bool:
    """Whether several layers feed one, or several leave the network."""
    ends = [to if to >= 0 else -1 for layer in case.layers(which) for to in layer["destinations"]]
    return len(ends) != len(set(ends))


def network(case: Recorded, which: str) -> Graph:
    """All layers as one graph: an IntGraph for `int`."""
    shape = tuple(case.meta["input_shape"])
    nodes: list[Node] = []
    edges: list[Edge] = []
    for layer in case.layers(which):
        synapse, neuron = layer_nodes(case, which, layer)
        nodes += [synapse, neuron]
        edges.append(Edge(synapse.name, neuron.name))
        if takes_input(case, which, layer["layer"]):
            edges.append(Edge("input", synapse.name))
        for to, (pool, _) in zip(layer["destinations"], case.sent(which, layer), strict=True):
            at = neuron.name
            if pool.kernel != (1, 1):
                nodes.append(pool)
                edges.append(Edge(at, pool.name))
                at = pool.name
            if to >= 0:
                edges.append(Edge(at, f"c{to}"))
    n_timesteps = len(case.arrays["input"])
    if which == "float":
        return Graph((Input("input", shape=shape), *nodes), tuple(edges), n_timesteps)
    top = max(int(case.arrays["input"].max()), 1)
    return IntGraph((Input("input", shape=shape, kind="graded", max_value=top), *nodes), tuple(edges), n_timesteps)


def alone(case: Recorded, layer: dict[str, Any]) -> Graph:
    """One layer in real numbers, fed by `received`."""
    synapse, neuron = layer_nodes(case, "float", layer)
    nodes = (Input("input", shape=tuple(layer["in_shape"])), synapse, neuron)
    return Graph(nodes, (Edge("input", synapse.name), Edge(synapse.name, neuron.name)), len(case.arrays["input"]))


def layer_nodes(case: Recorded, which: str, layer: dict[str, Any]) -> tuple[Conv2d, Lif | Iaf]:
    """The convolution and the neurons of a layer."""
    number, shape = layer["layer"], tuple(layer["neuron_shape"])
    weight, bias = case.arrays[f"{which}_w{number}"], case.arrays.get(f"{which}_b{number}")
    stride, padding = tuple(layer["stride"]), tuple(layer["padding"])
    reset, multi_spike = RESETS[layer["reset"]], SPIKES[layer["spike_fn"]]
    v_th, v_min = layer["threshold"], layer["min_v_mem"]
    if which == "float":
        synapse = Conv2d(f"c{number}", weight=weight, bias=bias, stride=stride, padding=padding)
        return synapse, Lif(f"n{number}", shape=shape, v_th=v_th, reset=reset, multi_spike=multi_spike, v_min=v_min)
    constants = np.zeros(1) if bias is None else bias[:, np.newaxis, np.newaxis]
    return Conv2d(f"c{number}", weight=_whole(weight), stride=stride, padding=padding), Iaf(
        f"n{number}", shape=shape, v_th=int(_whole(v_th)), v_min=None if v_min is None else int(_whole(v_min)),
        bias=_whole(constants), reset=reset, multi_spike=multi_spike,
    )


def _whole(values: Any) -> Array:
    """Integers that a file may store as floats."""
    whole: Array = np.asarray(values).astype(np.int64)
    assert np.array_equal(whole, values)
    return whole
