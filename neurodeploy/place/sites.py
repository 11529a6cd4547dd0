"""Which block goes on which core of the system: fewest router-to-router steps of all packets (a quadratic assignment).

Simulated annealing over swaps, then the best swap of each block until none helps. Swaps with an empty core move a block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurodeploy.hw.profile import Profile
from neurodeploy.place.noc import INPUT_POSITION, hops, site

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_CORES = 1024  # the distances of more cores fill memory, and their swaps take minutes
_COOLEST = 1e-3  # last temperature, of the first one
_WARM = (0.3, 1.0, 3.0)  # first temperatures, of the mean change that a swap makes; each from the best found so far
_FEW = 256  # cores for which annealing starts again and again
_SAME = 1e-9  # relative gain below which a swap is round-off


def slots(n_cores: int, profile: Profile) -> Ints:
    """Core numbers of the tiles that n_cores consecutive cores take: an arrangement on them needs no further tile."""
    per_chip, per_tile = profile.capacity.cores_per_chip.count, profile.capacity.cores_per_tile.count
    chip, local = divmod(n_cores - 1, per_chip)
    last = min(per_chip, (local // per_tile + 1) * per_tile)
    return np.arange(chip * per_chip + last, dtype=np.int64)


def distances(numbers: Ints, profile: Profile) -> tuple[Floats, Floats]:
    """Hops between cores [n, n] and from where messages enter [n], XY routing."""
    where = [site(int(k), profile) for k in numbers]
    at = [(s.x, s.y) for s in where]
    x, y = (np.array(values, dtype=np.float64) for values in zip(*at, strict=True))
    between = np.abs(x[:, None] - x) + np.abs(y[:, None] - y)
    return between, np.array([sum(hops(INPUT_POSITION, a)) for a in at], dtype=np.float64)


def total_hops(between: Floats, entering: Floats, far: Floats, out: Floats, at: Ints) -> float:
    """Hops of all packets with core k at slot at[k]."""
    n = len(entering)
    return float((between * far[np.ix_(at[:n], at[:n])]).sum() + (entering * out[at[:n]]).sum())


def arrange(between: Floats, entering: Floats, profile: Profile, *, seed: int = 0, n_swaps: int = 60_000) -> Ints:
    """Core number of each of n blocks, given packets between blocks [n, n] and into them from outside [n].

    Never more hops than with consecutive cores; with more than MOST_CORES cores exactly those.
    """
    n = len(entering)
    numbers = slots(n, profile)
    consecutive = np.arange(n, dtype=np.int64)
    if len(numbers) > MOST_CORES or n < 2:
        return consecutive
    far, out = distances(numbers, profile)
    size = len(numbers)
    weight, inward = np.zeros((size, size)), np.zeros(size)  # an empty core is a block without packets
    weight[:n, :n] = between + between.T
    inward[:n] = entering
    np.fill_diagonal(weight, 0.0)  # packets of a core to itself take no hop
    start = np.arange(size, dtype=np.int64)

    def hops_of(at: Ints) -> float:
        return total_hops(between, entering, far, out, at)

    best = _descend(weight, inward, far, out, start)
    rng = np.random.default_rng(seed)
    rounds = (*_WARM, *_WARM) if size <= _FEW else _WARM[:1]
    for warm in rounds:
        at = _descend(weight, inward, far, out, _anneal(weight, inward, far, out, best, warm, n_swaps // len(rounds), rng))
        best = min(best, at, key=hops_of)
    if hops_of(best) >= hops_of(start):
        return consecutive
    return numbers[best[:n]]


def _anneal(
    weight: Floats, inward: Floats, far: Floats, out: Floats, start: Ints, first: float, n_swaps: int,
    rng: np.random.Generator,
) -> Ints:
    at, size = start.copy(), len(start)
    pairs = rng.integers(0, size, (n_swaps, 2))
    luck = np.log(rng.random(n_swaps))
    trial = [abs(_change(weight, inward, far, out, at, int(a), int(b))) for a, b in pairs[:200]]
    warm = first * float(np.mean(trial)) if trial else 0.0
    if warm == 0.0:
        return at
    heat = warm * _COOLEST ** (np.arange(n_swaps) / n_swaps)
    for (a, b), lucky, temperature in zip(pairs.tolist(), luck.tolist(), heat.tolist(), strict=True):
        if a != b and _change(weight, inward, far, out, at, a, b) < -temperature * lucky:
            at[a], at[b] = at[b], at[a]
    return at


def _change(weight: Floats, inward: Floats, far: Floats, out: Floats, at: Ints, a: int, b: int) -> float:
    """Change of the hops when blocks a and b swap their cores."""
    pull = weight[a] - weight[b]
    gap = (far[at[b]] - far[at[a]])[at]
    # Blocks a and b stay as far apart as they were; the product counts them as if they met.
    among = float(pull @ gap) + 2.0 * float(weight[a, b] * far[at[a], at[b]])
    return among + float((inward[a] - inward[b]) * (out[at[b]] - out[at[a]]))


def _descend(weight: Floats, inward: Floats, far: Floats, out: Floats, start: Ints) -> Ints:
    """The best swap of each block in turn, until none helps any block."""
    at, size = start.copy(), len(start)
    here = far[np.ix_(at, at)]
    own = (weight * here).sum(axis=1)
    least = _SAME * (float(own.sum()) + float(inward.sum()) + 1.0)
    improved = True
    while improved:
        improved = False
        for a in range(size):
            # [b]: hops of a's packets from b's core and of b's packets from a's, less those from their own; see `_change`.
            change = weight[a] @ here + weight @ here[:, a] - own[a] - own + 2.0 * weight[a] * here[a]
            change += (inward[a] - inward) * (out[at] - out[at[a]])
            b = int(change.argmin())
            if change[b] < -least:
                at[a], at[b] = at[b], at[a]
                here[[a, b]] = here[[b, a]]
                here[:, [a, b]] = here[:, [b, a]]
                own = (weight * here).sum(axis=1)
                improved = True
    return at
