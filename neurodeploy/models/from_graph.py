"""A lowered graph as a torch module in model time: for calibration, and to train its weights further.

Valid for feed-forward graphs whose paths are balanced (`Graph.is_balanced`): there every layer sees model step t of the
sample, only later on the chip, so delays need no simulation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import (
    Conv2d,
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
    SumPool2d,
    Vote,
)
from neurodeploy.models.neurons import Dynamics, scan
from neurodeploy.models.qcfs import clip_floor

Transform = Callable[[str, Tensor], Tensor]  # (synapse name, parameter) -> what the forward pass uses instead


class TorchGraph(nn.Module):
    """Forward x [T, B, *input shape] -> dict of every node's output [T, B, *shape]. Parameters: `<synapse>` weight, bias.

    `on_weight` and `on_bias` transform parameters on their way into the forward pass (fake quantization).
    """

    def __init__(self, graph: Graph, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if not graph.is_balanced:
            raise NeurodeployError("paths of different latency", where=graph.output.name, code="unbalanced",
                                   remedy="Lower the graph first: relays equalise the paths")
        self.graph = graph
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
            dynamics = Dynamics(
                node.decay_input, node.v_th, node.v_reset, node.fire, node.reset, multi_spike=node.multi_spike, v_min=node.v_min
            )
            return scan(x, torch.tensor(node.inv_tau, dtype=x.dtype), dynamics)
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
