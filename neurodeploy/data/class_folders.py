"""Folders with one sub-folder a class, perhaps inside a folder for each part of the data.

Classes are numbered in the order of their names (numbers by value). They may lie in folders `train`, `test` and, if there is
one, `validation` (or `valid`, `val`), in either case; all have the same classes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from neurodeploy.errors import UsageError

PARTS = {"train": "train", "test": "test", "validation": "validation", "valid": "validation", "val": "validation"}
MAX_FILES = 2**18


@dataclass(frozen=True)
class ClassFile:
    """One sample; part: "train", "validation", "test", or "" where the folder is not divided."""

    path: Path
    label: int
    part: str


def class_files(path: Path, suffixes: Collection[str], supported: str, per_class: int | None = None) -> list[ClassFile]:
    """The files of every class, at most the first `per_class` of each in each part, by part, class and name.

    UsageError where there is no class, one is empty, or parts do not go together.
    """
    folders = {entry.name.lower(): entry for entry in path.iterdir() if entry.is_dir()}
    parts: dict[str, Path] = {}
    for name, part in PARTS.items():
        if name in folders and parts.setdefault(part, folders[name]) != folders[name]:
            raise UsageError(f"has {parts[part].name} and {folders[name].name}", where=str(path), limit="One folder a part")
    if parts and not {"train", "test"} <= parts.keys():
        alone = next(iter(parts.values()))
        raise UsageError(f"has {alone.name} without its counterpart", where=str(path),
                         limit="Sub-folders are classes, or train and test (and validation) with classes inside",
                         remedy=f"Name {alone} itself: it is divided into train, validation and test")
    whole: dict[str, Path] = {"": path}
    by_part = {part: _classes(folder, suffixes, supported) for part, folder in (parts or whole).items()}
    names = list(next(iter(by_part.values())))
    for part, classes in by_part.items():
        if list(classes) != names:
            other = sorted(set(classes) ^ set(names))
            raise UsageError(f"{parts['train'].name} and {parts[part].name} differ in the classes {', '.join(other[:8])}",
                             where=str(parts[part]), limit="All have the same sub-folders")
    files = [
        ClassFile(file, label, part) for part, classes in by_part.items() for label, found in enumerate(classes.values())
        for file in found[:per_class]
    ]  # fmt: skip
    if len(files) > MAX_FILES:
        raise UsageError(f"{len(files)} files", where=str(path), limit=f"At most {MAX_FILES}", remedy="Leave some out")
    return files


def _classes(folder: Path, suffixes: Collection[str], supported: str) -> dict[str, list[Path]]:
    """The readable files of every sub-folder, sorted by name."""
    classes = {
        entry.name: sorted(file for file in entry.iterdir() if file.suffix.lower() in suffixes and file.is_file())
        for entry in sorted(folder.iterdir(), key=_by_value) if entry.is_dir() and not entry.name.startswith(".")
    }  # fmt: skip
    looked_for = f"Looked for one sub-folder a class with files {', '.join(suffixes)}"
    empty = [name for name, files in classes.items() if not files]
    if not classes or len(empty) == len(classes):
        what = "none of the sub-folders holds a file that can be read" if classes else "there are no sub-folders"
        raise UsageError(what, where=str(folder), remedy=supported, limit=looked_for)
    if empty:
        raise UsageError(f"class {empty[0]!r} is empty", where=str(folder / empty[0]), code="empty_class",
                         limit=looked_for, remedy="Add samples, or remove the folder")
    return classes


def _by_value(entry: Path) -> tuple[int, str]:
    return (int(entry.name) if entry.name.isdecimal() else -1), entry.name
