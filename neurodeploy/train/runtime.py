"""Seeds, threads and devices: what makes two runs comparable."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from neurodeploy.errors import UsageError
from neurodeploy.train.ranks import current


def seed_everything(seed: int) -> None:
    """Seeds Python's, numpy's and torch's global generators. Call it before a network is built."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed is {seed}", where="seed", limit="Seeds lie in 0..2^32-1")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def global_state() -> dict[str, Any]:
    """State of the global generators, as tensors and plain types."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_global_state(state: dict[str, Any]) -> None:
    """Undoes `global_state`; the generators of GPUs are restored where there are as many."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    cuda = state.get("cuda", [])
    if cuda and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """torch's intra-op thread count within the block; sums depend on it, so bit equality holds per count. `repeatable` too."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with repeatable():
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def repeatable() -> Iterator[None]:
    """On a GPU, within the block: convolutions by algorithms that sum in the same order each time, and no factors of float32
    rounded to fewer bits (TF32)."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, True, False
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before


def precision(device: torch.device, name: str) -> AbstractContextManager[Any]:
    """A block whose forward passes compute convolutions and linear layers in "fp32" or "bf16". Norms and neurons take their
    results as float32 (`models.blocks.BatchNorm`, `models.neurons.Neuron`); spikes are exact in either."""
    return torch.autocast(device.type, torch.bfloat16) if name == "bf16" else nullcontext()


def resolve_device(device: str) -> torch.device:
    """`auto` is cuda where there is one, else cpu; of several processes each has a GPU of its own.

    Raises UsageError for a device that is absent or unknown.
    """
    ranks = current()
    if ranks.n > 1 and (device == "cuda" or (device == "auto" and torch.cuda.is_available())):
        device = f"cuda:{ranks.local_rank}"
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        return torch.device("cpu")
    if device == "cuda" or device.startswith("cuda:"):
        number = device.removeprefix("cuda").removeprefix(":") or "0"
        if number.isdigit() and int(number) < torch.cuda.device_count():
            return torch.device("cuda", int(number))
        raise UsageError(f"no device {device!r}", where="device", limit=f"{torch.cuda.device_count()} cuda device(s) found",
                         remedy="Use cpu or auto")
    raise UsageError(f"no device {device!r}", where="device", limit="Known: auto, cpu, cuda, cuda:N")
