"""AutoSNN networks read off the paper and its release by other means: one function over a state_dict, a timestep at a time.

Nothing of neurodeploy's networks is used: sizes, strides and pools come from the tables below, layers are torch functions,
neurons plain tensors, and spikes are counted where the release counts them. State names are the release's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# ([(channels or "m" / "a", stride)], global average pool), as the release's tables have them
TABLES: dict[str, tuple[tuple[tuple[int | str, int], ...], bool]] = {
    "AutoSNN_16": (((16, 1), ("m", 2), (32, 1), (32, 1), ("m", 2), (64, 1), (64, 1), ("m", 2)), False),
    "SNN_2": (((16, 1), ("m", 2), (32, 1), (32, 1), ("m", 2), (64, 1), (64, 1), ("m", 2)), True),
    "SNN_3": (((16, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1), (128, 2)), False),
    "SNN_4": (((16, 1), ("a", 2), (32, 1), (32, 1), ("a", 2), (64, 1), (64, 1), ("a", 2)), False),
}  # fmt: skip


class Slow:
    """Runs `state` (names of the release -> float64 tensors) on images [N, C, H, W], or [N, T, C, H, W] where `stem` is "dvs".

    After `run`: `logits` [N, K], the votes' sum; `spikes`, all of them per image; `per_layer`, totals of each layer by step.
    Training takes batch statistics, of a static stem once and otherwise at every timestep.
    """

    def __init__(
        self, macro: str, blocks: list[str], stem: str, state: Mapping[str, Tensor], *, decay_input: bool, train: bool
    ) -> None:
        self.table, self.gap = TABLES[macro]
        self.blocks, self.stem, self.state = blocks, stem, state
        self.decay_input, self.train = decay_input, train

    def run(self, x: Tensor, n_timesteps: int) -> None:
        self.v: dict[str, Tensor] = {}
        self.total = torch.zeros((), dtype=torch.float64)
        self.per_layer: dict[str, list[float]] = {}
        self.logits = torch.zeros(())
        static = None if x.ndim == 5 else self.bn("conv_stem.1", F.conv2d(x, self.state["conv_stem.0.weight"], padding=1))
        for t in range(n_timesteps):
            current = static if static is not None else self.bn(
                "conv_stem.1", F.conv2d(x[:, t], self.state["conv_stem.0.weight"], padding=1)
            )
            at = self.fire("spike_neuron_stem", current)
            if self.stem != "plain":
                name = "DVS_conv_1" if self.stem == "dvs" else "ImageNet_conv"
                at = self.count("pool_1", F.max_pool2d(at, 2))
                at = self.fire(f"{name}.2", self.bn(f"{name}.1", F.conv2d(at, self.state[f"{name}.0.weight"], padding=1)))
                if self.stem == "dvs":
                    at = self.count("pool_2", F.max_pool2d(at, 2))
            blocks = iter(self.blocks)
            for i, (width, stride) in enumerate(self.table):
                if width == "m":
                    at = self.count(f"layers.{i}", F.max_pool2d(at, 2))
                elif width == "a":
                    at = self.fire(f"layers.{i}.spike_neuron", F.avg_pool2d(at, 2))
                else:
                    at = self.block(next(blocks), f"layers.{i}", at, int(width), stride)
            if self.gap:
                at = self.fire("avgpool.1", at.mean((2, 3), keepdim=True))
            out = self.fire("fc.2", at.flatten(1) @ self.state["fc.1.weight"].T)
            self.logits = self.logits + out.reshape(len(out), -1, 10).mean(2)
        self.spikes = self.total / len(x)

    def block(self, block: str, name: str, x: Tensor, width: int, stride: int) -> Tensor:
        state, c_in = self.state, x.shape[1]
        if block == "skip_connect":
            if stride == 2:
                y = torch.cat([F.conv2d(x, state[f"{name}.conv_1.weight"], stride=2),
                               F.conv2d(x[:, :, 1:, 1:], state[f"{name}.conv_2.weight"], stride=2)], 1)
            elif c_in == width:
                return x
            else:
                y = F.conv2d(x, state[f"{name}.conv.weight"])
            return self.fire(f"{name}.spike_neuron", self.bn(f"{name}.bn", y))
        kind, size, *_ = block.split("_")
        k = int(size[1:])
        convs = [(k, stride), (k, 1)] if kind != "SIB" else [(1, 1), (k, stride), (1, 1)]
        y = x
        for i, (kernel, step) in enumerate(convs, start=1):
            y = self.bn(f"{name}.bn{i}", F.conv2d(y, state[f"{name}.conv{i}.weight"], stride=step, padding=kernel // 2))
            if i == len(convs) and kind != "SCB":
                if stride == 1 and c_in == width:
                    y = y + x
                elif kind == "SRB" or stride == 1:
                    short = F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
                    y = y + self.bn(f"{name}.downsample.1", short)
            y = self.fire(f"{name}.spike_neuron_{i}", y)
        return y

    def bn(self, name: str, x: Tensor) -> Tensor:
        s = self.state
        if self.train:
            return F.batch_norm(x, None, None, s[f"{name}.weight"], s[f"{name}.bias"], training=True)
        return F.batch_norm(x, s[f"{name}.running_mean"], s[f"{name}.running_var"], s[f"{name}.weight"], s[f"{name}.bias"])

    def fire(self, name: str, x: Tensor) -> Tensor:
        k = self.state[f"{name}.w"].sigmoid()
        v = self.v.get(name, torch.zeros_like(x))
        v = v + (x - v) * k if self.decay_input else v + x - v * k
        spikes = _Heaviside.apply(v - 1)
        self.v[name] = torch.where(spikes.detach() > 0, torch.zeros_like(v), v)
        return self.count(name, spikes)

    def count(self, name: str, spikes: Tensor) -> Tensor:
        self.per_layer.setdefault(name, []).append(float(spikes.detach().sum()))
        self.total = self.total + spikes.detach().sum()
        return spikes


class _Heaviside(torch.autograd.Function):
    """[u >= 0] with the gradient 1 / (1 + (pi u)^2)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return grad / (1 + (math.pi * u) ** 2)
