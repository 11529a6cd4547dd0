"""Tiny-ImageNet: `train/<class>/images/*.JPEG` and `val/images/*.JPEG` with their classes in `val/val_annotations.txt`.

The labels of its test images were never published, so its validation images are the test split here, as in the literature.
Source: http://cs231n.stanford.edu/tiny-imagenet-200.zip (Stanford CS231n).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.class_folders import MAX_FILES
from neurodeploy.data.image_files import SUFFIXES, header, read_sized
from neurodeploy.data.unread import Unread, parts
from neurodeploy.errors import UsageError
from neurodeploy.ir import archive

FILES = ("train", "val/val_annotations.txt")


def read(folder: Path) -> Unread:
    """The images in RGB, all of the size of the first; classes in the order of their names. Raises UsageError for a class
    without images, an annotation of an unknown class or a missing file, UnsafeFile for an image that is damaged."""
    classes = sorted(entry.parent.name for entry in (folder / "train").glob("*/images") if entry.is_dir())
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(f for f in (folder / "train" / name / "images").iterdir() if f.suffix.lower() in SUFFIXES)
        if not found:
            raise UsageError(f"class {name!r} is empty", where=str(folder / "train" / name), code="empty_class",
                             remedy="Unpack the archive of the dataset again")
        files += found
        labels += [label] * len(found)
    n_train = len(files)
    listed = folder / FILES[1]
    number = {name: label for label, name in enumerate(classes)}
    for line in archive.read(listed).decode("utf-8", "replace").splitlines():
        image, _, rest = line.partition("\t")
        name = rest.partition("\t")[0]
        if name not in number or Path(image).name != image or image in ("", ".."):
            raise UsageError(f"{line!r:.80} names no image and one of the {len(classes)} classes of train", where=str(listed),
                             remedy="Unpack the archive of the dataset again")
        files.append(folder / "val" / "images" / image)
        labels.append(number[name])
    if not n_train or n_train == len(files) or len(files) > MAX_FILES:
        raise UsageError(f"{n_train} images of train and {len(files) - n_train} of val", where=str(folder),
                         limit=f"At least one of each, at most {MAX_FILES}", remedy="Unpack the archive of the dataset again")
    _, height, width = header(files[0])

    def images(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        x = np.empty((len(index), 3, height, width), np.uint8)
        for place, i in zip(x, index, strict=True):
            place[:] = read_sized(files[i], (height, width))
        return x

    return Unread(np.asarray(labels, np.int64), parts(n_train, len(files) - n_train), (3, height, width), images)
