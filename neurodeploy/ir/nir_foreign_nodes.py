"""Single nodes of others' NIR graphs as nodes of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import nir
import numpy as np

from neurodeploy.errors import UnsafeFile
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Input, Lif, Linear, Node, Pair, Shape, SumPool2d

Read = tuple[Node, float]


@dataclass(frozen=True, eq=False)
class End(Node):
    """The Output, while the graph is built."""


@dataclass(frozen=True)
class NodeReader:
    """Reads the nodes of the file `where`; `conventions` are those that NIR leaves open (`nir_foreign.NirOptions`)."""

    where: str
    conventions: dict[str, Any]

    def read(self, name: str, node: Any, shape: Shape, scale: float) -> Read:
        """Our node for one that receives `shape`, and the factor that average pools left for the weights behind it.

        `scale` is the factor that arrives. Raises UnsafeFile naming the node.
        """
        try:
            return READERS[type(node)](self, name, node, shape, scale)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError) as err:
            self.refuse(name, f"not a valid {type(node).__name__}", f"{type(err).__name__}: {err}")

    def refuse(self, name: str, what: str, limit: str = "") -> NoReturn:
        raise UnsafeFile(what, where=f"{self.where}: {name}", limit=limit)

    def numbers(self, name: str, value: Any, what: str, rank: int | None = None) -> Array:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf" or not array.size or not np.isfinite(array).all():
            self.refuse(name, f"{what} is empty or not finite numbers")
        if rank is not None and array.ndim != rank:
            self.refuse(name, f"{what} has shape {array.shape}", f"{rank} axes")
        return array if array.dtype.kind == "f" else array.astype(np.float64)

    def pair(self, name: str, value: Any, what: str, low: int) -> Pair:
        array = self.numbers(name, value, what).reshape(-1)
        whole = array.astype(np.int64)
        if array.size not in (1, 2) or not np.array_equal(whole, array) or whole.min() < low or whole.max() > 2**16:
            self.refuse(name, f"{what} is {np.asarray(value).tolist()}", f"One or two whole numbers from {low} on")
        return int(whole[0]), int(whole[-1])

    def weights(self, name: str, node: Any, rank: int, scale: float) -> tuple[Array, Array | None]:
        """(weight, bias or None) in float64; the factor of the pools is applied in the file's precision."""
        weight = self.numbers(name, node.weight, "weight", rank)
        weight = weight if scale == 1.0 else weight * weight.dtype.type(scale)
        bias = getattr(node, "bias", None)
        bias = None if bias is None else self.numbers(name, bias, "bias", 1).astype(np.float64)
        if bias is not None and bias.shape != weight.shape[:1]:
            self.refuse(name, f"bias has shape {bias.shape} for weights of {weight.shape}", "One bias for each channel out")
        return weight.astype(np.float64), bias if bias is not None and bias.any() else None

    def _input(self, name: str, node: Any, shape: Shape, scale: float) -> Read:
        wanted = self.numbers(name, node.input_type["input"], "shape", 1)
        sizes = tuple(int(n) for n in wanted)
        if len(sizes) not in (1, 3) or min(sizes) < 1 or max(sizes) > 2**16:
            self.refuse(name, f"an input of shape {list(sizes)}", "(channels, height, width) or (n,)")
        return Input(name, sizes), 1.0

    def _output(self, name: str, node: Any, shape: Shape, scale: float) -> Read:
        self._no_scale(name, scale)
        return End(name), 1.0

    def _conv2d(self, name: str, node: Any, shape: Shape, scale: float) -> Read:
        weight, bias = self.weights(name, node, 4, scale)
        stated = node.input_shape
        if stated is not None and len(shape) == 3 and self.pair(name, stated, "input_shape", 1) != shape[1:]:
            self.refuse(name, f"input_shape is {np.asarray(stated).tolist()}", f"What arrives has shape {shape}")
        stride, dilation = self.pair(name, node.stride, "stride", 1), self.pair(name, node.dilation, "dilation", 1)
        groups = int(node.groups)
        if groups < 1 or weight.shape[0] % groups:
            self.refuse(name, f"{groups} groups of {weight.shape[0]} channels")
        padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
        if isinstance(padding, str):
            spans = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
            if padding == "same" and (stride != (1, 1) or any(s % 2 for s in spans)):
                self.refuse(name, "padding 'same' with a stride or an even kernel", "Padding as numbers")
            pads: Pair = (spans[0] // 2, spans[1] // 2) if padding == "same" else (0, 0)
        else:
            pads = self.pair(name, padding, "padding", 0)
        return Conv2d(name, weight, bias, stride, pads, dilation, groups), 1.0

    def _linear(self, name: str, node: Any, shape: Shape, scale: float) -> Read:
        weight, bias = self.weights(name, node, 2, scale)
        return Linear(name, weight, bias), 1.0

    def _if(self, name: str, node: Any, shape: Shape, scale: float) -> Read:
        self._no_scale(name, scale)
        for field, wanted in (("r", 1.0), ("v_reset", 0.0)):
            if (self.numbers(name, getattr(node, field), field) != wanted).any():
                self.refuse(name, f"{field} is not {wanted:g} everywhere", f"IF neurons with {field} = {wanted:g}")
        threshold = self.numbers(name, node.v_threshold, "v_threshold")
        if np.unique(threshold).size != 1 or not threshold.flat[0] > 0:
            self.refuse(name, f"thresholds from {threshold.min():g} to {threshold.max():g}", "One value above 0 for a layer")
        if threshold.size > 1 and np.broadcast_shapes(threshold.shape, shape) != shape:
            self.refuse(name, f"thresholds of shape {threshold.shape}", f"What arrives has shape {shape}")
        v_th, c = float(threshold.flat[0]), self.conventions
        v_min = {"none": None, "-v_threshold": -v_th}[c["v_min"]] if isinstance(c["v_min"], str) else float(c["v_min"])
        return Lif(name, shape, v_th=v_th, fire=c["fire"], reset=c["reset"], multi_spike=c["multi_spike"], v_min=v_min), 1.0

    def _no_scale(self, name: str, scale: float) -> None:
        if scale != 1.0:
            self.refuse(name, "an average pool with no weights behind it", "A convolution or linear layer follows it")

    def _pool(self, name: str, node: Any, shape: Shape, scale: float) -> Read:
        kernel = self.pair(name, node.kernel_size, "kernel_size", 1)
        stride, padding = self.pair(name, node.stride, "stride", 1), self.pair(name, node.padding, "padding", 0)
        if stride != kernel or padding != (0, 0):
            self.refuse(name, f"a pool of kernel {kernel}, stride {stride}, padding {padding}", "Stride = kernel, no padding")
        factor = 1.0 / (kernel[0] * kernel[1]) if isinstance(node, nir.AvgPool2d) else 1.0
        return SumPool2d(name, kernel), scale * factor

    def _flatten(self, name: str, node: Any, shape: Shape, scale: float) -> Read:
        """Everything to a vector; dimensions are counted with and without that of the batch."""
        start, end = int(node.start_dim), int(node.end_dim)
        if start not in (0, 1) or end not in (-1, len(shape) - 1, len(shape)):
            self.refuse(name, f"flattens dimensions {start} to {end} of {shape}", "All of them")
        return Flatten(name), scale


READERS: dict[type, Callable[[NodeReader, str, Any, Shape, float], Read]] = {
    nir.Input: NodeReader._input, nir.Output: NodeReader._output, nir.Conv2d: NodeReader._conv2d,
    nir.Linear: NodeReader._linear, nir.Affine: NodeReader._linear, nir.IF: NodeReader._if, nir.SumPool2d: NodeReader._pool,
    nir.AvgPool2d: NodeReader._pool, nir.Flatten: NodeReader._flatten,
}
