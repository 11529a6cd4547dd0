"""Labelled images and their encodings: `load(name_or_path) -> Dataset`, `encode(images, encoding, n_timesteps)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurodeploy.data.datasets import Dataset, load
    from neurodeploy.data.encoders import encode

__all__ = ["Dataset", "encode", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Dataset", "load"):
        from neurodeploy.data import datasets

        return getattr(datasets, name)
    if name == "encode":
        from neurodeploy.data.encoders import encode

        return encode
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
