"""Labelled folders of images as pixels, for networks that take images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.class_folders import ClassFile, class_files
from neurodeploy.data.image_files import SUFFIXES, check_bytes, header, opened, pixels
from neurodeploy.data.splits import IndexArray, by_part
from neurodeploy.errors import UsageError

N_LEVELS = 256
SUPPORTED = "A folder of PNG or JPEG images holds one sub-folder a class, perhaps inside train, test and validation"
Size = tuple[int, int]


def read_image_folder(
    path: Path, size: Size | None = None, channels: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, IndexArray]]:
    """(x uint8 [N, C, H, W], y [N], splits) of a folder as `class_folders` describes it.

    size: (H, W) that every image is brought to, cut in its middle to that shape first; None: they all have one size. channels:
    1 (grey) or 3 (RGB); None: 1 where all files are grey. Images are decoded one at a time, and kept as bytes. Raises
    UsageError for mixed sizes and for more than 4 GiB, UnsafeFile for a file that is no image.
    """
    files = class_files(path, SUFFIXES, SUPPORTED)
    y = np.asarray([file.label for file in files], dtype=np.int64)
    if y[-1] == 0:
        raise UsageError("there is one class", where=str(path), limit=SUPPORTED, remedy="Add a sub-folder for another class")
    splits = by_part(y, np.asarray([file.part for file in files]), str(path))
    headers = [header(file.path) for file in files]
    if channels is None:
        channels = max(found[0] for found in headers)
    height, width = size or _common_size(path, files, headers)
    check_bytes(len(files), (channels, height, width), str(path), "Make them smaller with --set data.size=N")
    x = np.empty((len(files), channels, height, width), dtype=np.uint8)
    for place, file in zip(x, files, strict=True):
        place[:] = _read(file.path, channels, (height, width), size is not None)
    return x, y, splits


def _common_size(path: Path, files: list[ClassFile], headers: list[tuple[int, int, int]]) -> Size:
    sizes = Counter(found[1:] for found in headers)
    if len(sizes) > 1:
        (most, n_most), *_ = sizes.most_common(1)
        other = next(i for i, found in enumerate(headers) if found[1:] != most)
        raise UsageError(
            f"images of {len(sizes)} sizes: {n_most} of {len(files)} have {most[0]} x {most[1]} (height x width), "
            f"{files[other].path.relative_to(path)} has {headers[other][1]} x {headers[other][2]}", where=str(path),
            code="mixed_sizes", limit="A network takes images of one size",
            remedy=f"Bring all to one: --set data.size={min(most)}, or `size` under [data] in the recipe",
        )
    return next(iter(sizes))


def _read(path: Path, channels: int, size: Size, fit: bool) -> NDArray[np.uint8]:
    """One image [C, H, W] of `size`, brought to it where `fit`."""
    from PIL import Image, ImageOps

    with opened(path) as file:
        image = pixels(file, channels)
    if fit and image.size != size[::-1]:
        image = ImageOps.fit(image, size[::-1], method=Image.Resampling.BILINEAR)  # which averages where it makes smaller
    found = np.asarray(image, dtype=np.uint8)
    if found.shape[:2] != size:
        raise UsageError(f"{found.shape[0]} x {found.shape[1]} pixels once decoded, its header says {size[0]} x {size[1]}",
                         where=str(path), remedy="Save it again without orientation, or set data.size")
    return np.moveaxis(np.atleast_3d(found), 2, 0)
