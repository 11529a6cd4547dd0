"""SVHN, cropped digits: Matlab files with X uint8 [32, 32, 3, N] and y [N, 1], where 10 stands for the digit 0.

Source: Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers/, "Format 2". Read by scipy, which executes nothing in such a
file; what it would unpack is measured first.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.unread import Unread, parts
from neurodeploy.errors import UnsafeFile, UsageError

FILES = ("train_32x32.mat", "test_32x32.mat")
N_CLASSES = 10
SHAPE = (3, 32, 32)
LEAST_UNPACKED, MOST_UNPACKING = 2**24, 32  # bytes, times the file's size: photographs shrink little
_HEADER, _COMPRESSED, _CHUNK = 128, 15, 2**20


def read(folder: Path) -> Unread:
    """SVHN without its `extra` images. Raises UsageError without scipy or a file, UnsafeFile for one that is not as above."""
    (train, y_train), (test, y_test) = (_read(folder / name) for name in FILES)
    n = train.shape[3]

    def images(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        both = [x[:, :, :, i] for x, i in ((train, index[index < n]), (test, index[index >= n] - n))]
        return np.ascontiguousarray(np.concatenate(both, axis=3).transpose(3, 2, 0, 1))

    return Unread(np.concatenate([y_train, y_test]), parts(n, len(y_test)), SHAPE, images)


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        from scipy.io import loadmat, whosmat
    except ImportError as error:
        raise UsageError("scipy reads these files and is not installed", where=str(path), code="missing_package",
                         remedy="Install the extra: pip install 'neurodeploy[datasets]'") from error
    try:
        with path.open("rb") as file:
            _check_size(file, path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what scipy warns of is refused below
            declared = [(name, shape, kind) for name, shape, kind in whosmat(str(path)) if name in ("X", "y")]
            shapes = {name: shape for name, shape, _ in declared}
            n = shapes.get("X", (0,))[-1]
            if len(declared) != 2 or shapes != {"X": (32, 32, 3, n), "y": (n, 1)} or n < 1:
                raise _refused(path, f"holds {declared!r:.120}")
            if {name: kind for name, _, kind in declared}["X"] != "uint8":
                raise _refused(path, "X holds no bytes")
            found: dict[str, Any] = loadmat(str(path), variable_names=("X", "y"))
        x, y = found["X"], found["y"]
        if x.dtype != np.uint8 or x.shape != (32, 32, 3, n) or y.shape != (n, 1) or y.dtype.kind not in "iuf":
            raise _refused(path, f"X is {x.dtype} {x.shape}, y {y.dtype} {y.shape}")
        if not np.isin(y, np.arange(1, N_CLASSES + 1)).all():
            raise _refused(path, "a label is none of 1 to 10")
    except (UnsafeFile, UsageError):
        raise
    except Exception as error:  # whatever scipy's reader raises for a damaged file
        raise _refused(path, f"cannot be read as a Matlab file ({type(error).__name__}: {error})") from error
    return x, y[:, 0].astype(np.int64) % N_CLASSES


def _check_size(file: BinaryIO, path: Path) -> None:
    """Raise UnsafeFile unless the file is a Matlab 5 file whose parts unpack to what images can."""
    head, n_bytes, most = file.read(_HEADER), 0, max(LEAST_UNPACKED, MOST_UNPACKING * path.stat().st_size)
    if len(head) < _HEADER or head[126:128] != b"IM":
        raise _refused(path, "is no Matlab 5 file of this byte order")
    while tag := file.read(8):
        kind, size = struct.unpack("<II", tag)  # struct.error: cut off
        unpacker = zlib.decompressobj() if kind == _COMPRESSED else None
        while size:
            chunk = file.read(min(size, _CHUNK))
            if not chunk:
                raise _refused(path, "is cut off")
            size -= len(chunk)
            while chunk:
                n_bytes += len(chunk) if unpacker is None else len(unpacker.decompress(chunk, _CHUNK))
                chunk = b"" if unpacker is None else unpacker.unconsumed_tail
                if n_bytes > most:
                    raise _refused(path, f"unpacks to more than {most} bytes")


def _refused(path: Path, what: str) -> UnsafeFile:
    return UnsafeFile(what, where=str(path), limit="Cropped digits: X uint8 [32, 32, 3, N], y [N, 1] of 1 to 10",
                      remedy="Get a fresh copy of the file")
