"""A GPU made of CPU memory: tensors that say they lie elsewhere, compute on the CPU, and refuse to meet CPU tensors.

Whatever a GPU refuses fails here: an operation on tensors of two devices (numbers of no dimension apart), `.numpy()`. What it
computes is what the CPU computes, bit for bit, so a run on it must equal one on the CPU. Its device is called "meta", for which
torch without CUDA has all that it asks of a device.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from neurodeploy.train import runtime
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("meta")
_MOVES = ("aten._to_copy.default", "aten.copy_.default")  # what may see both devices


class OnGpu(Tensor):
    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGpu:
        made = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=GPU,
        )
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({self.inner!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.__reduce_ex__(protocol)  # as checkpoints see a tensor that is mapped to the CPU

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, Tensor)]
    if str(func) not in _MOVES and any(isinstance(a, OnGpu) for a in flat):
        strangers = [a for a in flat if not isinstance(a, OnGpu) and a.ndim]
        if strangers:
            raise RuntimeError(f"{func}: expected all tensors on one device, found another and cpu {tuple(strangers[0].shape)}")
    device = kwargs.get("device")
    here = any(isinstance(a, OnGpu) for a in flat) if device is None else torch.device(device).type == "meta"
    if str(func) == "aten.copy_.default":
        here = isinstance(args[0], OnGpu)
    plain_args, plain_kwargs = tree_map(lambda a: a.inner if isinstance(a, OnGpu) else a, (args, kwargs))
    if device is not None:
        plain_kwargs["device"] = torch.device("cpu")
        if str(func) == "aten._to_copy.default":  # a copy, even where only the device differs
            plain_args = (plain_args[0].clone(), *plain_args[1:])
    out = func(*plain_args, **plain_kwargs)
    known = {id(a.inner): a for a in flat if isinstance(a, OnGpu)}

    def wrap(a: Any) -> Any:
        if not isinstance(a, Tensor):
            return a
        return known[id(a)] if id(a) in known else OnGpu(a)

    return tree_map(wrap, out) if here else out


class _Factories(TorchDispatchMode):
    """Tensors that are made on the stand-in or moved there."""

    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        _Factories.calls += any(isinstance(a, OnGpu) for a in tree_flatten((args, kwargs))[0])
        return dispatch(func, args, kwargs or {})


@contextmanager
def stand_in_gpu(patch: pytest.MonkeyPatch) -> Iterator[type[_Factories]]:
    """`auto` and `cuda` are the stand-in within the block; what is yielded counts the operations on it."""
    patch.setattr(runtime, "resolve_device", lambda device: torch.device("cpu") if device == "cpu" else GPU)
    patch.setattr(sys.modules[Optimizer.__module__], "_get_fused_kernels_supported_devices", lambda: ["cpu", "meta"])
    patch.setattr(torch, "inference_mode", torch.no_grad)  # views of such wrappers are not made in inference mode
    _Factories.calls = 0
    with _Factories():
        yield _Factories
