"""Labelled images: the packaged digits, public datasets, `.npz` files with arrays x and y, folders of images, and what others
register."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data import splits as fixed_splits
from neurodeploy.data.image_classes import N_LEVELS, read_image_folder
from neurodeploy.data.image_files import check_bytes
from neurodeploy.data.own import DATASETS, call
from neurodeploy.data.public import PUBLIC, layout_of, read_images, split_name
from neurodeploy.data.unread import Unread
from neurodeploy.errors import UnsafeFile, UsageError

DIGITS_FILE = Path(__file__).resolve().parent / "digits.npz"
DIGITS_SHA256 = "698ca3f569b5fc2b6429ab8066fc42b84946db400dd49bdc1b13e16d0e4df252"
LEAST_UNPACKED, MOST_UNPACKING = 2**24, 32  # images compress to a tenth; a file that claims more is made to fill memory
SUPPORTED = (
    'Supported: "digits", or a .npz file with arrays x and y, or a folder of images with one sub-folder a class, or a public '
    f"dataset: {', '.join(name for name, public in PUBLIC.items() if public.layouts)}"
)
_AT_A_TIME = 1024  # images that become real numbers, so that what is in between is small
PerClass = int | tuple[int, int]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images x [N, C, H, W] with labels y int64 [N] in 0..n_classes-1; the arrays are read-only.

    x is float32 in 0..1, or uint8 in 0..n_levels-1 where data may be large: `split` always gives float32, `stored` what is
    there. `n_levels` is the number of equally spaced grey values, so x * (n_levels - 1) is the integer a chip receives (after
    rounding, where a file of real values has more). `splits` holds disjoint index arrays `train`, `validation` and `test`.
    """

    name: str
    x: NDArray[Any]
    y: NDArray[np.int64]
    n_classes: int
    n_levels: int
    splits: dict[str, NDArray[np.int64]]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, channels, height, width = self.x.shape
        return channels, height, width

    def split(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Images and labels of `train`, `validation` or `test`; UsageError for another name."""
        index = self._index(name)
        return _as_float(self.x, self.n_levels, index), self.y[index]

    def stored(self, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """As `split`, but images of bytes stay bytes."""
        index = self._index(name)
        return self.x[index], self.y[index]

    def few(self, per_class: PerClass | None) -> Dataset:
        """At most the first so many images of each class in train and in validation (a pair: in each); test stays whole."""
        if per_class is None:
            return self
        splits = fixed_splits.first_per_class(self.y, self.splits, _counts(per_class, self.name))
        kept = np.sort(np.concatenate(list(splits.values())))
        found = replace(self, x=self.x[kept], y=self.y[kept], splits={k: np.searchsorted(kept, v) for k, v in splits.items()})
        return _read_only(found)

    def _index(self, name: str) -> NDArray[np.int64]:
        if name not in self.splits:
            raise UsageError(f"no split {name!r}", where=self.name, limit=f"It has {', '.join(self.splits)}")
        return self.splits[name]


def load(
    name_or_path: str | Path, *, size: int | tuple[int, int] | None = None, channels: int | None = None,
    like: tuple[int, ...] | None = None, per_class: PerClass | None = None,
) -> Dataset:
    """The packaged dataset "digits", a public one (`data.public`), a registered one, or the one in a `.npz` file or a folder of
    images.

    size, channels: what the images of a folder are brought to, see `image_classes.read_image_folder`; other data have theirs.
    like: the (C, H, W) that a network takes, to which a folder of images is brought. per_class: see `Dataset.few`; of a public
    dataset no more than that is read.

    A file holds `x` [N, H, W] or [N, C, H, W] (unsigned integers 0..n_levels-1, or floats in 0..1), `y` [N] (integers
    0..K-1, every class present), optionally `n_levels` (default 256) and index arrays `train`, `validation`, `test`;
    without them every class is divided 50 / 20 / 30 % in a fixed way. Nothing in the file is executed.

    Raises UsageError for an unknown name or unsuitable arrays, UnsafeFile for a damaged or altered file.

    >>> load("digits").x.shape
    (1797, 1, 8, 8)
    """
    name, path = str(name_or_path), Path(name_or_path)
    own, public = name == "digits" or name in DATASETS, split_name(name)
    layout = layout_of(path) if not own and public is None and path.is_dir() else None
    if not own and public is None and layout is None and path.is_dir():
        return _from_folder(path, size, channels, like).few(per_class)
    if size is not None or channels is not None:
        raise UsageError("data.size and data.channels are for folders of images", where=name, limit="These data have their own",
                         remedy="Leave them out")
    if own:
        return (_digits() if name == "digits" else _registered(name)).few(per_class)
    if public is not None:
        return _read(*read_images(*public), per_class)
    if layout is not None:
        return _read(path.resolve().name + layout.suffix, layout.read(path), per_class)
    if path.is_file() and path.suffix.lower() == ".npz":
        return _from_arrays(path.stem, _read_npz(path.read_bytes(), str(path)), str(path)).few(per_class)
    if path.exists():
        raise UsageError(f"{path.suffix or 'such'} files cannot be read as a dataset", where=str(path), limit=SUPPORTED)
    raise UsageError(f"no dataset {name!r}", where="dataset", remedy=f"Check the path, or {DATASETS.remedy}",
                     limit=f"Looked for the names of datasets and for {path.resolve()}. {SUPPORTED}. {DATASETS.known()}")


def _read(name: str, unread: Unread, per_class: PerClass | None) -> Dataset:
    """The dataset with the images that are wanted. Validation is a fixed fifth of every class of the training images."""
    y, n_classes = _labels(unread.y, len(unread.y), name)
    splits = fixed_splits.by_part(y, unread.part, name)
    if per_class is not None:
        splits = fixed_splits.first_per_class(y, splits, _counts(per_class, name))
    kept = np.sort(np.concatenate(list(splits.values())))
    check_bytes(len(kept), unread.shape, name, "Read fewer with data.per_class")
    splits = {part: np.searchsorted(kept, index) for part, index in splits.items()}
    return _read_only(Dataset(name, unread.read(kept), y[kept], n_classes, N_LEVELS, splits))


def _counts(per_class: PerClass, where: str) -> dict[str, int]:
    train, validation = per_class if isinstance(per_class, tuple) else (per_class, per_class)
    if min(train, validation) < 1:
        raise UsageError(f"per_class is {per_class}", where=where, limit="At least 1 of each class")
    return {"train": train, "validation": validation}


def _read_only(dataset: Dataset) -> Dataset:
    read_only: list[NDArray[Any]] = [dataset.x, dataset.y, *dataset.splits.values()]
    for array in read_only:
        array.setflags(write=False)
    return dataset


def _registered(name: str) -> Dataset:
    found = call(name)
    if isinstance(found, Dataset):
        arrays = {"x": found.x, "y": found.y, "n_levels": np.asarray(found.n_levels), **found.splits}
        return _from_arrays(found.name, arrays, f"dataset {name!r}", as_bytes=True)
    if isinstance(found, tuple) and len(found) == 2:
        return _from_arrays(name, {"x": np.asarray(found[0]), "y": np.asarray(found[1])}, f"dataset {name!r}", as_bytes=True)
    raise UsageError(f"gives a {type(found).__name__}", where=f"dataset {name!r}", code="wrong_data",
                     limit="A network that takes images needs a Dataset or a pair (x, y)",
                     remedy="Events are for networks of event-driven chips")


def _from_folder(
    path: Path, size: int | tuple[int, int] | None, channels: int | None, like: tuple[int, ...] | None
) -> Dataset:
    if like is not None and len(like) == 3 and like[0] in (1, 3):
        channels, size = like[0], (like[1], like[2])
    x, y, splits = read_image_folder(path, (size, size) if isinstance(size, int) else size, channels)
    arrays: dict[str, NDArray[Any]] = {"x": x, "y": y, "n_levels": np.asarray(N_LEVELS), **splits}
    return _from_arrays(path.resolve().name, arrays, str(path), as_bytes=True)


def _as_float(x: NDArray[Any], n_levels: int, index: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """Images x, or those of `index`, as real numbers in 0..1."""
    if x.dtype == np.float32:
        return x if index is None else x[index]
    levels = (np.arange(n_levels) / np.float64(n_levels - 1)).astype(np.float32)
    n = len(x) if index is None else len(index)
    found = np.empty((n, *x.shape[1:]), np.float32)
    for first in range(0, n, _AT_A_TIME):
        part = slice(first, first + _AT_A_TIME)
        found[part] = levels[x[part if index is None else index[part]]]
    return found


def _digits() -> Dataset:
    try:
        content = DIGITS_FILE.read_bytes()
    except FileNotFoundError as error:
        raise UsageError("the packaged digits are missing", where=str(DIGITS_FILE),
                         remedy="Reinstall neurodeploy") from error
    found = hashlib.sha256(content).hexdigest()
    if found != DIGITS_SHA256:
        raise UnsafeFile(f"checksum {found} differs", where=str(DIGITS_FILE), limit=f"Expected {DIGITS_SHA256}",
                         remedy="Reinstall neurodeploy")
    return _from_arrays("digits", _read_npz(content, "digits"), "digits")


def _read_npz(content: bytes, where: str) -> dict[str, NDArray[Any]]:
    wanted = ("x", "y", "n_levels", *fixed_splits.NAMES)
    # numpy tells formats apart by content: without this a pickle or a bare array would be tried too.
    if not content.startswith(b"PK"):
        raise UnsafeFile("is not a .npz file", where=where, limit=SUPPORTED)
    try:
        with zipfile.ZipFile(BytesIO(content)) as file:
            unpacked = sum(info.file_size for info in file.infolist())
        if unpacked > max(LEAST_UNPACKED, MOST_UNPACKING * len(content)):
            raise UnsafeFile(f"claims to unpack from {len(content)} to {unpacked} bytes", where=where,
                             limit=f"At most {MOST_UNPACKING} times its size, or {LEAST_UNPACKED} bytes",
                             remedy="Save it as it is: numpy.savez(file, x=x, y=y)")
        with np.load(BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in wanted if name in archive.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise UnsafeFile(f"cannot be read as a plain .npz file ({error})", where=where, limit=SUPPORTED) from error


def _from_arrays(name: str, arrays: dict[str, NDArray[Any]], where: str, as_bytes: bool = False) -> Dataset:
    """The dataset, checked; as_bytes: images of bytes stay so."""
    for required in ("x", "y"):
        if required not in arrays:
            raise UsageError(f"has no array {required!r}", where=where, limit=SUPPORTED)
    n_levels = _n_levels(arrays.get("n_levels"), where)
    x = _images(arrays["x"], n_levels, where, as_bytes)
    y, n_classes = _labels(arrays["y"], len(x), where)
    stored = {part: arrays[part] for part in fixed_splits.NAMES if part in arrays}
    splits = fixed_splits.check(stored, len(x), where) if stored else fixed_splits.stratified(y)
    return _read_only(Dataset(name, x, y, n_classes, n_levels, splits))


def _n_levels(stored: NDArray[Any] | None, where: str) -> int:
    if stored is None:
        return 256
    if stored.shape != () or stored.dtype.kind not in "iu" or not 2 <= int(stored) <= 2**16:
        raise UsageError(f"n_levels has shape {stored.shape}, dtype {stored.dtype}", where=where,
                         limit="It must be one integer in 2..65536")
    return int(stored)


def _images(x: NDArray[Any], n_levels: int, where: str, as_bytes: bool) -> NDArray[Any]:
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise UsageError(f"x has shape {x.shape}", where=where, limit="Images are [N, H, W] or [N, C, H, W]",
                         remedy="Event streams and other shapes must be turned into images first")
    if x.dtype.kind == "u":
        if int(x.max()) >= n_levels:
            raise UsageError(f"x reaches {x.max()}", where=where,
                             limit=f"n_levels = {n_levels} allows 0..{n_levels - 1}",
                             remedy="Store n_levels, one more than the largest value")
        images: NDArray[Any] = x.view() if as_bytes and x.dtype == np.uint8 else _as_float(x, n_levels)
    elif x.dtype.kind == "f":
        if not np.isfinite(x).all():
            raise UsageError(f"x has {np.count_nonzero(~np.isfinite(x))} values that are not finite", where=where)
        if x.min() < 0 or x.max() > 1:
            raise UsageError(f"x lies in {x.min()}..{x.max()}", where=where, limit="Real-valued images lie in 0..1",
                             remedy="Rescale them")
        images = x.astype(np.float32)
    else:
        raise UsageError(f"x has dtype {x.dtype}", where=where, limit="Unsigned integers, or floats in 0..1")
    return images[:, np.newaxis] if images.ndim == 3 else images


def _labels(y: NDArray[Any], n_samples: int, where: str) -> tuple[NDArray[np.int64], int]:
    if y.shape != (n_samples,) or y.dtype.kind not in "iu":
        raise UsageError(f"y has shape {y.shape} and dtype {y.dtype}", where=where,
                         limit=f"x has {n_samples} images, so y is an integer array of shape ({n_samples},)")
    classes = np.unique(y)
    if len(classes) < 2 or classes[0] != 0 or classes[-1] != len(classes) - 1:
        raise UsageError(f"y has {len(classes)} classes from {classes[0]} to {classes[-1]}", where=where,
                         limit="Labels are 0..K-1, each present, K at least 2", remedy="Renumber the labels")
    return y.astype(np.int64), len(classes)
