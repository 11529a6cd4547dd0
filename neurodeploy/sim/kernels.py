"""Synapses and neurons of an integer graph on torch: floats only where every partial sum is exact, integers elsewhere.

A product of integers summed in floating point is exact in any order while the sum of the magnitudes stays below 2^24
(float32) or 2^53 (float64). That bound follows from the actual weights and the largest value the source can have.
None stands for an array of zeros, so that silent layers cost nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from neurodeploy.errors import NeurodeployError
from neurodeploy.fixedpoint import DECAY_BITS, shift_signed
from neurodeploy.ir.nodes import Conv2d, CubaLif, Linear

_EXACT_32, _EXACT_64 = 2**24, 2**53
_PLAIN = ("none", "ieee")


def float32_is_plain() -> bool:
    """False where torch may round float32 operands (TF32, bfloat16) in a product."""
    settings = [torch.backends.mkldnn.conv.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision]  # type: ignore[attr-defined]
    return torch.get_float32_matmul_precision() == "highest" and all(s in _PLAIN for s in settings)


class Synapse:
    """A Conv2d or Linear whose source has values of at most `largest`; `bound` is that of its own output."""

    def __init__(self, node: Conv2d | Linear, largest: int) -> None:
        weight = node.weight
        row = np.abs(weight).reshape(weight.shape[0], -1).sum(axis=1).max()
        self.bound = int(row) * largest
        if self.bound >= _EXACT_64:
            raise NeurodeployError(
                f"sums reach {self.bound}", where=node.name, limit=f"The simulator is exact below {_EXACT_64}",
                remedy="Use smaller weights or smaller inputs", code="not_exact",
            )
        self.node = node
        self.dtype = torch.float32 if self.bound < _EXACT_32 and float32_is_plain() else torch.float64
        self.weight = torch.tensor(weight).to(self.dtype)
        self._ones: Tensor | None = None

    def apply(self, x: Tensor | None) -> Tensor | None:
        """The weighted sums of x [B, *source shape], exact, in `dtype`."""
        if x is None:
            return None
        node, x = self.node, x.to(self.dtype)
        if isinstance(node, Linear):
            return functional.linear(x, self.weight)
        return functional.conv2d(x, self.weight, None, node.stride, node.padding, node.dilation, node.groups)

    def events(self, arrived: Tensor | None) -> Tensor | None:
        """Where an event is handed on, given where events arrive (bool): through every synapse, whatever its weight."""
        if arrived is None:
            return None
        node = self.node
        n_out = self.weight.shape[0]
        if isinstance(node, Linear):
            return arrived.any(dim=1, keepdim=True).expand(-1, n_out)
        groups = node.groups
        seen = arrived.reshape(len(arrived), groups, -1, *arrived.shape[2:]).any(dim=2)
        if self._ones is None:
            self._ones = torch.ones(groups, 1, *self.weight.shape[2:])
        hit = functional.conv2d(
            seen.to(torch.float32), self._ones, None, node.stride, node.padding, node.dilation, groups
        ) > 0
        return hit.repeat_interleave(n_out // groups, dim=1)


class Neuron:
    """A CubaLif layer of `batch` samples with its state; `largest` bounds the magnitude of the sums that reach it."""

    def __init__(self, node: CubaLif, batch: int, largest: int) -> None:
        self.node = node
        half = 1 << (node.state_bits - 1)
        drive = largest << node.state_shift
        bias = np.broadcast_to(shift_signed(node.bias_mant, node.bias_exp), node.shape)[np.newaxis]
        # Up to a drive of 2 * half one wrap brings the current back into range, so 32 bits hold every intermediate.
        self.narrow = half <= 2**23 and drive <= 2 * half and np.abs(bias).max() <= 2**29
        self.dtype = torch.int32 if self.narrow else torch.int64
        one = 1 << DECAY_BITS
        self._may_wrap = node.i_decay == 0 or -(-drive * one // node.i_decay) >= half
        self._half, self._bits = half, node.state_bits
        self._i_keep, self._v_keep = one - node.i_decay, one - node.v_decay
        self._v_th = node.v_th << node.state_shift
        if self.narrow:
            self._v_th = max(-(2**30), min(2**30, self._v_th))
        self.bias = torch.tensor(bias).to(self.dtype) if bias.any() else None
        self.always_updated = bool((bias != 0).all())
        self.i_syn = torch.zeros((batch, *node.shape), dtype=self.dtype)
        self.v_mem = torch.zeros_like(self.i_syn)

    def step(self, t: int, a: Tensor | None) -> Tensor:
        """Advance timestep t (0-based) with the sums `a` (in `dtype`); the neurons that fired, bool [B, *shape]."""
        node, u, v = self.node, self.i_syn, self.v_mem
        interval = node.reset_interval
        if interval is not None and (t + 1) % interval == node.reset_offset % interval:
            u.zero_()
            v.zero_()
        self._decay(u, self._i_keep)
        if a is not None:
            u.add_(a << node.state_shift)
        if self._may_wrap:
            u.sub_((u > self._half).to(self.dtype) << self._bits)
            u.add_((u <= -self._half).to(self.dtype) << self._bits)
        self._decay(v, self._v_keep)
        v.add_(u)
        if self.bias is not None:
            v.add_(self.bias)
        v.clamp_(1 - self._half, self._half - 1)
        fired = v > self._v_th
        v.masked_fill_(fired, 0)
        return fired

    def active(self) -> Tensor:
        """Neurons with state or a bias that is not zero, bool [B, *shape]."""
        found = (self.i_syn != 0) | (self.v_mem != 0)
        return found if self.bias is None else found | (self.bias != 0)

    def keep(self, mask: Tensor) -> None:
        """Drop the samples of the batch where mask [B] is false."""
        self.i_syn, self.v_mem = self.i_syn[mask], self.v_mem[mask]

    def _decay(self, x: Tensor, keep: int) -> None:
        """x * keep / 4096 truncated toward zero, in place."""
        if keep == 1 << DECAY_BITS:
            return
        if keep == 0:
            x.zero_()
            return
        shift = DECAY_BITS
        while keep % 2 == 0:
            keep, shift = keep // 2, shift - 1
        if self.narrow and keep * self._half < 2**31 - 2**shift:  # such as 1/2 or 3/4: the product fits 32 bits
            x.mul_(keep)
            x.add_((x >> 31).bitwise_and_((1 << shift) - 1)).bitwise_right_shift_(shift)
        elif self.narrow:  # 24 x 12 bits: exact in float64, and its trunc_ rounds toward zero
            x.copy_(x.to(torch.float64).mul_(keep / (1 << shift)).trunc_())
        else:
            x.copy_(x.sign() * ((x.abs() * keep) >> shift))
