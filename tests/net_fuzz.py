"""Damaged `.net` files: derandomised mutations of sound ones, read as strangers' files, each in a process of its own.

Used by `ir/test_net_fuzz.py` with a few hundred and by `benchmarks/fuzz_net.py` with ten thousand.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from neurodeploy.errors import NeurodeployError, NeurodeployWarning, UnsafeFile
from neurodeploy.ir.hdf5_child import serve
from neurodeploy.ir.hdf5_process import Limits, read_tree
from neurodeploy.ir.net import network_of
from neurodeploy.ir.net_graph import Options
from neurodeploy.ir.netx import netx_reason


def fork(source: int, limits: Limits) -> tuple[int, int]:
    """A reader forked off this process: the same limits as a fresh one, without the time to start it."""
    answer, answer_of_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.close(answer)
            serve(source, answer_of_child, limits.max_bytes, int(limits.timeout_s))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(answer_of_child)
    return pid, answer


def outcome(path: Path) -> str:
    """What reading the file came to. Raises whatever is not one of the errors that a file may cause."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NeurodeployWarning)
        try:
            graph, _ = network_of(read_tree(path, fork), str(path), Options())
        except UnsafeFile as err:
            assert err.exit_code == 6 and err.what and str(path) in err.where
            return "refused: the reader crashed" if "crashed" in err.what else "refused: out of time or memory" if (
                "takes too" in err.what) else "refused"
        except NeurodeployError as err:
            raise AssertionError(f"an error that is not the file's: {err}") from err
        netx_reason(graph)
        return "read"


# ---------------------------------------------------------------------- mutations


def _flip(data: bytearray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 17))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def _flip_structure(data: bytearray, rng: np.random.Generator) -> None:
    """Bytes beside a name or signature, where the file describes itself."""
    signatures = (b"TREE", b"SNOD", b"HEAP", b"GCOL", b"OHDR", b"\x89HDF", b"weight", b"type")
    marks = [i for mark in signatures for i in _find(data, mark)]
    for _ in range(int(rng.integers(1, 6))):
        at = marks[int(rng.integers(len(marks)))] + int(rng.integers(-64, 96))
        data[at % len(data)] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))


def _find(data: bytes, mark: bytes) -> Iterator[int]:
    at = data.find(mark)
    while at >= 0:
        yield at
        at = data.find(mark, at + 1)


def _overwrite(data: bytearray, rng: np.random.Generator) -> None:
    at, n = int(rng.integers(len(data))), int(rng.integers(1, 200))
    data[at : at + n] = bytes([int(rng.choice([0, 0xFF, int(rng.integers(256))]))]) * len(data[at : at + n])


def _truncate(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(len(data))) :]


def _move(data: bytearray, rng: np.random.Generator) -> None:
    n = int(rng.integers(8, 600))
    a, b = (int(rng.integers(max(1, len(data) - n))) for _ in range(2))
    data[b : b + n] = data[a : a + n]


def _dataset(data: bytearray, rng: np.random.Generator) -> None:
    """A sound HDF5 file with another dtype, shape or value somewhere, or something missing or added."""
    buffer = io.BytesIO(bytes(data))
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for _ in range(int(rng.integers(1, 4))):
            name = names[int(rng.integers(len(names)))]
            found = file.get(name) if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
            if isinstance(found, h5py.Dataset) and (found.size or 0) < 2**20:  # an earlier change may have declared more
                value = found[()]
                del file[name]
                with contextlib.suppress(ValueError, TypeError, OSError):  # what HDF5 refuses to write stays out
                    _CHANGES[int(rng.integers(len(_CHANGES)))](file, name, value, rng)
    data[:] = buffer.getvalue()


def _put(file: h5py.File, name: str, value: Any) -> None:
    file.create_dataset(name, data=value)


def _numeric(value: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(value)
    return array if array.dtype.kind in "iufb" else np.zeros(3)


_DTYPES = ["i1", "u1", "<i2", ">i4", "<u8", "<f2", ">f8", "S3", "?", "c8"]
_VALUES = [np.nan, np.inf, -1.0, 1e30, 2.0**31, 2.0**63, 0.5, 0.0, 63.0, 4097.0]
_CHANGES: list[Callable[[h5py.File, str, Any, np.random.Generator], None]] = [
    lambda f, n, v, r: None,
    lambda f, n, v, r: _put(f, n, np.abs(_numeric(v)).clip(0, 100).astype(_DTYPES[int(r.integers(len(_DTYPES)))])),
    lambda f, n, v, r: _put(f, n, _numeric(v).reshape(-1)),
    lambda f, n, v, r: _put(f, n, _numeric(v)[..., None]),
    lambda f, n, v, r: _put(f, n, _numeric(v).T),
    lambda f, n, v, r: _put(f, n, _numeric(v).reshape(-1)[: int(r.integers(0, 4))]),
    lambda f, n, v, r: _put(f, n, np.full_like(_numeric(v), _VALUES[int(r.integers(len(_VALUES)))], dtype=np.float64)),
    lambda f, n, v, r: _put(f, n, r.integers(-(2 ** int(r.integers(1, 62))), 2 ** int(r.integers(1, 62)), size=np.shape(v))),
    lambda f, n, v, r: _put(f, n, bytes(r.integers(0, 256, size=4, dtype=np.uint8))),
    lambda f, n, v, r: f.create_dataset(n, tuple(8 * 2 ** int(e) for e in r.integers(0, 34, 3)), "f4", chunks=(1, 8, 8)),
    lambda f, n, v, r: f.create_dataset(n, data=_numeric(v).reshape(-1), compression="gzip", chunks=True),
    lambda f, n, v, r: f.create_group(n),
    lambda f, n, v, r: f.__setitem__(n, h5py.SoftLink("/layer/0/type")),
    lambda f, n, v, r: f.__setitem__(n, h5py.ExternalLink("/etc/passwd", "/")),
    lambda f, n, v, r: f.__setitem__(n, f["layer"]),
    lambda f, n, v, r: f.create_dataset(n, (4,), "f4", external=[("/etc/passwd", 0, 16)]),
    lambda f, n, v, r: f.create_dataset(n, data=h5py.Empty("f4")),
]
_MUTATIONS = [_flip, _flip_structure, _flip_structure, _overwrite, _truncate, _move, _dataset, _dataset]


def mutated(bases: list[bytes], seed: int) -> bytes:
    """Mutation number `seed` of one of the files."""
    rng = np.random.default_rng(seed)
    data = bytearray(bases[seed % len(bases)])
    _MUTATIONS[int(rng.integers(len(_MUTATIONS)))](data, rng)
    return bytes(data)


def run(bases: list[bytes], seeds: range, folder: Path) -> Counter[str]:
    """How often each outcome came up; a file that leads to none of them stays in the folder."""
    counts: Counter[str] = Counter()
    path = folder / "mutated.net"
    for seed in seeds:
        path.write_bytes(mutated(bases, seed))
        try:
            counts[outcome(path)] += 1
        except Exception as err:
            raise AssertionError(f"mutation {seed} left {path}: {type(err).__name__}: {err}") from err
    return counts
