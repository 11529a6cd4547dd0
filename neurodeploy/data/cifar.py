"""CIFAR-10 and CIFAR-100 as their authors publish them for C programs: records of fixed length, nothing to unpickle.

A record is one byte with the label (CIFAR-100: the coarse label, then the fine one), then 3,072 bytes: 1,024 of red, of green
and of blue, each 32 rows of 32. Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.unread import Unread, parts
from neurodeploy.errors import UnsafeFile
from neurodeploy.ir import archive

SHAPE = (3, 32, 32)
N_BYTES = 3072
FILES_10 = tuple(f"data_batch_{i}.bin" for i in range(1, 6)), ("test_batch.bin",)
FILES_100 = ("train.bin",), ("test.bin",)
RECORDS_10, RECORDS_100 = (10_000, 10_000), (50_000, 10_000)  # of a file of the training set, of the test set


def read_10(folder: Path) -> Unread:
    """CIFAR-10. Raises UsageError where a file is missing, UnsafeFile where it is none of the published length."""
    return _read(folder, FILES_10, RECORDS_10, 1, 10)


def read_100(folder: Path) -> Unread:
    """CIFAR-100 with its 100 fine labels; errors as in `read_10`."""
    return _read(folder, FILES_100, RECORDS_100, 2, 100)


def _read(
    folder: Path, files: tuple[tuple[str, ...], tuple[str, ...]], n_records: tuple[int, int], n_labels: int, n_classes: int
) -> Unread:
    train, test = (
        [_records(folder / name, n, n_labels, n_classes) for name in names]
        for names, n in zip(files, n_records, strict=True)
    )
    records = np.concatenate([*train, *test])
    return Unread(
        records[:, n_labels - 1].astype(np.int64), parts(sum(map(len, train)), sum(map(len, test))), SHAPE,
        lambda index: records[index, n_labels:].reshape(-1, *SHAPE),
    )


def _records(path: Path, n: int, n_labels: int, n_classes: int) -> NDArray[np.uint8]:
    content = archive.read(path)
    if len(content) != n * (n_labels + N_BYTES):
        raise UnsafeFile(f"{len(content)} bytes", where=str(path), remedy="Unpack the archive of the dataset again",
                         limit=f"It holds {n} records of {n_labels + N_BYTES} bytes")
    records = np.frombuffer(content, np.uint8).reshape(n, -1)
    if records[:, n_labels - 1].max() >= n_classes:
        raise UnsafeFile(f"a label is {records[:, n_labels - 1].max()}", where=str(path), limit=f"0 to {n_classes - 1}",
                         remedy="Unpack the archive of the dataset again")
    return records
