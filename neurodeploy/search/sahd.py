"""How different the spikes of samples are in an untrained network: the score by which SNASNet chooses its cell.

For each call of a layer of neurons (every layer, every timestep) with spikes x [B, N] of 0 and 1, r_i = mean(x_i) and HD_ij the
number of neurons in which samples i and j differ:

    sahd     K_ij = N - 0.5 HD_ij / (E_ij + 1e-3),  E_ij = N (r_i (1 - r_j) + (1 - r_i) r_j): what HD_ij would be by chance
    hamming  K_ij = N - HD_ij

The score is log |det| of the mean of K over calls; -inf where two samples are the same to every layer. K is formed in float64
from exact counts: in float32 its distances drown in N at real sizes. Source: Kim et al., SNASNet, ECCV 2022, and its released
code; hamming: Mellor et al., ICML 2021, without the sparsity. Other than the release, membranes start anew in every batch, and
all cells are judged by the same images and the same draw of weights.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurodeploy.errors import UsageError
from neurodeploy.models.snas_cell import Cell, SnasConfig
from neurodeploy.models.snasnet import SnasNet
from neurodeploy.search.snas_space import CellType, draw
from neurodeploy.train.trainer import real

Distance = Literal["sahd", "hamming"]
Kernel = NDArray[np.float64]
_CHUNK = 2**20  # neurons at once; a float32 counts exactly up to 2^24


def kernel(spikes: Tensor, distance: Distance = "sahd") -> Kernel:
    """K [B, B] of one call's spikes [B, ...]: whatever is above 0 is one."""
    x = (spikes.flatten(1) > 0).float()
    batch, n = x.shape
    both = torch.zeros((batch, batch), dtype=torch.float64)
    for chunk in torch.split(x, _CHUNK, dim=1):
        both += (chunk @ chunk.T).cpu().double()
    count = both.diagonal()
    apart = count[:, None] + count[None, :] - 2 * both
    if distance == "hamming":
        return np.asarray((n - apart).numpy())
    rate = count / n
    chance = n * (rate[:, None] * (1 - rate[None, :]) + (1 - rate[:, None]) * rate[None, :])
    return np.asarray((n - 0.5 * apart / (chance + 1e-3)).numpy())


def log_det(matrix: Kernel) -> float:
    """log |det|, -inf for a singular matrix."""
    return float(np.linalg.slogdet(matrix)[1])


def mean_kernel(net: SnasNet, images: Tensor, distance: Distance = "sahd") -> Kernel:
    """K [B, B], the mean over all calls, of a network on images [B, C, H, W]: batch norms as in training, no dropout.

    Leaves the network's mode and running statistics as they were.
    """
    total = np.zeros((len(images), len(images)))
    calls = 0

    def see(_name: str, spikes: Tensor) -> None:
        nonlocal total, calls
        for step in spikes:
            total = total + kernel(step, distance)
            calls += 1

    mode, state = net.training, {name: value.clone() for name, value in net.named_buffers()}
    net.train()
    net.dropout.eval()
    try:
        with torch.inference_mode():
            net(images, see)
            for name, value in net.named_buffers():
                value.copy_(state[name])
    finally:
        net.train(mode)
    return total / calls


def score(net: SnasNet, batches: Sequence[Tensor], distance: Distance = "sahd") -> float:
    """Mean over batches of images [B, C, H, W] of log |det K|; UsageError for batches of less than two images, which have no
    distance."""
    if not batches or min(len(b) for b in batches) < 2:
        raise UsageError("batches of less than two images", where="score", remedy="Use for example two batches of 256")
    return float(np.mean([log_det(mean_kernel(net, images, distance)) for images in batches]))


@dataclass(frozen=True)
class Scored:
    """A cell and its score; `cells` of a search stand in the order of the draw, each once."""

    cell: Cell
    score: float


@dataclass(frozen=True)
class CellSearch:
    """The best cell of `n_drawn` draws, and every different cell that was drawn."""

    best: Scored
    cells: tuple[Scored, ...]
    n_drawn: int


def scoring_batches(
    images: NDArray[Any], batch: int, n_batches: int, seed: int, device: str | torch.device = "cpu"
) -> list[Tensor]:
    """The random batches [batch, C, H, W] of images (real, or bytes) that every cell of a search is scored on; UsageError for
    too few images."""
    if n_batches < 1 or batch < 2 or len(images) < batch * n_batches:
        raise UsageError(
            f"{n_batches} batches of {batch} of {len(images)} images", where="scoring",
            limit="At least one batch, two images a batch, and no image twice", remedy="Lower batch, or add images",
        )
    order = np.random.default_rng(seed).permutation(len(images))[: batch * n_batches]
    return [real(torch.from_numpy(images[part])).float().to(device) for part in np.split(order, n_batches)]


def first_weights(config: SnasConfig, cell: Cell, seed: int) -> SnasNet:
    """The untrained network of a cell, the same for a seed whatever torch has drawn before, and its generators left as they
    were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SnasNet(config, cell)


def search_cells(
    config: SnasConfig, images: NDArray[Any], *, n_cells: int, seed: int, kind: CellType = "backward", spiking: bool = False,
    distance: Distance = "sahd", batch: int = 256, n_batches: int = 2, device: str = "cpu",
    progress: Callable[[int, Scored], None] | None = None,
) -> CellSearch:
    """Draw `n_cells` random cells (the paper: 5,000) and score each on `n_batches` random batches of images [N, C, H, W] of the
    training set; the highest wins, of equal ones the first drawn.

    A function of its arguments alone: one seed decides draws, images and weights; torch's generators are left as they were.
    Nothing is trained. Raises UsageError for too few images, and where no cell has a finite score.
    """
    if n_cells < 1:
        raise UsageError(f"{n_cells} cells", where="search_cells", limit="At least one", remedy="Raise n_cells")
    rng = random.Random(seed)
    batches = scoring_batches(images, batch, n_batches, seed, device)
    found: dict[Cell, Scored] = {}
    for i in range(n_cells):
        cell = draw(rng, kind, spiking=spiking)
        if cell not in found:
            found[cell] = Scored(cell, score(first_weights(config, cell, seed).to(device), batches, distance))
        if progress:
            progress(i + 1, found[cell])
    best = max(found.values(), key=lambda s: s.score)
    if best.score == -np.inf:
        raise UsageError(f"none of {len(found)} cells tells all images of a batch apart", where="search_cells",
                         remedy="Leave out images that are there twice, or widen the network")
    return CellSearch(best, tuple(found.values()), n_cells)
