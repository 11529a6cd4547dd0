"""Which of the processes that torchrun started this one is. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")


@dataclass(frozen=True)
class Place:
    """Number `rank` of `n` processes, number `local_rank` on this machine."""

    rank: int
    n: int
    local_rank: int


def place() -> Place | None:
    """This process's place among those of torchrun; None where it is alone."""
    if not all(name in os.environ for name in _NAMES) or os.environ["WORLD_SIZE"] == "1":
        return None
    return Place(*(int(os.environ[name]) for name in _NAMES[:3]))


@contextmanager
def for_itself() -> Iterator[None]:
    """Processes started within the block are no part of torchrun's."""
    kept = {name: os.environ.pop(name) for name in _NAMES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
