"""Entries of a `.net` file by name, checked as they are taken; what netx would do to them without a word is noted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from neurodeploy.errors import NeurodeployWarning, UnsafeFile
from neurodeploy.ir.hdf5 import Tree
from neurodeploy.ir.nodes import Array, Pair, Shape

MAX_PAIR = 127  # lava-nc keeps strides, paddings, dilations and groups in 8 bits


@dataclass
class Notes:
    """Where a file is read from, and what is to be said about it."""

    where: str
    warnings: list[NeurodeployWarning] = field(default_factory=list)

    def warn(self, place: str, what: str, code: str, remedy: str = "") -> None:
        self.warnings.append(NeurodeployWarning(what, code=code, where=f"{self.where}:/{place}", remedy=remedy))

    def refuse(self, place: str, what: str, limit: str = "", remedy: str = "", code: str | None = None) -> NoReturn:
        raise UnsafeFile(what, where=f"{self.where}:/{place}", limit=limit, remedy=remedy, code=code)


class Entries:
    """One group of the file, its entries by name."""

    def __init__(self, tree: Tree, prefix: str, notes: Notes) -> None:
        self.tree, self.prefix, self.notes = tree, prefix, notes

    def inside(self, name: str) -> Entries:
        return Entries(self.tree, self.place(name), self.notes)

    def place(self, name: str = "") -> str:
        return f"{self.prefix}/{name}" if name else self.prefix

    def warn(self, name: str, what: str, code: str, remedy: str = "") -> None:
        self.notes.warn(self.place(name), what, code, remedy)

    def refuse(self, name: str, what: str, limit: str = "", remedy: str = "", code: str | None = None) -> NoReturn:
        self.notes.refuse(self.place(name), what, limit, remedy, code)

    def __contains__(self, name: str) -> bool:
        return self.place(name) in self.tree

    def names(self) -> set[str]:
        return set(self.tree.children(self.prefix))

    def text(self, name: str) -> str:
        found = self.tree.texts.get(self.place(name))
        if found is None:
            self.refuse(name, "a text dataset is missing")
        return found

    def numbers(self, name: str) -> Array:
        found = self.tree.arrays.get(self.place(name))
        if found is None:
            self.refuse(name, "a numeric dataset is missing")
        if found.size == 0:
            self.refuse(name, "it holds no values")
        # False for what is not a number; 2^31 bounds lava-nc's own integers.
        if not (found.min() > -(2**31) and found.max() < 2**31):
            self.refuse(name, "values that are not finite, or beyond 31 bits")
        return found

    def integers(self, name: str) -> Array:
        values = self.numbers(name)
        whole: Array = np.trunc(values).astype(np.int64) if values.dtype.kind == "f" else values.astype(np.int64)
        if not np.array_equal(whole, values):
            self.refuse(name, "values that are not integers")
        return whole

    def truncated(self, name: str) -> Array:
        """Integers as netx makes them: fractions are cut off, toward zero."""
        values = self.numbers(name)
        if values.dtype.kind != "f":
            return values.astype(np.int64)
        whole: Array = values.astype(np.int64)
        n_cut = int(np.count_nonzero(whole.astype(values.dtype) != values))
        if n_cut:
            self.warn(
                name, f"{n_cut} of {values.size} values have fractions, which netx cuts off, toward zero",
                "fractional_values", "Round them when the file is written",
            )
        return whole

    def one(self, name: str) -> int:
        values = self.integers(name)
        if values.size != 1:
            self.refuse(name, f"{values.size} values", "Expected one")
        return int(values.reshape(-1)[0])

    def one_or_many(self, name: str) -> int | Array:
        values = self.integers(name)
        return int(values.reshape(-1)[0]) if values.size == 1 else values

    def shape(self, n_dims: tuple[int, ...]) -> Shape:
        shape = tuple(int(n) for n in self.integers("shape").reshape(-1)[:8])
        if len(shape) not in n_dims or min(shape) < 1:
            self.refuse("shape", f"shape {shape}", f"Expected {' or '.join(map(str, n_dims))} positive sizes")
        return shape

    def pair(self, name: str, low: int) -> Pair:
        values = [int(v) for v in self.integers(name).reshape(-1)[:8]]
        if len(values) == 1:
            values *= 2
        if len(values) != 2 or min(values) < low or max(values) > MAX_PAIR:
            self.refuse(name, f"{values}", f"Expected one or two values in {low}..{MAX_PAIR}, (y, x)")
        return (values[0], values[1])

    def one_truncated(self, name: str) -> int:
        values = self.truncated(name)
        if values.size != 1:
            self.refuse(name, f"{values.size} values in an input layer", "Expected one")
        return int(values.reshape(-1)[0])
