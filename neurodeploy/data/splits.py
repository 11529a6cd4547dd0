"""Fixed division of labelled samples into train, validation and test."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError

IndexArray = NDArray[np.int64]

NAMES = ("train", "validation", "test")
FRACTIONS = (0.5, 0.2)  # of train and validation; the rest is test
SEED = 20_240_229
MIN_PER_CLASS = 4  # the fewest that leave every part one sample of the class


def stratified(y: NDArray[Any], seed: int = SEED, where: str = "split") -> dict[str, IndexArray]:
    """50 / 20 / 30 % of every class for train / validation / test, as sorted index arrays into `y` [N].

    Depends only on `y` and `seed`. Raises UsageError where a class has fewer than 4 samples.
    """
    # RandomState's stream is frozen by numpy's compatibility promise, Generator's is not.
    rng = np.random.RandomState(seed)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in NAMES}
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        if len(members) < MIN_PER_CLASS:
            raise UsageError(
                f"class {label} has {len(members)} sample(s)", where=where, limit=f"A split needs {MIN_PER_CLASS}",
                remedy="Add samples, or give an .npz file with index arrays train, validation and test",
            )
        members = rng.permutation(members)
        n_train, n_validation = (round(fraction * len(members)) for fraction in FRACTIONS)
        cuts = np.split(members, [n_train, n_train + n_validation])
        for name, cut in zip(NAMES, cuts, strict=True):
            parts[name].append(cut)
    return {name: np.sort(np.concatenate(cuts)).astype(np.int64) for name, cuts in parts.items()}


def by_part(y: NDArray[np.int64], part: NDArray[Any], where: str) -> dict[str, IndexArray]:
    """Splits of samples that lay in folders: part [N] holds the names of their splits, or "" everywhere, which `stratified`
    divides. Without any of validation, that is a fifth of every class of train."""
    if not part[0]:
        return stratified(y, where=where)
    found = {name: np.flatnonzero(part == name) for name in NAMES}
    if not len(found["validation"]):
        train = found["train"]
        found["validation"] = train[stratified(y[train], where=where)["validation"]]
        found["train"] = np.setdiff1d(train, found["validation"])
    return found


def first_per_class(y: NDArray[np.int64], splits: dict[str, IndexArray], n: dict[str, int]) -> dict[str, IndexArray]:
    """The splits with at most the first n[name] samples of every class in those that `n` names."""
    few = dict(splits)
    for name, most in n.items():
        by_class = (splits[name][y[splits[name]] == label][:most] for label in np.unique(y))
        few[name] = np.sort(np.concatenate(list(by_class)))
    return few


def check(splits: dict[str, NDArray[Any]], n_samples: int, where: str) -> dict[str, IndexArray]:
    """The stored splits as int64; UsageError unless each is a non-empty 1-D index array and no sample is in two."""

    def bad(what: str) -> UsageError:
        return UsageError(what, where=where, remedy="Store disjoint 1-D integer arrays train, validation and test")

    checked: dict[str, IndexArray] = {}
    for name in NAMES:
        if name not in splits:
            raise bad(f"stored splits lack {name!r}")
        index = splits[name]
        if index.ndim != 1 or index.dtype.kind not in "iu" or index.size == 0:
            raise bad(f"split {name!r} has shape {index.shape} and dtype {index.dtype}")
        # uint64 beyond int64 would turn negative, so the range is checked first.
        if int(index.min()) < 0 or int(index.max()) >= n_samples:
            raise bad(f"split {name!r} points outside the {n_samples} samples ({index.min()}..{index.max()})")
        checked[name] = index.astype(np.int64)
    together = np.concatenate([checked[name] for name in NAMES])
    n_repeated = together.size - np.unique(together).size
    if n_repeated:
        raise bad(f"{n_repeated} sample(s) are listed twice in the stored splits")
    return checked
