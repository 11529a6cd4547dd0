"""Small AutoSNN networks with random weights whose every layer fires, as if they had been trained."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from neurodeploy.ir.graph import Graph
from neurodeploy.models.autosnn import Arch, AutoSnn, MacroConfig
from neurodeploy.models.convert import to_graph
from numpy.typing import NDArray

# Layers this small gain nothing from a second thread, and on a busy machine waiting for it costs a hundred times more.
torch.set_num_threads(1)

# Every block at a position with and without a change of channels: positions 1 and 3 double them.
ARCHS: tuple[Arch, ...] = (
    ("skip_connect", "SCB_k3", "SRB_k3", "SRB_k3", "skip_connect"),
    ("SRB_k5", "skip_connect", "SCB_k5", "skip_connect", "SRB_k3"),
)


@cache
def autosnn(arch: Arch, decay_input: bool = True, size: tuple[int, int] = (8, 8), T: int = 3) -> Graph:
    """The float graph of a network with random statistics, scales and time constants."""
    torch.manual_seed(7)
    config = MacroConfig(1, size, 3, width=4, n_timesteps=T, group=3, decay_input=decay_input)
    net = AutoSnn(config, arch).double().train()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if ".bn" in name and name.endswith("weight"):
                p.uniform_(1.0, 2.5)
            elif ".bn" in name:
                p.uniform_(0.3, 1.1)
            elif name.endswith(".w"):
                p.uniform_(-0.7, 0.9)
            elif name.startswith("classifier.linear"):
                p.mul_(8)
        for _ in range(20):
            net(torch.rand(20, 1, *size, dtype=torch.float64))
    return to_graph(net.eval())


def images(n: int, n_levels: int = 17, size: tuple[int, int] = (8, 8), seed: int = 0) -> NDArray[Any]:
    """[n, 1, H, W], whole multiples of 1 / (n_levels - 1)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, n_levels, size=(n, 1, *size)) / (n_levels - 1)
