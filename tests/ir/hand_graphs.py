"""Small integer graphs written by hand: a chain with an OR pool, and a residual network with a relay."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, InputKind, Linear, Node, Shape, Vote
from numpy.typing import NDArray

TOP = {"spikes": 1, "graded": 15, "bias": 3000}


def even(rng: np.random.Generator, shape: tuple[int, ...], size: int = 120) -> NDArray[np.int64]:
    """Even weights in -size..size."""
    return np.asarray(rng.integers(-size // 2, size // 2 + 1, size=shape) * 2, dtype=np.int64)


def neurons(name: str, shape: Shape, latency: int, T: int, **values: Any) -> CubaLif:
    """Neurons that start each sample at their latency, as lowered graphs have them."""
    return CubaLif(name, shape=shape, reset_interval=T, reset_offset=latency + 1, **values)


def memoryless(name: str, shape: Shape, latency: int, T: int) -> CubaLif:
    """OR pool or relay: fires whenever a weight of 64 or more arrives, and forgets."""
    return neurons(name, shape, latency, T, i_decay=4096, v_decay=4096, v_th=63)


def wire(nodes: list[Node]) -> tuple[Edge, ...]:
    """A chain: one timestep into each synapse."""
    return tuple(Edge(a.name, b.name, int(b.is_synapse)) for a, b in pairwise(nodes))


def chain(kind: InputKind = "spikes", T: int = 6) -> IntGraph:
    """Input 2x6x4 -> conv 3x3 (4) -> OR pool 2x2 -> grouped strided conv (6) -> dense 6 -> vote of 3 classes.

    Kind bias: the input goes straight into the first neurons (4x6x4) instead of through a synapse.
    """
    rng = np.random.default_rng(5)
    first = int(kind != "bias")
    shape: Shape = (2, 6, 4) if first else (4, 6, 4)
    nodes: list[Node] = [Input("input", shape=shape, kind=kind, max_value=TOP[kind])]
    scale = {"spikes": 120, "graded": 30, "bias": 0}[kind]
    if first:
        nodes.append(Conv2d("stem", weight=even(rng, (4, 2, 3, 3), scale), padding=(1, 1)))
    bias = rng.integers(-40, 60, size=(4, 1, 1)) * first
    stem = neurons("stem.lif", (4, 6, 4), first, T, v_decay=1024, v_th=[2000, 90][first], bias_mant=bias)
    nodes += [
        stem,
        Conv2d("pool.or", weight=np.full((4, 1, 2, 2), 64), stride=(2, 2), groups=4),
        memoryless("pool", (4, 3, 2), first + 1, T),
        Conv2d("conv", weight=even(rng, (6, 2, 2, 3), 200), padding=(0, 1), stride=(2, 1), groups=2),
        neurons("conv.lif", (6, 1, 2), first + 2, T, i_decay=3000, v_decay=2048, v_th=110,
                bias_mant=rng.integers(-20, 60, size=(6, 1, 2))),
        Flatten("flat"),
        Linear("fc", weight=even(rng, (6, 12), 250)),
        neurons("out", (6,), first + 3, T, v_decay=0, v_th=100, bias_mant=rng.integers(-30, 90, size=6)),
        Vote("vote", n_classes=3, group=2),
    ]
    return IntGraph(tuple(nodes), wire(nodes), T, {"name": "chain"}, target="loihi2")


def residual(kind: InputKind = "spikes", T: int = 5) -> IntGraph:
    """Stem, then two convolutions beside a shortcut with a relay (1x1 depthwise), then dense and vote."""
    rng = np.random.default_rng(6)
    first = int(kind != "bias")
    shape: Shape = (1, 5, 4) if first else (3, 5, 4)
    nodes: list[Node] = [Input("input", shape=shape, kind=kind, max_value=TOP[kind])]
    if first:
        nodes.append(Conv2d("stem", weight=even(rng, (3, 1, 3, 3), 200 if kind == "spikes" else 40), padding=(1, 1)))
    nodes.append(neurons("a", (3, 5, 4), first, T, v_decay=512, v_th=[1500, 70][first]))
    edges = list(wire(nodes))
    ones = np.full((3, 1, 1, 1), 64)
    nodes += [
        Conv2d("b.conv", weight=even(rng, (3, 3, 3, 3), 100), padding=(1, 1)),
        neurons("b", (3, 5, 4), first + 1, T, v_decay=512, v_th=60, bias_mant=rng.integers(-9, 30, size=(3, 1, 1))),
        Conv2d("a.relay1.synapse", weight=ones, groups=3),
        memoryless("a.relay1", (3, 5, 4), first + 1, T),
        Conv2d("c.conv", weight=even(rng, (3, 3, 3, 3), 100), padding=(1, 1)),
        Conv2d("c.identity", weight=ones, groups=3),
        neurons("c", (3, 5, 4), first + 2, T, v_decay=512, v_th=80),
        Flatten("flat"),
        Linear("fc", weight=even(rng, (4, 60), 60)),
        neurons("out", (4,), first + 3, T, v_decay=100, v_th=50, bias_mant=np.array([3, 0, -4, 30])),
        Vote("vote", n_classes=2, group=2),
    ]
    edges += [
        Edge("a", "b.conv", 1), Edge("b.conv", "b"), Edge("a", "a.relay1.synapse", 1), Edge("a.relay1.synapse", "a.relay1"),
        Edge("b", "c.conv", 1), Edge("c.conv", "c"), Edge("a.relay1", "c.identity", 1), Edge("c.identity", "c"),
        Edge("c", "flat"), Edge("flat", "fc", 1), Edge("fc", "out"), Edge("out", "vote"),
    ]
    return IntGraph(tuple(nodes), tuple(edges), T, {"name": "residual"}, target="loihi2")


def inputs(graph: IntGraph, batch: int = 3, seed: int = 0) -> NDArray[np.int64]:
    """Chip input [T, B, *shape] within the input's range; biases constant over time."""
    rng = np.random.default_rng(seed)
    entry = graph.inputs[0]
    size = (graph.n_timesteps, batch, *entry.shape)
    if entry.kind == "bias":
        once = rng.integers(-entry.max_value, entry.max_value + 1, size=size[1:])
        return np.asarray(np.repeat(once[np.newaxis], graph.n_timesteps, axis=0), dtype=np.int64)
    values = rng.integers(0, entry.max_value + 1, size=size)
    return np.asarray(values * (rng.random(size) < 0.5), dtype=np.int64)
