"""Arrays of an `.npz` file that may come from anyone.

Nothing is unpickled, headers are read before data, and nothing is unpacked that is larger than an input of a simulation
can be.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UnsafeFile, UsageError

MAX_VALUES = 2**28  # of one input; as int64, in which a simulation holds them, 2 GiB
_MAX_FILE = 2**31
_MAX_ENTRIES = 4096
_LEAST_UNPACKED, _MOST_UNPACKING = 2**26, 128  # sparse spikes compress well; a file of zeros a thousandfold
_T = TypeVar("_T")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _refuse(what: str, where: str, limit: str = "") -> NoReturn:
    raise UnsafeFile(what, where=where, limit=limit, remedy="Write it with numpy.savez(file, input=x), x an array of integers")


def read_array(path: Path) -> NDArray[Any]:
    """The array `input` or `x` of an `.npz` file, or its only one: integers, booleans or floating-point numbers.

    Raises UsageError where there is no such file or array, UnsafeFile for one that is damaged, too large, or no array of
    numbers.
    """
    return _from_archive(path, _read)


def read_named(path: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Those of the arrays `names` that an `.npz` file holds; refuses what `read_array` does."""
    return _from_archive(
        path, lambda file, where: {n: _entry(file, n, where) for n in names if f"{n}.npy" in file.namelist()}
    )


def read_bare(path: Path) -> NDArray[Any]:
    """The array of a `.npy` file; refuses what `read_array` does."""
    return _from_file(path, b"\x93NUMPY", ".npy", _array)


def _from_archive(path: Path, read: Callable[[zipfile.ZipFile, str], _T]) -> _T:
    def unzipped(stream: BinaryIO, where: str) -> _T:
        with zipfile.ZipFile(stream) as file:
            if len(file.infolist()) > _MAX_ENTRIES:
                _refuse(f"{len(file.infolist())} entries", where, f"At most {_MAX_ENTRIES}")
            packed, unpacked = path.stat().st_size, sum(info.file_size for info in file.infolist())
            if unpacked > max(_LEAST_UNPACKED, _MOST_UNPACKING * packed):
                _refuse(f"it claims to unpack from {packed} to {unpacked} bytes", where,
                        f"At most {_MOST_UNPACKING} times its size")
            return read(file, where)

    return _from_file(path, b"PK", ".npz", unzipped)


def _from_file(path: Path, magic: bytes, kind: str, read: Callable[[BinaryIO, str], _T]) -> _T:
    where = str(path)
    if not path.is_file():
        what = "no regular file (a folder, a pipe or a device)" if path.exists() else "no such file"
        raise UsageError(what, where=where, code="path", remedy=f"Name an {kind} file with --input")
    if path.stat().st_size > _MAX_FILE:
        _refuse(f"the file has {path.stat().st_size} bytes", where, f"At most {_MAX_FILE}")
    try:
        with path.open("rb") as stream:
            if stream.read(len(magic)) != magic:  # a pickle, or the other kind; zipfile would search such a file for an archive
                _refuse(f"not an {kind} file", where)
            stream.seek(0)
            return read(stream, where)
    except OSError as error:
        raise UsageError("cannot read the file", where=where, limit=error.strerror or str(error), code="path") from error
    except (zipfile.BadZipFile, EOFError, LookupError, ValueError, TypeError, SyntaxError, RuntimeError, NotImplementedError,
            MemoryError, OverflowError, RecursionError, zlib.error) as error:
        _refuse(f"the file is damaged: {error}" if str(error) else "the file is damaged", where)


def _read(file: zipfile.ZipFile, where: str) -> NDArray[Any]:
    names = file.namelist()
    arrays = sorted({n.removesuffix(".npy") for n in names if n.endswith(".npy")})
    name = next((n for n in ("input", "x") if n in arrays), arrays[0] if len(arrays) == 1 else None)
    if name is None:
        raise UsageError(
            f"holds the arrays {', '.join(arrays[:8])}" if arrays else "holds no array", where=where,
            limit="One array is read: the one called `input` or `x`, or the only one", remedy="numpy.savez(file, input=x)",
        )
    return _entry(file, name, where)


def _entry(file: zipfile.ZipFile, name: str, where: str) -> NDArray[Any]:
    if file.namelist().count(f"{name}.npy") != 1:
        _refuse(f"the array {name} occurs twice", where)
    with file.open(f"{name}.npy") as stream:
        return _array(stream, f"{where}: {name}")  # type: ignore[arg-type]  # a ZipExtFile reads bytes


def _array(stream: BinaryIO, where: str) -> NDArray[Any]:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        _refuse(f"array format {version}", where, "Known: 1.0 and 2.0")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.kind not in "biuf" or dtype.hasobject:
        kinds = "Python objects" if dtype.hasobject else f"values of type {dtype}"
        _refuse(f"holds {kinds}", where, "Known: integers, booleans, whole floating-point numbers")
    n = math.prod(shape)
    if min(shape, default=0) < 0 or n > MAX_VALUES:
        _refuse(f"declares shape {shape}", where, f"At most {MAX_VALUES} values")
    payload = stream.read(n * dtype.itemsize + 1)
    if len(payload) != n * dtype.itemsize:
        _refuse(f"shape {shape} of {dtype} does not match its data", where)
    return np.frombuffer(payload, dtype).reshape(shape, order="F" if fortran else "C")
