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
    AveragePool,
    BatchNorm,
    BottleneckBlock,
    Conv2d,
    ConvBlock,
    ConvSkip,
    ExtraStem,
    Identity,
    MaxPool,
    ReduceSkip,
    StandardConv2d,
    StandardLinear,
    SumPool,
)
from neurodeploy.models.neurons import Neuron


def to_graph(module: AutoSnn) -> Graph:
    """The network in evaluation mode as a Graph: Input "input", ..., Vote "vote".

    A residual addition is two edges into one Lif: first from the last norm, then from the shortcut, the order of summation.
    Graph.metadata holds `macro` and `arch` beside the module's own metadata. Raises UsageError for weights that are
    not finite.
    """
    graph = Builder()
    c = module.config
    at = graph.add(nodes.Input("input", (c.in_channels, *c.image_size)))
    at = graph.conv("stem.conv", module.stem.conv, at)
    at = graph.neuron("stem.neuron", module.stem.neuron, graph.bn("stem.bn", module.stem.bn, at))
    if (extra := module.stem.extra) is not None:
        at = _convolved(graph, "stem.extra", extra, _layer(graph, "stem.extra.pool1", extra.pool1, at))
        at = at if extra.pool2 is None else _layer(graph, "stem.extra.pool2", extra.pool2, at)
    for i, layer in enumerate(module.layers):
        at = _layer(graph, f"layers.{i}", layer, at)
    head = module.classifier
    at = at if head.pool is None else _average_pool(graph, "classifier.pool", head.pool, at)
    at = graph.add(nodes.Flatten("flatten"), at)
    at = graph.add(nodes.Linear("classifier.linear", _weights("classifier.linear", head.linear)), at)
    at = graph.neuron("classifier.neuron", head.neuron, at)
    graph.add(nodes.Vote("vote", head.n_classes, head.group), at)
    return Graph(
        tuple(graph.nodes), tuple(graph.edges), c.n_timesteps, {**module.plain_metadata(), **module.describe()}
    )


def _layer(graph: Builder, name: str, layer: nn.Module, source: str) -> str:
    """A block or pool; the name of its last node, which is `source` where it does nothing."""
    if isinstance(layer, MaxPool):
        return graph.add(nodes.MaxPool2d(name, (2, 2)), source)
    if isinstance(layer, SumPool):
        return graph.add(nodes.SumPool2d(name, (2, 2)), source)
    if isinstance(layer, AveragePool):
        return _average_pool(graph, name, layer, source)
    if isinstance(layer, ConvSkip):
        return _convolved(graph, name, layer, source)
    if isinstance(layer, ReduceSkip):
        return _reduce_skip(graph, name, layer, source)
    if isinstance(layer, ConvBlock | BottleneckBlock):
        return _conv_block(graph, name, layer, source)
    return source if isinstance(layer, Identity) else graph.own_block(name, layer, source)


def _convolved(graph: Builder, name: str, layer: ConvSkip | ExtraStem, source: str) -> str:
    at = graph.bn(f"{name}.bn", layer.bn, graph.conv(f"{name}.conv", layer.conv, source))
    return graph.neuron(f"{name}.neuron", layer.neuron, at)


def _average_pool(graph: Builder, name: str, layer: AveragePool, source: str) -> str:
    channels, *size = graph.shapes[source]
    height, width = (layer.kernel, layer.kernel) if layer.kernel else size
    at = graph.add(nodes.SumPool2d(f"{name}.sum", (height, width)), source)
    share = np.full((channels, 1, 1, 1), 1 / (height * width))
    at = graph.add(nodes.Conv2d(f"{name}.mean", share, groups=channels), at)
    return graph.neuron(f"{name}.neuron", layer.neuron, at)


def _reduce_skip(graph: Builder, name: str, layer: ReduceSkip, source: str) -> str:
    """Both halves as one convolution: 2 x 2, or where a side is odd 3 x 3, padded; zeros where nothing is read."""
    here, there = _weights(f"{name}.conv1", layer.conv1), _weights(f"{name}.conv2", layer.conv2)
    pad = int(any(side % 2 for side in graph.shapes[source][1:]))
    weight = np.zeros((len(here) + len(there), here.shape[1], 2 + pad, 2 + pad))
    weight[: len(here), :, pad, pad] = here[:, :, 0, 0]
    weight[len(here) :, :, pad + 1, pad + 1] = there[:, :, 0, 0]
    at = graph.add(nodes.Conv2d(f"{name}.conv", weight, stride=(2, 2), padding=(pad, pad)), source)
    return graph.neuron(f"{name}.neuron", layer.neuron, graph.bn(f"{name}.bn", layer.bn, at))


def _conv_block(graph: Builder, name: str, block: ConvBlock | BottleneckBlock, source: str) -> str:
    at = graph.bn(f"{name}.bn1", block.bn1, graph.conv(f"{name}.conv1", block.conv1, source))
    at = graph.neuron(f"{name}.neuron1", block.neuron1, at)
    at = graph.bn(f"{name}.bn2", block.bn2, graph.conv(f"{name}.conv2", block.conv2, at))
    last, neuron = f"{name}.neuron2", block.neuron2
    if isinstance(block, BottleneckBlock):
        at = graph.neuron(last, neuron, at)
        at = graph.bn(f"{name}.bn3", block.bn3, graph.conv(f"{name}.conv3", block.conv3, at))
        last, neuron = f"{name}.neuron3", block.neuron3
    terms = [at]
    if block.shortcut is not None:
        conv = graph.conv(f"{name}.shortcut.conv", block.shortcut.conv, source)
        terms.append(graph.bn(f"{name}.shortcut.bn", block.shortcut.bn, conv))
    elif block.adds_input:
        terms.append(source)
    return graph.neuron(last, neuron, *terms)


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
        weight, pad = _weights(name, layer), layer.kernel_size[0] // 2
        stride = (layer.stride[0], layer.stride[1])
        return self.add(nodes.Conv2d(name, weight, stride=stride, padding=(pad, pad), groups=layer.groups), source)

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
