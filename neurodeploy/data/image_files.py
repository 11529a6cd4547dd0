"""PNG and JPEG files that may come from anyone."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UnsafeFile, UsageError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 2**25  # of one image
MAX_BYTES = 2**32  # of all images of a folder, one byte a pixel and channel
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values with width and height exchanged
_GREY_MODES = ("1", "L", "LA", "La", "F")


@contextmanager
def opened(path: Path | str, file: BinaryIO | None = None) -> Iterator[Image.Image]:
    """An image whose pixels are not read yet, in `path`, or in `file`, which errors call `path`. UnsafeFile, here or in the
    block, where it is damaged, too large or no image."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pillow warns of large images, which are refused below
            with Image.open(path if file is None else file, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnsafeFile(f"{image.width} x {image.height} pixels", where=str(path), limit=f"At most {MAX_PIXELS}",
                                     remedy="Make the image smaller")
                yield image
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, MemoryError, struct.error, zlib.error,
            Image.DecompressionBombError) as error:
        raise UnsafeFile(f"cannot be read as an image ({error})", where=str(path), limit="PNG and JPEG are read",
                         remedy="Convert it, or take it out of the folder") from error


def header(path: Path | str, file: BinaryIO | None = None) -> tuple[int, int, int]:
    """(C, H, W) of an image as it will be seen: C is 1 where its file can only hold grey, else 3. Errors as in `opened`."""
    with opened(path, file) as image:
        # A png without the chunk in front of its pixels would be decoded whole to look for it; `pixels` does that anyway.
        turned = "exif" in image.info and image.getexif().get(_ORIENTATION) in _TURNED
        width, height = image.size[::-1] if turned else image.size
        return 1 if _is_grey(image) else 3, height, width


def pixels(image: Image.Image, channels: int) -> Image.Image:
    """The image upright, in 8-bit grey (`channels` 1) or RGB (3); what is transparent is black. For a block of `opened`."""
    from PIL import Image, ImageOps

    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":  # 16 bits a pixel: pillow would cut them off instead of scaling them
        image = Image.fromarray(np.clip(np.asarray(image, dtype=np.float64) / 257, 0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image.convert("RGBA"))
    return image.convert("L" if channels == 1 else "RGB")


def read_sized(path: Path | str, size: tuple[int, int], file: BinaryIO | None = None) -> NDArray[np.uint8]:
    """RGB bytes [3, H, W] of an image of that size (H, W). Errors as in `opened`; another size is one, before it is decoded."""
    with opened(path, file) as image:
        if image.size != size[::-1]:
            raise UnsafeFile(f"{image.height} x {image.width} pixels", where=str(path), limit=f"All have {size[0]} x {size[1]}",
                             remedy="Get a fresh copy of the dataset")
        found = np.asarray(pixels(image, 3), dtype=np.uint8)
        if found.shape[:2] != size:
            raise ValueError("it is turned by its orientation")
    return np.moveaxis(found, 2, 0)


def check_bytes(n_images: int, shape: tuple[int, ...], where: str, remedy: str) -> None:
    """Raise UsageError where so many images of a shape are more than are held at a time."""
    n_bytes = n_images * math.prod(shape)
    if n_bytes > MAX_BYTES:
        raise UsageError(f"{n_images} images of {' x '.join(map(str, shape))} take {n_bytes / 2**30:.3g} GiB", where=where,
                         limit=f"At most {MAX_BYTES / 2**30:g} GiB", remedy=remedy)


def _is_grey(image: Image.Image) -> bool:
    return image.mode in _GREY_MODES or image.mode.startswith("I")
