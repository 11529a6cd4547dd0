"""HDF5 files that may come from strangers: HDF5 is not inert, it can make a reader open other files.

Links other than hard ones, external storage, virtual datasets, references and unknown filters are refused before
anything is read, and so are datasets that declare more bytes than a network of this kind can have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neurodeploy.errors import UnsafeFile, UsageError

MAX_BYTES = 2**31  # of one dataset and of all of them together, unpacked
MAX_OBJECTS = 100_000
_FILTERS = {None, "gzip", "lzf", "szip"}


@contextmanager
def open_checked(path: Path) -> Iterator[h5py.File]:
    """The file, opened for reading after every object in it was checked.

    Raises UsageError when it is not there, UnsafeFile when it is no HDF5 file or holds a refused feature.
    """
    if not path.is_file():
        raise UsageError("no such file", where=str(path))
    try:
        file = h5py.File(path, "r")
    except OSError as err:
        raise UnsafeFile("not a readable HDF5 file", where=str(path), limit=str(err).split("(")[0].strip()) from err
    with file:
        _check(file, path)
        yield file


def _check(file: h5py.File, path: Path) -> None:
    seen: set[int] = set()
    waiting: list[h5py.Group] = [file]
    total = 0
    while waiting:
        group = waiting.pop()
        for name in group:
            where = f"{path}:{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise UnsafeFile(f"a link of kind {type(link).__name__}", where=where, limit="Only hard links are read")
            item = group[name]
            address = int(h5py.h5o.get_info(item.id).addr)
            if address in seen:  # an object reached twice could be a loop
                raise UnsafeFile("an object linked twice", where=where)
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise UnsafeFile("too many objects", where=str(path), limit=f"At most {MAX_OBJECTS}")
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                total += _check_dataset(item, where)
                if total > MAX_BYTES:
                    raise UnsafeFile("too much data", where=where, limit=f"At most {MAX_BYTES} bytes in a file")
            else:
                raise UnsafeFile(f"an object of kind {type(item).__name__}", where=where)


def _check_dataset(item: h5py.Dataset, where: str) -> int:
    if item.is_virtual or item.external:
        raise UnsafeFile("data that lives in another file", where=where)
    if item.compression not in _FILTERS:
        raise UnsafeFile(f"filter {item.compression!r}", where=where, limit="Known: gzip, lzf, szip or none")
    if item.dtype.hasobject and h5py.check_string_dtype(item.dtype) is None:
        raise UnsafeFile("references or variable-length data other than text", where=where)
    n_bytes = int(item.size or 0) * int(item.dtype.itemsize)
    if n_bytes > MAX_BYTES:
        raise UnsafeFile(f"declares {n_bytes} bytes", where=where, limit=f"At most {MAX_BYTES}")
    return n_bytes


def read_array(group: h5py.Group, name: str, path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """A numeric dataset as an array; raises UnsafeFile where it is missing or not numeric."""
    item = group.get(name)
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "iufb":
        raise UnsafeFile("a numeric dataset is missing", where=f"{path}:{group.name}/{name}")
    return np.asarray(item[()])


def read_text(group: h5py.Group, name: str, path: Path) -> str:
    """A text dataset, scalar or of one element; raises UnsafeFile where it is missing or no text."""
    item = group.get(name)
    if not isinstance(item, h5py.Dataset) or item.size != 1 or item.dtype.kind not in "SO":
        raise UnsafeFile("a text dataset is missing", where=f"{path}:{group.name}/{name}")
    value = np.asarray(item[()]).reshape(-1)[0]
    try:
        return value.decode("utf8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as err:
        raise UnsafeFile("text that is not UTF-8", where=f"{path}:{group.name}/{name}") from err
