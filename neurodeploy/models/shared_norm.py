"""Batch normalisation whose statistics are those of a batch that lies in parts on several processes.

    mean = sum x / n, var = sum (x - mean)^2 / n over all parts; y = (x - mean) / sqrt(var + eps) * weight + bias

and the gradient is that of the whole batch: dx = weight / sqrt(var + eps) * (dy - mean dy - y0 * mean (dy y0)) with y0 before
weight and bias and means over all parts; those of weight and bias are of this part, for the trainer sums all parameters'.
`total` sums a tensor over processes, in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Total = Callable[[Tensor], Tensor]
_OVER = (0, 2, 3)


class _SharedNorm(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, total: Total
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sums = total(torch.cat([x.sum(_OVER), x.new_tensor([x.numel() / x.shape[1]])]))
        n = sums[-1]
        mean = sums[:-1] / n
        centred = x - mean[:, None, None]
        var = total(centred.square().sum(_OVER)) / n
        scale = (var + eps).rsqrt()
        y0 = centred.mul_(scale[:, None, None])
        ctx.save_for_backward(y0, weight * scale, n)
        ctx.total = total
        ctx.mark_non_differentiable(mean, var, n)
        return y0 * weight[:, None, None] + bias[:, None, None], mean, var, n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        dy = grads[0]
        y0, scale, n = ctx.saved_tensors
        here = torch.stack([(dy * y0).sum(_OVER), dy.sum(_OVER)])
        over, plain = ctx.total(here.clone()) / n
        dx = (dy - plain[:, None, None] - y0 * over[:, None, None]) * scale[:, None, None]
        return dx, here[0], here[1], None, None


def shared_norm(norm: nn.BatchNorm2d, x: Tensor, total: Total) -> Tensor:
    """What `norm` in training mode gives for this process's part x [B, C, H, W], with the statistics of all parts; moves its
    running statistics, alike in every process."""
    y, mean, var, n = _SharedNorm.apply(x, norm.weight, norm.bias, norm.eps, total)  # type: ignore[no-untyped-call]
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean, share)
            norm.running_var.lerp_(var * n / (n - 1), share)
    out: Tensor = y
    return out
