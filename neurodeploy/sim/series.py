"""What a node puts out over a window of timesteps, without the silence: the value that travels between kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurodeploy.ir.nodes import Shape

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Series:
    """In step w of the window sample b has values[rows[w, b]], or zeros where rows[w, b] is -1.

    values [R, *shape], any numeric type or bool; rows int64 [W, B]. A row may be used several times, or not at all.
    """

    values: Tensor
    rows: Rows

    def like(self, values: Tensor) -> Series:
        """Other values in the same places."""
        return Series(values, self.rows)

    def distinct(self) -> Series:
        """The same series with every row used, and once: what costs time is worth doing on this."""
        used = np.zeros(len(self.values), dtype=bool)
        used[self.rows[self.rows >= 0]] = True
        if used.all():
            return self
        kept = np.flatnonzero(used)
        number = np.full(len(used) + 1, -1)  # the last entry is row -1
        number[kept] = np.arange(len(kept))
        if len(kept) and kept[-1] - kept[0] == len(kept) - 1:
            values = self.values[kept[0] : kept[-1] + 1]
        else:
            values = self.values[torch.from_numpy(kept)]
        return Series(values, number[self.rows])

    def keep(self, samples: NDArray[np.bool_]) -> Series:
        """The samples where the mask [B] is true."""
        return Series(self.values, self.rows[:, samples]).distinct()

    def last(self, n: int) -> Series:
        """The last n steps; they share no memory with what they leave out."""
        end = Series(self.values, self.rows[len(self.rows) - n :]).distinct()
        return end if len(end.values) == len(self.values) else end.like(end.values.clone())

    def mark(self, flags: NDArray[np.bool_]) -> None:
        """Set flags [W, B, *shape] wherever this series of bool does."""
        on = np.flatnonzero(self.rows.ravel() >= 0)
        values, rows = self.values.numpy(), self.rows.ravel()[on]
        flat = flags.reshape(-1, *flags.shape[2:])
        if len(on) == len(flat) == len(values) and (rows == on).all():
            flat |= values
        elif len(on):
            flat[on] |= values[rows]

    def dense(self) -> Tensor:
        """[W, B, *shape]."""
        full = torch.zeros((self.rows.size, *self.values.shape[1:]), dtype=self.values.dtype)
        on = np.flatnonzero(self.rows.ravel() >= 0)
        full[torch.from_numpy(on)] = self.values[torch.from_numpy(self.rows.ravel()[on])]
        return full.reshape(*self.rows.shape, *self.values.shape[1:])


def silence(n_steps: int, batch: int, shape: Shape, dtype: torch.dtype = torch.bool) -> Series:
    """Nothing at all."""
    return Series(torch.zeros((0, *shape), dtype=dtype), np.full((n_steps, batch), -1))


def every_step(values: Tensor, spoke: NDArray[np.bool_]) -> Series:
    """values [W, B, *shape], of which only those where `spoke` [W, B] are not zero."""
    rows = np.where(spoke, np.arange(spoke.size).reshape(spoke.shape), -1)
    return Series(values.flatten(0, 1), rows)


def joined(past: Series, now: Series) -> Series:
    """Both windows behind each other."""
    if not len(past.values):
        return Series(now.values, np.concatenate([past.rows, now.rows]))
    after = np.where(now.rows < 0, -1, now.rows + len(past.values))
    return Series(torch.cat([past.values, now.values]), np.concatenate([past.rows, after]))


def total(terms: Sequence[Series], dtype: torch.dtype) -> Series:
    """The sum of several series of one window in `dtype`, which must hold it (one alone: as it is); of bool, the union."""
    if len(terms) == 1:
        return terms[0]
    anywhere = np.logical_or.reduce([t.rows >= 0 for t in terms])
    rows = np.where(anywhere, np.cumsum(anywhere).reshape(anywhere.shape) - 1, -1)
    values = torch.zeros((int(anywhere.sum()), *terms[0].values.shape[1:]), dtype=dtype)
    for term in terms:
        on = term.rows >= 0
        at, taken = torch.from_numpy(rows[on]), torch.from_numpy(term.rows[on])
        values[at] = values[at] + term.values[taken].to(dtype)
    return Series(values, rows)


class History:
    """The last steps before the window of several series: as many as given by name (`depth`, shape)."""

    def __init__(self, depths: dict[str, tuple[int, Shape]], batch: int) -> None:
        self._past = {name: silence(depth, batch, shape) for name, (depth, shape) in depths.items()}

    def look(self, name: str, now: Series | None, delay: int) -> Series:
        """The window `now` as it is seen `delay` steps later.

        Where `now` is not known yet the window has one step, and the delay is positive.
        """
        if now is not None and not delay:
            return now
        past = self._past[name]
        n_steps = 1 if now is None else len(now.rows)
        before = past.rows[len(past.rows) - delay :][:n_steps]
        if now is None or n_steps <= delay:
            return Series(past.values, before)
        return joined(Series(past.values, before).distinct(), Series(now.values, now.rows[: n_steps - delay]))

    def push(self, name: str, now: Series) -> None:
        """Add a window that has ended."""
        depth = len(self._past[name].rows)
        if depth:
            self._past[name] = (now if len(now.rows) >= depth else joined(self._past[name], now)).last(depth)

    def keep(self, samples: NDArray[np.bool_]) -> None:
        """Drop the samples of the batch where the mask [B] is false."""
        self._past = {name: past.keep(samples) for name, past in self._past.items()}
