"""Folders of recordings or images, told apart by what they hold.

One sub-folder a class, as `class_folders` has it, with files of one kind: `.bin` (N-MNIST), `.aedat` (CIFAR10-DVS), `.png`
and `.jpg` (images for the simulated camera). DVS128-Gesture is known by its `trials_to_train.txt` and `trials_to_test.txt`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data import event_files_aedat, event_files_nmnist
from neurodeploy.data.camera import CameraSettings, Stream, simulate_camera
from neurodeploy.data.class_folders import ClassFile, class_files
from neurodeploy.data.event_dataset import SUPPORTED, EventDataset, refuse_camera
from neurodeploy.data.event_reading import Selection, check_labels, check_total, chosen
from neurodeploy.data.image_folder import read_images
from neurodeploy.data.splits import by_part
from neurodeploy.errors import UsageError
from neurodeploy.ir import archive

KINDS = {".bin": "N-MNIST", ".aedat": "CIFAR10-DVS", ".png": "images", ".jpg": "images", ".jpeg": "images"}
READERS: dict[str, tuple[Callable[[Path], Stream], tuple[int, int, int]]] = {
    "N-MNIST": (event_files_nmnist.read, event_files_nmnist.SENSOR),
    "CIFAR10-DVS": (event_files_aedat.read_2, event_files_aedat.SENSOR),
}
TRIALS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
_IMAGES = 256  # at a time as real numbers in front of the camera
_GRANULE_US = 1000  # recordings last whole milliseconds


def read_folder(path: Path, camera: CameraSettings | None, seed: int, selection: Selection) -> EventDataset:
    """The dataset in a folder; see the module. Raises UsageError, UnsafeFile."""
    if any((path / name).is_file() for name in TRIALS.values()):
        refuse_camera(camera, str(path))
        return _recorded(path, _gestures(path, selection), event_files_aedat.SENSOR, selection)
    kind, files = _class_files(path, selection)
    if kind == "images":
        settings = camera or CameraSettings()
        images = read_images([file.path for file in files], settings)
        streams: list[Stream] = []
        for first in range(0, len(images), _IMAGES):
            seen = simulate_camera(images[first : first + _IMAGES] / 255, settings, seed, first)
            streams += [chosen(s, settings.shape, selection, str(path)) for s in seen]
            check_total(sum(map(len, streams)), str(path))
        return _dataset(path, tuple(streams), files, settings.shape, selection.length_us(settings.duration_us), settings,
                        (images[:, np.newaxis] / np.float32(255)).astype(np.float32))
    refuse_camera(camera, str(path))
    read, sensor = READERS[kind]
    return _recorded(path, ((file, read(file.path)) for file in files), sensor, selection)


def _recorded(
    path: Path, recordings: Iterable[tuple[ClassFile, Stream]], sensor: tuple[int, int, int], selection: Selection
) -> EventDataset:
    """A dataset that lasts as long as its longest recording, in whole milliseconds, or as it was asked for."""
    files, streams, n_events = [], [], 0
    for file, stream in recordings:
        files.append(file)
        streams.append(chosen(stream, sensor, selection, str(file.path)))
        n_events += len(streams[-1])
        check_total(n_events, str(path))
    end = max((int(s[-1, 0]) + 1 for s in streams if len(s)), default=1)
    return _dataset(path, tuple(streams), files, sensor, selection.duration_us or -(-end // _GRANULE_US) * _GRANULE_US)


def _dataset(
    path: Path, streams: tuple[Stream, ...], files: list[ClassFile], sensor: tuple[int, int, int], duration_us: int,
    camera: CameraSettings | None = None, images: NDArray[np.float32] | None = None,
) -> EventDataset:
    y = np.asarray([file.label for file in files], dtype=np.int64)
    n_classes = check_labels(y, str(path))
    splits = by_part(y, np.asarray([file.part for file in files]), str(path))
    return EventDataset(path.resolve().name, streams, y, n_classes, sensor, duration_us, splits, camera, images)


def _class_files(path: Path, selection: Selection) -> tuple[str, list[ClassFile]]:
    """(kind, files of the classes). UsageError where classes are missing or empty, or files of several kinds lie there."""
    files = class_files(path, KINDS, SUPPORTED, selection.per_class)
    kinds = sorted({KINDS[file.path.suffix.lower()] for file in files})
    if len(kinds) > 1:
        raise UsageError(f"holds files of several kinds: {', '.join(kinds)}", where=str(path), limit=SUPPORTED)
    return kinds[0], files


def _lies_in(file: Path, folder: Path) -> bool:
    try:
        return file.resolve().parent == folder.resolve() and file.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _gestures(path: Path, selection: Selection) -> Iterator[tuple[ClassFile, Stream]]:
    """Every trial of DVS128-Gesture, times from the start of the trial."""
    for part, list_name in TRIALS.items():
        if not (path / list_name).is_file():
            raise UsageError(f"has no {list_name}", where=str(path), limit=f"It stands beside {', '.join(TRIALS.values())}",
                             remedy="Unpack the archive of the dataset again")
        counts = [0] * event_files_aedat.N_GESTURES
        for name in archive.read(path / list_name).decode("utf-8", "replace").split():
            file = path / name
            if not _lies_in(file, path):
                raise UsageError(f"lists {name!r:.80}, which is not there", where=str(path / list_name),
                                 limit="Recordings lie beside the list", remedy="Unpack the archive of the dataset again")
            if all(n == selection.per_class for n in counts):
                break
            events = event_files_aedat.read_3(file)
            # Trials are cut out by time, so the whole file must run forward, not just every trial.
            events = chosen(events, event_files_aedat.SENSOR, Selection(sort=selection.sort), str(file))
            for label, start, end in event_files_aedat.trials(file.with_name(f"{file.stem}_labels.csv")):
                if counts[label] == selection.per_class:
                    continue
                counts[label] += 1
                first, last = np.searchsorted(events[:, 0], [start, end])
                yield ClassFile(file, label, part), events[first:last] - np.asarray([start, 0, 0, 0])
