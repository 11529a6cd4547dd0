"""Quantization-aware fine-tuning: train on with weights, biases, decays and thresholds on the chip's grid.

The forward pass uses the rounded values, gradients go to the real ones (straight-through estimator, Bengio et al.
2013). Scales, decays and thresholds stay those that calibration chose. The result is a lowered graph whose parameters
lie on the grid, so that quantizing it at the same scales rounds nothing more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurodeploy.data.chip_input import chip_input
from neurodeploy.hw.profile import Arithmetic, Profile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, CurrentLif, Lif, Linear, Node
from neurodeploy.ir.votes import predictions
from neurodeploy.lower.pool import is_or
from neurodeploy.models.from_graph import TorchGraph
from neurodeploy.quantize.formats import is_grid_exact, layer_of, per_layer, weight_range
from neurodeploy.quantize.ptq import quantize
from neurodeploy.train import losses
from neurodeploy.train.config import Loss
from neurodeploy.train.runtime import resolve_device

_BATCH = 512  # validation images at once
Images = tuple[NDArray[Any], NDArray[Any]]  # [N, C, H, W] in 0..1 and labels [N]


@dataclass(frozen=True)
class QatSettings:
    """epochs over the training data, Adam with a cosine schedule from `lr`, the loss of the original training."""

    epochs: int
    lr: float = 1e-3
    batch_size: int = 64
    loss: Loss = "mse"


def fine_tune(
    lowered: Graph, net: IntGraph, profile: Profile, data: Images, validation: Images, settings: QatSettings, *,
    seed: int, device: str = "auto", progress: Callable[[int, float], None] | None = None,
) -> tuple[Graph, IntGraph]:
    """(lowered graph on the grid, its IntGraph) after fine-tuning `lowered`, which `net` quantizes.

    The epoch of highest validation accuracy is kept, of equals the one of lowest loss; `progress` receives (epoch,
    validation accuracy). device: as `train.runtime.resolve_device` takes it.
    """
    on = resolve_device(device)
    scales: dict[str, float] = net.quantization["scales"]
    module = _on_grid(merge_biases(lowered), net, scales, profile.arithmetic).to(on)
    x, y = torch.from_numpy(chip_input(lowered, data[0])).float(), torch.from_numpy(data[1])
    x_val = torch.from_numpy(chip_input(lowered, validation[0])).float()
    optimizer = torch.optim.Adam(module.parameters(), lr=settings.lr)
    n_batches = -(-len(y) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs * n_batches)
    order = torch.Generator().manual_seed(seed)
    output = lowered.output.name
    best: tuple[float, float] | None = None
    kept: dict[str, Tensor] = {}
    for epoch in range(settings.epochs + 1):  # epoch 0 is the start itself: fine-tuning never makes it worse
        if epoch:
            for index in torch.split(torch.randperm(len(y), generator=order), settings.batch_size):
                optimizer.zero_grad()
                loss = losses.loss(settings.loss, module(x[:, index].to(on))[output], y[index].to(on))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            votes = torch.cat([module(part.to(on))[output].cpu() for part in torch.split(x_val, _BATCH, dim=1)], dim=1)
        accuracy = float((predictions(votes.numpy())[-1] == validation[1]).mean())
        rank = (accuracy, -float(losses.loss(settings.loss, votes, torch.from_numpy(validation[1]))))
        if best is None or rank > best:
            best, kept = rank, copy.deepcopy(module.state_dict())
        if progress and epoch:
            progress(epoch, accuracy)
    module.load_state_dict(kept)
    tuned = _to_graph(module)
    return tuned, quantize(tuned, profile, validation[0], scales=scales)


def merge_biases(graph: Graph) -> Graph:
    """Each neuron layer's biases summed into its first synapse: the chip holds one bias per neuron."""
    changed: dict[str, Node] = {}
    for neuron in graph.neurons:
        assert isinstance(neuron, Lif)
        layer = layer_of(graph, neuron)
        if any(s.bias is not None for s in layer.synapses):
            for i, synapse in enumerate(layer.synapses):
                changed[synapse.name] = replace(synapse, bias=layer.bias if i == 0 else None)
    return replace(graph, nodes=tuple(changed.get(n.name, n) for n in graph.nodes))


def _on_grid(graph: Graph, net: IntGraph, scales: Mapping[str, float], arithmetic: Arithmetic) -> TorchGraph:
    """The graph as a module whose forward pass uses what the chip holds."""
    nodes: list[Node] = []
    scale_of: dict[str, float] = {}
    frozen: set[str] = set()
    for node in graph.nodes:
        if isinstance(node, Lif) and not is_grid_exact(node):
            integer = net[node.name]
            assert isinstance(integer, CubaLif)
            inv_tau = per_layer(integer.v_decay) / arithmetic.decay_one
            gain = inv_tau if node.decay_input else 1.0
            v_th = per_layer(integer.v_th) / scales[node.name] * gain
            node = replace(node, inv_tau=inv_tau, v_th=v_th, fire=arithmetic.fire)
            if isinstance(node, CurrentLif):
                node = replace(node, inv_tau_syn=per_layer(integer.i_decay) / arithmetic.decay_one)
        elif isinstance(node, Lif) and not is_or(node, layer_of(graph, node).synapses):
            # Membranes are whole numbers / scale: half a step above the chip's threshold float rounding cannot reach it.
            integer = net[node.name]
            assert isinstance(integer, CubaLif)
            node = replace(node, v_th=(per_layer(integer.v_th) + 0.5) / scales[node.name], fire=arithmetic.fire)
        nodes.append(node)
    for neuron in graph.neurons:
        assert isinstance(neuron, Lif)
        layer = layer_of(graph, neuron)
        for synapse in layer.synapses:
            scale_of[synapse.name] = scales[neuron.name]
        if is_or(neuron, layer.synapses):  # OR layers and relays: their unit weights are their meaning
            frozen |= {s.name for s in layer.synapses}
    module = TorchGraph(replace(graph, nodes=tuple(nodes)))

    def weight(name: str, value: Tensor) -> Tensor:
        if name in frozen:
            return value
        step = arithmetic.weight_step / scale_of[name]
        low, high = (bound / scale_of[name] for bound in weight_range(arithmetic))
        return _straight_through(value, torch.round(value / step) * step, low, high)

    def bias(name: str, value: Tensor) -> Tensor:
        step = 1.0 / scale_of[name]
        most = arithmetic.bias_max * step
        return _straight_through(value, torch.round(value / step) * step, -most, most)

    module.on_weight, module.on_bias = weight, bias
    module.freeze(frozen)
    return module


def _straight_through(value: Tensor, rounded: Tensor, low: float, high: float) -> Tensor:
    inside = value.clamp(low, high)
    return inside + (rounded.clamp(low, high) - inside).detach()


def _to_graph(module: TorchGraph) -> Graph:
    """The module's graph with the parameters that its forward pass uses."""
    nodes: list[Node] = []
    for node in module.graph.nodes:
        if isinstance(node, Conv2d | Linear):
            weight, bias = module.parameters_of(node.name)
            nodes.append(replace(node, weight=_array(weight), bias=None if bias is None else _array(bias)))
        else:
            nodes.append(node)
    return replace(module.graph, nodes=tuple(nodes))


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.detach().cpu().double().numpy())
