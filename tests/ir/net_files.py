"""`.net` files written entry by entry, as lava-dl or a stranger would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

LIF = {"neuron/type": b"CUBA", "neuron/iDecay": 4096, "neuron/vDecay": 512, "neuron/vThMant": 60}
SDNN = {"neuron/type": b"SDNN", "neuron/vThMant": 3}
W = np.arange(-6, 6, dtype=np.float32).reshape(3, 4) * 2


def dense(weight: Any = W, kind: bytes = b"dense", **entries: Any) -> dict[str, Any]:
    """A dense layer of 3 neurons with 4 inputs; entries with None are left out, `neuron__x` stands for neuron/x."""
    return _merged({"type": kind, "shape": [3 if weight is None else len(weight)], "weight": weight, **LIF}, entries)


def conv(weight: Any, shape: tuple[int, ...], **entries: Any) -> dict[str, Any]:
    return _merged(
        {"type": b"conv", "shape": shape, "weight": weight, "stride": 1, "padding": 0, "dilation": 1, "groups": 1, **LIF},
        entries,
    )


def source(*shape: int, **entries: Any) -> dict[str, Any]:
    """An input layer; without neurons unless entries give some."""
    return _merged({"type": b"input", "shape": shape}, entries)


def _merged(layer: dict[str, Any], entries: dict[str, Any]) -> dict[str, Any]:
    layer |= {name.replace("__", "/"): value for name, value in entries.items()}
    return {name: value for name, value in layer.items() if value is not None}


def write(path: Path, *layers: dict[str, Any], **simulation: Any) -> Path:
    with h5py.File(path, "w") as file:
        for k, layer in enumerate(layers):
            for name, value in layer.items():
                put = np.array([value], dtype="S10") if isinstance(value, bytes) else value
                file.create_dataset(f"layer/{k}/{name}", data=put)
        for name, value in simulation.items():
            file[f"simulation/{name}"] = value
    return path
