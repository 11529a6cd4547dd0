"""A chain of layers as a float Graph: what `from_torch` and `--arch` both build, layer by layer, from arrays in float64.

A factor that a layer leaves behind (an average pool is a sum pool and 1 / (kh kw); graded spikes) goes into the weights of
the next synapse or batch norm, past whatever keeps it: pools, flattening, a Relu. Where neurons or the end come first it goes
into the synapse in front, or into one of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.checks import check_graph, check_node
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import (
    Array,
    BatchNorm,
    Conv2d,
    Fire,
    Flatten,
    Input,
    Lif,
    Linear,
    MaxPool2d,
    Node,
    Pair,
    Qcfs,
    Relu,
    Reset,
    Shape,
    SumPool2d,
    Vote,
)

_KEEP_SCALE = (SumPool2d, MaxPool2d, Flatten, Relu)  # f(a x) = a f(x) for a > 0


@dataclass(frozen=True)
class Conventions:
    """A layer of neurons as `ir.nodes.Lif` has it; `gain` is what one spike sends."""

    v_th: float
    fire: Fire
    reset: Reset
    v_reset: float = 0.0
    inv_tau: float = 0.0
    decay_input: bool = False
    gain: float = 1.0


class Chain:
    """Collects layers in order. Methods raise UsageError naming the layer (behind `where`) that does not fit."""

    def __init__(self, input_shape: Sequence[int], where: str) -> None:
        shape = tuple(input_shape)
        if len(shape) not in (1, 3) or min(shape) < 1:
            raise UsageError(f"an input of shape {list(shape)}", where=where, limit="(channels, height, width) or (n,)",
                             remedy="Leave time and batch out")
        self.where = where
        self.nodes: list[Node] = [Input("input", shape)]
        self.shape: Shape = shape
        self.factor = 1.0

    def fail(self, name: str, what: str, limit: str = "", remedy: str = "") -> UsageError:
        return UsageError(what, where=f"{self.where}: {name}", limit=limit, remedy=remedy, code="arch")

    def _add(self, node: Node) -> None:
        try:
            check_node(node)
            self.shape = node.output_shape(self.shape)
        except NeurodeployError as error:
            raise self.fail(node.name, error.what, error.limit,
                            f"What arrives has shape {list(self.shape)}: correct the layers before it, or this one") from error
        self.nodes.append(node)

    def _taken(self) -> float:
        factor, self.factor = self.factor, 1.0
        return factor

    def conv2d(self, name: str, weight: Array, bias: Array | None, *, stride: Pair, padding: Pair, dilation: Pair,
               groups: int) -> None:
        if groups < 1 or weight.shape[0] % groups:
            raise self.fail(name, f"{groups} groups of {weight.shape[0]} channels")
        self._add(Conv2d(name, weight * self._taken(), _bias(bias), stride, padding, dilation, groups))

    def linear(self, name: str, weight: Array, bias: Array | None) -> None:
        if len(self.shape) != 1:
            raise self.fail(name, f"a linear layer on a map {list(self.shape)}", remedy="Put flatten before it")
        self._add(Linear(name, weight * self._taken(), _bias(bias)))

    def batch_norm(self, name: str, mean: Array, var: Array, gamma: Array, beta: Array, eps: float) -> None:
        if mean.shape != self.shape[:1]:
            raise self.fail(name, f"{mean.size} channels", f"What arrives has shape {list(self.shape)}")
        factor = self._taken()
        self._add(BatchNorm(name, mean=mean / factor, var=var / factor**2, gamma=gamma, beta=beta, eps=eps / factor**2))

    def pool(self, name: str, kind: str, kernel: Pair, stride: Pair | None = None, padding: Pair = (0, 0)) -> None:
        """kind: max, sum or avg."""
        if (stride or kernel) != kernel or padding != (0, 0):
            raise self.fail(name, f"a pool of kernel {kernel}, stride {stride}, padding {padding}",
                            "Stride = kernel, no padding", "Use a strided convolution, or a pool without overlap")
        self._add(MaxPool2d(name, kernel) if kind == "max" else SumPool2d(name, kernel))
        if kind == "avg":
            self.factor /= math.prod(kernel)

    def pool_to(self, name: str, size: Pair) -> None:
        """An average pool to a map of this size, as adaptive pools do it where they divide the map evenly."""
        if len(self.shape) != 3 or self.shape[1] % size[0] or self.shape[2] % size[1]:
            raise self.fail(name, f"an adaptive pool from {list(self.shape)} to {size}", "The map is a multiple of the size")
        self.pool(name, "avg", (self.shape[1] // size[0], self.shape[2] // size[1]))

    def flatten(self, name: str) -> None:
        if len(self.shape) != 1:
            self._add(Flatten(name))

    def relu(self, name: str) -> None:
        self._add(Relu(name))

    def qcfs(self, name: str, lam: float, levels: int | None) -> None:
        self._settle(name)
        self._add(Qcfs(name, lam, levels))

    def neurons(self, name: str, found: Conventions) -> None:
        if found.v_th <= found.v_reset:
            raise self.fail(name, f"a threshold of {found.v_th:g}, not above its reset {found.v_reset:g}")
        self._settle(name)
        self._add(Lif(
            name, self.shape, inv_tau=found.inv_tau, decay_input=found.decay_input, v_th=found.v_th, v_reset=found.v_reset,
            fire=found.fire, reset=found.reset,
        ))
        self.factor = found.gain

    def vote(self, name: str, n_classes: int) -> None:
        """The read-out: the mean of equal groups of outputs, one group a class."""
        if len(self.shape) != 1 or n_classes < 1 or self.shape[0] % n_classes:
            raise self.fail(name, f"{n_classes} classes read from outputs of shape {list(self.shape)}",
                            "Equal groups of a vector", "Flatten before it, or give the number of classes")
        self._settle(name)
        self._add(Vote(name, n_classes, self.shape[0] // n_classes))

    def _settle(self, name: str) -> None:
        """Put a factor that is left into the synapse in front, or into one of its own."""
        factor = self._taken()
        if factor == 1:
            return
        at = next((i for i in reversed(range(len(self.nodes))) if not isinstance(self.nodes[i], _KEEP_SCALE)), 0)
        node = self.nodes[at]
        scaled: dict[str, Any] = {}
        if isinstance(node, Conv2d | Linear):
            scaled = {"weight": node.weight * factor, "bias": None if node.bias is None else node.bias * factor}
        elif isinstance(node, BatchNorm):
            scaled = {"gamma": node.gamma * factor, "beta": node.beta * factor}
        if scaled and factor > 0:
            self.nodes[at] = replace(node, **scaled)
            return
        n = self.shape[0]
        self._add(Linear(f"{name}.scale", np.eye(n) * factor) if len(self.shape) == 1
                  else Conv2d(f"{name}.scale", np.full((n, 1, 1, 1), factor), groups=n))

    def graph(self, n_timesteps: int, metadata: dict[str, Any]) -> Graph:
        """The graph of all layers; metadata as given."""
        if len(self.nodes) == 1:
            raise UsageError("no layers", where=self.where)
        self._settle("output")
        edges = tuple(Edge(a.name, b.name) for a, b in pairwise(self.nodes))
        try:
            graph = Graph(tuple(self.nodes), edges, n_timesteps, metadata)
            check_graph(graph)
        except NeurodeployError as error:
            raise UsageError(error.what, where=f"{self.where}: {error.where}", limit=error.limit, code="arch") from error
        return graph


def _bias(bias: Array | None) -> Array | None:
    return bias if bias is not None and bias.any() else None
