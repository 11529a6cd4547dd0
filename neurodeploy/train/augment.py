"""Random changes of training images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def random_shift(x: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Each image of x [B, C, H, W] moved by -pixels..pixels in y and in x, uniformly and on its own; zeros come in.

    The draws come from `generator` (of the CPU) alone.
    """
    if pixels == 0:
        return x
    n, _, height, width = x.shape
    offset = torch.randint(0, 2 * pixels + 1, (2, n, 1), generator=generator).to(x.device)
    rows = offset[0] + torch.arange(height, device=x.device)
    cols = offset[1] + torch.arange(width, device=x.device)
    padded = functional.pad(x, (pixels,) * 4)
    sample = torch.arange(n, device=x.device).reshape(n, 1, 1)
    # Advanced indices around a slice put the channel axis last.
    return padded[sample, :, rows[:, :, None], cols[:, None, :]].movedim(-1, 1).contiguous()
