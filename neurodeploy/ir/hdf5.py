"""HDF5 files that may come from strangers: HDF5 is not inert, it can make a reader open other files.

Links other than hard ones, external storage, virtual datasets, references and unknown filters are refused before
anything is read, and so are datasets that declare more bytes than a network of this kind can have. That keeps a sound
library from being misled; a file may also attack the library itself, so strangers' files are read in a process of
their own (`hdf5_process.read_tree`), which calls `load_tree` here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.ir.nodes import Array

MAX_BYTES = 2**30  # of all datasets together, unpacked
LEAST_BYTES, UNPACKING = 2**26, 16  # a file may hold so much, and so many times its own size where that is more
MAX_OBJECTS = 20_000
MAX_DEPTH, MAX_RANK, MAX_TEXT, MAX_TEXTS = 32, 8, 2**16, 50_000
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
_LIBRARY_ERRORS = (
    OSError, RuntimeError, TypeError, ValueError, KeyError, AttributeError, IndexError, MemoryError, OverflowError,
)


@dataclass(frozen=True, eq=False)
class Tree:
    """Every dataset of a file by its path (`layer/0/weight`), and the paths of its groups.

    Numbers are int8..int64, float32 or float64 in the machine's byte order, booleans int8.
    """

    arrays: dict[str, Array]
    texts: dict[str, str]
    groups: frozenset[str]

    def __contains__(self, path: str) -> bool:
        return path in self.arrays or path in self.texts or path in self.groups

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in sorted((*self.arrays, *self.texts, *self.groups)):
            group, _, name = path.rpartition("/")
            found.setdefault(group, []).append(name)
        return found

    def children(self, group: str) -> list[str]:
        """Names of what is directly in a group, sorted."""
        return self._children.get(group, [])


@contextmanager
def open_checked(path: Path) -> Iterator[h5py.File]:
    """The file, opened in this process after every object in it was checked: for files whose origin is known.

    Raises UsageError when it is not there, UnsafeFile when it is no HDF5 file or holds a refused feature.
    """
    if not path.is_file():
        raise UsageError("no such file", where=str(path))
    with _opened(path, str(path)) as file:
        most = min(2 * MAX_BYTES, max(LEAST_BYTES, UNPACKING * path.stat().st_size))
        for _ in _datasets(file, f"{path}:", most, set()):
            pass
        yield file


def read_trusted(path: Path) -> Tree:
    """The datasets of a file of our own making, read in this process. Raises as `open_checked`."""
    if not path.is_file():
        raise UsageError("no such file", where=str(path))
    return load_tree(path, f"{path}:", MAX_BYTES)


def load_tree(source: Any, where: str, max_bytes: int) -> Tree:
    """Every dataset of the HDF5 file `source` (a path or a binary file object), of at most `max_bytes` together.

    Raises UnsafeFile, its place in the file behind `where`.
    """
    arrays: dict[str, Array] = {}
    texts: dict[str, str] = {}
    groups: set[str] = set()
    with _opened(source, where.removesuffix(":")) as file:
        for name, item in _datasets(file, where, max_bytes, groups):
            try:
                if h5py.check_string_dtype(item.dtype) is not None:
                    texts[name] = _text(item, where + name)
                else:
                    arrays[name] = _numbers(item, where + name)
            except _LIBRARY_ERRORS as err:
                _refuse("the dataset cannot be read", where + name, _reason(err))
    return Tree(arrays, texts, frozenset(groups))


@contextmanager
def _opened(source: Any, where: str) -> Iterator[h5py.File]:
    try:
        file = h5py.File(source, "r")
    except _LIBRARY_ERRORS as err:
        _refuse("not a readable HDF5 file", where, _reason(err))
    with file:
        yield file


def _refuse(what: str, where: str, limit: str = "") -> NoReturn:
    raise UnsafeFile(what, where=where, limit=limit)


def _reason(err: BaseException) -> str:
    return str(err).split("(")[0].strip()[:200] or type(err).__name__


def _datasets(file: h5py.File, where: str, max_bytes: int, groups: set[str]) -> Iterator[tuple[str, h5py.Dataset]]:
    """(path, dataset) of every dataset, each checked before it is handed out."""
    try:
        seen = {int(h5py.h5o.get_info(file.id).addr)}
        waiting = [("", file["/"].id, 0)]
    except _LIBRARY_ERRORS as err:
        _refuse("the file's root cannot be read", where, _reason(err))
    total = 0
    while waiting:
        prefix, group, depth = waiting.pop()
        try:
            names = sorted(group) if group.get_num_objs() + len(seen) <= MAX_OBJECTS else None
        except _LIBRARY_ERRORS as err:
            _refuse("the group cannot be read", where + prefix, _reason(err))
        if names is None:
            _refuse("too many objects", where + prefix, f"At most {MAX_OBJECTS}")
        for raw in names:
            name = prefix + raw.decode("utf8", "backslashreplace")
            try:
                item = _open(group, raw, where + name)
                address = int(h5py.h5o.get_info(item).addr)
                if address in seen:  # an object reached twice could be a loop
                    _refuse("an object linked twice", where + name)
                seen.add(address)
                if isinstance(item, h5py.h5g.GroupID):
                    if depth >= MAX_DEPTH:
                        _refuse("groups nested too deeply", where + name, f"At most {MAX_DEPTH} levels")
                    groups.add(name)
                    waiting.append((f"{name}/", item, depth + 1))
                    continue
                if not isinstance(item, h5py.h5d.DatasetID):
                    _refuse(f"an object of kind {type(item).__name__}", where + name)
                total += _check_dataset(item, where + name, max_bytes)
            except _LIBRARY_ERRORS as err:
                _refuse("the object cannot be read", where + name, _reason(err))
            if total > max_bytes:
                _refuse("too much data", where + name, f"At most {max_bytes} bytes in this file")
            yield name, h5py.Dataset(item)


def _open(group: Any, raw: bytes, where: str) -> Any:
    kind = group.links.get_info(raw).type
    if kind != h5py.h5l.TYPE_HARD:
        named = {h5py.h5l.TYPE_SOFT: "SoftLink", h5py.h5l.TYPE_EXTERNAL: "ExternalLink"}.get(kind, f"{int(kind)}")
        _refuse(f"a link of kind {named}", where, "Only hard links are read")
    return h5py.h5o.open(group, raw)


def _check_dataset(item: Any, where: str, max_bytes: int) -> int:
    """Bytes of the dataset as an array; refuses what reaches outside the file or cannot belong to a network."""
    plist = item.get_create_plist()
    if plist.get_layout() == h5py.h5d.VIRTUAL or plist.get_external_count() > 0:
        _refuse("data that lives in another file", where)
    for index in range(plist.get_nfilters()):
        code = int(plist.get_filter(index)[0])
        if code not in _FILTERS:
            _refuse(f"filter {code}", where, f"Known: {', '.join(_FILTERS.values())} or none")
    kind = item.get_type()
    text = isinstance(kind, h5py.h5t.TypeStringID)
    if not text and not isinstance(kind, h5py.h5t.TypeIntegerID | h5py.h5t.TypeFloatID | h5py.h5t.TypeEnumID):
        _refuse("neither numbers nor text", where, f"Found {type(kind).__name__}")
    space = item.get_space()
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        _refuse("a dataset without values", where)
    shape = tuple(int(n) for n in space.get_simple_extent_dims())
    if len(shape) > MAX_RANK:
        _refuse(f"{len(shape)} dimensions", where, f"At most {MAX_RANK}")
    if text and math.prod(shape) > MAX_TEXTS:
        _refuse(f"{math.prod(shape)} texts", where, f"At most {MAX_TEXTS}")
    size = int(kind.get_size())
    # What one value takes here: integers and real numbers are widened, texts are objects of their own.
    n_bytes = math.prod(shape) * (size + 64 if text else size if size in (1, 2, 4) else 8)
    if plist.get_layout() == h5py.h5d.CHUNKED:
        n_bytes = max(n_bytes, math.prod(int(n) for n in plist.get_chunk()) * size)
    if n_bytes > max_bytes:
        _refuse(f"declares {n_bytes} bytes", where, f"At most {max_bytes} in this file")
    return n_bytes


def _numbers(item: h5py.Dataset, where: str) -> Array:
    dtype = item.dtype
    if dtype.kind not in "iufb" or dtype.itemsize > 8:
        _refuse(f"values of type {dtype}", where, "Known: integers and real numbers of at most 64 bits")
    values = np.asarray(item[()])
    if dtype.kind == "u":
        if dtype.itemsize == 8 and values.size and int(values.max()) >= 2**63:
            _refuse("integers beyond 63 bits", where)
        return values.astype({1: np.int16, 2: np.int32, 4: np.int64, 8: np.int64}[dtype.itemsize])
    if dtype.kind == "f":
        return values.astype(np.float64 if dtype.itemsize == 8 else np.float32)
    return values.astype(f"i{dtype.itemsize}")


def _text(item: h5py.Dataset, where: str) -> str:
    if item.size != 1 or item.id.get_type().get_size() > MAX_TEXT:
        _refuse(f"{item.size} texts", where, f"One of at most {MAX_TEXT} bytes")
    value = np.asarray(item[()], dtype=object).reshape(-1)[0]
    if len(value) > MAX_TEXT:
        _refuse(f"a text of {len(value)} bytes", where, f"At most {MAX_TEXT}")
    try:
        return value.decode("utf8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as err:
        raise UnsafeFile("text that is not UTF-8", where=where) from err
