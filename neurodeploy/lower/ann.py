"""A network of ReLU or QCFS activations as one of integrate-and-fire neurons: rates of spikes stand for activations.

A neuron with soft reset that receives a constant current a * v_th fires T clip(a, 0, 1) times in T timesteps, up to rounding.
So each ReLU becomes neurons whose threshold stands for the largest activation that counts, a percentile of those on
calibration data: weights are scaled so that thresholds are 1. Rounding is down; v_th / (2T) more current in each timestep,
which is half a threshold after T of them, makes it to the nearest. The last layer gets neurons too: its logits are moved,
which changes no answer (`_calibrated`), and scaled so that those of winners and runners-up fill the range of rates.

A QCFS activation brings its threshold along, its lam. Its neurons start at half a threshold and fire above the threshold: after
L timesteps of constant current their rate is the activation of L levels, except at ties. Half a threshold at the start rounds
to the nearest after any number of timesteps, the current only after all T of them, which matters where networks stop early. A
Lif starts at its v_reset, which a soft reset without leak does not use otherwise: that is where v_th / 2 stands.

Sources: Rueckauer et al., Front. Neurosci. 2017 (percentiles, biases); Deng and Gu, ICLR 2021 (the shift); Bu et al., ICLR 2022
and AAAI 2022 (QCFS; the membrane's start).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, Flatten, Input, Lif, Linear, MaxPool2d, Node, Qcfs, Relu, SumPool2d, Vote
from neurodeploy.lower.fold import fold_batch_norm
from neurodeploy.models.from_graph import TorchGraph

_BATCH_BYTES = 2**28  # of everything that a batch computes, in all timesteps
_KEPT = 2**18  # values of a layer and batch that its percentile is taken of

Start = Literal["half", "zero"]
LastLayer = Literal["spikes", "logits"]


@dataclass(frozen=True)
class Converted:
    """The spiking network, of each layer of neurons the activation that one spike in every timestep stands for, and where
    membranes start."""

    graph: Graph
    scales: dict[str, float]
    start: Start


def convert(
    graph: Graph, images: NDArray[Any], n_timesteps: int, *, percentile: float = 99.9, shift: bool = True,
    floor: float | None = None, start: Start | None = None, readout: LastLayer = "spikes",
) -> Converted:
    """The network of `from_torch` as integrate-and-fire neurons that run `n_timesteps` on constant images.

    images [N, *input shape] calibrate. percentile: of each ReLU layer's activations above 0, and of the logits, in (50, 100].
    shift: add currents (biases) that round rates and move the logits; chips without biases need a network without them and
    shift=False. floor: no membrane falls below minus so many thresholds, which event-driven chips want. start: of
    membranes, `half` a threshold or `zero`, where currents round instead and a spike comes at the threshold already, not above
    it; chips start at zero. Default: half where the network has a Qcfs and no floor is asked for. readout: `logits` leaves the
    last layer as it is, real numbers without neurons, which GPUs run and chips do not.

    Raises UsageError for a graph that is no chain of synapses, pools, Relu and Qcfs, for images of another shape, and for a
    Relu that no image activates. Warns (`max_pool`) where a max-pool will see spikes: it takes the earliest, not the largest
    rate.
    """
    if not 50 < percentile <= 100 or n_timesteps < 1 or (floor is not None and not floor > 0):
        raise UsageError(f"percentile {percentile}, {n_timesteps} timesteps, floor {floor}", where="convert",
                         limit="A percentile in (50, 100], at least one timestep, a floor above 0")
    ann = _chain(graph)
    images = np.asarray(images)
    if images.shape[1:] != ann.inputs[0].shape or not len(images):
        raise UsageError(f"images of shape {images.shape}", where="convert", limit=f"Expected [N, *{ann.inputs[0].shape}]")
    start = start or ("half" if floor is None and any(isinstance(n, Qcfs) for n in ann.nodes) else "zero")
    if start == "half" and floor is not None:
        raise UsageError(f"membranes that start at half a threshold, and a floor {floor} under them", where="convert",
                         limit="Neurons with a floor start at zero, as on event-driven chips", remedy="Leave one of them out")
    ann, scales, offset = _calibrated(ann, images, percentile, shift, readout)
    pools = [n.name for n in ann.nodes if isinstance(n, MaxPool2d)]
    if pools:
        warnings.warn(NeurodeployWarning(
            "max-pools take the earliest spike, not the largest rate: activations come out too high", code="max_pool",
            where=", ".join(pools), remedy="Compare the accuracies; train with average pools where they differ",
        ), stacklevel=2)
    neuron = Lif("", v_th=1.0, fire=">=", reset="soft", v_min=None if floor is None else -floor)
    if start == "half":
        neuron = replace(neuron, v_reset=0.5, fire=">")
    nodes = _scaled(ann, scales, offset, 0.5 / n_timesteps if shift and start == "zero" else 0.0, neuron)
    edges = tuple(Edge(a.name, b.name) for a, b in pairwise(nodes))
    note: dict[str, Any] = {"n_timesteps": n_timesteps, "percentile": percentile, "shift": shift, "floor": floor}
    if start != "zero" or readout != "spikes":
        note |= {"start": start, "readout": readout}
    note["scales"] = scales
    return Converted(Graph(nodes, edges, n_timesteps, {**graph.metadata, "converted": note}), scales, start)


def _chain(graph: Graph) -> Graph:
    """The graph with its batch norms folded and a read-out; checks that it is a chain that can be converted."""
    if isinstance(graph, IntGraph) or graph.neurons or not any(isinstance(n, Relu | Qcfs) for n in graph.nodes):
        what = "this network spikes already" if graph.neurons else "this network has no ReLU and no QCFS"
        raise UsageError(what, where="convert",
                         limit="Networks of ReLU or QCFS activations are converted", remedy="Leave the conversion out")
    graph = fold_batch_norm(graph)
    order = graph.feedforward_order
    known = (Input, Conv2d, Linear, SumPool2d, MaxPool2d, Flatten, Relu, Qcfs, Vote)
    for i, node in enumerate(order):
        sources = [e.src for e in graph.incoming(node.name)]
        chained = sources == [n.name for n in order[i - 1 : i]] and not any(e.delay for e in graph.incoming(node.name))
        if not chained or not isinstance(node, known):
            raise UsageError(f"a {type(node).__name__} fed by {', '.join(sources) or 'nothing'}", where=node.name,
                             limit="A chain of synapses, pools, flattenings, ReLU and QCFS",
                             remedy="Convert a network without shortcuts")
    last = next((n for n in reversed(order) if not isinstance(n, Vote)), order[-1])
    if not isinstance(last, Linear):
        raise UsageError(f"the network ends in a {type(last).__name__}", where=last.name, limit="Logits of a linear layer",
                         remedy="Give the network as it was trained, with its last linear layer")
    vote = () if isinstance(order[-1], Vote) else (Vote("vote", graph.shapes[last.name][0], 1),)
    nodes = (*order, *vote)
    edges = tuple(Edge(a.name, b.name) for a, b in pairwise(nodes))
    return replace(graph, nodes=nodes, edges=edges)


def activations(graph: Graph, images: NDArray[Any], n_timesteps: int = 1) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Outputs of every node, [T, B, *shape], in batches, for images that stay the same in all timesteps."""
    module = TorchGraph(graph)
    of_one = 4 * n_timesteps * sum(math.prod(shape) for shape in graph.shapes.values())
    batch = max(1, min(256, _BATCH_BYTES // of_one))
    with torch.inference_mode():
        for i in range(0, len(images), batch):
            x = torch.from_numpy(np.ascontiguousarray(images[i : i + batch], dtype=np.float32))
            yield {name: value.numpy() for name, value in module(x.expand(n_timesteps, *x.shape)).items()}


def _calibrated(
    ann: Graph, images: NDArray[Any], percentile: float, shift: bool, readout: LastLayer
) -> tuple[Graph, dict[str, float], float]:
    """(the graph with its logits moved; what a rate of 1 stands for, of each activation and of logits as spikes; what is added
    to them).

    Rates are positive, and the answer is the largest logit: moving all of a sample's logits alike changes no answer. They are
    moved by minus the runner-up, as far as a linear map of the last layer's input can tell it, so that what is left is small.
    """
    relus = [n.name for n in ann.nodes if isinstance(n, Relu)]
    logits_at = ann.incoming(ann.output.name)[0].src
    into = ann.incoming(logits_at)[0].src
    seen: dict[str, list[NDArray[Any]]] = {name: [] for name in (*relus, logits_at)}
    inputs: list[NDArray[Any]] = []
    for outputs in activations(ann, images):
        for name in relus:
            active = outputs[name][outputs[name] > 0]
            seen[name].append(active[:: max(1, active.size // _KEPT)])
        seen[logits_at].append(outputs[logits_at][0])
        inputs.append(outputs[into][0])
    scales = {n.name: n.lam for n in ann.nodes if isinstance(n, Qcfs)}
    for name in relus:
        active = np.concatenate(seen[name])
        if not active.size:
            raise UsageError("no image activates this layer", where=name, limit=f"{len(images)} images were run",
                             remedy="Give images of the kind that the network was trained on")
        scales[name] = float(np.percentile(active, percentile))
    if readout == "logits":
        return ann, scales, 0.0
    best = np.sort(np.concatenate(seen[logits_at]).astype(np.float64), axis=1)[:, -2:]
    h = np.concatenate(inputs).astype(np.float64)
    moved = -_ridge(h, best[:, 0])
    best += (h @ moved)[:, np.newaxis]
    high = float(np.percentile(best[:, -1], percentile))
    low = float(np.percentile(best[:, 0], 100 - percentile)) if shift else 0.0
    if not high > low:
        raise UsageError(f"the largest logits lie at {high:g}, not above {low:g}", where=logits_at,
                         limit="Rates of spikes are positive", remedy="Convert with the shift, which moves them")
    nodes = tuple(
        replace(n, weight=n.weight + moved) if isinstance(n, Linear) and n.name == logits_at else n for n in ann.nodes
    )
    return replace(ann, nodes=nodes), {**scales, logits_at: high - low}, -low


def _ridge(h: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """r [F] so that h @ r comes near to `wanted` [N], for h [N, F], without growing where the samples do not say."""
    square = h.T @ h
    least = 1e-2 * np.trace(square) / len(square) + 1e-12
    return np.asarray(np.linalg.solve(square + least * np.eye(len(square)), h.T @ wanted))


def _scaled(ann: Graph, scales: dict[str, float], offset: float, shift: float, neuron: Lif) -> tuple[Node, ...]:
    """The nodes of the spiking network, each layer of neurons as `neuron`. In front of each synapse a value of 1 stands for
    `unit`."""
    nodes: list[Node] = []
    unit, spread = 1.0, 1.0  # spread: how often sum pools between synapse and neurons count a bias
    at = 0
    logits_at = ann.incoming(ann.output.name)[0].src
    for node in ann.nodes:
        last = node.name == logits_at
        if isinstance(node, Conv2d | Linear):
            at, spread = len(nodes), 1.0
            nodes.append(replace(node, bias=None if node.bias is None else node.bias / unit))
        elif isinstance(node, Relu | Qcfs):
            nodes.append(replace(neuron, name=node.name, shape=ann.shapes[node.name]))
        else:
            spread *= node.kernel[0] * node.kernel[1] if isinstance(node, SumPool2d) else 1
            nodes.append(node)
        if isinstance(node, Relu | Qcfs) or last:
            synapse = nodes[at]
            if not isinstance(synapse, Conv2d | Linear):
                raise UsageError("no synapse in front of it", where=node.name,
                                 limit="Activations of convolutions and linear layers")
            scale = scales.get(node.name, 1.0)  # logits without neurons have none
            current = (shift if node.name in scales else 0.0) + (offset / scale if last else 0.0)
            nodes[at] = _into(synapse, unit / scale, current / spread)
            unit, at = scale, len(nodes)
        if last and node.name in scales:
            nodes.append(replace(neuron, name=_free(ann, f"{node.name}.neuron"), shape=ann.shapes[node.name]))
    return tuple(nodes)


def _into(synapse: Conv2d | Linear, factor: float, current: float) -> Conv2d | Linear:
    """The synapse with its output scaled and a current added."""
    bias = None if synapse.bias is None else synapse.bias * factor
    if current:
        bias = (np.zeros(len(synapse.weight)) if bias is None else bias) + current
    return replace(synapse, weight=synapse.weight * factor, bias=bias)


def _free(graph: Graph, name: str) -> str:
    while name in graph.by_name:
        name += "_"
    return name
