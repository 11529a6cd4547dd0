"""Random integer graphs that netx can hold, named as the reader of `.net` files names them."""

from __future__ import annotations

from typing import Any

import numpy as np
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.net_graph import transform
from neurodeploy.ir.net_layers import NetLayer
from neurodeploy.ir.nodes import Conv2d, CubaLif, Delta, Flatten, Input, Linear, Node, Shape, Sigma, SigmaDelta
from numpy.typing import NDArray

INTERVAL = 5


class _Maker:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.blocks = 0
        self.is_sdnn = bool(self.rng.random() < 0.35)
        self.reset: int | None = INTERVAL if self.rng.random() < 0.5 else None
        self.spike_exp = int(self.rng.integers(4, 7))

    def put(self, node: Node, delay: int = 0) -> None:
        if self.nodes:
            self.edges.append(Edge(self.nodes[-1].name, node.name, delay))
        self.nodes.append(node)

    def weights(self, shape: tuple[int, ...], size: int) -> NDArray[np.int64]:
        return np.asarray(self.rng.integers(-size // 2, size // 2 + 1, size=shape) * 2 + 2 * (self.rng.random() < 0.2))

    def constant(self, low: int, high: int, shape: Shape) -> Any:
        """One value, one a channel, or one a neuron."""
        size = [(), (shape[0], *[1] * (len(shape) - 1)), shape][int(self.rng.choice(3, p=[0.7, 0.2, 0.1]))]
        values = self.rng.integers(low, high, size=size)
        return int(values) if not size else values

    def bias(self, shape: Shape, size: int) -> NDArray[np.int64]:
        kind = self.rng.random()
        if kind < 0.5:
            return np.zeros(1, dtype=np.int64)
        return np.asarray(self.rng.integers(-size, 2 * size, size=shape if kind > 0.8 else (shape[0], *[1] * (len(shape) - 1))))

    def cuba(self, shape: Shape, **given: Any) -> CubaLif:
        values: dict[str, Any] = {
            "i_decay": self.constant(0, 4097, shape), "v_decay": self.constant(0, 4097, shape),
            "v_th": self.constant(20, 150, shape), "bias_mant": self.bias(shape, 40), **given,
        }
        if self.reset is not None:
            values |= {"reset_interval": self.reset, "reset_offset": 2 + self.blocks + 1}
        return CubaLif(f"{self.blocks}.neuron", shape=shape, **values)

    def neuron(self, shape: Shape, sigma: bool) -> None:
        name, common = f"{self.blocks}.neuron", {"spike_exp": self.spike_exp, "state_exp": 6}
        if not self.is_sdnn:
            self.put(self.cuba(shape))
        elif sigma and self.rng.random() < 0.5:
            self.put(Sigma(name, shape=shape))
        else:
            v_th = int(self.rng.integers(0, 9))
            self.put(SigmaDelta(name, shape=shape, v_th=v_th, bias_mant=self.bias(shape, 15), **common))  # type: ignore[arg-type]
        self.blocks += 1

    def conv(self, shape: Shape, bits: bool) -> Shape:
        rng = self.rng
        groups = shape[0] if rng.random() < 0.3 else 1
        n_out = groups * int(rng.integers(1, 3)) + (2 if groups == 1 else 0)
        kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 3)))
        node = Conv2d(
            f"{self.blocks}.conv", weight=self.weights((n_out, shape[0] // groups, *kernel), 120 if bits else 14),
            stride=(int(rng.integers(1, 3)), int(rng.integers(1, 3))), padding=(1, int(rng.integers(0, 3))),
            dilation=(int(rng.integers(1, 3)), 1), groups=groups, sum_bits=None if bits else 24,
        )
        self.put(node, 1)
        return node.output_shape(shape)

    def dense(self, n_in: int, n_out: int, bits: bool) -> Linear | None:
        rng, size = self.rng, 200 if bits else 14
        weight = self.weights((n_out, n_in), size)
        weight[0, 0] = 2  # not all zero
        loop, delays = None, None
        if rng.random() < 0.3:
            loop = Linear(f"{self.blocks}.rec", weight=self.weights((n_out, n_out), 2 if self.is_sdnn else size))
            loop.weight[-1, -1], weight[0, -1] = 2, -2  # both signs together, and no all-positive matrix beside a mixed one
        elif rng.random() < 0.5:
            spread = [(n_out, 1), (1, n_in), (n_out, n_in)][int(rng.integers(3))]
            delays = np.ascontiguousarray(np.broadcast_to(rng.integers(0, 7, size=spread), (n_out, n_in)))
            delays = delays if delays.any() else None
        self.put(Linear(f"{self.blocks}.dense", weight=weight, delays=delays), 1)
        return loop


def random_graph(seed: int, n_timesteps: int = 12) -> IntGraph:
    """One to three blocks of conv, dense and recurrent layers; bias, spike, graded or Delta input."""
    m = _Maker(seed)
    rng, host = m.rng, None
    shape: Shape = (2, int(rng.integers(4, 7)), int(rng.integers(4, 7))) if rng.random() < 0.6 else (int(rng.integers(3, 9)),)
    kind = ("delta" if rng.random() < 0.6 else "graded") if m.is_sdnn else ("spikes", "graded", "bias")[int(rng.integers(3))]
    if kind == "delta":
        top = 2 ** (23 - m.spike_exp - 6) - 1
        m.put(Input("input", shape=shape, kind="graded", signed=True, max_value=top, value_scale=64.0))
        m.put(Delta("0.neuron", shape=shape, v_th=int(rng.integers(0, 9)), spike_exp=m.spike_exp, state_exp=6))
        m.blocks = 1
    elif kind == "bias":
        m.put(Input("input", shape=shape, kind="bias", max_value=4095))
        m.put(m.cuba(shape, i_decay=4096, bias_mant=np.zeros(1, dtype=np.int64)))
        m.blocks = 1
        host = transform(NetLayer("input", shape, weight=np.array([36]), bias=np.array([34]))) if seed % 2 else None
    elif kind == "graded":
        top = 2 ** int(rng.integers(2, 6)) - 1
        m.put(Input("input", shape=shape, kind="graded", max_value=top, value_scale=float(top)))
    else:
        m.put(Input("input", shape=shape, kind="spikes"))
    n_blocks = m.blocks + int(rng.integers(1, 4))
    while m.blocks < n_blocks:
        last = m.blocks == n_blocks - 1
        bits = kind not in ("delta", "graded") if m.blocks < (2 if kind == "delta" else 1) else not m.is_sdnn
        if len(shape) == 3 and rng.random() < 0.6 and not last:
            shape = m.conv(shape, bits)
            m.neuron(shape, sigma=False)
            continue
        if len(shape) == 3:
            m.put(Flatten(f"{m.blocks}.flatten"))
        n_out = int(rng.integers(2, 8))
        loop = m.dense(int(np.prod(shape)), n_out, bits)
        shape = (n_out,)
        m.neuron(shape, sigma=last and loop is None)  # what a Sigma sends to itself grows without end
        if loop is not None:
            neuron = m.nodes.pop()
            m.nodes += [loop, neuron]
            m.edges += [Edge(loop.name, neuron.name), Edge(neuron.name, loop.name, 1)]
    metadata = {"source": "lava-dl .net", "n_timesteps_from": "argument"}
    return IntGraph(tuple(m.nodes), tuple(m.edges), n_timesteps, metadata, host)


def random_input(graph: IntGraph, seed: int) -> NDArray[np.int64]:
    """Chip input [T, 1, *shape]: half zeros, or constant where it is a bias, or slowly changing before a Delta."""
    rng, entry = np.random.default_rng(seed), graph.inputs[0]
    size = (graph.n_timesteps, 1, *entry.shape)
    if entry.kind == "bias":
        return np.asarray(np.repeat(rng.integers(-50, 150, size=(1, *size[1:])), graph.n_timesteps, axis=0))
    if entry.signed:
        return np.asarray(np.cumsum(rng.integers(-4, 5, size=size) * (rng.random(size) < 0.4), axis=0))
    return np.asarray(rng.integers(0, entry.max_value + 1, size=size) * (rng.random(size) < 0.5))
