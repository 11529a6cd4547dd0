"""Post-training quantization: choose each layer's scale on calibration data, in network order.

Each layer sees the spikes that the already quantized layers before it emit, and its scale is the one whose spikes
differ least from the real network's. Scales beyond the format (saturating a few outlier weights) compete too.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.data.chip_input import chip_input
from neurodeploy.errors import DoesNotFit, NeurodeployError, UsageError
from neurodeploy.fixedpoint import IntArray
from neurodeploy.hw.profile import Arithmetic, Profile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Input, Lif, Linear, Node
from neurodeploy.ir.reference import initial_state, step
from neurodeploy.models.from_graph import TorchGraph, model_delays
from neurodeploy.quantize.formats import (
    Layer,
    integer_neuron,
    integer_weight,
    is_grid_exact,
    largest_scale,
    layer_of,
    origins,
    per_layer,
    snap,
    weight_range,
    wrap_scale,
)
from neurodeploy.quantize.ranges import analyse

# Fractions of the largest unsaturated scale that compete; above 1 the largest weights or biases saturate.
_FRACTIONS = (1.0, 0.93, 0.85, 0.75, 0.62, 0.5, 1.15, 1.35, 1.6)


@dataclass(frozen=True)
class LayerReport:
    """How one neuron layer was quantized. Spike counts are over the calibration data; None where there was none."""

    layer: str
    scale: float
    weight_max: int
    v_th: int
    v_decay: int
    n_saturated: int
    n_spikes: int | None
    n_mismatches: int | None
    n_ties: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return asdict(self)


def quantize(
    lowered: Graph, profile: Profile, calibration: NDArray[Any] | None = None, *, scales: Mapping[str, float] | None = None
) -> IntGraph:
    """The lowered graph in the target's integer arithmetic.

    calibration: images [B, C, H, W] in 0..1 that choose the scales (without: the largest unsaturated ones);
    scales: per neuron layer, to keep an earlier choice. The per-layer report is `IntGraph.quantization`.
    Raises DoesNotFit when some input could make a current or accumulator wrap, NeurodeployError for a node without an
    integer form.
    """
    arithmetic = profile.arithmetic
    real = integer = None
    if calibration is not None:
        real = _real_spikes(lowered, calibration)
    nodes: dict[str, Node] = {}
    reports: list[LayerReport] = []
    used: dict[str, float] = {}
    for neuron in _in_order(lowered):
        if not isinstance(neuron, Lif):
            raise NeurodeployError(f"already {type(neuron).__name__}", where=neuron.name, code="cannot_quantize")
        layer = layer_of(lowered, neuron)
        if layer.host_input is None:
            candidates = [largest_scale(layer, arithmetic) * f for f in _FRACTIONS]
        else:  # the host's values saturate; there are no weights to weigh against
            candidates = [largest_scale(layer, arithmetic)]
        most = _most(lowered, layer, arithmetic)
        candidates = [snap(layer, min(c, most)) for c in candidates]
        if scales is not None:
            if neuron.name not in scales:
                raise UsageError("no scale is given", where=neuron.name, remedy="Give one for every neuron layer, or none")
            candidates = [scales[neuron.name]]
        elif calibration is None:
            candidates = candidates[:1]
        candidates = list(dict.fromkeys(candidates))
        if integer is None and calibration is not None:
            integer = _integer_source(lowered, layer, candidates[0], arithmetic, calibration)
        best = _choose(lowered, layer, candidates, arithmetic, real, integer)
        reports.append(best.report)
        nodes.update({n.name: n for n in best.nodes})
        used[neuron.name] = best.report.scale
        if integer is not None and best.spikes is not None:
            integer[neuron.name] = best.spikes
    graph = _assemble(lowered, profile, nodes, used, reports, calibrated=calibration is not None)
    ranges, violations = analyse(graph, arithmetic)
    if violations:
        raise DoesNotFit(violations, target=profile.name)
    graph.quantization["ranges"] = [r.to_dict() for r in ranges]
    if "lowering" in lowered.metadata:
        graph.quantization["lowering"] = lowered.metadata["lowering"]
    return graph


def _in_order(lowered: Graph) -> tuple[Node, ...]:
    """Layers in network order; where that is a loop, as they start."""
    if lowered.is_acyclic:
        return lowered.neurons
    return tuple(sorted(lowered.neurons, key=lambda n: n.reset_offset if isinstance(n, Lif) else 0))


def _most(graph: Graph, layer: Layer, arithmetic: Arithmetic) -> float:
    """The scale that no candidate may exceed: the threshold must fit, and currents must not wrap.

    With graded messages the largest unsaturated scale stays allowed, so that the range analysis refuses it where it
    wraps: there the remedy is fewer input levels, not coarser weights. So it does where no scale above zero is left.
    """
    most = arithmetic.v_th_max / layer.threshold
    sources = [graph[name] for s in layer.synapses for name in origins(graph, s.name)]
    message = max((n.max_value for n in sources if isinstance(n, Input)), default=1)
    wrap = wrap_scale(layer, arithmetic, message)
    if message > 1 or wrap == 0:
        wrap = max(wrap, largest_scale(layer, arithmetic))
    return min(most, wrap)


@dataclass(frozen=True)
class _Choice:
    report: LayerReport
    nodes: tuple[Node, ...]
    spikes: IntArray | None


def _choose(
    graph: Graph, layer: Layer, scales: list[float], arithmetic: Arithmetic,
    real: Mapping[str, IntArray] | None, integer: Mapping[str, IntArray] | None,
) -> _Choice:
    """The candidate with the fewest mismatching spikes; the first of equals."""
    best: _Choice | None = None
    for scale in scales:
        neuron = integer_neuron(layer, scale, arithmetic)
        synapses = tuple(
            replace(s, weight=integer_weight(s.weight, scale, arithmetic), bias=None) for s in layer.synapses
        )
        spikes, n_mismatches, n_ties, n_spikes = None, None, None, None
        if real is not None and integer is not None:
            spikes, n_ties = _run_layer(graph, neuron, synapses, ChainMap(dict(integer), dict(real)))
            wanted = real[neuron.name]
            n_mismatches, n_spikes = int((spikes != wanted).sum()), int(wanted.sum())
            n_ties = 0 if is_grid_exact(layer.neuron) else n_ties
        most_weight = weight_range(arithmetic)[1] + arithmetic.weight_step / 2
        saturated = sum(int((np.abs(s.weight * scale) > most_weight).sum()) for s in layer.synapses)
        saturated += int((np.abs(layer.bias * scale) > arithmetic.bias_max + 0.5).sum())
        largest = max((int(np.abs(s.weight).max(initial=0)) for s in synapses), default=0)
        report = LayerReport(
            neuron.name, scale, largest, per_layer(neuron.v_th), per_layer(neuron.v_decay), saturated, n_spikes, n_mismatches,
            n_ties,
        )
        if best is None or (n_mismatches is not None and n_mismatches < (best.report.n_mismatches or 0)):
            best = _Choice(report, (neuron, *synapses), spikes)
    assert best is not None  # candidates are never empty
    return best


def _run_layer(
    graph: Graph, neuron: CubaLif, synapses: tuple[Conv2d | Linear, ...], spikes: Mapping[str, IntArray]
) -> tuple[IntArray, int]:
    """(spikes [T, B, *shape], n_ties) of one integer layer in model time; a tie is a membrane exactly at the threshold.

    Of layers that are not quantized yet, which only feed back, `spikes` has those of the real network.
    """
    total: Any = 0
    by_name = {s.name: s for s in synapses}
    for edge in graph.incoming(neuron.name):
        synapse = by_name.get(edge.src)
        total = total + (spikes[edge.src] if synapse is None else _weighted(graph, synapse, spikes))
    # Model time: the sample starts with the first step, whatever the layer's latency.
    started = replace(neuron, reset_interval=None, v_init=np.zeros(1, dtype=np.int64))
    state = initial_state(started, total.shape[1])
    out, n_ties = [], 0
    for a in total:
        fired, state = step(started, a, state)
        n_ties += int(((state["v_mem"] == neuron.v_th << neuron.state_shift) & (fired == 0)).sum())
        out.append(fired)
    return np.stack(out), n_ties


def _weighted(graph: Graph, synapse: Conv2d | Linear, spikes: Mapping[str, IntArray]) -> IntArray:
    """Integer synaptic sums [T, B, *shape]: float64 matrix arithmetic, exact below 2^53."""
    x = torch.from_numpy(sum(_late(spikes[name], delay) for name, delay in _read(graph, synapse.name))).to(torch.float64)
    weight = torch.from_numpy(synapse.weight).to(torch.float64)
    if isinstance(synapse, Linear):
        y = x.flatten(2) @ weight.T
    else:
        y = torch.nn.functional.conv2d(
            x.flatten(0, 1), weight, None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups
        )
        y = y.reshape(*x.shape[:2], *y.shape[1:])
    return np.asarray(y.to(torch.int64).numpy())


def _read(graph: Graph, synapse: str) -> list[tuple[str, int]]:
    """(node, model timesteps of delay) of what a synapse reads."""
    if graph.is_acyclic:
        return [(name, 0) for name in origins(graph, synapse)]
    delays = model_delays(graph)
    (edge,) = graph.incoming(synapse)
    before = graph.incoming(edge.src) if isinstance(graph[edge.src], Flatten) else ()
    return [(e.src, sum(delays[d] for d in {edge, e})) for e in before or (edge,)]


def _late(spikes: IntArray, delay: int) -> IntArray:
    """Spikes [T, ...] that many timesteps later."""
    return spikes if not delay else np.concatenate([np.zeros_like(spikes[:delay]), spikes[:-delay]])


def _real_spikes(lowered: Graph, images: NDArray[Any]) -> dict[str, IntArray]:
    """Spikes [T, B, *shape] of every neuron layer of the real network, in float64."""
    module = TorchGraph(lowered, torch.float64)
    with torch.no_grad():
        values = module(torch.from_numpy(chip_input(lowered, images)))
    return {n.name: values[n.name].to(torch.int64).numpy() for n in lowered.neurons}


def _integer_source(
    lowered: Graph, first: Layer, scale: float, arithmetic: Arithmetic, images: NDArray[Any]
) -> dict[str, IntArray]:
    entry = _entry(lowered.inputs[0], scale if first.host_input is not None else None, arithmetic)
    nodes = tuple(entry if isinstance(n, Input) else n for n in lowered.nodes)
    values = chip_input(replace(lowered, nodes=nodes), images)
    if entry.kind == "bias":
        values = np.clip(np.rint(values), -entry.max_value, entry.max_value)
    return {entry.name: values.astype(np.int64)}


def _entry(entry: Input, scale: float | None, arithmetic: Arithmetic) -> Input:
    """The integer graph's input: host-written biases take the scale of the neurons they enter."""
    return entry if scale is None else replace(entry, value_scale=scale, max_value=arithmetic.bias_max)


def _assemble(
    lowered: Graph, profile: Profile, nodes: Mapping[str, Node], scales: Mapping[str, float],
    reports: list[LayerReport], *, calibrated: bool,
) -> IntGraph:
    entry = lowered.inputs[0]
    fed = [e.dst for e in lowered.outgoing(entry.name)]
    entry = _entry(entry, scales[fed[0]] if entry.kind == "bias" else None, profile.arithmetic)
    replaced = {**nodes, entry.name: entry}
    return IntGraph(
        nodes=tuple(replaced.get(n.name, n) for n in lowered.nodes), edges=lowered.edges, n_timesteps=lowered.n_timesteps,
        metadata=dict(lowered.metadata), host=lowered.host, target=profile.name,
        quantization={"calibrated": calibrated, "scales": dict(scales), "layers": [r.to_dict() for r in reports]},
    )
