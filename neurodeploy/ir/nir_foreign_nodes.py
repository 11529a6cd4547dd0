"""Single nodes of others' NIR graphs as nodes of ours: what has no state. Neurons are in `nir_foreign_neurons.py`.

Linear, Affine      y = W x, W x + b              Linear
Conv2d              cross-correlation + b         Conv2d
Conv1d              the same along one axis       Conv2d on maps of height 1: (C, L) is (C, 1, L) here
SumPool2d, AvgPool2d                              SumPool2d where stride = kernel, padding = 0; an average leaves the factor
                                                  1 / (kh kw). Else a depthwise Conv2d; an average counts its border's zeros
Scale               y = s x, element by element   no node; it leaves the factor s
Delay               y(t) = x(t - d)               no node; an edge delay of d / dt timesteps
Flatten             to a vector                   Flatten

A factor goes into the weights behind it: columns of a Linear, input channels of a Conv2d (its zero padding stays zero). Where
none follow before the next neurons, it goes into those in front of it (`nir_foreign_fold.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import nir
import numpy as np

from neurodeploy.errors import UnsafeFile
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Input, Li, Linear, Node, Pair, Shape, SumPool2d

ONE = np.ones(())  # no factor
MOST_VALUES = 2**24  # of factors that differ within a layer
_MOST_STEPS = 2**16


@dataclass(frozen=True, eq=False)
class Read:
    """A node of NIR read. node: ours, None where it only passes on; front: an integrator of ours in front of it.

    left: factor for the weights behind, 0-d or of the shape put out. delay: timesteps on its way. gain, offset: what it adds
    to its state for input a is gain * a + offset, and node takes a itself; 0-d or of its shape.
    """

    node: Node | None
    left: Array = field(default_factory=lambda: ONE)
    delay: int = 0
    gain: Array = field(default_factory=lambda: ONE)
    offset: Array | None = None
    front: Li | None = None


@dataclass(frozen=True, eq=False)
class End(Node):
    """The Output, while the graph is built."""


def collapsed(values: Array) -> Array:
    """0-d where all values are equal."""
    return values.reshape(-1)[0].reshape(()) if (values == values.flat[0]).all() else values


@dataclass(frozen=True)
class NodeReader:
    """Reads the nodes of the file `where`; `conventions` are those that NIR leaves open (`nir_foreign.NirOptions`).

    flat_maps: maps have one dimension, (C, L), and are (C, 1, L) here. end: the node that alone feeds the Output, and nothing
    else. repairs: what was put right, a line each (`nir_foreign_repair`).
    """

    where: str
    conventions: dict[str, Any]
    flat_maps: bool = False
    end: str | None = None
    repairs: list[str] = field(default_factory=list)

    def refuse(self, name: str, what: str, limit: str = "", remedy: str = "") -> NoReturn:
        raise UnsafeFile(what, where=f"{self.where}: {name}", limit=limit, remedy=remedy)

    def repaired(self, name: str, what: str) -> None:
        self.repairs.append(f"{name}: {what}")

    def numbers(self, name: str, value: Any, what: str, rank: int | None = None) -> Array:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf" or not array.size or not np.isfinite(array).all():
            self.refuse(name, f"{what} is empty or not finite numbers")
        if rank is not None and array.ndim != rank:
            self.refuse(name, f"{what} has shape {array.shape}", f"{rank} axes")
        return array if array.dtype.kind == "f" else array.astype(np.float64)

    def spread(self, name: str, value: Any, what: str, shape: Shape) -> Array:
        """One value for each element of `shape`, 0-d where all are equal; axes of length 1 in front are a batch's."""
        array = self.numbers(name, value, what)
        wanted = (shape[0], shape[2]) if self.flat_maps and len(shape) == 3 else shape
        if array.size == 1 and np.prod(shape, dtype=float) > 1:
            self.repaired(name, f"one value for all of {shape}")
        elif array.ndim > len(wanted) and array.shape[0] == 1:
            self.repaired(name, "arrays without the batch's axis")
        while array.ndim > len(wanted) and array.shape[0] == 1:
            array = array[0]
        fits = array.size == 1 or (array.ndim == len(wanted) and np.broadcast_shapes(array.shape, wanted) == wanted)
        if not fits:
            self.refuse(name, f"{what} of shape {np.shape(value)}", f"What arrives has shape {shape}")
        if (array == array.flat[0]).all():
            return np.asarray(array.astype(np.float64).reshape(-1)[0])
        if np.prod(shape, dtype=float) > MOST_VALUES:
            self.refuse(name, f"{what} that differ, in a layer of shape {shape}", f"At most {MOST_VALUES} values")
        return np.broadcast_to(array.astype(np.float64), wanted).reshape(shape)

    def pair(self, name: str, value: Any, what: str, low: int) -> Pair:
        array = self.numbers(name, value, what).reshape(-1)
        whole = array.astype(np.int64)
        if array.size not in (1, 2) or not np.array_equal(whole, array) or whole.min() < low or whole.max() > 2**16:
            self.refuse(name, f"{what} is {np.asarray(value).tolist()}", f"One or two whole numbers from {low} on")
        return int(whole[0]), int(whole[-1])

    def weights(self, name: str, node: Any, rank: int) -> tuple[Array, Array | None]:
        """(weight in the file's precision, bias in float64 or None)."""
        weight = self.numbers(name, node.weight, "weight", rank)
        bias = getattr(node, "bias", None)
        bias = None if bias is None else self.numbers(name, bias, "bias", 1).astype(np.float64)
        if bias is not None and bias.shape != weight.shape[:1]:
            self.refuse(name, f"bias has shape {bias.shape} for weights of {weight.shape}", "One bias for each channel out")
        return weight, bias if bias is not None and bias.any() else None

    def _per_channel(self, name: str, factor: Array) -> Array:
        """[C] of a factor for a map (C, H, W)."""
        first = factor.reshape(len(factor), -1)[:, :1]
        if (factor.reshape(len(factor), -1) != first).any():
            self.refuse(name, "a Scale in front of it differs within a channel", "One factor a channel",
                        "Put the factors into the weights")
        return first[:, 0]

    def input(self, name: str, node: Any, shape: Shape, factor: Array) -> Read:
        """Rank 1 is a vector, 3 a map, 2 a map of one dimension or a vector with the batch's axis; 4 has that axis too."""
        sizes = tuple(int(n) for n in self.numbers(name, node.input_type["input"], "shape", 1))
        given = sizes
        if len(sizes) == (3 if self.flat_maps else 4) and sizes[0] == 1:
            sizes = sizes[1:]
        if self.flat_maps and len(sizes) == 2:
            sizes = (sizes[0], 1, sizes[1])
        elif len(sizes) == 2 and sizes[0] == 1:
            sizes = sizes[1:]
        if given[0] == 1 and given[1:] == sizes:
            self.repaired(name, f"shape {list(sizes)}, without the batch's axis")
        if len(sizes) not in (1, 3) or min(sizes) < 1 or max(sizes) > 2**16:
            self.refuse(name, f"an input of shape {list(sizes)}", "(channels, height, width), (channels, length) or (n,)")
        return Read(Input(name, sizes))

    def output(self, name: str, node: Any, shape: Shape, factor: Array) -> Read:
        return Read(End(name), gain=factor)

    def conv2d(self, name: str, node: Any, shape: Shape, factor: Array) -> Read:
        stated = node.input_shape
        if stated is not None and len(shape) == 3 and self.pair(name, stated, "input_shape", 1) != shape[1:]:
            self.refuse(name, f"input_shape is {np.asarray(stated).tolist()}", f"What arrives has shape {shape}")
        weight, bias = self.weights(name, node, 4)
        stride, dilation = self.pair(name, node.stride, "stride", 1), self.pair(name, node.dilation, "dilation", 1)
        return self._convolution(name, node, shape, weight, bias, stride, dilation, factor)

    def conv1d(self, name: str, node: Any, shape: Shape, factor: Array) -> Read:
        """weight [O, I, K] -> [O, I, 1, K]."""
        if node.input_shape is not None and len(shape) == 3:
            length = self.numbers(name, node.input_shape, "input_shape").reshape(-1)
            if length.size != 1 or length[0] != shape[2]:
                self.refuse(name, f"input_shape is {length.tolist()}", f"What arrives has length {shape[2]}")
        weight, bias = self.weights(name, node, 3)
        stride, dilation = ((1, self.pair(name, v, w, 1)[1]) for v, w in ((node.stride, "stride"), (node.dilation, "dilation")))
        return self._convolution(name, node, shape, weight[:, :, np.newaxis], bias, stride, dilation, factor)

    def _convolution(
        self, name: str, node: Any, shape: Shape, weight: Array, bias: Array | None, stride: Pair, dilation: Pair,
        factor: Array,
    ) -> Read:
        groups = int(node.groups)
        if groups < 1 or weight.shape[0] % groups:
            self.refuse(name, f"{groups} groups of {weight.shape[0]} channels")
        padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
        if isinstance(padding, str):
            spans = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
            uneven = [s % 2 for s in spans]
            if padding == "same" and (stride != (1, 1) or (any(uneven) and max(dilation) > 1)):
                self.refuse(name, f"padding 'same', stride {stride}, dilation {dilation}", "Padding as numbers")
            pads: Pair = (-(-spans[0] // 2), -(-spans[1] // 2)) if padding == "same" else (0, 0)
            if padding == "same" and any(uneven):  # torch pads one more behind: a kernel with a first row of zeros does so
                weight = np.pad(weight, ((0, 0), (0, 0), (uneven[0], 0), (uneven[1], 0)))
        else:
            pads = self.pair(name, padding, "padding", 0)
            pads = (0, pads[1]) if isinstance(node, nir.Conv1d) else pads
        if factor.ndim:
            channels = self._per_channel(name, factor)
            if len(channels) != weight.shape[1] * groups:
                self.refuse(name, f"expects {weight.shape[1] * groups} input channels, got shape {shape}")
            by_group = channels.reshape(groups, -1)
            weight = weight * np.repeat(by_group, len(weight) // groups, axis=0)[:, :, np.newaxis, np.newaxis]
        elif factor != 1:
            weight = weight * weight.dtype.type(factor)
        return Read(Conv2d(name, weight.astype(np.float64), bias, stride, pads, dilation, groups))

    def linear(self, name: str, node: Any, shape: Shape, factor: Array) -> Read:
        weight, bias = self.weights(name, node, 2)
        if factor.ndim and factor.shape != weight.shape[1:]:
            self.refuse(name, f"expects {weight.shape[1]} inputs, got shape {shape}")
        if factor.ndim or factor != 1:
            weight = weight * (factor if factor.ndim else weight.dtype.type(factor))
        return Read(Linear(name, weight.astype(np.float64), bias))

    def pool(self, name: str, node: Any, shape: Shape, factor: Array) -> Read:
        kernel = self.pair(name, node.kernel_size, "kernel_size", 1)
        stride, padding = self.pair(name, node.stride, "stride", 1), self.pair(name, node.padding, "padding", 0)
        if len(shape) == 3 and (stride != kernel or padding != (0, 0)):
            if shape[0] * kernel[0] * kernel[1] > MOST_VALUES:
                self.refuse(name, f"windows of {kernel} over {shape[0]} channels that overlap or have a border",
                            f"At most {MOST_VALUES} weights")
            rows = self._per_channel(name, factor) if factor.ndim else np.full(shape[0], float(factor))
            window = np.full((1, 1, *kernel), 1 / (kernel[0] * kernel[1]) if isinstance(node, nir.AvgPool2d) else 1.0)
            return Read(Conv2d(name, rows.reshape(-1, 1, 1, 1) * window, None, stride, padding, groups=len(rows)))
        new = SumPool2d(name, kernel)
        if factor.ndim:
            channels = self._per_channel(name, factor)[:, np.newaxis, np.newaxis]
            factor = np.broadcast_to(channels, new.output_shape(shape))
        return Read(new, factor / (kernel[0] * kernel[1]) if isinstance(node, nir.AvgPool2d) else factor)

    def flatten(self, name: str, node: Any, shape: Shape, factor: Array) -> Read:
        """Everything to a vector; dimensions are counted with and without that of the batch."""
        start, end, rank = int(node.start_dim), int(node.end_dim), len(shape) - (self.flat_maps and len(shape) == 3)
        if start not in (0, 1) or end not in (-1, rank - 1, rank):
            self.refuse(name, f"flattens dimensions {start} to {end} of {shape}", "All of them")
        if rank > 1 and (start == 1 or end == rank):
            self.repaired(name, "flattens all of a sample: its dimensions count the batch's")
        return Read(Flatten(name), factor.reshape(-1) if factor.ndim else factor)

    def scale(self, name: str, node: Any, shape: Shape, factor: Array) -> Read:
        return Read(None, collapsed(np.asarray(factor * self.spread(name, node.scale, "scale", shape))))

    def delay(self, name: str, node: Any, shape: Shape, factor: Array) -> Read:
        time, dt = self.spread(name, node.delay, "delay", shape), self.conventions.get("dt", 1.0)
        if time.ndim:
            self.refuse(name, f"delays from {time.min():g} to {time.max():g}", "One delay a layer", "Give each delay a layer")
        steps = round(float(time) / dt)
        if not 0 <= steps <= _MOST_STEPS or abs(float(time) / dt - steps) > 1e-6 * max(1, steps):
            self.refuse(name, f"a delay of {float(time):g}", f"Whole timesteps of dt = {dt:g}, at most {_MOST_STEPS}",
                        "State the timestep: --set nir.dt=...")
        return Read(None, factor, steps)


Reader = Callable[[NodeReader, str, Any, Shape, Array], Read]
STATELESS: dict[type, Reader] = {
    nir.Input: NodeReader.input, nir.Output: NodeReader.output, nir.Conv2d: NodeReader.conv2d, nir.Conv1d: NodeReader.conv1d,
    nir.Linear: NodeReader.linear, nir.Affine: NodeReader.linear, nir.SumPool2d: NodeReader.pool,
    nir.AvgPool2d: NodeReader.pool, nir.Flatten: NodeReader.flatten, nir.Scale: NodeReader.scale, nir.Delay: NodeReader.delay,
}
