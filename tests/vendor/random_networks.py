"""Random integer networks with every feature that Lava has processes for, small enough that no sum leaves 24 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Delta, Flatten, Input, Linear, Node, Shape, Sigma, SigmaDelta
from neurodeploy.ir.reference import evaluate
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_SAFE = 2**17  # shifted by 6 bits it is the range of Lava's current


class _Draw:
    """Draws of one network; `graded`: sigma-delta neurons mostly."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.graded = self.chance(0.35)
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def one(self, *choices: Any) -> Any:
        return choices[self.rng.integers(0, len(choices))]

    def upto(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def per(self, draw: Callable[[], int], shape: Shape) -> int | Ints:
        """One value, or an array of one value a channel or a neuron."""
        size = self.one((), (), (shape[0], *[1] * (len(shape) - 1)), shape)
        return draw() if size == () else np.array([draw() for _ in range(int(np.prod(size)))], dtype=np.int64).reshape(size)

    def weight(self, size: tuple[int, ...]) -> Ints:
        if self.chance(0.25):
            return np.asarray(self.rng.choice([0, 2, -2, 126, 254, -256], size=size), dtype=np.int64)
        top = self.one(4, 64, 254)
        w = self.rng.integers(-top // 2, top // 2 + 1, size=size) * 2
        return np.asarray(np.abs(w) if self.chance(0.2) else w, dtype=np.int64)

    def neuron(self, name: str, shape: Shape, scale: int) -> Node:
        if self.graded and self.chance(0.85):
            size = self.one((1,), shape)
            values: dict[str, Any] = {
                "v_th": self.per(lambda: self.upto(0, 12), shape), "spike_exp": self.upto(0, 3), "state_exp": self.upto(0, 3)
            }
            if self.chance(0.25):
                return Delta(name, shape=shape, **values)
            bias = self.rng.integers(-20, 21, size=size)
            return SigmaDelta(name, shape=shape, bias_mant=bias, activation=self.one("relu", "unit"), **values)

        def decay() -> int:
            return int(self.one(0, 1, 1024, 2048, 4095, 4096, self.upto(0, 4096)))

        start: dict[str, Ints] = {}
        if self.chance(0.4):
            start = {"i_init": self.rng.integers(-(2**15), 2**15, size=shape)}
            start["v_init"] = self.rng.integers(-(2**20), 2**20, size=shape)
        return CubaLif(
            name, shape=shape, i_decay=self.per(decay, shape), v_decay=self.per(decay, shape),
            v_th=self.per(lambda: self.upto(0, 2 * scale), shape),
            bias_mant=self.rng.integers(-scale, scale + 1, size=self.one((1,), shape)),
            bias_exp=self.per(lambda: int(self.one(6, 6, 0, -1, 7, -3)), shape),
            reset_interval=self.one(None, self.upto(1, 6)), reset_offset=self.upto(0, 9), **start,
        )

    def linear(self, name: str, n_out: int, n_in: int) -> Linear:
        delays = self.rng.integers(0, self.one(3, 8, 62) + 1, size=(n_out, n_in)) if self.chance(0.3) else None
        return Linear(
            name, weight=self.weight((n_out, n_in)), binary=self.chance(0.3), weight_exp=self.one(0, 0, 0, 1, -1, -2),
            delays=delays,
        )

    def conv(self, name: str, shape: Shape) -> Conv2d:
        groups = self.one(*(g for g in (1, 2, 4) if shape[0] % g == 0))
        while True:
            size = (groups * self.upto(1, 2), shape[0] // groups, self.upto(1, 3), self.upto(1, 3))
            made = Conv2d(
                name, weight=self.weight(size), stride=(self.upto(1, 2), self.upto(1, 2)), groups=groups, sum_bits=24,
                dilation=(self.upto(1, 2), self.upto(1, 2)), padding=(self.upto(0, 2), self.upto(0, 2)),
                binary=self.chance(0.3),
            )
            try:
                made.output_shape(shape)
            except NeurodeployError:  # the kernel does not fit the map
                continue
            return made

    def add(self, node: Node, *sources: tuple[str, int]) -> str:
        self.nodes.append(node)
        self.edges += [Edge(source, node.name, delay) for source, delay in sources]
        return node.name

    def network(self) -> IntGraph:
        kind = "graded" if self.graded else self.one("spikes", "graded", "bias")
        shape: Shape = (self.upto(1, 8),) if self.chance(0.5) else (self.one(1, 2, 4), self.upto(2, 5), self.upto(2, 5))
        top = 1 if kind == "spikes" else self.one(1, 15, 255)
        at = self.add(Input("in", shape=shape, kind=kind, max_value=top, signed=kind == "graded" and self.chance(0.5)))
        if kind == "bias" or self.chance(0.3):
            at = self.add(self.neuron("n_in", shape, top), (at, self.one(0, 0, 1)))
        for i in range(self.upto(1, 3)):
            synapse = self.conv(f"s{i}", shape) if len(shape) == 3 else self.linear(f"s{i}", self.upto(1, 11), shape[0])
            self.add(synapse, (at, self.upto(1, 3)))
            shape = synapse.output_shape(shape)
            at = self.add(self.neuron(f"n{i}", shape, 64), (f"s{i}", self.one(0, 0, 0, 2)))
            if not self.graded and self.chance(0.4):  # a loop
                c = shape[0]
                loop = Conv2d(f"r{i}", weight=self.weight((c, c, 1, 1))) if len(shape) == 3 else self.linear(f"r{i}", c, c)
                self.add(loop, (at, self.upto(1, 2)))
                self.edges.append(Edge(f"r{i}", at))
            if self.chance(0.4):  # a shortcut without a synapse
                body = (
                    Conv2d(f"b{i}", weight=self.weight((shape[0], 1, 3, 3)), padding=(1, 1), groups=shape[0], sum_bits=24)
                    if len(shape) == 3 else self.linear(f"b{i}", shape[0], shape[0])
                )
                self.add(body, (at, 1))
                before, at = at, self.add(self.neuron(f"m{i}", shape, 2), (f"b{i}", 0), (at, self.upto(0, 2)))
                if len(shape) == 1 and self.chance(0.5):  # two sources into one synapse
                    both = self.add(self.linear(f"t{i}", 4, shape[0]), (at, 1), (before, self.upto(1, 3)))
                    at, shape = self.add(self.neuron(f"q{i}", (4,), 64), (both, 0)), (4,)
            if len(shape) == 3 and self.chance(0.3):
                at = self.add(Flatten(f"f{i}"), (at, self.upto(0, 1)))
                shape = self.nodes[-1].output_shape(shape)
        if self.graded and self.chance(0.5):
            self.add(Sigma("sum", shape=shape), (at, self.upto(0, 1)))
        return IntGraph(tuple(self.nodes), tuple(self.edges), self.upto(4, 9), {}, target="loihi2")

    def given(self, graph: IntGraph) -> Ints:
        entry = graph.inputs[0]
        low = -entry.max_value if entry.kind == "bias" or entry.signed else 0
        size = (graph.n_timesteps, 1, *entry.shape)
        x = self.rng.integers(low, entry.max_value + 1, size=size) * (self.rng.random(size) < 0.6)
        if entry.kind == "bias" and self.chance(0.6):
            x[:] = x[:1]
        return np.asarray(x, dtype=np.int64)


def network(seed: int) -> tuple[IntGraph, Ints, dict[str, Ints]]:
    """(graph, input [T, 1, *shape], outputs of its neuron layers by the reference, for some steps more than T)."""
    for attempt in range(100):
        draw = _Draw(np.random.default_rng([seed, attempt]))
        graph = draw.network()
        x = draw.given(graph)
        try:
            found = evaluate(graph, x, graph.n_timesteps + draw.upto(3, 11))
        except NeurodeployError:  # sums beyond what the reference defines
            continue
        # Lava carries sums in 32 bits and wraps its current once: beyond that it is no model of the chip.
        if max(np.abs(values).max() for values in found.values()) < _SAFE:
            return graph, x, {n.name: found[n.name] for n in graph.neurons}
    raise AssertionError(f"seed {seed}: no network whose sums stay in range")
