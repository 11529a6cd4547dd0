"""What a user wants a network to receive: one array of an `.npz` file, in the axis order of this package or of Lava."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.chip_input import chip_input
from neurodeploy.data.one_array import MAX_VALUES, read_array
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Input, Shape
from neurodeploy.ir.reference import check_input

Layout = Literal["torch", "lava", "images"]


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
    layout `images`: real numbers in 0..1, [B, C, H, W] or [C, H, W] (without C where it is 1), coded as the network's file
    says: by the transform of its input layer, or as it was trained.
    Raises UsageError for a missing file, an unsuitable shape or type and values out of the input's range (2), UnsafeFile
    for a file that is damaged, too large or holds anything but plain arrays (6).
    """
    entry = graph.inputs[0]
    where = str(path)
    if layout == "images":
        return _coded(read_array(path), graph, where)
    x, batched, timed = _arranged(_whole(read_array(path), where), entry, layout, where)
    try:
        return SpikeInput(np.asarray(check_input(graph, x)), layout, batched, timed, where)
    except UsageError as error:
        remedy = error.remedy
        if entry.kind == "spikes":
            remedy = "Give 0 and 1; a network that takes graded messages is read with --message-bits"
        raise UsageError(error.what, where=f"{where} for {entry.name}", limit=error.limit, remedy=remedy) from error


def _whole(values: NDArray[Any], where: str) -> NDArray[np.int64]:
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (np.rint(values) != values).any() or np.abs(values).max(initial=0) >= 2**53:
            raise UsageError(
                "the input holds numbers that are no integers", where=where, limit="A chip receives integers",
                remedy="Give spikes 0 and 1, graded messages or bias mantissas; images in 0..1 are read with --layout images",
            )
    elif values.dtype.kind == "u" and values.max(initial=0) >= 2**62:
        raise UsageError(f"the input reaches {values.max()}", where=where, limit="A chip receives integers of a few bits",
                         remedy="Scale the messages down")
    return values.astype(np.int64)


def _coded(values: NDArray[Any], graph: IntGraph, where: str) -> SpikeInput:
    """Images as chip input, repeated for the network's timesteps."""
    if graph.host is None and not graph.target:
        raise UsageError(
            "the network's file does not say how images enter it", where=where, code="no_coding",
            limit=f"It takes chip input {_expected(graph.inputs[0], 'torch')}",
            remedy="Code the data first, and leave --layout out",
        )
    shape = (graph if graph.host is None else graph.host).inputs[0].shape
    wanted = [shape, *([shape[1:]] if shape[0] == 1 and len(shape) > 1 else [])]
    fitting = [s for s in wanted if values.shape[values.ndim - len(s) :] == s and values.ndim - len(s) in (0, 1)]
    if not fitting or 0 in values.shape:
        inner = ", ".join(map(str, shape))
        raise UsageError(f"the array has shape {values.shape}", where=where, limit=f"Images are [B, {inner}] or [{inner}]",
                         remedy="Leave --layout out for an array with an axis of timesteps")
    images = values.reshape(-1, *shape).astype(np.float64)
    if not np.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        raise UsageError(f"images span {images.min()}..{images.max()}", where=where, limit="Real-valued images lie in 0..1",
                         remedy="Rescale them")
    if len(images) * graph.n_timesteps * math.prod(graph.inputs[0].shape) > MAX_VALUES:
        raise UsageError(f"{len(images)} images of {graph.n_timesteps} timesteps", where=where,
                         limit=f"At most {MAX_VALUES} values of chip input", remedy="Give fewer images at a time")
    x = check_input(graph, chip_input(graph, images))
    return SpikeInput(np.asarray(x), "images", values.ndim > len(fitting[0]), True, where)


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
            remedy="--layout torch reads time first and maps as (C, H, W)" if layout == "lava" else
            "--layout lava reads time last and maps as (W, H, C); --layout images real numbers without time",
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

