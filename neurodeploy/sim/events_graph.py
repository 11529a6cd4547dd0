"""An IntGraph of Iaf neurons as the cores that run it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Iaf, Input, Linear, Node, Pair, Shape, SumPool2d, Vote
from neurodeploy.sim.events_network import Destination, EventLayer, EventNetwork, Map


def from_graph(graph: IntGraph) -> tuple[EventNetwork, dict[str, Array]]:
    """The network, one core for each Iaf under its name, and the states before the first event.

    Vectors (N,) become maps (N, 1, 1), a Linear a kernel over its whole input map, a SumPool2d the pool of a destination.
    Several sources of one synapse arrive on the same channels; several synapses of one Iaf become one kernel, their input
    channels side by side (feature shift), smaller kernels filled up with zeros, which are synops too. A floor of None is
    the lowest value of the state. A bias is kept, but added per tick of the slow clock and not per timestep; the Vote and
    `multi_spike` have no meaning here. Raises NeurodeployError for what such cores cannot do.
    """
    if len(graph.inputs) != 1:
        raise NeurodeployError(f"{len(graph.inputs)} inputs", limit="One", code="not_event_driven")
    entry = graph.inputs[0]
    if entry.kind not in ("spikes", "graded") or entry.signed:
        raise _unsuitable(entry, f"an input of kind {entry.kind}, signed {entry.signed}", "Events: spikes, or counts of them")
    for edge in graph.edges:
        if edge.delay:
            raise NeurodeployError(f"a delay of {edge.delay}", where=f"{edge.src} -> {edge.dst}", code="not_event_driven",
                                   limit="Events have no timesteps: no delays")
    for node in graph.nodes:
        if not isinstance(node, Input | Conv2d | Linear | Iaf | SumPool2d | Flatten | Vote):
            raise _unsuitable(node, type(node).__name__, "Convolutions, linear layers, sum pools and Iaf neurons")
    neurons = [n for n in graph.neurons if isinstance(n, Iaf)]
    bits = {n.state_bits for n in neurons}
    if len(bits) != 1:
        raise NeurodeployError(f"states of {sorted(bits)} bits", limit="One width for all cores", code="not_event_driven")
    into: dict[str, list[Destination]] = {n.name: [] for n in (entry, *neurons)}
    layers = [_core(graph, neuron, into) for neuron in neurons]
    network = EventNetwork(
        _map(entry.shape), tuple(into[entry.name]),
        tuple(replace(layer, destinations=tuple(into[layer.name])) for layer in layers), bits.pop(),
    )
    states = {n.name: np.broadcast_to(n.v_init, n.shape).reshape(_map(n.shape)).astype(np.int64) for n in neurons}
    return network, states


def _core(graph: IntGraph, neuron: Iaf, into: dict[str, list[Destination]]) -> EventLayer:
    """The core of one Iaf; its sources get their destinations in `into`."""
    synapses = [node for node, _ in graph.sources(neuron.name)]
    if not synapses:
        raise _unsuitable(neuron, "neurons that nothing feeds", "At least one convolution")
    kernels, sizes, channels = [], set(), 0
    for synapse in synapses:
        if not isinstance(synapse, Conv2d | Linear):
            raise _unsuitable(neuron, f"{synapse.name} before neurons", "A convolution or linear layer")
        sources = list(_sources(graph, synapse.name, (1, 1)))
        shape = {_pooled(graph, name, pool) for name, pool in sources}.pop()
        kernel = _kernel(synapse, shape)
        kernels.append(kernel)
        sizes.add(shape[1:])
        for name, pool in sources:
            into[name].append(Destination(neuron.name, pool, channels))
        channels += kernel.weight.shape[1]
    strides = {kernel.stride for kernel in kernels}
    if len(strides) > 1 or len(sizes) > 1:
        raise _unsuitable(neuron, f"synapses of strides {sorted(strides)} on maps {sorted(sizes)}", "One stride, one map")
    weight, padding = _joined(kernels)
    low = -(1 << (neuron.state_bits - 1))
    layer = EventLayer(
        neuron.name, weight, (channels, *sizes.pop()), neuron.v_th, low if neuron.v_min is None else neuron.v_min,
        strides.pop(), padding, neuron.reset, _bias(neuron),
    )
    if layer.shape != _map(neuron.shape):
        raise _unsuitable(neuron, f"kernels that together give a map {layer.shape}", f"Its neurons: {neuron.shape}")
    return layer


def _sources(graph: IntGraph, name: str, pool: Pair) -> Iterator[tuple[str, Pair]]:
    """Where the events that a node receives come from, and the pools on the way."""
    for node, _ in graph.sources(name):
        if isinstance(node, SumPool2d):
            yield from _sources(graph, node.name, (pool[0] * node.kernel[0], pool[1] * node.kernel[1]))
        elif isinstance(node, Flatten):
            yield from _sources(graph, node.name, pool)
        elif isinstance(node, Input | Iaf):
            yield node.name, pool
        else:
            raise _unsuitable(node, f"no neurons between it and {name}", "Neurons behind every synapse")


def _pooled(graph: IntGraph, name: str, pool: Pair) -> Map:
    channels, height, width = _map(graph.shapes[name])
    return channels, height // pool[0], width // pool[1]


def _kernel(node: Conv2d | Linear, shape: Map) -> Conv2d:
    """A synapse as a convolution on a map."""
    if isinstance(node, Linear):
        if node.binary or node.weight_exp or node.delays is not None:
            raise _unsuitable(node, "graded weights, delays or binary sums", "Plain weights")
        return Conv2d(node.name, node.weight.reshape(-1, *shape))
    if node.dilation != (1, 1) or node.groups != 1 or node.binary or node.sum_bits is not None:
        raise _unsuitable(
            node, f"dilation {node.dilation}, groups {node.groups}, binary {node.binary}, sum_bits {node.sum_bits}",
            "Dilation 1, one group, plain sums",
        )
    return node


def _joined(kernels: list[Conv2d]) -> tuple[Array, Pair]:
    """(weight, padding) of one kernel over all input channels side by side."""
    padding = (max(k.padding[0] for k in kernels), max(k.padding[1] for k in kernels))
    height, width = (max(padding[a] - k.padding[a] + k.weight.shape[2 + a] for k in kernels) for a in (0, 1))
    parts = []
    for kernel in kernels:
        weight = np.zeros((*kernel.weight.shape[:2], height, width), dtype=np.int64)
        y, x = padding[0] - kernel.padding[0], padding[1] - kernel.padding[1]
        weight[:, :, y : y + kernel.weight.shape[2], x : x + kernel.weight.shape[3]] = kernel.weight
        parts.append(weight)
    return np.concatenate(parts, axis=1), padding


def _bias(neuron: Iaf) -> Array | None:
    shape = _map(neuron.shape)
    bias = np.broadcast_to(neuron.bias, neuron.shape).reshape(shape)
    channel = bias[:, 0, 0]
    if not np.array_equal(bias, np.broadcast_to(channel[:, np.newaxis, np.newaxis], shape)):
        raise _unsuitable(neuron, "biases that differ within a channel", "One bias a channel")
    return channel.astype(np.int64) if channel.any() else None


def _map(shape: Shape) -> Map:
    return (shape[0], 1, 1) if len(shape) == 1 else (shape[0], shape[1], shape[2])


def _unsuitable(node: Node, what: str, limit: str) -> NeurodeployError:
    return NeurodeployError(what, where=node.name, limit=limit, code="not_event_driven")
