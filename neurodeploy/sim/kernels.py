"""Synapses and pools of an integer graph on torch, for the values of any number of timesteps and samples at once.

A product of integers summed in floating point is exact in any order while the sum of the magnitudes stays below 2^24
(float32) or 2^53 (float64). That bound follows from the actual weights and the largest value the source can have;
sigma-delta messages have no bound before they are seen, so there the largest value at hand decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.nodes import Array, Conv2d, Linear, MaxPool2d, Shape, SumPool2d
from neurodeploy.sim.series import Series, total

_EXACT_32, _EXACT_64 = 2**24, 2**53
_PLAIN = ("none", "ieee")


def float32_is_plain() -> bool:
    """False where torch may round float32 operands (TF32, bfloat16) in a product."""
    settings = [torch.backends.mkldnn.conv.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision]  # type: ignore[attr-defined]
    return torch.get_float32_matmul_precision() == "highest" and all(s in _PLAIN for s in settings)


def exact_type(bound: int, where: str) -> torch.dtype:
    """The cheapest type in which sums up to `bound` are exact; raises NeurodeployError where there is none."""
    if bound >= _EXACT_64:
        raise NeurodeployError(
            f"sums reach {bound}", where=where, limit=f"The simulator is exact below {_EXACT_64}",
            remedy="Use smaller weights or smaller inputs", code="not_exact",
        )
    return torch.float32 if bound < _EXACT_32 and float32_is_plain() else torch.float64


def largest_of(values: Tensor) -> int:
    """The largest magnitude in a tensor."""
    return int(values.abs().max()) if values.numel() else 0


@dataclass
class Tap:
    """The synapses of a node that have the same delay inside the node: `weight`, elsewhere zero, and `exists` [O, I]."""

    delay: int
    weight: Array
    exists: Tensor | None = None  # None: all of them

    def __post_init__(self) -> None:
        self.row = int(np.abs(self.weight).reshape(len(self.weight), -1).sum(axis=1).max(initial=0))
        self._as: dict[torch.dtype, Tensor] = {}

    def cast(self, dtype: torch.dtype) -> Tensor:
        """The weights in a type, made once."""
        if dtype not in self._as:
            self._as[dtype] = torch.tensor(self.weight).to(dtype)
        return self._as[dtype]


class Synapse:
    """A Conv2d or Linear whose source has values of at most `largest`, or unknown ones (None).

    `bound` is the largest magnitude of its own output, None where unknown; `reach` the longest delay inside it.
    """

    def __init__(self, node: Conv2d | Linear, largest: int | None, shape: Shape) -> None:
        """`shape` is that of the output. Raises NeurodeployError where no type holds the sums."""
        self.node, self.shape, self._largest = node, shape, 1 if node.binary else largest
        self.taps = _taps(node)
        self.reach = max(tap.delay for tap in self.taps)
        self._ones: Tensor | None = None
        self.bound: int | None = None
        if self._largest is not None:
            self.bound = sum(tap.row for tap in self.taps) * self._largest
            exact_type(self.bound, node.name)
            if isinstance(node, Linear):
                self.bound <<= max(node.weight_exp, 0)  # a shift to the right never adds magnitude: -1 >> n is -1
        if isinstance(node, Conv2d) and node.sum_bits is not None:
            half = 1 << (node.sum_bits - 1)
            self._wraps = self.bound is None or self.bound >= half
            self.bound = half if self._wraps else self.bound

    def apply(self, seen: dict[int, Series]) -> Series:
        """The weighted sums, exact; `seen`: the input by the delay with which a tap sees it."""
        terms = [self._product(tap, seen[tap.delay].distinct()) for tap in self.taps]
        if len(terms) == 1:
            return terms[0]
        return total(terms, torch.int64 if self.bound is None else exact_type(self.bound, self.node.name))

    def _product(self, tap: Tap, x: Series) -> Series:
        node, m = self.node, x.values
        if not len(m):
            return x.like(m.new_zeros((0, *self.shape)))
        if node.binary and m.dtype != torch.uint8:  # bytes are 0 or 1 already
            m = m != 0
        largest = largest_of(m) if self._largest is None else self._largest
        dtype = exact_type(tap.row * largest, node.name)
        m, weight = m.to(dtype), tap.cast(dtype)
        if isinstance(node, Linear):
            y = functional.linear(m, weight)
            if node.weight_exp:
                y = y.to(torch.int64)
                y = y << node.weight_exp if node.weight_exp > 0 else y >> -node.weight_exp
            return x.like(y)
        with torch.backends.nnpack.flags(enabled=False):  # its Winograd kernels are not exact
            y = functional.conv2d(m, weight, None, node.stride, node.padding, node.dilation, node.groups)
        if node.sum_bits is not None and self._wraps:
            half = 1 << (node.sum_bits - 1)
            y = (y.to(torch.int64) + half).bitwise_and_(2 * half - 1).sub_(half)
        return x.like(y)

    def events(self, arrived: dict[int, Series]) -> Series:
        """Where an event is handed on, given where events arrive (bool): through every synapse, whatever its weight."""
        return total([self._reached(tap, arrived[tap.delay].distinct()) for tap in self.taps], torch.bool)

    def _reached(self, tap: Tap, arrived: Series) -> Series:
        node, here = self.node, arrived.values
        if not len(here):
            return arrived.like(here.new_zeros((0, *self.shape)))
        n_out = len(tap.weight)
        if isinstance(node, Linear):
            if tap.exists is not None:
                return arrived.like(functional.linear(here.to(torch.float32), tap.exists) > 0)
            return arrived.like(here.any(dim=1, keepdim=True).expand(-1, n_out))
        groups = node.groups
        by_group = here.numpy().view(np.uint8).reshape(len(here), groups, -1, *here.shape[2:])
        seen = torch.from_numpy(np.bitwise_or.reduce(by_group, axis=2)).to(torch.float32)
        if self._ones is None:
            self._ones = torch.ones(groups, 1, *node.weight.shape[2:])
        with torch.backends.nnpack.flags(enabled=False):
            hit = functional.conv2d(seen, self._ones, None, node.stride, node.padding, node.dilation, groups) > 0
        spread = hit.unsqueeze(2).expand(-1, -1, n_out // groups, -1, -1)
        return arrived.like(spread.reshape(len(hit), n_out, *hit.shape[2:]))


def _taps(node: Conv2d | Linear) -> list[Tap]:
    if isinstance(node, Conv2d) or node.delays is None:
        return [Tap(0, node.weight)]
    return [
        Tap(int(d), np.where(node.delays == d, node.weight, 0), torch.tensor(node.delays == d).to(torch.float32))
        for d in np.unique(node.delays)
    ]


def max_pool(node: MaxPool2d | SumPool2d, x: Series) -> Series:
    """The largest value in each window of a pool, of any type; it keeps zeros zero."""
    x = x.distinct()
    return x.like(_windows(node, x.values).amax(dim=(3, 5)))


def sum_pool(node: SumPool2d, x: Series, dtype: torch.dtype) -> Series:
    """The sum of each window in `dtype`, which must hold it."""
    x = x.distinct()
    return x.like(_windows(node, x.values.to(dtype)).sum(dim=(3, 5)))


def _windows(node: MaxPool2d | SumPool2d, values: Tensor) -> Tensor:
    """[N, C, H, W] as [N, C, rows, kH, columns, kW], without the last rows and columns that fill no window."""
    n, channels, height, width = values.shape
    (kh, kw), (rows, columns) = node.kernel, (height // node.kernel[0], width // node.kernel[1])
    return values[:, :, : rows * kh, : columns * kw].reshape(n, channels, rows, kh, columns, kw)
