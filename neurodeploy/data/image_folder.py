"""Images that may come from anyone, as grey values of one size in front of the simulated camera."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.camera import CameraSettings
from neurodeploy.errors import UnsafeFile, UsageError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 2**25  # of one image
MAX_SIDE = 1024  # of an image that is not made smaller


def read_images(paths: Sequence[Path], camera: CameraSettings) -> NDArray[np.float64]:
    """Grey images [N, H, W] in 0..1, each in the middle of a black canvas of the size of the largest.

    Where the camera chooses its own scale, larger images are first reduced, averaging, to what fits on its sensor; otherwise
    they keep their size. Raises UnsafeFile for a file that is damaged, too large, or no PNG or JPEG.
    """
    room = np.floor(np.asarray(camera.sensor) - np.ptp(camera.path(), axis=0)).astype(int)
    box = None if camera.scale is not None else (max(int(room[0]), 1), max(int(room[1]), 1))
    images = [_grey(path, box) for path in paths]
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    canvas = np.zeros((len(images), height, width))
    for place, image in zip(canvas, images, strict=True):
        top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        place[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas / 255


def _grey(path: Path, box: tuple[int, int] | None) -> NDArray[np.uint8]:
    """One image as grey values 0..255, at most `box` (height, width) large; what is transparent is black."""
    from PIL import Image, ImageOps

    where = str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pillow warns of large images, which are refused below
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnsafeFile(f"{image.width} x {image.height} pixels", where=where, limit=f"At most {MAX_PIXELS}",
                                     remedy="Make the image smaller")
                image.load()
                grey = _flat(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, MemoryError, struct.error, zlib.error,
            Image.DecompressionBombError) as error:
        raise UnsafeFile(f"cannot be read as an image ({error})", where=where, limit="PNG and JPEG are read",
                         remedy="Convert it, or take it out of the folder") from error
    if box is not None:
        shrink = min(1.0, box[0] / grey.height, box[1] / grey.width)
        if shrink < 1:
            size = max(1, round(grey.width * shrink)), max(1, round(grey.height * shrink))
            grey = grey.resize(size, Image.Resampling.BOX)
    elif max(grey.size) > MAX_SIDE:
        raise UsageError(f"{grey.width} x {grey.height} pixels", where=where, limit=f"At most {MAX_SIDE} a side",
                         remedy="Leave camera.scale out, and images are made smaller")
    return np.asarray(grey, dtype=np.uint8)


def _flat(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode[0] in "IF":  # 16 bits a pixel: pillow would cut them off instead of scaling them
        return Image.fromarray(np.clip(np.asarray(image, dtype=np.float64) / 257, 0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image.convert("RGBA"))
    return image.convert("L")
