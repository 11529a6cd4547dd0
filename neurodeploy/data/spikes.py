"""What a user wants a network to receive: one array of an `.npz` file, in the axis order of this package or of Lava.

The file may come from anyone. It is never unpickled, its headers are read before its data, and nothing is unpacked that
is larger than an input of a simulation can be.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Input, Shape
from neurodeploy.ir.reference import check_input

Layout = Literal["torch", "lava"]
MAX_VALUES = 2**28  # elements of one input; as int64, in which a simulation holds them, 2 GiB
_MAX_FILE = 2**31
_MAX_ENTRIES = 4096
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True, eq=False)
class SpikeInput:
    """x int64 [T, B, *input shape], and how it lay in the file.

    `batched` and `timed` say whether the array had an axis of samples and one of timesteps; without the latter (biases
    that the host writes once) T is 1, and the network keeps the value.
    """

    x: NDArray[np.int64]
    layout: Layout
    batched: bool
    timed: bool
    where: str

    def n_timesteps(self, graph: IntGraph, asked: int | None = None) -> int:
        """T of one inference: that of the array, else the one asked for, else the network's own.

        Raises UsageError where another T is asked for than the array has.
        """
        if not self.timed:
            return graph.n_timesteps if asked is None else asked
        if asked not in (None, self.x.shape[0]):
            raise UsageError(f"the input has {self.x.shape[0]} timesteps", where=self.where, limit=f"Asked for {asked}",
                             remedy="Leave --timesteps out")
        return int(self.x.shape[0])


def read_input(path: Path, graph: IntGraph, layout: Layout = "torch") -> SpikeInput:
    """The input of a network from `path`: the array `input` or `x`, or the only one of the file.

    layout `torch`: [T, B, *shape] or [T, *shape] with maps as (C, H, W); an input of kind bias may leave T out.
    layout `lava`: time last and maps as (W, H, C): (*shape, T). A map may be given flat, in C, H, W order.
    Whole numbers of any numeric type are taken.
    Raises UsageError for a missing file, an unsuitable shape or type and values out of the input's range (2), UnsafeFile
    for a file that is damaged, too large or holds anything but plain arrays (6).
    """
    entry = graph.inputs[0]
    where = str(path)
    x, batched, timed = _arranged(_whole(_only_array(path), where), entry, layout, where)
    try:
        return SpikeInput(np.asarray(check_input(graph, x)), layout, batched, timed, where)
    except UsageError as error:
        remedy = error.remedy
        if entry.kind == "spikes":
            remedy = "Give 0 and 1; a network that takes graded messages is read with --message-bits"
        raise UsageError(error.what, where=f"{where} for {entry.name}", limit=error.limit, remedy=remedy) from error


def _refuse(what: str, where: str, limit: str = "") -> NoReturn:
    raise UnsafeFile(what, where=where, limit=limit, remedy="Write it with numpy.savez(file, input=x), x an array of integers")


def _only_array(path: Path) -> NDArray[Any]:
    where = str(path)
    if not path.is_file():
        raise UsageError("no such file", where=where, code="path", remedy="Name an .npz file with --input")
    if path.stat().st_size > _MAX_FILE:
        _refuse(f"the file has {path.stat().st_size} bytes", where, f"At most {_MAX_FILE}")
    try:
        with path.open("rb") as stream:
            if stream.read(2) != b"PK":  # a pickle or a bare .npy; zipfile would search such a file for an archive
                _refuse("not an .npz file", where)
            stream.seek(0)
            with zipfile.ZipFile(stream) as file:
                return _read(file, where)
    except OSError as error:
        raise UsageError("cannot read the file", where=where, limit=error.strerror or str(error), code="path") from error
    except (zipfile.BadZipFile, EOFError, LookupError, ValueError, TypeError, SyntaxError, RuntimeError, NotImplementedError,
            MemoryError, OverflowError, RecursionError, zlib.error) as error:
        _refuse(f"the file is damaged: {error}" if str(error) else "the file is damaged", where)


def _read(file: zipfile.ZipFile, where: str) -> NDArray[Any]:
    if len(file.infolist()) > _MAX_ENTRIES:
        _refuse(f"{len(file.infolist())} entries", where, f"At most {_MAX_ENTRIES}; one array is read")
    names = file.namelist()
    arrays = sorted({n.removesuffix(".npy") for n in names if n.endswith(".npy")})
    name = next((n for n in ("input", "x") if n in arrays), arrays[0] if len(arrays) == 1 else None)
    if name is None:
        raise UsageError(
            f"holds the arrays {', '.join(arrays[:8])}" if arrays else "holds no array", where=where,
            limit="One array is read: the one called `input` or `x`, or the only one", remedy="numpy.savez(file, input=x)",
        )
    if names.count(f"{name}.npy") != 1:
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


def _whole(values: NDArray[Any], where: str) -> NDArray[np.int64]:
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (np.rint(values) != values).any() or np.abs(values).max(initial=0) >= 2**53:
            raise UsageError(
                "the input holds numbers that are no integers", where=where, limit="A chip receives integers",
                remedy="Code the data first: spikes 0 and 1, graded messages, or bias mantissas for a bias-driven input layer",
            )
    elif values.dtype.kind == "u" and values.max(initial=0) >= 2**62:
        raise UsageError(f"the input reaches {values.max()}", where=where, limit="A chip receives integers of a few bits",
                         remedy="Scale the messages down")
    return values.astype(np.int64)


def _arranged(values: NDArray[np.int64], entry: Input, layout: Layout, where: str) -> tuple[NDArray[np.int64], bool, bool]:
    """([T, B, *shape], whether there was an axis of samples, whether there was one of timesteps)."""
    if layout == "lava":
        values = values.transpose()  # (W, H, C, T) -> [T, C, H, W], and (N, T) -> [T, N]
    shaped = _with_shape(values, entry.shape)
    most = 1 if layout == "lava" else 2
    least = 0 if entry.kind == "bias" else 1
    if shaped is None or not least <= shaped.ndim - len(entry.shape) <= most or 0 in shaped.shape:
        raise UsageError(
            f"the array has shape {values.shape[::-1] if layout == 'lava' else values.shape}", where=where,
            limit=f"The {entry.kind} input of this network takes {_expected(entry, layout)}",
            remedy="--layout lava reads time last and maps as (W, H, C)" if layout == "torch" else
            "--layout torch reads time first and maps as (C, H, W)",
        )
    n_axes = shaped.ndim - len(entry.shape)
    x = shaped.reshape(*shaped.shape[: max(n_axes, 1)], 1, *entry.shape) if n_axes == 1 else shaped
    return x[np.newaxis, np.newaxis] if n_axes == 0 else x, n_axes == 2, n_axes > 0


def _with_shape(values: NDArray[np.int64], shape: Shape) -> NDArray[np.int64] | None:
    """Values [..., *shape], of a map given flat or of a vector given as the map (C, H, W); None where neither fits."""
    n = math.prod(shape)
    if values.shape[values.ndim - len(shape) :] == shape and values.ndim >= len(shape):
        return values
    if values.ndim and values.shape[-1] == n:
        return values.reshape(*values.shape[:-1], *shape)
    if len(shape) == 1 and values.ndim >= 3 and math.prod(values.shape[-3:]) == n:
        return values.reshape(*values.shape[:-3], n)
    return None


def _expected(entry: Input, layout: Layout) -> str:
    inner = ", ".join(map(str, entry.shape))
    if layout == "lava":
        inner = ", ".join(map(str, reversed(entry.shape)))
        return f"({inner}, T)" + (f", or ({inner},) written once" if entry.kind == "bias" else "")
    return f"[T, B, {inner}] or [T, {inner}]" + (f", or [{inner}] written once" if entry.kind == "bias" else "")


def axes_back(values: NDArray[Any], given: SpikeInput) -> NDArray[Any]:
    """A raster [T, B, *shape] in the order in which the input lay in its file; a read-only view."""
    if not given.batched:
        values = values[:, 0]
    return values.transpose() if given.layout == "lava" else values

