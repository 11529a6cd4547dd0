"""Images that may come from anyone, as grey values of one size in front of the simulated camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.camera import CameraSettings
from neurodeploy.data.image_files import check_bytes, opened, pixels
from neurodeploy.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE = 1024  # of an image that is not made smaller


def read_images(paths: Sequence[Path], camera: CameraSettings) -> NDArray[np.uint8]:
    """Grey images [N, H, W] in 0..255, each in the middle of a black canvas of the size of the largest.

    Where the camera chooses its own scale, larger images are first reduced, averaging, to what fits on its sensor; otherwise
    they keep their size. Raises UnsafeFile for a file that is damaged, too large, or no PNG or JPEG, UsageError for more than
    4 GiB of pixels.
    """
    box = _box(camera)
    images: list[NDArray[np.uint8]] = []
    height = width = 1
    for path in paths:
        images.append(_grey(path, box))
        height, width = max(height, images[-1].shape[0]), max(width, images[-1].shape[1])
        check_bytes(len(images), (height, width), str(path), "Leave camera.scale out, and images are made smaller")
    canvas = np.zeros((len(images), height, width), dtype=np.uint8)
    for place, image in zip(canvas, images, strict=True):
        top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        place[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def to_grey(images: NDArray[np.uint8], camera: CameraSettings) -> NDArray[np.uint8]:
    """Images [N, C, H, W] of one size, grey or RGB, as `read_images` gives those of files: grey [N, H, W], made smaller where
    the camera chooses its own scale."""
    from PIL import Image

    box = _box(camera)
    pictures = (Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, 2)) for image in images)
    return np.stack([_reduced(picture.convert("L"), box, "camera") for picture in pictures])


def _box(camera: CameraSettings) -> tuple[int, int] | None:
    """(height, width) that fit on the sensor along the image's path; None where the camera has a scale of its own."""
    room = np.floor(np.asarray(camera.sensor) - np.ptp(camera.path(), axis=0)).astype(int)
    return None if camera.scale is not None else (max(int(room[0]), 1), max(int(room[1]), 1))


def _grey(path: Path, box: tuple[int, int] | None) -> NDArray[np.uint8]:
    """One image as grey values 0..255, at most `box` (height, width) large; what is transparent is black."""
    with opened(path) as image:
        grey = pixels(image, 1)
    return _reduced(grey, box, str(path))


def _reduced(grey: Image.Image, box: tuple[int, int] | None, where: str) -> NDArray[np.uint8]:
    from PIL import Image

    if box is not None:
        shrink = min(1.0, box[0] / grey.height, box[1] / grey.width)
        if shrink < 1:
            size = max(1, round(grey.width * shrink)), max(1, round(grey.height * shrink))
            grey = grey.resize(size, Image.Resampling.BOX)
    elif max(grey.size) > MAX_SIDE:
        raise UsageError(f"{grey.width} x {grey.height} pixels", where=where, limit=f"At most {MAX_SIDE} a side",
                         remedy="Leave camera.scale out, and images are made smaller")
    return np.asarray(grey, dtype=np.uint8)
