"""A recording as an `.npz` file: one array a layer, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip file can hold: equal recordings give equal bytes
_SIGNED = (np.int8, np.int16, np.int32, np.int64)


def smallest(values: NDArray[Any]) -> NDArray[Any]:
    """The values in the smallest signed integer type that holds them all."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    dtype = next(t for t in _SIGNED if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return values.astype(dtype)


def check_writable(path: Path) -> None:
    """Raise UsageError where no file can be written to `path`."""
    above = next(p for p in path.absolute().parents if p.exists())
    reason = ""
    if path.is_dir():
        reason = "It is a folder"
    elif not above.is_dir():
        reason = f"{above} is not a folder"
    elif not os.access(above, os.W_OK | os.X_OK):
        reason = f"{above} cannot be written to"
    if reason:
        raise UsageError("cannot write the file", where=str(path), limit=reason, code="path", remedy="Name another with --out")


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write integer arrays, each in the smallest type that holds it, as an uncompressed `.npz`; `numpy.load` reads it.

    A file of that name is replaced in one move. Raises UsageError where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as file:
                for name, values in arrays.items():
                    info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
                    info.external_attr = 0o644 << 16
                    with file.open(info, "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, np.ascontiguousarray(smallest(values)), allow_pickle=False)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError("cannot write the file", where=str(path), limit=error.strerror or str(error), code="path",
                         remedy="Name another with --out") from error
