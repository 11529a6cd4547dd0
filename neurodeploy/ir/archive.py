"""A safe, reproducible container: one JSON document and numeric arrays in an uncompressed `.npz`.

Entries are stored, not compressed, with fixed timestamps, so the same content has the same bytes everywhere and a file
cannot unpack to more than its own size. `numpy.load` reads the arrays of such a file too.
"""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.ir.nodes import Array

MAX_BYTES = 2**31
DTYPES = frozenset({"<f8", "<f4", "|i1", "<i2", "<i4", "<i8"})
_DOCUMENT = "graph.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip file can hold


def refuse(what: str, where: str, limit: str = "") -> NoReturn:
    """Raise UnsafeFile with the remedy that fits every damaged file."""
    raise UnsafeFile(what, where=where, limit=limit, remedy="Write the file again with neurodeploy, or get a fresh copy")


def pack(document: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """The bytes of an archive. Raises NeurodeployError for values that JSON or the allowed array types cannot hold."""
    try:
        text = json.dumps(document, sort_keys=True, allow_nan=False, indent=1)
    except (TypeError, ValueError) as err:
        raise NeurodeployError(
            "a value cannot be written as JSON", limit=str(err), code="cannot_save",
            remedy="Use finite numbers, strings, lists and dicts in metadata",
        ) from err
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        _add(file, _DOCUMENT, text.encode())
        for name, array in arrays.items():
            array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
            if array.dtype.str not in DTYPES:
                raise NeurodeployError(
                    f"array {name} has type {array.dtype}", limit=f"Known: {', '.join(sorted(DTYPES))}", code="cannot_save"
                )
            payload = io.BytesIO()
            np.lib.format.write_array(payload, array, version=(1, 0), allow_pickle=False)
            _add(file, f"{name}.npy", payload.getvalue())
    return out.getvalue()


def _add(file: zipfile.ZipFile, name: str, payload: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3  # the same on every operating system
    info.external_attr = 0o644 << 16
    file.writestr(info, payload)


def write(path: Path, payload: bytes) -> None:
    """Put bytes at `path` in one move, so that nobody reads half a file. Raises UsageError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(payload)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as err:
        raise UsageError("cannot write the file", where=str(path), limit=str(err.strerror or err)) from err


def missing(path: Path) -> str:
    """Why a path that is no regular file cannot be read."""
    return "no regular file (a folder, a pipe or a device)" if path.exists() else "no such file"


def read(path: Path) -> bytes:
    """The bytes of a file of at most MAX_BYTES. Raises UsageError where it cannot be read, UnsafeFile where too large."""
    try:
        if not path.is_file():
            raise UsageError(missing(path), where=str(path))
        with path.open("rb") as file:
            payload = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise UsageError("cannot read the file", where=str(path), limit=str(err.strerror or err)) from err
    if len(payload) > MAX_BYTES:
        refuse("the file is too large", str(path), f"At most {MAX_BYTES} bytes")
    return payload


def unpack(payload: bytes, where: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """(document, arrays) of an archive. Raises UnsafeFile for anything but what `pack` writes."""
    members = _members(payload, where)
    text = members.pop(_DOCUMENT, None)
    if text is None:
        refuse(f"{_DOCUMENT} is missing", where)
    try:
        document = json.loads(text.decode(), parse_constant=lambda c: refuse(f"{_DOCUMENT} holds {c}", where))
    except (ValueError, RecursionError) as err:
        refuse(f"{_DOCUMENT} is not valid JSON", where, str(err))
    if not isinstance(document, dict):
        refuse(f"{_DOCUMENT} is not an object", where)
    arrays = {}
    for name, data in members.items():
        if not name.endswith(".npy"):
            refuse(f"unexpected entry {name!r}", where)
        arrays[name.removesuffix(".npy")] = _array(data, f"{where}: {name}")
    return document, arrays


def _members(payload: bytes, where: str) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as file:
            for info in file.infolist():
                if info.filename in members:
                    refuse(f"entry {info.filename!r} occurs twice", where)
                if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
                    refuse(f"entry {info.filename!r} is compressed or encrypted", where, "Entries are stored as they are")
                if info.file_size > len(payload):
                    refuse(f"entry {info.filename!r} claims {info.file_size} bytes", where, f"The file has {len(payload)}")
                members[info.filename] = file.read(info)
                if sum(map(len, members.values())) > len(payload):
                    refuse("entries overlap", where)
    except (zipfile.BadZipFile, EOFError, OSError, LookupError, ValueError, RuntimeError, struct.error) as err:
        refuse("the file is corrupt or not an archive of neurodeploy", where, str(err))
    return members


def _array(data: bytes, where: str) -> Array:
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            refuse(f"array format {version}", where, "Expected (1, 0)")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as err:
        refuse("the array header is corrupt", where, str(err))
    if dtype.str not in DTYPES or fortran:
        refuse(f"array type {dtype}{' in column order' if fortran else ''}", where, f"Known: {', '.join(sorted(DTYPES))}")
    rest = data[stream.tell() :]
    count = 1
    for size in shape:
        count *= size
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(rest):
        refuse(f"shape {shape} of {dtype} does not match its {len(rest)} bytes", where)
    return np.frombuffer(rest, dtype).reshape(shape).astype(dtype.newbyteorder("="))
