"""A real-valued network in float32, timestep by timestep on torch: what a bundle for a GPU must reproduce.

`gpu_reference.py` is the definition in plain numpy. Sums of convolutions differ in their last bits from library to library,
so a spike may flip where a membrane is that close to its threshold; `membranes` say which ones are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Input, Li, Lif, Linear, MaxPool2d, Node, Qcfs, Relu, SumPool2d, Vote
from neurodeploy.ir.reference import is_integer_node
from neurodeploy.ir.votes import settled
from neurodeploy.models.qcfs import clip_floor
from neurodeploy.sim.gpu_input import Float32, latency, timed


@dataclass(frozen=True, eq=False)
class GpuTrace:
    """spikes and membranes float32 [T', B, *shape] by neuron layer, T' as `gpu_input.n_steps`; votes float32 [T, B, n].

    membranes: before the threshold is asked, empty where not recorded. votes belong to timesteps of the input: they lack the
    first `gpu_input.latency` of T'. n: values of the last node, whatever its shape.
    """

    spikes: dict[str, Float32]
    membranes: dict[str, Float32]
    votes: Float32


@dataclass(frozen=True, eq=False)
class GpuExit:
    """Early exit that stops: exit_steps [B] (1-based), answers [B], votes [T, B, n] (zeros after the exit), and the number
    of samples that each executed timestep still had."""

    exit_steps: NDArray[np.int64]
    answers: NDArray[np.int64]
    votes: Float32
    n_running: tuple[int, ...]


def _restarts(node: Lif | Li, t: int) -> bool:
    interval = node.reset_interval
    return interval is not None and (t + 1) % interval == node.reset_offset % interval


def _conv2d(node: Conv2d, x: Tensor, p: dict[str, Tensor]) -> Tensor:
    return functional.conv2d(x, p["weight"], p.get("bias"), node.stride, node.padding, node.dilation, node.groups)


def _lif(node: Lif, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(spikes, membrane before the threshold, membrane after), rounded where `models.neurons` rounds."""
    k = torch.tensor(node.inv_tau, dtype=torch.float32)
    lost = v - node.v_reset if node.v_reset else v
    h = (x - lost) * k + v if node.decay_input else (x - lost * k) + v
    if node.multi_spike:
        s = torch.floor(h if node.v_th == 1 else h / node.v_th).clamp_(min=0)
    else:
        s = (h >= node.v_th if node.fire == ">=" else h > node.v_th).to(h.dtype)
    after = torch.where(s > 0, node.v_reset, h) if node.reset == "hard" else h - s * node.v_th
    return s, h, after if node.v_min is None else after.clamp(min=node.v_min)


def _li(node: Li, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    inv_tau, gain, leak = (torch.as_tensor(p, dtype=torch.float32) for p in (node.inv_tau, node.gain, node.v_leak))
    v = v + (gain * x - (v - leak) * inv_tau)
    return v, v, v


_STATELESS: dict[type[Node], Callable[[Any, Tensor, dict[str, Tensor]], Tensor]] = {
    Conv2d: _conv2d,
    Linear: lambda node, x, p: functional.linear(x, p["weight"], p.get("bias")),
    MaxPool2d: lambda node, x, p: functional.max_pool2d(x, node.kernel),
    SumPool2d: lambda node, x, p: functional.avg_pool2d(x, node.kernel, divisor_override=1),
    Flatten: lambda node, x, p: x.flatten(1),
    Relu: lambda node, x, p: x.relu(),
    Qcfs: lambda node, x, p: clip_floor(x, torch.tensor(node.lam, dtype=x.dtype), node.levels),
    Vote: lambda node, x, p: x.reshape(len(x), node.n_classes, node.group).mean(2),
}
_STATEFUL: dict[type[Node], Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]] = {Lif: _lif, Li: _li}


class Steps(Protocol):
    """A network that goes on by one timestep at a time."""

    def step(self, x: Float32) -> Float32:
        """The votes [B, n] of input x [B, *shape]."""
        ...

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Go on with these samples only."""
        ...


class GpuNetwork:
    """`batch` samples of a graph that `lower_to_gpu` made, before their first timestep. Raises UsageError naming a node that
    has no meaning in real numbers."""

    def __init__(self, graph: Graph, batch: int) -> None:
        self.graph = graph
        self.t = 0
        self.values: dict[str, Tensor] = {}
        self.membranes: dict[str, Tensor] = {}  # before the threshold
        self._parameters = {n.name: _parameters(n) for n in graph.nodes}
        self._v = {n.name: _start(n, batch) for n in graph.nodes if isinstance(n, Lif | Li)}
        self._past: dict[str, deque[Tensor]] = {}
        for node in graph.nodes:
            longest = max((e.delay for e in graph.outgoing(node.name)), default=0)
            if longest:
                nothing = torch.zeros((batch, *graph.shapes[node.name]))
                self._past[node.name] = deque([nothing] * longest, maxlen=longest)  # newest first
            if is_integer_node(node) or type(node) not in {Input, *_STATELESS, *_STATEFUL}:
                raise UsageError(f"a {type(node).__name__} has no float32 simulator", where=node.name, code="not_lowered")

    def step(self, x: Float32) -> Float32:
        with torch.inference_mode():
            self._step(torch.from_numpy(np.ascontiguousarray(x)))
        return np.asarray(self.values[self.graph.output.name].flatten(1).numpy())

    def _step(self, x: Tensor) -> None:
        values = self.values = {}
        for node in self.graph.order:
            name = node.name
            if isinstance(node, Input):
                values[name] = x
                continue
            terms = [self._arrived(e) for e in self.graph.incoming(name)]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            if isinstance(node, Lif | Li):
                v = _start(node, len(x)) if _restarts(node, self.t) else self._v[name]
                values[name], self.membranes[name], self._v[name] = _STATEFUL[type(node)](node, total, v)
            else:
                values[name] = _STATELESS[type(node)](node, total, self._parameters[name])
        for name, past in self._past.items():
            past.appendleft(values[name])
        self.t += 1

    def _arrived(self, edge: Edge) -> Tensor:
        return self._past[edge.src][edge.delay - 1] if edge.delay else self.values[edge.src]

    def keep(self, rows: NDArray[np.bool_]) -> None:
        kept = torch.from_numpy(rows)
        self._v = {name: v[kept] for name, v in self._v.items()}
        self._past = {name: deque([p[kept] for p in past], maxlen=past.maxlen) for name, past in self._past.items()}


def _start(node: Lif | Li, batch: int) -> Tensor:
    """The membrane before the first timestep."""
    v = node.v_reset if isinstance(node, Lif) else node.v_leak
    return torch.as_tensor(v, dtype=torch.float32).expand(batch, *node.shape)


def _parameters(node: Node) -> dict[str, Tensor]:
    found = {name: getattr(node, name, None) for name in ("weight", "bias")}
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in found.items() if value is not None}


def run(graph: Graph, x: Array, *, membranes: bool = False) -> GpuTrace:
    """Run x [T, B, *input shape] through a graph that `lower_to_gpu` made; every sample starts from its initial state.

    Raises UsageError for inputs that do not fit, and naming a node that has no meaning in real numbers.
    """
    x = timed(graph, x)
    network = GpuNetwork(graph, x.shape[1])
    names = [n.name for n in graph.neurons]
    spikes: dict[str, list[Any]] = {name: [] for name in names}
    before: dict[str, list[Any]] = {name: [] for name in names if membranes}
    votes = []
    for x_t in x:
        votes.append(network.step(x_t))
        for name in names:
            spikes[name].append(network.values[name].numpy())
            if membranes:
                before[name].append(network.membranes[name].numpy())
    return GpuTrace(_stacked(spikes), _stacked(before), np.stack(votes[latency(graph):]))


def _stacked(found: dict[str, list[Any]]) -> dict[str, Float32]:
    return {name: np.stack(steps) for name, steps in found.items()}


def votes_of(graph: Graph, x: Array, batch: int = 256) -> Float32:
    """Votes [T, B, n] of x [T, B, *input shape], computed `batch` samples at a time; errors as `run`."""
    return np.concatenate([run(graph, x[:, i : i + batch]).votes for i in range(0, x.shape[1], batch)], axis=1)


Stop = ConfidencePolicy | NDArray[np.int64]  # what decides by the votes, or timesteps [B] that are known beforehand


def run_until(graph: Graph, x: Array, stop: Stop) -> GpuExit:
    """Run each sample of x [T, B, *input shape] until `stop` lets it go, at most T timesteps; errors as `run`."""
    x = timed(graph, x)
    return until(GpuNetwork(graph, x.shape[1]), x, stop, latency(graph))


def until(network: Steps, x: Float32, stop: Stop, latency: int) -> GpuExit:
    """`run_until` of any network: x [T', B, *input shape] as `gpu_input.timed` makes it."""
    n_timesteps, batch = len(x) - latency, x.shape[1]
    running = np.arange(batch)
    steps, answers = np.zeros(batch, dtype=np.int64), np.zeros(batch, dtype=np.int64)
    votes: list[Float32] = []
    n_running = []
    sums: NDArray[np.float64] | float = 0.0
    for s, x_t in enumerate(x):
        n_running.append(len(running))
        now = network.step(x_t[running])
        t = s - latency + 1
        if t < 1:
            continue
        votes.append(np.zeros((batch, *now.shape[1:]), dtype=np.float32))
        votes[-1][running] = now
        sums = sums + now.astype(np.float64)
        z = settled(sums, now.dtype)
        if t == n_timesteps:
            done = np.ones(len(running), dtype=bool)
        else:
            done = stop.confidence(z, t) > stop.threshold if isinstance(stop, ConfidencePolicy) else stop[running] <= t
        steps[running[done]], answers[running[done]] = t, z[done].argmax(axis=1)
        network.keep(~done)
        running, sums = running[~done], sums[~done]
        if not len(running):
            break
    rest = [np.zeros_like(votes[0])] * (n_timesteps - len(votes))
    return GpuExit(steps, answers, np.stack([*votes, *rest]), tuple(n_running))
