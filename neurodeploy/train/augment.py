"""Random changes of training images, and of counts of events."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def random_affine(x: Tensor, shift: float, rotate: float, zoom: float, generator: torch.Generator) -> Tensor:
    """Each image of x [B, C, H, W] turned, scaled and moved on its own, bilinearly; zeros come in.

    Uniform draws from `generator` (of the CPU) alone: up to `shift` pixels in y and in x, up to `rotate` degrees in
    both directions about the centre, a scale in 1 - zoom .. 1 + zoom. Whole pixels alone would be a coarse change
    for small images: a move by one pixel of 8 takes a small network several points of accuracy.
    """
    if shift == rotate == zoom == 0:
        return x
    n, _, height, width = x.shape
    draws = (2 * torch.rand(4, n, generator=generator) - 1).to(x.device)
    angle, scale = draws[0] * math.radians(rotate), 1 / (1 + draws[1] * zoom)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    # affine_grid counts from -1 to 1 over width and height, so a turn of pixels mixes the two by their ratio.
    theta = torch.stack(
        [cos, -sin * (height / width), draws[2] * (2 * shift / width),
         sin * (width / height), cos, draws[3] * (2 * shift / height)], dim=1,
    ).reshape(n, 2, 3)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def random_crop(x: Tensor, crop: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image of x [B, C, H, W] moved by up to `crop` whole pixels in y and in x, zeros come in, and with `flip` every other
    one mirrored left to right: the window that padding by `crop` and random crops give.

    Draws come from `generator` (of the CPU) alone, and only for what is asked.
    """
    if not (crop or flip):
        return x
    n, _, height, width = x.shape
    rows = torch.arange(height).expand(n, height)
    columns = torch.arange(width).expand(n, width)
    if flip:
        columns = torch.where(torch.rand(n, 1, generator=generator) < 0.5, columns.flip(1), columns)
    if crop:
        corner = torch.randint(0, 2 * crop + 1, (2, n, 1), generator=generator)
        rows, columns = rows + corner[0], columns + corner[1]
    rows, columns = rows.to(x.device), columns.to(x.device)
    images = torch.arange(n, device=x.device)
    padded = functional.pad(x, (crop, crop, crop, crop)).permute(0, 2, 3, 1)
    return padded[images[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def random_cutout(x: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A square of `side` pixels about a random pixel of each image of x [B, C, H, W] set to 0 in all channels; what would lie
    outside is cut off. Draws come from `generator` (of the CPU) alone. Source: DeVries and Taylor, arXiv 1708.04552."""
    if not side:
        return x
    n, _, height, width = x.shape

    def inside(length: int) -> Tensor:
        first = torch.randint(length, (n, 1), generator=generator) - side // 2
        at = torch.arange(length)
        return (at >= first) & (at < first + side)

    rows, columns = inside(height), inside(width)
    kept = ~(rows[:, None, :, None] & columns[:, None, None, :])
    return x * kept.to(x.device)


def random_noise(x: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise of standard deviation `noise` on every pixel above 0 of x [B, C, H, W], clipped to 0..1.

    Empty pixels stay empty, as they are in a sparse input. The draws come from `generator` (of the CPU) alone.
    """
    if noise == 0:
        return x
    drawn = torch.randn(x.shape, generator=generator).to(x.device)
    return torch.where(x > 0, (x + noise * drawn).clamp(0, 1), x)


def random_events(x: Tensor, shift: float, drop: float, generator: torch.Generator) -> Tensor:
    """Each sample of counts x [B, T, C, H, W] moved by whole pixels, up to `shift` in y and in x, what leaves the map is lost;
    then each address of a bin loses its events with probability `drop`.

    Whole pixels and whole bins, so that counts stay counts. Draws come from `generator` (of the CPU) alone.
    """
    most = int(shift)
    if most:
        _, _, _, height, width = x.shape
        moves = torch.randint(-most, most + 1, (len(x), 2), generator=generator).tolist()
        padded = functional.pad(x, (most, most, most, most))
        x = torch.stack([
            sample[..., most + dy : most + dy + height, most + dx : most + dx + width]
            for sample, (dy, dx) in zip(padded, moves, strict=True)
        ])
    if drop:
        x = x * (torch.rand(x.shape, generator=generator) >= drop).to(x.device)
    return x
