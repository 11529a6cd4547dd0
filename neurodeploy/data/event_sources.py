"""Where labelled events come from: digits and images in front of a simulated camera, event files, public recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from neurodeploy.data import datasets
from neurodeploy.data.camera import CameraSettings, Stream, simulate_camera
from neurodeploy.data.event_dataset import DIGITS, SUPPORTED, EventDataset, refuse_camera
from neurodeploy.data.event_files import read_events
from neurodeploy.data.event_folders import read_folder
from neurodeploy.data.event_reading import Selection, check_total, chosen
from neurodeploy.data.image_folder import to_grey
from neurodeploy.data.own import DATASETS, call
from neurodeploy.data.public import PUBLIC, find, split_name
from neurodeploy.errors import UsageError

_AT_A_TIME = 256  # images as real numbers in front of the camera


def load_events(
    name_or_path: str | Path, camera: CameraSettings | None = None, seed: int = 0, *,
    per_class: int | tuple[int, int] | None = None, duration_us: int | None = None, sort: bool = False,
) -> EventDataset:
    """The recordings behind a name or a path.

    "digits-events": the packaged digits through the camera simulation, with the splits of the digits. A registered name gives
    the EventDataset of its function, a public one ("nmnist") what lies in its folder (`data.public`). A folder of PNG or JPEG
    images, one sub-folder a class, goes through it too, and so do public datasets of images ("cifar10"). An .npz event file
    (`data.event_files`) and folders of N-MNIST, DVS128-Gesture and CIFAR10-DVS (`data.event_folders`) are read. `camera` and
    `seed` belong to the simulation; the rest is `Selection`, and of a public dataset of images `per_class` may be a pair, for
    train and validation, with the whole test split. Raises UsageError for an unknown name and unsuitable events, UnsafeFile for
    a damaged file.

    >>> load_events("digits-events").sensor
    (2, 16, 16)
    """
    public = split_name(str(name_or_path))
    if public is not None and PUBLIC[public[0]].layouts:
        return _images(str(name_or_path), camera or CameraSettings(), seed, per_class, duration_us)
    if isinstance(per_class, tuple):
        raise UsageError(f"per_class is {per_class}", where=str(name_or_path), code="wrong_data",
                         limit="Train and validation apart only of public datasets of images", remedy="Give one number")
    selection = Selection(per_class, duration_us, sort)
    if str(name_or_path) == DIGITS:
        return _digits(camera or CameraSettings(), seed, selection)
    if str(name_or_path) in DATASETS:
        refuse_camera(camera, str(name_or_path))
        return _registered(str(name_or_path), selection)
    path = Path(name_or_path) if public is None else find(*public)
    if path.is_file() and path.suffix.lower() == ".npz":
        refuse_camera(camera, str(path))
        return read_events(path, selection)
    if path.is_dir():
        return read_folder(path, camera, seed, selection)
    if path.exists():
        raise UsageError(f"{path.suffix or 'such'} files cannot be read as events", where=str(path), limit=SUPPORTED)
    raise UsageError(f"no events {str(name_or_path)!r}", where="events", remedy=f"Check the path, or {DATASETS.remedy}",
                     limit=f"Looked for the names of datasets and for {path.resolve()}. {SUPPORTED}. {DATASETS.known()}")


def _registered(name: str, selection: Selection) -> EventDataset:
    found = call(name)
    if not isinstance(found, EventDataset):
        raise UsageError(f"gives a {type(found).__name__}", where=f"dataset {name!r}", code="wrong_data",
                         limit="Event-driven chips need an EventDataset",
                         remedy="Put the images into a folder: a simulated camera looks at those")
    if selection == Selection():
        return found
    kept, splits = selection.samples(found.y, found.splits)
    streams = tuple(chosen(found.streams[i], found.sensor, selection, f"{name}, recording {i}") for i in kept)
    images = None if found.images is None else found.images[kept]
    return replace(found, streams=streams, y=found.y[kept], splits=splits, images=images,
                   duration_us=selection.length_us(found.duration_us))


def _images(
    name: str, camera: CameraSettings, seed: int, per_class: int | tuple[int, int] | None, duration_us: int | None
) -> EventDataset:
    images = datasets.load(name, per_class=per_class)
    few, pair = (None, per_class) if isinstance(per_class, tuple) else (per_class, None)
    selection = Selection(few, duration_us)
    kept, splits = selection.samples(images.y, images.splits)
    duration = selection.length_us(camera.duration_us)
    streams: list[Stream] = []
    seen = []
    for first in range(0, len(kept), _AT_A_TIME):
        seen.append(to_grey(images.x[kept[first : first + _AT_A_TIME]], camera))
        found = simulate_camera(seen[-1] / 255, camera, seed, first)
        streams += [stream[: np.searchsorted(stream[:, 0], duration)] for stream in found]
        check_total(sum(map(len, streams)), name)
    y = images.y[kept]
    grey = (np.concatenate(seen)[:, None] / 255).astype(np.float32)
    return EventDataset(images.name, tuple(streams), y, images.n_classes, camera.shape, duration, splits, camera, grey, pair)


def _digits(camera: CameraSettings, seed: int, selection: Selection) -> EventDataset:
    digits = datasets.load("digits")
    kept, splits = selection.samples(digits.y, digits.splits)
    duration = selection.length_us(camera.duration_us)
    streams = simulate_camera(digits.x[:, 0], camera, seed)
    streams = tuple(streams[i][: np.searchsorted(streams[i][:, 0], duration)] for i in kept)
    y, images = digits.y[kept], digits.x[kept]
    return EventDataset(DIGITS, streams, y, digits.n_classes, camera.shape, duration, splits, camera, images)
