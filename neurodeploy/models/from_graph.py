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
from neurodeploy.ir.nodes import Conv2d, Flatten, Input, Lif, Linear, Node, Vote
from neurodeploy.models.neurons import Dynamics, scan

Transform = Callable[[str, Tensor], Tensor]  # (synapse name, parameter) -> what the forward pass uses instead


class TorchGraph(nn.Module):
    """Forward x [T, B, *input shape] -> dict of every node's output [T, B, *shape]. Parameters: `<synapse>` weight, bias.

    `inv_tau` and `v_th` may be overridden per neuron layer (quantized dynamics); `on_weight` and `on_bias` transform
    parameters on their way into the forward pass (fake quantization).
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
        self.inv_tau: dict[str, float] = {}
        self.v_th: dict[str, float] = {}
        self.on_weight: Transform = lambda name, weight: weight
        self.on_bias: Transform = lambda name, bias: bias
        for node in graph.nodes:
            if isinstance(node, Conv2d | Linear):
                self.weights[_key(node.name)] = nn.Parameter(torch.tensor(node.weight, dtype=dtype))
                if node.bias is not None:
                    self.biases[_key(node.name)] = nn.Parameter(torch.tensor(node.bias, dtype=dtype))
            elif isinstance(node, Lif):
                self.inv_tau[node.name], self.v_th[node.name] = node.inv_tau, node.v_th

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
            key = _key(node.name)
            weight = self.on_weight(node.name, self.weights[key])
            bias = self.on_bias(node.name, self.biases[key]) if key in self.biases else None
            if isinstance(node, Linear):
                return functional.linear(x, weight, bias)
            flat = functional.conv2d(x.flatten(0, 1), weight, bias, node.stride, node.padding, node.dilation, node.groups)
            return flat.reshape(*x.shape[:2], *flat.shape[1:])
        if isinstance(node, Lif):
            dynamics = Dynamics(decay_input=node.decay_input, v_th=self.v_th[node.name], v_reset=node.v_reset,
                                fire=node.fire, reset=node.reset)
            return scan(x, torch.tensor(self.inv_tau[node.name], dtype=x.dtype), dynamics)
        if isinstance(node, Flatten):
            return x.flatten(2)
        if isinstance(node, Vote):
            return x.reshape(*x.shape[:2], node.n_classes, node.group).mean(3)
        raise NeurodeployError(f"{type(node).__name__} is not lowered", where=node.name, code="not_lowered")


def _key(name: str) -> str:
    """ParameterDict keys may not contain dots."""
    return name.replace(".", "/")
