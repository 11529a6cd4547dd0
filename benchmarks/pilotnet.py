"""A network of LIF neurons with the layers of Intel's PilotNet, random weights, and layers that fire at a wanted rate."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Linear, Node
from neurodeploy.sim import clocked

REPORT = Path(__file__).parent.parent / "tests" / "golden" / "loihi" / "loihi2_compiler_reports.json"
RATES = {3: 0.08, 1: 0.15}  # by the rank of a layer's shape; a dense neuron has few timesteps left to fire in


def pilotnet(n_steps: int, seed: int = 0) -> IntGraph:
    """The network of the compiler report; strides and padding follow from its sizes, which are (W, H, C)."""
    (report,) = json.loads(REPORT.read_text())["nets"]
    rng = np.random.default_rng(seed)
    shape = tuple(reversed(report["layers"][0]["out"]))
    nodes: list[Node] = [
        Input("input", shape=shape, kind="bias", max_value=255), CubaLif("input.n", shape=shape, v_decay=128, v_th=400)
    ]
    for i, layer in enumerate(report["layers"][1:], start=1):
        out = tuple(reversed(layer["out"]))
        if layer["type"] == "conv":
            strides = [2 if size > 1.5 * o else 1 for size, o in zip(shape[1:], out[1:], strict=True)]
            paddings = [
                next(p for p in (0, 1) if (size + 2 * p - layer["k"]) // s + 1 == o)
                for size, o, s in zip(shape[1:], out[1:], strides, strict=True)
            ]
            weight = 2 * rng.integers(-60, 68, (out[0], layer["in_ch"], layer["k"], layer["k"]))
            synapse: Node = Conv2d(
                f"conv{i}", weight=weight, stride=(strides[0], strides[1]), padding=(paddings[0], paddings[1])
            )
        else:
            if len(shape) > 1:
                nodes.append(Flatten("flatten"))
            lean = round(100 / layer["n_in"] ** 0.5)  # a little more excitation, so that narrow layers are heard too
            synapse = Linear(f"dense{i}", weight=2 * rng.integers(lean - 90, lean + 91, (out[0], layer["n_in"])))
        shape = out
        nodes += [synapse, CubaLif(f"{synapse.name}.n", shape=shape, i_decay=3072, v_decay=3072, v_th=1)]
    edges = [Edge(a.name, b.name, int(b.is_synapse)) for a, b in pairwise(nodes)]
    return IntGraph(tuple(nodes), tuple(edges), n_steps, target="loihi2")


def image_batch(graph: IntGraph, batch: int, n_steps: int) -> np.ndarray:
    """Random images [T, B, *shape], each constant in time, mostly dark."""
    node = graph.inputs[0]
    still = np.rint(node.max_value * np.random.default_rng(1).random((1, batch, *node.shape)) ** 4).astype(np.int64)
    return np.broadcast_to(still, (n_steps, *still.shape[1:]))


def with_threshold(graph: IntGraph, name: str, v_th: int) -> IntGraph:
    """The graph with another threshold in one layer."""
    nodes = [replace(n, v_th=v_th) if isinstance(n, CubaLif) and n.name == name else n for n in graph.nodes]
    return replace(graph, nodes=tuple(nodes))


def with_rates(graph: IntGraph, x: np.ndarray) -> IntGraph:
    """The graph with the smallest thresholds at which each layer behind the first fires in at most RATES of its time."""
    for node in graph.neurons[1:]:
        low, high = 0, 2**17 - 1
        awake, wanted = graph.latencies[node.name], RATES[len(graph.shapes[node.name])]
        while high - low > max(1, low // 64):
            middle = (low + high) // 2
            trace = clocked.simulate(with_threshold(graph, node.name, middle), x, len(x), record="spikes")
            low, high = (middle, high) if trace.spikes[node.name][awake:].mean() > wanted else (low, middle)
        graph = with_threshold(graph, node.name, high)
    return graph
