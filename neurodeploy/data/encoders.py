"""Images to input sequences over timesteps."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError

Encoding = Literal["direct", "rate"]


def encode(images: NDArray[Any], encoding: str, n_timesteps: int) -> NDArray[Any]:
    """Sequence [T, B, C, H, W] of the images [B, C, H, W], of their dtype; depends on nothing random.

    direct: x[t] = image, a constant current.
    rate: x[t] = floor((t + 1) * image) - floor(t * image), spikes 0 or 1: after t steps floor(t * image) of them,
    evenly spaced. Needs values in 0..1.

    Raises UsageError for another encoding, n_timesteps < 1, a wrong shape, or rate coding of values outside 0..1.

    >>> encode(np.full((1, 1, 1, 1), 0.5), "rate", 4).ravel().tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    if encoding not in get_args(Encoding):
        raise UsageError(f"no encoding {encoding!r}", where="encode", limit=f"Have {', '.join(get_args(Encoding))}")
    if n_timesteps < 1:
        raise UsageError(f"n_timesteps is {n_timesteps}", where="encode", limit="It must be at least 1")
    if images.ndim != 4 or images.dtype.kind != "f":
        raise UsageError(f"images have shape {images.shape} and dtype {images.dtype}", where="encode",
                         limit="Expected floats [B, C, H, W]")
    if encoding == "direct":
        return np.repeat(images[np.newaxis], n_timesteps, axis=0)
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        raise UsageError(f"values lie in {images.min()}..{images.max()}", where="encode",
                         limit="Rate coding needs 0..1")
    steps = np.arange(n_timesteps + 1, dtype=images.dtype).reshape(-1, 1, 1, 1, 1)
    return np.diff(np.floor(steps * images), axis=0)
