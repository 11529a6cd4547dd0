"""Integer networks as strangers bring them: no target, no read-out, no dataset; and files of chip input for them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from neurodeploy.ir import serialize
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import CubaLif, Delta, Flatten, Input, Linear, Node, Sigma, SigmaDelta
from numpy.typing import NDArray

T = 9


def even(rng: np.random.Generator, n_out: int, n_in: int, size: int = 120) -> NDArray[np.int64]:
    return np.asarray(rng.integers(-size // 2, size // 2 + 1, size=(n_out, n_in)) * 2, dtype=np.int64)


def chain(*nodes: Node) -> tuple[Edge, ...]:
    return tuple(Edge(a.name, b.name, int(b.is_synapse)) for a, b in pairwise(nodes))


def plain() -> IntGraph:
    """Six spikes in, two dense layers, no reset: what most `.net` files are."""
    rng = np.random.default_rng(1)
    nodes = (
        Input("input", shape=(6,), kind="spikes"),
        Linear("0.synapse", weight=even(rng, 8, 6), binary=True),
        CubaLif("0.neuron", shape=(8,), i_decay=2048, v_decay=512, v_th=90),
        Linear("1.synapse", weight=even(rng, 4, 8), binary=True),
        CubaLif("1.neuron", shape=(4,), v_decay=512, v_th=60),
    )
    return IntGraph(nodes, chain(*nodes), T)


def recurrent() -> IntGraph:
    """A layer that feeds itself, at the end of the network: as `dense_rec`."""
    rng = np.random.default_rng(2)
    nodes = (
        Input("input", shape=(6,), kind="spikes"),
        Linear("0.synapse", weight=even(rng, 8, 6), binary=True),
        CubaLif("0.neuron", shape=(8,), i_decay=2048, v_decay=512, v_th=60),
        Linear("1.synapse", weight=even(rng, 5, 8), binary=True),
        CubaLif("1.neuron", shape=(5,), v_decay=512, v_th=60),
        Linear("1.recurrent", weight=even(rng, 5, 5, 100), binary=True),
    )
    return IntGraph(nodes, (*chain(*nodes[:-1]), Edge("1.neuron", "1.recurrent", 1), Edge("1.recurrent", "1.neuron")), T)


def delayed() -> IntGraph:
    """Delays inside the first synapse, one value for each of its connections."""
    rng = np.random.default_rng(3)
    nodes = (
        Input("input", shape=(6,), kind="spikes"),
        Linear("0.synapse", weight=even(rng, 8, 6), binary=True, delays=rng.integers(0, 5, size=(8, 6))),
        CubaLif("0.neuron", shape=(8,), i_decay=2048, v_decay=512, v_th=60),
        Linear("1.synapse", weight=even(rng, 4, 8), binary=True),
        CubaLif("1.neuron", shape=(4,), v_decay=512, v_th=60),
    )
    return IntGraph(nodes, chain(*nodes), T)


def unbalanced() -> IntGraph:
    """A shortcut that arrives two timesteps early."""
    rng = np.random.default_rng(4)
    nodes = (
        Input("input", shape=(6,), kind="spikes"),
        Linear("a.synapse", weight=even(rng, 8, 6)),
        CubaLif("a", shape=(8,), v_decay=512, v_th=60),
        Linear("b.synapse", weight=even(rng, 4, 8)),
        CubaLif("b", shape=(4,), v_decay=512, v_th=60),
        Linear("short", weight=even(rng, 4, 6)),
    )
    return IntGraph(nodes, (*chain(*nodes[:-1]), Edge("input", "short", 1), Edge("short", "b")), T)


def sigma_delta() -> IntGraph:
    """Graded signed messages into a sigma-delta layer, summed at the end."""
    rng = np.random.default_rng(5)
    nodes = (
        Input("input", shape=(6,), kind="graded", max_value=40, signed=True),
        Delta("0.neuron", shape=(6,), v_th=2, spike_exp=6, state_exp=6),
        Linear("1.synapse", weight=even(rng, 5, 6, 20)),
        SigmaDelta("1.neuron", shape=(5,), v_th=2, spike_exp=6, state_exp=6),
        Linear("2.synapse", weight=even(rng, 3, 5, 20)),
        Sigma("2.neuron", shape=(3,)),
    )
    return IntGraph(nodes, chain(*nodes), T)


def biased() -> IntGraph:
    """An input layer of neurons whose biases the host writes, on a map, as netx's input blocks; reset every T."""
    rng = np.random.default_rng(6)
    nodes = (
        Input("input", shape=(2, 3, 2), kind="bias", max_value=4095),
        CubaLif("0.neuron", shape=(2, 3, 2), v_decay=200, v_th=60, reset_interval=T, reset_offset=1),
    )
    rest = (
        Flatten("1.flatten"), Linear("2.synapse", weight=even(rng, 5, 12), binary=True),
        CubaLif("2.neuron", shape=(5,), v_decay=512, v_th=60, reset_interval=T, reset_offset=2),
    )
    return IntGraph((*nodes, *rest), chain(*nodes, *rest), T)


NETWORKS = {
    "plain": plain, "recurrent": recurrent, "delayed": delayed, "unbalanced": unbalanced, "sigma_delta": sigma_delta,
    "biased": biased,
}  # fmt: skip


def given(graph: IntGraph, n_timesteps: int = T, batch: int = 2, seed: int = 0) -> NDArray[np.int64]:
    """Chip input [T, B, *shape]; a bias is constant over time."""
    rng, entry = np.random.default_rng(seed), graph.inputs[0]
    size = (n_timesteps, batch, *entry.shape)
    if entry.kind == "bias":
        return np.repeat(rng.integers(-100, 2000, size=(1, *size[1:])), n_timesteps, axis=0)
    if entry.kind == "graded":
        return rng.integers(-entry.max_value, entry.max_value + 1, size=size)
    return rng.integers(0, 2, size=size)


def write(name: str, folder: Path) -> tuple[Path, Path, NDArray[np.int64]]:
    """(file of a network, file of input for it, that input)."""
    graph = NETWORKS[name]()
    x = given(graph)
    serialize.save(graph, folder / f"{name}.npz")
    np.savez(folder / f"{name}-in.npz", input=x)
    return folder / f"{name}.npz", folder / f"{name}-in.npz", x
