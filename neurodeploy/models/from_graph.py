"""A lowered graph as a torch module in model time: for calibration, and to train its weights further.

Valid for feed-forward graphs whose paths are balanced (`Graph.is_balanced`): there every layer sees model step t of the
sample, only later on the chip, so delays need no simulation. A recurrent graph runs timestep by timestep; of its delays those
are left that are not the chip's way to a layer which starts later (`model_delays`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import (
    Conv2d,
    CubaLif,
    CurrentLif,
    Flatten,
    Input,
    Li,
    Lif,
    Linear,
    MaxPool2d,
    Node,
    Qcfs,
    Relu,
    Shape,
    SumPool2d,
    Vote,
)
from neurodeploy.models.neurons import Dynamics, scan, scan_slow
from neurodeploy.models.qcfs import clip_floor

Transform = Callable[[str, Tensor], Tensor]  # (synapse name, parameter) -> what the forward pass uses instead


class TorchGraph(nn.Module):
    """Forward x [T, B, *input shape] -> dict of every node's output [T, B, *shape]. Parameters: `<synapse>` weight, bias.

    `on_weight` and `on_bias` transform parameters on their way into the forward pass (fake quantization).
    """

    def __init__(self, graph: Graph, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if graph.is_acyclic and not graph.is_balanced:
            raise NeurodeployError("paths of different latency", where=graph.output.name, code="unbalanced",
                                   remedy="Lower the graph first: relays equalise the paths")
        self.graph = graph
        self.delays = None if graph.is_acyclic else model_delays(graph)
        self.dtype = dtype
        self.weights = nn.ParameterDict()
        self.biases = nn.ParameterDict()
        self.on_weight: Transform = lambda name, weight: weight
        self.on_bias: Transform = lambda name, bias: bias
        for node in graph.nodes:
            if isinstance(node, Conv2d | Linear):
                self.weights[_key(node.name)] = nn.Parameter(torch.tensor(node.weight, dtype=dtype))
                if node.bias is not None:
                    self.biases[_key(node.name)] = nn.Parameter(torch.tensor(node.bias, dtype=dtype))

    def parameters_of(self, name: str) -> tuple[Tensor, Tensor | None]:
        """(weight, bias) of a synapse as the forward pass uses them."""
        key = _key(name)
        bias = self.on_bias(name, self.biases[key]) if key in self.biases else None
        return self.on_weight(name, self.weights[key]), bias

    def freeze(self, names: set[str]) -> None:
        """Exclude the weights of these synapses from training."""
        for name in names:
            self.weights[_key(name)].requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if self.delays is not None:
            return self._stepped(x.to(self.dtype), self.delays)
        values: dict[str, Tensor] = {}
        for node in self.graph.feedforward_order:
            if isinstance(node, Input):
                values[node.name] = x.to(self.dtype)
                continue
            incoming = [values[e.src] for e in self.graph.incoming(node.name)]
            total = incoming[0]
            for term in incoming[1:]:
                total = total + term
            values[node.name] = self._output(node, total)
        return values

    def _stepped(self, x: Tensor, delays: dict[Edge, int]) -> dict[str, Tensor]:
        nodes = tuple(n if not isinstance(n, Lif) else replace(n, reset_interval=None, v_init=None) for n in self.graph.nodes)
        model = Graph(nodes, tuple(replace(e, delay=delays[e]) for e in self.graph.edges), len(x))
        values: dict[str, list[Tensor]] = {n.name: [] for n in nodes}
        membranes: dict[str, Tensor] = {}
        currents: dict[str, Tensor] = {}
        for t, x_t in enumerate(x):
            for node in model.order:
                if isinstance(node, Input):
                    values[node.name].append(x_t)
                    continue
                seen = [values[e.src][t - e.delay] for e in model.incoming(node.name) if e.delay <= t]
                a = sum(seen[1:], seen[0]) if seen else x_t.new_zeros(len(x_t), *self._source_shape(node))
                if isinstance(node, CurrentLif):
                    i = currents.get(node.name, torch.zeros_like(a))
                    a = currents[node.name] = i + (a - i * node.inv_tau_syn)
                if isinstance(node, Lif):
                    k = torch.tensor(node.inv_tau, dtype=a.dtype)
                    found, _, after = scan_slow(a.unsqueeze(0), k, _dynamics(node), membranes.get(node.name))
                    membranes[node.name] = after[0]
                else:
                    found = self._output(node, a.unsqueeze(0))
                values[node.name].append(found[0])
        return {name: torch.stack(steps) for name, steps in values.items()}

    def _source_shape(self, node: Node) -> Shape:
        return self.graph.shapes[self.graph.incoming(node.name)[0].src]

    def _output(self, node: Node, x: Tensor) -> Tensor:
        if isinstance(node, Conv2d | Linear):
            weight, bias = self.parameters_of(node.name)
            if isinstance(node, Linear):
                return functional.linear(x, weight, bias)
            flat = functional.conv2d(x.flatten(0, 1), weight, bias, node.stride, node.padding, node.dilation, node.groups)
            return flat.reshape(*x.shape[:2], *flat.shape[1:])
        if isinstance(node, CurrentLif):
            x = _integrate(Li(node.name, inv_tau=node.inv_tau_syn), x)
        if isinstance(node, Lif):
            return scan(x, torch.tensor(node.inv_tau, dtype=x.dtype), _dynamics(node))
        if isinstance(node, Li):
            return _integrate(node, x)
        if isinstance(node, Flatten):
            return x.flatten(2)
        if isinstance(node, Relu):
            return x.clamp(min=0)
        if isinstance(node, Qcfs):
            return clip_floor(x, torch.tensor(node.lam, dtype=x.dtype, device=x.device), node.levels)
        if isinstance(node, MaxPool2d):
            flat = functional.max_pool2d(x.flatten(0, 1), node.kernel)
            return flat.reshape(*x.shape[:2], *flat.shape[1:])
        if isinstance(node, SumPool2d):
            flat = functional.avg_pool2d(x.flatten(0, 1), node.kernel, divisor_override=1)
            return flat.reshape(*x.shape[:2], *flat.shape[1:])
        if isinstance(node, Vote):
            return x.reshape(*x.shape[:2], node.n_classes, node.group).mean(3)
        raise NeurodeployError(f"{type(node).__name__} is not lowered", where=node.name, code="not_lowered")


def model_delays(graph: Graph) -> dict[Edge, int]:
    """Model timesteps that each edge of a graph with loops delays by. In a lowered one each layer of neurons restarts where
    its model time begins (`lower.loops`), and so much of a delay is no delay in model time."""

    def start(name: str) -> int:
        node = graph[name]
        if isinstance(node, Lif | CubaLif):
            return 0 if node.reset_interval is None else node.reset_offset - 1
        if isinstance(node, Conv2d | Linear) and (out := graph.outgoing(name)):
            return start(out[0].dst) - out[0].delay
        before = graph.incoming(name)
        return start(before[0].src) + before[0].delay if before else 0

    return {e: start(e.src) + e.delay - start(e.dst) for e in graph.edges}


def _dynamics(node: Lif) -> Dynamics:
    return Dynamics(
        node.decay_input, node.v_th, node.v_reset, node.fire, node.reset, multi_spike=node.multi_spike, v_min=node.v_min
    )


def _integrate(node: Li, x: Tensor) -> Tensor:
    """States [T, B, *shape] of a leaky integrator driven by x, in x's precision."""
    inv_tau, gain, leak = (torch.as_tensor(p, dtype=x.dtype, device=x.device) for p in (node.inv_tau, node.gain, node.v_leak))
    v, states = leak.expand_as(x[0]), []
    for driven in gain * x:
        v = v + (driven - (v - leak) * inv_tau)
        states.append(v)
    return torch.stack(states)


def _key(name: str) -> str:
    """ParameterDict keys may not contain dots."""
    return name.replace(".", "/")
