"""A lowered network of integrate-and-fire neurons in the integers of an event-driven chip, core by core.

Two rules. `sinabs`: what sinabs 3.1.3 writes, to the last bit, traps included (`iaf_sinabs`). `mismatch`: the scale of each
core that disturbs least (`iaf_scale`), judged by how the integers run where a judge is handed in: layer by layer in
topological order, each candidate behind the integers that were already chosen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, Iaf, Lif, Linear, Node
from neurodeploy.progress import SILENT, Progress
from neurodeploy.quantize.iaf_core import CoreReport, FloatCore, IafFormats, IntCore
from neurodeploy.quantize.iaf_scale import ScaleSearch, quantize_best
from neurodeploy.quantize.iaf_sinabs import quantize_sinabs

Rule = Literal["mismatch", "sinabs"]
# (prefix of the network up to a layer, in integers; the layer's name) -> how wrong it runs, 0 or above
Judge = Callable[[IntGraph, str], float]


def quantize_events(
    lowered: Graph, profile: EventProfile, *, rule: Rule = "mismatch", judge: Judge | None = None,
    search: ScaleSearch | None = None, progress: Progress = SILENT,
) -> IntGraph:
    """The integer network of a graph that `lower_to_events` made; `quantization` of the result reports on every core.

    Warns of silent, saturated and starved cores (codes `iaf_...`). Raises UsageError for another graph or an unknown rule,
    and what `quantize_best` and `CoreReport.require_usable` raise for cores that no scale keeps.
    """
    if rule not in ("mismatch", "sinabs"):
        raise UsageError(f"rule {rule!r}", where="quantize", limit="Known: mismatch, sinabs")
    if isinstance(lowered, IntGraph) or lowered.metadata.get("input") != "events":
        raise UsageError("this graph was not lowered for an event-driven chip", where="quantize", remedy="Lower it first")
    a = profile.arithmetic
    formats = IafFormats(a.weight_bits, a.written_bias_bits, a.state_bits)
    done: dict[str, IntCore] = {}
    reports: list[CoreReport] = []
    progress.start("quantization", len(lowered.neurons))
    for neuron in lowered.neurons:
        core = _core(lowered, neuron.name)
        report = quantize_sinabs(core) if rule == "sinabs" else quantize_best(
            core, formats, None if judge is None else _objective(lowered, profile, done, neuron.name, judge), search=search
        )
        report.require_usable()
        for warning in report.warnings():
            warnings.warn(warning, stacklevel=2)
        done[neuron.name] = report.ints
        reports.append(report)
        progress.advance("quantization")
    progress.done("quantization")
    found: dict[str, object] = {
        "rule": rule, "calibrated": rule == "mismatch" and judge is not None, "layers": [r.to_dict() for r in reports],
    }
    return _integers(lowered, profile, done, found)


def _core(graph: Graph, name: str) -> FloatCore:
    """All weights that reach a layer as one core: kernels side by side, their places flattened."""
    neuron = graph[name]
    assert isinstance(neuron, Lif)  # `lower_to_events` leaves no other
    synapses = list(_synapses(graph, name))
    weight = np.concatenate([s.weight.reshape(s.weight.shape[0], -1, 1, 1) for s in synapses], axis=1)
    biases = [s.bias for s in synapses if s.bias is not None]
    bias = None if not biases else np.sum(biases, axis=0).astype(np.float32)
    return FloatCore(name, weight.astype(np.float32), bias, neuron.v_th, neuron.v_min)


def _synapses(graph: Graph, name: str) -> Iterator[Conv2d | Linear]:
    for source, _ in graph.sources(name):
        assert isinstance(source, Conv2d | Linear)
        yield source


def _objective(
    lowered: Graph, profile: EventProfile, done: Mapping[str, IntCore], name: str, judge: Judge
) -> Callable[[IntCore], float]:
    def objective(ints: IntCore) -> float:
        return judge(_integers(lowered, profile, {**done, name: ints}, {}), name)

    return objective


def _integers(
    lowered: Graph, profile: EventProfile, cores: Mapping[str, IntCore], quantization: dict[str, object]
) -> IntGraph:
    """The network of the layers in `cores`, with what lies between them, and all of it where every layer is there."""
    parts: dict[str, Array] = {}
    for name, ints in cores.items():
        synapses = list(_synapses(lowered, name))
        columns = np.cumsum([s.weight[0].size for s in synapses])[:-1]
        flat = ints.weight.reshape(ints.weight.shape[0], -1)
        parts |= {
            s.name: part.reshape(s.weight.shape)
            for s, part in zip(synapses, np.split(flat, columns, axis=1), strict=True)
        }
    kept = set(parts) | set(cores)
    whole = len(cores) == len(lowered.neurons)

    def wanted(node: Node) -> bool:
        if node.is_synapse or node.is_neuron:
            return node.name in kept
        return whole or not lowered.incoming(node.name) or all(e.src in kept for e in lowered.incoming(node.name))

    nodes: list[Node] = []
    for node in lowered.feedforward_order:
        if not wanted(node):
            continue
        kept.add(node.name)
        if isinstance(node, Conv2d | Linear):
            node = replace(node, weight=parts[node.name], bias=None)
        elif isinstance(node, Lif):
            node = _iaf(node, cores[node.name], profile.arithmetic.state_bits)
        nodes.append(node)
    edges = tuple(e for e in lowered.edges if e.src in kept and e.dst in kept)
    return IntGraph(
        tuple(nodes), edges, lowered.n_timesteps, dict(lowered.metadata), None, target=profile.name,
        quantization=dict(quantization),
    )


def _iaf(node: Lif, ints: IntCore, state_bits: int) -> Iaf:
    bias = np.zeros(1, dtype=np.int64)
    if ints.bias is not None and ints.bias.any():
        bias = ints.bias.reshape(-1, *[1] * (len(node.shape) - 1))
    return Iaf(
        node.name, node.shape, v_th=ints.v_th, v_min=ints.v_min, bias=bias, reset=node.reset, multi_spike=node.multi_spike,
        state_bits=state_bits,
    )
