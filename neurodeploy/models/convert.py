"""A trained torch network as a float Graph: nodes named by module paths, weights in float64, all delays zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.extensions import failure
from neurodeploy.ir import nodes
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.blocks import (
    BatchNorm,
    Conv2d,
    ConvBlock,
    ConvSkip,
    Identity,
    MaxPool,
    StandardConv2d,
    StandardLinear,
    SumPool,
)
from neurodeploy.models.neurons import Neuron


def to_graph(module: AutoSnn) -> Graph:
    """The network in evaluation mode as a Graph: Input "input", ..., Vote "vote".

    A residual addition is two edges into one Lif: first from `bn2`, then from the shortcut, the order of summation.
    Graph.metadata holds `macro` and `arch` beside the module's own metadata. Raises UsageError for weights that are
    not finite.
    """
    graph = Builder()
    c = module.config
    at = graph.add(nodes.Input("input", (c.in_channels, *c.image_size)))
    at = graph.conv("stem.conv", module.stem.conv, at)
    at = graph.neuron("stem.neuron", module.stem.neuron, graph.bn("stem.bn", module.stem.bn, at))
    for i, layer in enumerate(module.layers):
        name = f"layers.{i}"
        if isinstance(layer, MaxPool):
            at = graph.add(nodes.MaxPool2d(name, (2, 2)), at)
        elif isinstance(layer, SumPool):
            at = graph.add(nodes.SumPool2d(name, (2, 2)), at)
        elif isinstance(layer, ConvSkip):
            at = graph.bn(f"{name}.bn", layer.bn, graph.conv(f"{name}.conv", layer.conv, at))
            at = graph.neuron(f"{name}.neuron", layer.neuron, at)
        elif isinstance(layer, ConvBlock):
            at = _conv_block(graph, name, layer, at)
        elif not isinstance(layer, Identity):
            at = graph.own_block(name, layer, at)
    head = module.classifier
    at = graph.add(nodes.Flatten("flatten"), at)
    at = graph.add(nodes.Linear("classifier.linear", _weights("classifier.linear", head.linear)), at)
    at = graph.neuron("classifier.neuron", head.neuron, at)
    graph.add(nodes.Vote("vote", head.n_classes, head.group), at)
    return Graph(
        tuple(graph.nodes), tuple(graph.edges), c.n_timesteps, {**module.plain_metadata(), **module.describe()}
    )


def _conv_block(graph: Builder, name: str, block: ConvBlock, source: str) -> str:
    at = graph.bn(f"{name}.bn1", block.bn1, graph.conv(f"{name}.conv1", block.conv1, source))
    at = graph.neuron(f"{name}.neuron1", block.neuron1, at)
    at = graph.bn(f"{name}.bn2", block.bn2, graph.conv(f"{name}.conv2", block.conv2, at))
    terms = [at]
    if block.shortcut is not None:
        conv = graph.conv(f"{name}.shortcut.conv", block.shortcut.conv, source)
        terms.append(graph.bn(f"{name}.shortcut.bn", block.shortcut.bn, conv))
    elif block.residual:
        terms.append(source)
    return graph.neuron(f"{name}.neuron2", block.neuron2, *terms)


class Builder:
    """Collects nodes, edges and shapes; every method returns the name of the node it added.

    Several sources are added, in their order. `own_block` lets a registered block add what it is made of.
    """

    def __init__(self) -> None:
        self.nodes: list[nodes.Node] = []
        self.edges: list[Edge] = []
        self.shapes: dict[str, nodes.Shape] = {}

    def add(self, node: nodes.Node, *sources: str) -> str:
        """Any node of `ir.nodes`."""
        self.nodes.append(node)
        self.edges += [Edge(source, node.name) for source in sources]
        self.shapes[node.name] = node.output_shape(self.shapes[sources[0]] if sources else ())
        return node.name

    def conv(self, name: str, layer: Conv2d, source: str) -> str:
        """A convolution that `Layers.conv` made."""
        if not isinstance(layer, Conv2d):
            raise UsageError(f"is a {type(layer).__name__}", where=name, remedy="Make convolutions with layers.conv(...)")
        pad = layer.kernel_size[0] // 2
        return self.add(nodes.Conv2d(name, _weights(name, layer), padding=(pad, pad), groups=layer.groups), source)

    def bn(self, name: str, layer: nn.Module, source: str) -> str:
        """A batch norm; nothing, and `source` again, where the network has no norms."""
        if isinstance(layer, nn.Identity):
            return source
        if not isinstance(layer, BatchNorm):
            raise UsageError(f"is a {type(layer).__name__}", where=name, remedy="Make norms with layers.norm(...)")
        mean, var, gamma, beta = (
            _array(name, t) for t in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
        )
        return self.add(nodes.BatchNorm(name, mean=mean, var=var, gamma=gamma, beta=beta, eps=layer.eps), source)

    def neuron(self, name: str, layer: Neuron, *sources: str) -> str:
        """A layer of neurons."""
        d = layer.dynamics
        inv_tau = float(_array(name, layer.inv_tau(torch.float64)))
        shape = self.shapes[sources[0]]
        return self.add(
            nodes.Lif(
                name, shape, inv_tau=inv_tau, decay_input=d.decay_input, v_th=d.v_th, v_reset=d.v_reset, fire=d.fire,
                reset=d.reset, multi_spike=d.multi_spike, v_min=d.v_min,
            ),
            *sources,
        )


    def own_block(self, name: str, block: nn.Module, source: str) -> str:
        """What a registered block's `to_graph` adds. UsageError where that fails or cannot be: activity is recorded by the
        neurons' places in the module, so their nodes must be named like them."""
        to_graph: Any = getattr(block, "to_graph", None)
        if to_graph is None:
            raise UsageError(f"{type(block).__name__} has no node", where=name, remedy="Give it a method to_graph")
        n_before = len(self.nodes)
        try:
            last: str = to_graph(self, name, source)
        except NeurodeployError:
            raise
        except Exception as error:  # whatever a stranger's method raises
            raise failure("block", type(block).__name__, error, f", to_graph at {name}") from error
        added = {node.name for node in self.nodes[n_before:] if node.is_neuron}
        wanted = {f"{name}.{path}" for path, part in block.named_modules() if isinstance(part, Neuron)}
        if last not in self.shapes or added != wanted:
            what = f"gives {last!r}, which is no node" if last not in self.shapes else f"names its neurons {sorted(added)}"
            raise UsageError(
                f"to_graph {what}", where=f"block {type(block).__name__} at {name}", code="bad_block",
                limit=f"Its neurons lie at {sorted(wanted)}", remedy="Name nodes f'{name}.<attribute>', and return the last",
            )
        return last


def _weights(name: str, layer: nn.Conv2d | nn.Linear) -> nodes.Array:
    """Weights as they act."""
    return _array(name, layer.effective if isinstance(layer, StandardConv2d | StandardLinear) else layer.weight)


def _array(name: str, tensor: Tensor | None) -> nodes.Array:
    if tensor is None:
        raise UsageError("running statistics are missing", where=name, remedy="Build batch normalisation with them")
    array = tensor.detach().to("cpu", torch.float64).numpy().copy()
    if not np.isfinite(array).all():
        raise UsageError(f"{int((~np.isfinite(array)).sum())} weights are not finite", where=name, remedy="Train again")
    return array
