"""A graph as the cores of an event-driven chip: one for each layer of neurons, with the synapses before it as one kernel.

Vectors (N,) are maps (N, 1, 1), a Linear is a kernel over its whole input map, sum pools are pools of a connection.
Several sources of one synapse arrive on the same channels; several synapses of one layer become one kernel, their input
channels side by side (feature shift), smaller kernels filled up with zeros. The Vote has no core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from neurodeploy.errors import NeurodeployError, Violation
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Iaf, Input, Lif, Linear, Pair, Shape, SumPool2d, Vote

Map = tuple[int, int, int]


@dataclass(frozen=True)
class Destination:
    """Where spikes go: one at (c, y, x) arrives in `layer` as an event at (c + feature_shift, y // pool_y, x // pool_x)."""

    layer: str
    pool: Pair = (1, 1)
    feature_shift: int = 0


@dataclass(frozen=True, eq=False)
class CoreLayer:
    """One core: its neurons, a kernel for each synapse before them, in the order of their input channels.

    `in_shape` (C, H, W) holds the channels of all kernels side by side.
    """

    neuron: Lif | Iaf
    kernels: tuple[Conv2d, ...]
    in_shape: Map
    linear: frozenset[str] = frozenset()  # kernels that were a Linear
    destinations: tuple[Destination, ...] = ()

    @property
    def name(self) -> str:
        """Of the neurons."""
        return self.neuron.name

    @property
    def stride(self) -> Pair:
        return self.kernels[0].stride

    @property
    def padding(self) -> Pair:
        """Of the joined kernel."""
        return max(k.padding[0] for k in self.kernels), max(k.padding[1] for k in self.kernels)

    @property
    def kernel(self) -> Pair:
        """(k_y, k_x) of the joined kernel."""
        p = self.padding
        height, width = (max(p[a] - k.padding[a] + k.weight.shape[2 + a] for k in self.kernels) for a in (0, 1))
        return height, width

    @cached_property
    def weight(self) -> Array:
        """[O, I, kH, kW] of the joined kernel."""
        parts, dtype = [], np.result_type(*(k.weight for k in self.kernels))
        for kernel in self.kernels:
            weight = np.zeros((*kernel.weight.shape[:2], *self.kernel), dtype=dtype)
            y, x = self.padding[0] - kernel.padding[0], self.padding[1] - kernel.padding[1]
            weight[:, :, y : y + kernel.weight.shape[2], x : x + kernel.weight.shape[3]] = kernel.weight
            parts.append(weight)
        return np.concatenate(parts, axis=1)

    @cached_property
    def bias(self) -> Array | None:
        """[O], of the neurons where they are Iaf, else the sum over the synapses; None where all are zero."""
        if isinstance(self.neuron, Iaf):
            bias: Array = np.broadcast_to(self.neuron.bias, self.neuron.shape).reshape(as_map(self.neuron.shape))[:, 0, 0]
        else:
            bias = sum((k.bias for k in self.kernels if k.bias is not None), start=np.zeros(self.out_shape[0]))
        return bias if bias.any() else None

    @property
    def out_shape(self) -> Map:
        """The map of neurons (C, H, W), before any pooling."""
        return as_map(self.neuron.shape)

    @property
    def label(self) -> str:
        """For messages: `conv3 -> n3 (72 in, 64 out, 3x3)`."""
        names, (height, width) = " + ".join(k.name for k in self.kernels), self.kernel
        return f"{names} -> {self.name} ({self.in_shape[0]} in, {self.out_shape[0]} out, {height}x{width})"


@dataclass(frozen=True, eq=False)
class CoreNetwork:
    """Layers in topological order. `outputs` are those that reach the end of the graph without other neurons between."""

    entry: Input
    entry_destinations: tuple[Destination, ...]
    layers: tuple[CoreLayer, ...]
    outputs: tuple[str, ...]

    def __getitem__(self, name: str) -> CoreLayer:
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def connections(self) -> Iterator[tuple[str, Map, Destination]]:
        """(source, its map, destination) of every connection, those of the input first."""
        yield from ((self.entry.name, as_map(self.entry.shape), d) for d in self.entry_destinations)
        yield from ((layer.name, layer.out_shape, d) for layer in self.layers for d in layer.destinations)


def as_map(shape: Shape) -> Map:
    """(N,) as (N, 1, 1)."""
    return (shape[0], 1, 1) if len(shape) == 1 else (shape[0], shape[1], shape[2])


def read_cores(graph: Graph) -> CoreNetwork:
    """The cores of a graph of Lif or Iaf neurons. Raises NeurodeployError (`not_event_driven`) for what no core can do."""
    network, faults = examine(graph)
    if network is None:
        first = faults[0]
        raise NeurodeployError(
            first.what, where=first.where, limit=first.limit, remedy=first.remedy, code="not_event_driven"
        )
    return network


def examine(graph: Graph) -> tuple[CoreNetwork | None, tuple[Violation, ...]]:
    """The cores, or everything about the structure of the graph that no core can do (then None)."""
    reader = _Reader(graph)
    network = reader.read()
    return (None if reader.faults else network), tuple(reader.faults)


class _Reader:
    """Walks the graph and collects faults."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.faults: list[Violation] = []
        self.into: dict[str, list[Destination]] = {}

    def read(self) -> CoreNetwork | None:
        graph = self.graph
        wanted = Iaf if isinstance(graph, IntGraph) else Lif
        for node in graph.nodes:
            if not isinstance(node, Input | Conv2d | Linear | SumPool2d | Flatten | Vote | wanted):
                self._fault("node", node.name, type(node).__name__,
                            f"Convolutions, linear layers, sum pools and {wanted.__name__} neurons", "Replace it")
        for edge in graph.edges:
            if edge.delay:
                self._fault("delay", f"{edge.src} -> {edge.dst}", f"a delay of {edge.delay}",
                            "Events have no timesteps: no delays", "Remove the delay")
        if not graph.is_acyclic:
            self._fault("recurrent", ", ".join(n.name for n in graph.nodes if n.is_neuron), "the graph is recurrent",
                        "Events that run in a circle may block the chip", "Remove the feedback connection")
            return None
        if len(graph.inputs) != 1:
            self._fault("inputs", ", ".join(n.name for n in graph.inputs), f"{len(graph.inputs)} inputs", "One",
                        "Join the inputs as channels of one")
            return None
        entry = graph.inputs[0]
        if entry.kind not in ("spikes", "graded") or entry.signed:
            self._fault("input", entry.name, f"an input of kind {entry.kind}, signed {entry.signed}",
                        "Events: spikes, or counts of them", "Lower the network for this target")
        neurons = [n for n in graph.neurons if isinstance(n, Lif | Iaf)]
        self.into = {n.name: [] for n in (entry, *neurons)}
        layers = [layer for layer in map(self._core, neurons) if layer is not None]
        layers = [replace(layer, destinations=tuple(self.into[layer.name])) for layer in layers]
        return CoreNetwork(entry, tuple(self.into[entry.name]), tuple(layers), self._outputs())

    def _fault(self, rule: str, where: str, what: str, limit: str, remedy: str) -> None:
        self.faults.append(Violation(rule, where, what, limit, remedy))

    def _core(self, neuron: Lif | Iaf) -> CoreLayer | None:
        """The core of one layer of neurons; its sources get their destinations in `into`."""
        before = len(self.faults)
        synapses = [node for node, _ in self.graph.sources(neuron.name)]
        if not synapses:
            self._fault("unfed", neuron.name, "neurons that nothing feeds", "At least one convolution", "Connect them")
        kernels, sizes, channels, found = [], set(), 0, []
        for synapse in synapses:
            if not isinstance(synapse, Conv2d | Linear):
                self._fault("no_synapse", neuron.name, f"{synapse.name} before neurons", "A convolution or linear layer",
                            "Put one between them")
                continue
            sources = list(self._sources(synapse.name, synapse.name, (1, 1)))
            shapes = {self._pooled(name, pool) for name, pool in sources}
            if len(shapes) != 1:
                continue  # a source that is no neuron is a fault of its own
            shape = shapes.pop()
            kernels.append(self._kernel(synapse, shape))
            sizes.add(shape[1:])
            found += [(name, Destination(neuron.name, pool, channels)) for name, pool in sources]
            channels += kernels[-1].weight.shape[1]
        if len(self.faults) > before:
            return None
        strides = {kernel.stride for kernel in kernels}
        if len(strides) > 1 or len(sizes) > 1:
            self._fault("strides", neuron.name, f"synapses of strides {sorted(strides)} on maps {sorted(sizes)}",
                        "One stride, one map", "Give the shortcut the stride and the pool of the other path")
            return None
        linear = frozenset(s.name for s in synapses if isinstance(s, Linear))
        layer = CoreLayer(neuron, tuple(kernels), (channels, *sizes.pop()), linear)
        rows, columns = (
            (layer.in_shape[1 + a] + 2 * layer.padding[a] - layer.kernel[a]) // layer.stride[a] + 1 for a in (0, 1)
        )
        if (rows, columns) != layer.out_shape[1:]:
            self._fault("map", neuron.name, f"kernels that together give a map {(layer.out_shape[0], rows, columns)}",
                        f"Its neurons: {neuron.shape}", "Use paddings that centre the kernels on each other")
        if isinstance(neuron, Iaf):
            self._per_channel(neuron)
        for name, destination in found:
            self.into[name].append(destination)
        return layer

    def _sources(self, name: str, synapse: str, pool: Pair) -> Iterator[tuple[str, Pair]]:
        """Where the events that a node receives come from, and the pools on the way."""
        for node, _ in self.graph.sources(name):
            if isinstance(node, SumPool2d):
                yield from self._sources(node.name, synapse, (pool[0] * node.kernel[0], pool[1] * node.kernel[1]))
            elif isinstance(node, Flatten):
                yield from self._sources(node.name, synapse, pool)
            elif isinstance(node, Input) or node.is_neuron:
                yield node.name, pool
            else:
                self._fault("no_neurons", node.name, f"no neurons between it and {synapse}", "Neurons behind every synapse",
                            "Put neurons between them, or make one synapse of both")

    def _pooled(self, name: str, pool: Pair) -> Map:
        channels, height, width = as_map(self.graph.shapes[name])
        return channels, height // pool[0], width // pool[1]

    def _kernel(self, node: Conv2d | Linear, shape: Map) -> Conv2d:
        """A synapse as a convolution on a map."""
        if isinstance(node, Linear):
            if node.binary or node.weight_exp or node.delays is not None:
                self._fault("plain_weights", node.name, "graded weights, delays or binary sums", "Plain weights",
                            "Quantize the trained network for this target")
            return Conv2d(node.name, node.weight.reshape(-1, *shape), node.bias)
        if node.dilation != (1, 1) or node.groups != 1:
            self._fault("dilation_groups", node.name, f"dilation {node.dilation}, {node.groups} groups",
                        "Dilation 1, one group", "Use a dense convolution, filled with zeros where need be")
        if node.binary or node.sum_bits is not None:
            self._fault("plain_weights", node.name, f"binary {node.binary}, sum_bits {node.sum_bits}", "Plain sums",
                        "Quantize the trained network for this target")
        return node

    def _per_channel(self, neuron: Iaf) -> None:
        shape = as_map(neuron.shape)
        bias = np.broadcast_to(neuron.bias, neuron.shape).reshape(shape)
        if not np.array_equal(bias, np.broadcast_to(bias[:, :1, :1], shape)):
            self._fault("bias_channel", neuron.name, "biases that differ within a channel", "One bias a channel",
                        "Train without biases")

    def _outputs(self) -> tuple[str, ...]:
        waiting = [n.name for n in self.graph.nodes if not self.graph.outgoing(n.name)]
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in self.into:
                found.add(name)
            else:
                waiting += [e.src for e in self.graph.incoming(name)]
        return tuple(name for name in self.into if name in found and name != self.graph.inputs[0].name)
