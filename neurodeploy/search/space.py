"""Search spaces: the blocks that may stand at each position, and genomes (one block name per position)."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from neurodeploy.errors import UsageError

Genome = tuple[str, ...]

# Redraws before the unseen genomes are listed: reached only where nearly the whole space has been seen.
_REDRAWS = 64


def draw_index(rng: random.Random, n: int) -> int:
    """A uniform index in 0..n-1.

    Made of `random()` alone: Python keeps only that method's sequence the same from version to version.
    """
    return int(rng.random() * n)


def crossed(head: Genome, tail: Genome, rng: random.Random) -> Genome:
    """The head of one genome and the tail of another, cut at one place between two positions."""
    cut = 1 + draw_index(rng, len(head) - 1)
    return head[:cut] + tail[cut:]


@dataclass(frozen=True)
class Space:
    """The choices of every position; a genome names one block for each.

    Genomes are numbered with position 0 as the lowest digit, as AutoSNN's release numbers its architectures.
    """

    positions: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        """Raise UsageError for a space without positions, or a position with no block or the same block twice."""
        if not self.positions:
            raise UsageError("a search space needs at least one position", where="space")
        for i, blocks in enumerate(self.positions):
            if not blocks or len(set(blocks)) != len(blocks):
                raise UsageError(
                    f"the blocks {list(blocks)} are empty or name one twice",
                    where=f"space, position {i}",
                    remedy="List each block once",
                )

    @classmethod
    def uniform(cls, blocks: Sequence[str], n_positions: int) -> Space:
        """The same blocks at every one of `n_positions` positions."""
        return cls((tuple(blocks),) * n_positions)

    @property
    def n_positions(self) -> int:
        return len(self.positions)

    @property
    def size(self) -> int:
        """Number of genomes."""
        return math.prod(len(blocks) for blocks in self.positions)

    def __contains__(self, genome: object) -> bool:
        return (
            isinstance(genome, tuple)
            and len(genome) == self.n_positions
            and all(block in blocks for block, blocks in zip(genome, self.positions, strict=True))
        )

    def check(self, genome: Genome) -> None:
        """Raise UsageError, naming the position, where `genome` is not in the space."""
        if len(genome) != self.n_positions:
            raise UsageError(
                f"{len(genome)} blocks for {self.n_positions} positions",
                where=f"genome {'-'.join(genome)}",
                remedy="Name one block for each position",
            )
        for i, (block, blocks) in enumerate(zip(genome, self.positions, strict=True)):
            if block not in blocks:
                raise UsageError(
                    f"no block {block!r} at position {i}",
                    where=f"genome {'-'.join(genome)}",
                    remedy=f"Use one of {', '.join(blocks)}",
                )

    def genome(self, number: int) -> Genome:
        """The genome with a number in 0..size-1; position 0 is the lowest digit."""
        if not 0 <= number < self.size:
            raise UsageError(f"no genome {number} in a space of {self.size}", where="space")
        blocks = []
        for choices in self.positions:
            number, digit = divmod(number, len(choices))
            blocks.append(choices[digit])
        return tuple(blocks)

    def number(self, genome: Genome) -> int:
        """The number of a genome; the inverse of `genome`."""
        self.check(genome)
        number = 0
        for block, choices in zip(reversed(genome), reversed(self.positions), strict=True):
            number = number * len(choices) + choices.index(block)
        return number

    def draw(self, rng: random.Random) -> Genome:
        """A uniform genome."""
        return tuple(choices[draw_index(rng, len(choices))] for choices in self.positions)

    def mutated(self, genome: Genome, p: float, rng: random.Random) -> Genome:
        """The genome with each position changed to another block with probability `p`."""
        child = []
        for block, choices in zip(genome, self.positions, strict=True):
            others = [c for c in choices if c != block]
            change = rng.random() < p and others
            child.append(others[draw_index(rng, len(others))] if change else block)
        return tuple(child)

    def draw_unseen(self, rng: random.Random, seen: Collection[Genome]) -> Genome | None:
        """A uniform genome among those not in `seen` (a set of genomes of this space); None where all are seen."""
        if len(seen) >= self.size:
            return None
        for _ in range(_REDRAWS):
            genome = self.draw(rng)
            if genome not in seen:
                return genome
        unseen = [g for g in map(self.genome, range(self.size)) if g not in seen]
        return unseen[draw_index(rng, len(unseen))]
