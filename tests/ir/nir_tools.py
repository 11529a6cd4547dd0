"""Networks of spikingjelly and snntorch, what they do, and their NIR files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

T = 12
Spikes = list[NDArray[np.float64]]


def seeded(make: Any, seed: int = 0) -> Any:
    """The network with weights that let every layer fire, the same in every run."""
    torch.manual_seed(seed)
    net = make()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv1d | torch.nn.Conv2d):
                fan_in = module.weight[0].numel()
                module.weight.copy_(torch.randn_like(module.weight) * 2 / fan_in**0.5 + 0.6 / fan_in**0.5)
    return net


def inputs(*shape: int, batch: int = 2) -> NDArray[np.float64]:
    return np.random.default_rng(1).poisson(0.7, (T, batch, *shape)).astype(float)


def spikes(net: Any, kinds: tuple[type, ...], x: NDArray[np.float64], reset: Any) -> Spikes:
    """[T, B, *shape] of every layer of neurons in the order in which they run, stepped through x."""
    seen: dict[Any, list[Any]] = {}

    def keep(module: Any, _: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        seen.setdefault(module, []).append(first.detach().numpy().copy())

    handles = [m.register_forward_hook(keep) for m in net.modules() if isinstance(m, kinds)]
    reset(net)
    with torch.no_grad():
        for frame in torch.from_numpy(x).to(next(net.parameters()).dtype):
            net(frame)
    reset(net)
    for handle in handles:
        handle.remove()
    return [np.stack(v) for v in seen.values()]


class SpikingJelly:
    """spikingjelly >= 2.0; skips the test where it is not installed."""

    def __init__(self) -> None:
        self.exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
        from spikingjelly.activation_based import functional, layer, neuron

        self.layer, self.neuron, self.functional = layer, neuron, functional

    def spikes(self, net: Any, x: NDArray[np.float64]) -> Spikes:
        return spikes(net, (self.neuron.BaseNode,), x, self.functional.reset_net)

    def write(self, net: Any, path: Path, *shape: int) -> Path:
        nir.write(path, self.exchange.export_to_nir(net, torch.ones(1, *shape, dtype=torch.float64)))
        return path


class SnnTorch:
    """snntorch >= 1.0 with nirtorch; skips the test where one is not installed."""

    def __init__(self) -> None:
        self.snn, self.exchange = pytest.importorskip("snntorch"), pytest.importorskip("snntorch.export_nir")
        self.kinds = (self.snn.Leaky, self.snn.Synaptic, self.snn.RLeaky, self.snn.RSynaptic)

    def leaky(self, *shape: int, beta: float = 0.75, threshold: float = 1.0, **more: Any) -> Any:
        """Its exporter needs beta and threshold as arrays of one shape."""
        return self.snn.Leaky(beta=torch.full(shape, beta), threshold=torch.full(shape, threshold), init_hidden=True,
                              **{"reset_mechanism": "zero", **more})  # fmt: skip

    def spikes(self, net: Any, x: NDArray[np.float64]) -> Spikes:
        from snntorch import utils

        return spikes(net, self.kinds, x, utils.reset)

    def write(self, net: Any, path: Path, *shape: int) -> Path:
        nir.write(path, self.exchange.export_to_nir(net, torch.ones(1, *shape), ignore_dims=[0]))
        return path
