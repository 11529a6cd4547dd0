"""Image files in two `.npz` archives, `train.npz` and `test.npz`: `jpeg` uint8, the files one after another; `offsets` [n + 1],
where each begins and the last ends; `labels` [n]."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.image_files import header, read_sized
from neurodeploy.data.one_array import read_named
from neurodeploy.data.unread import Unread, parts
from neurodeploy.errors import UnsafeFile

FILES = ("train.npz", "test.npz")
ARRAYS = ("jpeg", "offsets", "labels")
MAX_SIDE = 1024
_REMEDY = "Get a fresh copy of the file"


def read(folder: Path) -> Unread:
    """The images in RGB, all of the size of the first, decoded one at a time. Raises UsageError where a file is missing,
    UnsafeFile for arrays that do not go together and for an image that is damaged, of another size or no image."""
    train, test = (_Files(folder / name) for name in FILES)
    n = len(train.labels)
    _, height, width = header(train.where(0), train.open(0))
    if max(height, width) > MAX_SIDE:
        raise UnsafeFile(f"{width} x {height} pixels", where=train.where(0), limit=f"At most {MAX_SIDE} a side", remedy=_REMEDY)

    def images(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        x = np.empty((len(index), 3, height, width), np.uint8)
        for place, i in zip(x, index.tolist(), strict=True):
            files, k = (train, i) if i < n else (test, i - n)
            place[:] = read_sized(files.where(k), (height, width), files.open(k))
        return x

    return Unread(np.concatenate([train.labels, test.labels]), parts(n, len(test.labels)), (3, height, width), images)


class _Files:
    """The image files of one archive."""

    def __init__(self, path: Path) -> None:
        try:
            arrays = read_named(path, ARRAYS)
        except UnsafeFile as error:  # its remedy is that of other files
            raise UnsafeFile(error.what, where=error.where, limit=error.limit, remedy=_REMEDY) from error
        if missing := [name for name in ARRAYS if name not in arrays]:
            raise UnsafeFile(f"has no array {missing[0]}", where=str(path), limit=f"It holds {', '.join(ARRAYS)}",
                             remedy=_REMEDY)
        self.path = path
        self.jpeg, offsets, labels = (arrays[name] for name in ARRAYS)
        n = labels.size
        whole = offsets.dtype.kind in "iu" and labels.dtype.kind in "iu" and self.jpeg.dtype == np.uint8
        if not whole or not n or (self.jpeg.ndim, labels.shape, offsets.shape) != (1, (n,), (n + 1,)):
            held = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())
            raise UnsafeFile(f"holds {held}", where=str(path), limit="jpeg uint8 [bytes], offsets integer [n + 1], labels "
                             "integer [n]", remedy=_REMEDY)
        self.offsets, self.labels = offsets.astype(np.int64), labels.astype(np.int64)
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.jpeg) or (np.diff(self.offsets) <= 0).any():
            raise UnsafeFile("its offsets do not rise from 0 to the end of jpeg", where=str(path), remedy=_REMEDY)

    def where(self, i: int) -> str:
        return f"{self.path}, image {i}"

    def open(self, i: int) -> io.BytesIO:
        return io.BytesIO(self.jpeg[self.offsets[i] : self.offsets[i + 1]].tobytes())
