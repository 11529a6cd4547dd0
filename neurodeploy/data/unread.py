"""A dataset of images whose labels are known and whose images are read once it is known which are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Unread:
    """Labels y int64 [N], part [N] with the names of splits ("train", "test"), the (C, H, W) of all images, and `read`: their
    bytes uint8 [n, C, H, W] for sorted indices [n]."""

    y: NDArray[np.int64]
    part: NDArray[np.str_]
    shape: tuple[int, int, int]
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]]


def parts(n_train: int, n_test: int) -> NDArray[np.str_]:
    """`Unread.part` of training images in front of test images."""
    return np.repeat(np.asarray(["train", "test"]), [n_train, n_test])
