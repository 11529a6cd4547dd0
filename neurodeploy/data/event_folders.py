"""Folders of recordings or images, told apart by what they hold.

One sub-folder a class, in the order of their names (numbers by value), with files of one kind: `.bin` (N-MNIST), `.aedat`
(CIFAR10-DVS), `.png` and `.jpg` (images for the simulated camera). The classes may lie in `Train` and `Test`: validation is
then a fifth of every class of `Train`; else every class is divided as in `splits.stratified`. DVS128-Gesture is known by its
`trials_to_train.txt` and `trials_to_test.txt`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data import event_files_aedat, event_files_nmnist
from neurodeploy.data import splits as fixed_splits
from neurodeploy.data.camera import CameraSettings, Stream, simulate_camera
from neurodeploy.data.event_dataset import SUPPORTED, EventDataset, refuse_camera
from neurodeploy.data.event_reading import Selection, check_labels, check_total, chosen
from neurodeploy.data.image_folder import read_images
from neurodeploy.errors import UsageError
from neurodeploy.ir import archive

KINDS = {".bin": "N-MNIST", ".aedat": "CIFAR10-DVS", ".png": "images", ".jpg": "images", ".jpeg": "images"}
READERS: dict[str, tuple[Callable[[Path], Stream], tuple[int, int, int]]] = {
    "N-MNIST": (event_files_nmnist.read, event_files_nmnist.SENSOR),
    "CIFAR10-DVS": (event_files_aedat.read_2, event_files_aedat.SENSOR),
}
TRIALS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
MAX_FILES = 2**18
_GRANULE_US = 1000  # recordings last whole milliseconds


@dataclass(frozen=True)
class _File:
    path: Path
    label: int
    part: str  # "train", "test", or "" where the folder is not divided


def read_folder(path: Path, camera: CameraSettings | None, seed: int, selection: Selection) -> EventDataset:
    """The dataset in a folder; see the module. Raises UsageError, UnsafeFile."""
    if any((path / name).is_file() for name in TRIALS.values()):
        refuse_camera(camera, str(path))
        return _recorded(path, _gestures(path, selection), event_files_aedat.SENSOR, selection)
    kind, files = _class_files(path, selection)
    if kind == "images":
        settings = camera or CameraSettings()
        streams = simulate_camera(read_images([file.path for file in files], settings), settings, seed)
        check_total(sum(map(len, streams)), str(path))
        cut = tuple(chosen(s, settings.shape, selection, str(path)) for s in streams)
        return _dataset(path, cut, files, settings.shape, selection.length_us(settings.duration_us), settings)
    refuse_camera(camera, str(path))
    read, sensor = READERS[kind]
    return _recorded(path, ((file, read(file.path)) for file in files), sensor, selection)


def _recorded(
    path: Path, recordings: Iterable[tuple[_File, Stream]], sensor: tuple[int, int, int], selection: Selection
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
    path: Path, streams: tuple[Stream, ...], files: list[_File], sensor: tuple[int, int, int], duration_us: int,
    camera: CameraSettings | None = None,
) -> EventDataset:
    y = np.asarray([file.label for file in files], dtype=np.int64)
    n_classes = check_labels(y, str(path))
    splits = _splits(y, np.asarray([file.part for file in files]), str(path))
    return EventDataset(path.resolve().name, streams, y, n_classes, sensor, duration_us, splits, camera)


def _splits(y: NDArray[np.int64], part: NDArray[Any], where: str) -> dict[str, NDArray[np.int64]]:
    if not part[0]:
        return fixed_splits.stratified(y, where=where)
    train = np.flatnonzero(part == "train")
    held_out = train[fixed_splits.stratified(y[train], where=where)["validation"]]
    return {"train": np.setdiff1d(train, held_out), "validation": held_out, "test": np.flatnonzero(part == "test")}


def _class_files(path: Path, selection: Selection) -> tuple[str, list[_File]]:
    """(kind, files of the classes). UsageError where classes are missing or empty, or files of several kinds lie there."""
    folders = {entry.name.lower(): entry for entry in path.iterdir() if entry.is_dir()}
    parts: dict[str, Path] = {part: folders[part] for part in TRIALS if part in folders}
    if len(parts) == 1:
        raise UsageError(f"has {next(iter(parts.values())).name} without its counterpart", where=str(path),
                         limit="Sub-folders are classes, or Train and Test with classes inside",
                         remedy=f"Name {next(iter(parts.values()))} itself: it is divided into train, validation and test")
    whole: dict[str, Path] = {"": path}
    by_part = {part: _classes(folder) for part, folder in (parts or whole).items()}
    names = list(next(iter(by_part.values())))
    for part, classes in by_part.items():
        if list(classes) != names:
            other = sorted(set(classes) ^ set(names))
            raise UsageError(f"Train and Test differ in the classes {', '.join(other[:8])}", where=str(parts[part]),
                             limit="Both have the same sub-folders")
    files = [
        _File(file, label, part) for part, classes in by_part.items() for label, found in enumerate(classes.values())
        for file in found[: selection.per_class]
    ]  # fmt: skip
    kinds = sorted({KINDS[file.path.suffix.lower()] for file in files})
    if len(kinds) > 1:
        raise UsageError(f"holds files of several kinds: {', '.join(kinds)}", where=str(path), limit=SUPPORTED)
    if len(files) > MAX_FILES:
        raise UsageError(f"{len(files)} files", where=str(path), limit=f"At most {MAX_FILES}", remedy="Use --per-class")
    return kinds[0], files


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The readable files of every sub-folder, sorted by name."""
    classes = {
        entry.name: sorted(file for file in entry.iterdir() if file.suffix.lower() in KINDS and file.is_file())
        for entry in sorted(folder.iterdir(), key=_by_value) if entry.is_dir() and not entry.name.startswith(".")
    }  # fmt: skip
    empty = [name for name, files in classes.items() if not files]
    if not classes or len(empty) == len(classes):
        what = "none of the sub-folders holds a file that can be read" if classes else "there are no sub-folders"
        raise UsageError(what, where=str(folder), remedy=SUPPORTED,
                         limit=f"Looked for one sub-folder a class with files {', '.join(KINDS)}")
    if empty:
        raise UsageError(f"class {empty[0]!r} is empty", where=str(folder / empty[0]), code="empty_class",
                         limit=f"Looked for {', '.join(KINDS)}", remedy="Add recordings, or remove the folder")
    return classes


def _by_value(entry: Path) -> tuple[int, str]:
    return (int(entry.name) if entry.name.isdecimal() else -1), entry.name


def _lies_in(file: Path, folder: Path) -> bool:
    try:
        return file.resolve().parent == folder.resolve() and file.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _gestures(path: Path, selection: Selection) -> Iterator[tuple[_File, Stream]]:
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
                yield _File(file, label, part), events[first:last] - np.asarray([start, 0, 0, 0])
