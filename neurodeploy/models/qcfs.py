"""QCFS: the activation of a network that is trained without spikes to become one of integrate-and-fire neurons.

    h(x) = clip(floor(x / lam * L + 1/2) / L, 0, 1) * lam

lam is learnt, one number a layer. The gradient passes the floor as if it were not there (straight through): it is 1 towards x
within the clip, and towards lam what the formula gives. Neurons of threshold lam with soft reset that start at lam / 2 and
receive a constant x put out h(x) on average over T = L timesteps, except at ties (`lower.ann`). With L = None there is no
floor: h(x) = clip(x, 0, lam), the trainable clipping layer.

Sources: Bu et al., ICLR 2022 (arXiv 2303.04347); Ho and Chang, DAC 2021 (TCL); the parameter's name, its start at 4 and the
order of operations as in the release of SEENN (arXiv 2304.01230), whose state_dicts therefore load.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from neurodeploy.errors import UsageError


class _Floor(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def clip_floor(x: Tensor, lam: Tensor, levels: int | None) -> Tensor:
    """h(x) of any shape, for a lam > 0 of one element; differentiable towards both, the floor straight through."""
    if levels is None:
        return torch.minimum(x.clamp(min=0), lam)
    floor: Tensor = _Floor.apply(x / lam * levels + 0.5)  # type: ignore[no-untyped-call]
    return (floor / levels).clamp(0, 1) * lam


class Qcfs(nn.Module):
    """The activation. `up` [1] is lam; `levels` is L, None for no floor. Raises UsageError for values that define none."""

    def __init__(self, levels: int | None, lam: float = 4.0) -> None:
        super().__init__()
        if not 0 < lam < float("inf") or (levels is not None and levels < 1):
            raise UsageError(f"lam is {lam}, levels is {levels}", where="Qcfs", limit="lam above 0, levels at least 1, or None")
        self.levels = levels
        self.up = nn.Parameter(torch.tensor([float(lam)]))

    def forward(self, x: Tensor) -> Tensor:
        return clip_floor(x, self.up, self.levels)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


def to_qcfs(module: nn.Module, levels: int | None, lam: float = 4.0) -> nn.Module:
    """The module, changed in place: each ReLU becomes a Qcfs of its own, each max-pool an average pool of the same window,
    which spikes can stand for. Train it afterwards: `train.ann2snn`.

    >>> [type(part).__name__ for part in to_qcfs(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), 8)]
    ['Qcfs', 'AvgPool2d']
    """
    if isinstance(module, nn.ReLU):
        return Qcfs(levels, lam)
    if isinstance(module, nn.MaxPool2d):
        if module.dilation != 1 or module.return_indices:
            raise UsageError("a max-pool with dilation or indices", where="to_qcfs", limit="Plain pools")
        return nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
    for name, child in module._modules.items():  # named_children leaves out what occurs again, such as one ReLU for all
        if child is not None:
            module._modules[name] = to_qcfs(child, levels, lam)
    return module
