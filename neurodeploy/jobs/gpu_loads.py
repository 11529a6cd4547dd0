"""Work for a GPU that shows one constant each: tiny kernels, a stream of bytes, convolutions and products, a whole network.

The work runs wherever torch's device is, so that tests run it on a processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from neurodeploy.errors import EnvironmentMissing, UsageError
from neurodeploy.hw.gpu_profile import VALUE_BYTES, Precision
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.gpu_meter import Load
from neurodeploy.models.from_graph import TorchGraph

_TINY, _SHORT = 1000, 8  # kernels between two looks at the clock: waiting for one costs some microseconds
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def cuda() -> torch.device:
    """The GPU that torch uses. Raises EnvironmentMissing where it can use none."""
    if not torch.cuda.is_available():
        why = "was built without CUDA" if torch.version.cuda is None else "finds no GPU"
        raise EnvironmentMissing(
            f"torch {torch.__version__} {why}", where="targets measure",
            remedy="Run it on a machine with an NVIDIA GPU and torch for CUDA; packaged profiles need no GPU",
        )
    return torch.device("cuda")


def uuid_of(device: torch.device) -> str | None:
    """The driver's name for the very GPU that torch uses, so that its meter is asked and no other's."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


class GpuLoads:
    """Loads on a device. size: scale of the tensors, 1 for a whole GPU."""

    def __init__(self, device: torch.device, size: float = 1.0) -> None:
        self.device = device
        self._size = size

    def finish(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def tiny(self) -> Load:
        """Kernels on one value; amount counts kernels."""
        x = torch.zeros(1, device=self.device)
        return Load(lambda: x.add_(1.0), self.finish, 1.0, calls=_TINY)

    def stream(self, cache_bytes: float) -> Load:
        """A copy of many times the cache; amount counts bytes read and written."""
        n = max(1024, int(max(16 * cache_bytes, 256e6) * self._size) // 4)
        a = torch.ones(n, device=self.device)
        b = torch.empty_like(a)
        return Load(lambda: b.copy_(a), self.finish, 8.0 * n, 8.0 * n, calls=_SHORT)

    def arithmetic(self, precision: Precision) -> Load | None:
        """Convolutions of 256 channels by 3 x 3 kernels, in int8 a matrix product; amount counts operations. None where
        torch has no such kernel on this device."""
        batch = max(1, int(256 * self._size))
        if precision == "int8":
            return self._int8_product()
        x = torch.rand(batch, 256, 14, 14, device=self.device, dtype=_TYPES[precision])
        weight = torch.rand(256, 256, 3, 3, device=self.device, dtype=_TYPES[precision])
        moved = (2 * x.numel() + weight.numel()) * VALUE_BYTES[precision]
        return Load(
            lambda: functional.conv2d(x, weight, padding=1), self.finish, 2.0 * x.numel() * 256 * 9, float(moved), _SHORT
        )

    def _int8_product(self) -> Load | None:
        product: Callable[[Tensor, Tensor], Tensor] | None = getattr(torch, "_int_mm", None)
        if product is None:
            return None
        n = max(64, int(8192 * self._size) // 64 * 64)
        a, b = (torch.randint(-127, 128, (n, n), dtype=torch.int8, device=self.device) for _ in range(2))
        b = b.t()  # the order that cuBLAS has kernels for
        try:
            product(a, b)
        except RuntimeError:  # devices before Turing
            return None
        return Load(lambda: product(a, b), self.finish, 2.0 * n**3, 6.0 * n * n, _SHORT)  # results have 4 bytes

    def network(self, graph: Graph, batch: int) -> Load:
        """One inference of a batch in the unrolled form; amount counts samples. Raises UsageError for a loop."""
        if not (graph.is_acyclic and graph.is_balanced):
            raise UsageError("a network with loops or delays", where=graph.output.name, code="not_lowered",
                             limit="Feed-forward networks are measured", remedy="Leave MODEL out")
        module = TorchGraph(graph).to(self.device).eval()
        x = torch.rand(graph.n_timesteps, batch, *graph.inputs[0].shape, device=self.device)

        def run() -> None:
            with torch.inference_mode():
                module(x)

        return Load(run, self.finish, float(batch))


@contextmanager
def whole_floats() -> Iterator[None]:
    """fp32 that is fp32: without TensorFloat-32 in convolutions and products."""
    found = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = found
