"""Where labelled events come from: digits and images in front of a simulated camera, event files, public recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from neurodeploy.data import datasets
from neurodeploy.data.camera import CameraSettings, simulate_camera
from neurodeploy.data.event_dataset import DIGITS, SUPPORTED, EventDataset, refuse_camera
from neurodeploy.data.event_files import read_events
from neurodeploy.data.event_folders import read_folder
from neurodeploy.data.event_reading import Selection, chosen
from neurodeploy.data.own import DATASETS, call
from neurodeploy.data.public import event_folder, split_name
from neurodeploy.errors import UsageError


def load_events(
    name_or_path: str | Path, camera: CameraSettings | None = None, seed: int = 0, *, per_class: int | None = None,
    duration_us: int | None = None, sort: bool = False,
) -> EventDataset:
    """The recordings behind a name or a path.

    "digits-events": the packaged digits through the camera simulation, with the splits of the digits. A registered name gives
    the EventDataset of its function, a public one ("nmnist") what lies in its folder (`data.public`). A folder of PNG or JPEG
    images, one sub-folder a class, goes through it too. An .npz event file (`data.event_files`) and folders of N-MNIST,
    DVS128-Gesture and CIFAR10-DVS (`data.event_folders`) are read. `camera` and `seed` belong to the simulation; the rest is
    `Selection`. Raises UsageError for an unknown name and unsuitable events, UnsafeFile for a damaged file.

    >>> load_events("digits-events").sensor
    (2, 16, 16)
    """
    selection = Selection(per_class, duration_us, sort)
    if str(name_or_path) == DIGITS:
        return _digits(camera or CameraSettings(), seed, selection)
    if str(name_or_path) in DATASETS:
        refuse_camera(camera, str(name_or_path))
        return _registered(str(name_or_path), selection)
    public = split_name(str(name_or_path))
    path = Path(name_or_path) if public is None else event_folder(*public)
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


def _digits(camera: CameraSettings, seed: int, selection: Selection) -> EventDataset:
    digits = datasets.load("digits")
    kept, splits = selection.samples(digits.y, digits.splits)
    duration = selection.length_us(camera.duration_us)
    streams = simulate_camera(digits.x[:, 0], camera, seed)
    streams = tuple(streams[i][: np.searchsorted(streams[i][:, 0], duration)] for i in kept)
    y, images = digits.y[kept], digits.x[kept]
    return EventDataset(DIGITS, streams, y, digits.n_classes, camera.shape, duration, splits, camera, images)
