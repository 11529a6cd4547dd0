"""First weights of networks without batch norms: every synapse layer scaled so that neurons behind it would fire as wanted.

Without it a deep network of neurons without leak starts silent, or fires at every event: no gradient comes through either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neurodeploy.models.autosnn import AutoSnn, SuperNet
from neurodeploy.models.blocks import StandardConv2d, StandardLinear, synapses
from neurodeploy.models.macro import Arch
from neurodeploy.models.neurons import Neuron, scan

_BISECTIONS = 30
_LARGEST = 4096.0  # a factor beyond which a layer is called silent, whatever its weights


def scale_to_rate(network: AutoSnn | SuperNet, x: Tensor, rate: float, paths: Sequence[Arch] = ()) -> None:
    """Scale each convolution and linear layer in place so that it alone would make its neurons fire `rate` times a timestep.

    x: what the network takes, some samples. paths: of a supernet, the architectures whose layers are scaled, in this order;
    a layer keeps the scale of the first path through it. The weight limit is kept. Layers that cannot reach the rate get the
    largest factor. Nothing random is drawn, and no state of the optimiser exists yet.
    """
    dynamics = next(m for m in network.modules() if isinstance(m, Neuron)).dynamics
    none = torch.zeros((), dtype=x.dtype, device=x.device)

    def mean_rate(current: Tensor, factor: float) -> float:
        return float(scan(current * factor, none, dynamics).mean())

    training = network.training
    network.eval()
    with torch.no_grad(), _scaled_once(network, lambda current: _factor(current, rate, mean_rate)):
        if isinstance(network, SuperNet):
            for path in paths:
                network(x, path)
        else:
            network(x)
    network.constrain()
    network.train(training)


def _factor(current: Tensor, rate: float, mean_rate: Callable[[Tensor, float], float]) -> float:
    low, high = 0.0, _LARGEST
    for _ in range(_BISECTIONS):
        middle = (low * high) ** 0.5 if low > 0 else high / 64
        low, high = (middle, high) if mean_rate(current, middle) < rate else (low, middle)
        if low == 0.0 and high < 1e-6:
            break
    return high


@contextmanager
def _scaled_once(network: nn.Module, factor_of: Callable[[Tensor], float]) -> Iterator[None]:
    """While it lasts, a layer's first forward pass scales its weights, and its output with them."""
    done: set[nn.Module] = set()

    def scale(layer: nn.Module, _args: Any, output: Tensor) -> Tensor | None:
        if layer in done:
            return None
        done.add(layer)
        factor = factor_of(output)
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        (layer.gain if isinstance(layer, StandardConv2d | StandardLinear) else layer.weight).mul_(factor)
        return output * factor

    handles = [m.register_forward_hook(scale) for m in synapses(network)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
