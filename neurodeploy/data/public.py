"""Public datasets by name, as their authors publish them: where they are looked for, and where they can be got.

A name means the folder `$NEURODEPLOY_DATA/NAME`, or the one that the dataset's archive unpacks to there; `NAME:FOLDER` a folder
anywhere. Nothing is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neurodeploy.data import cifar, jpeg_arrays, svhn, tiny_imagenet
from neurodeploy.data.unread import Unread
from neurodeploy.errors import UsageError

ROOT = "NEURODEPLOY_DATA"


@dataclass(frozen=True)
class Layout:
    """One way in which a dataset lies in a folder: its files, of which the first and last tell it apart, and its reader;
    suffix: of the data's name."""

    files: tuple[str, ...]
    read: Callable[[Path], Unread]
    suffix: str = ""

    def lies_in(self, folder: Path) -> bool:
        """Whether the folder holds it; where another file is missing, the reader says so."""
        return (folder / self.files[0]).exists() and (folder / self.files[-1]).exists()


@dataclass(frozen=True)
class Public:
    """unpacked: the folder that the archive unpacks to; layouts: of images, none for recordings of events (`event_folders`
    tells those apart); shape and n_classes of the images."""

    title: str
    unpacked: str
    source: str
    layouts: tuple[Layout, ...] = ()
    shape: tuple[int, int, int] = (3, 32, 32)
    n_classes: int = 10


_CIFAR = "the binary version of {} at https://www.cs.toronto.edu/~kriz/cifar.html"
PUBLIC = {
    "cifar10": Public(
        "CIFAR-10", "cifar-10-batches-bin", _CIFAR.format("CIFAR-10"),
        (Layout((*cifar.FILES_10[0], *cifar.FILES_10[1]), cifar.read_10), Layout(jpeg_arrays.FILES, jpeg_arrays.read, "-jpeg")),
    ),
    "cifar100": Public(
        "CIFAR-100", "cifar-100-binary", _CIFAR.format("CIFAR-100"),
        (Layout((*cifar.FILES_100[0], *cifar.FILES_100[1]), cifar.read_100),), n_classes=100,
    ),
    "svhn": Public("SVHN, cropped digits", "SVHN", "train_32x32.mat and test_32x32.mat at http://ufldl.stanford.edu/housenumbers/",
                   (Layout(svhn.FILES, svhn.read),)),
    "tiny-imagenet": Public(
        "Tiny-ImageNet", "tiny-imagenet-200", "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        (Layout(tiny_imagenet.FILES, tiny_imagenet.read),), (3, 64, 64), 200,
    ),
    "nmnist": Public("N-MNIST", "N-MNIST", "Train and Test at https://www.garrickorchard.com/datasets/n-mnist"),
    "cifar10-dvs": Public("CIFAR10-DVS", "CIFAR10-DVS", "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671"),
    "dvs128-gesture": Public("DVS128-Gesture", "DvsGesture", "https://research.ibm.com/interactive/dvsgesture/"),
}


def split_name(asked: str) -> tuple[str, str | None] | None:
    """(name, folder or None) of "cifar10" or "cifar10:FOLDER"; None for anything else."""
    name, colon, folder = asked.partition(":")
    return (name, folder if colon else None) if name in PUBLIC else None


def located(name: str, given: str | None) -> str:
    """The name as a run keeps it: a folder by its absolute path."""
    return name if given is None else f"{name}:{Path(given).resolve()}"


def find(name: str, given: str | None) -> Path:
    """The folder that holds a dataset: `given` or the one under $NEURODEPLOY_DATA, itself or with the archive's folder inside.

    Raises UsageError, with every path looked at and the public source, where there is none.
    """
    public = PUBLIC[name]
    root = os.environ.get(ROOT)
    if given is not None:
        places = [Path(given), Path(given) / public.unpacked]
    elif root:
        places = [Path(root) / name, Path(root) / name / public.unpacked, Path(root) / public.unpacked]
    else:
        places = []
    for place in places:
        if place.is_dir() and (any(layout.lies_in(place) for layout in public.layouts) if public.layouts else _lies_in(place)):
            return place
    files = " or ".join(_short(layout.files) for layout in public.layouts)
    looked = f"Looked for {f'{files} in ' if files else ''}{', '.join(str(p.absolute()) for p in places)}"
    pickled = [place for place in places if (place / "data_batch_1").exists() or (place / "train").is_file()]
    raise UsageError(
        f"{public.title} is not there" + (f": {pickled[0]} holds the pickled version, which is not read" if pickled else ""),
        where=name, code="missing_data", limit=looked if places else f"{ROOT} is not set, so there is no folder to look in",
        remedy=f"Get {public.source}, unpack it to a folder {name} in the folder that {ROOT} names, or name its own: "
               f"{name}:FOLDER" + (f" (or ./{name} for the folder of that name here)" if given is None else ""),
    )


def _lies_in(folder: Path) -> bool:
    """Whether a folder of recordings holds more than the folder that the archive unpacks to."""
    unpacked = {public.unpacked for public in PUBLIC.values()}
    return any(entry.name not in unpacked for entry in folder.iterdir())


def _short(files: tuple[str, ...]) -> str:
    return " and ".join(files) if len(files) <= 2 else f"{files[0]} to {files[-1]}"


def layout_of(folder: Path) -> Layout | None:
    """How some dataset of images lies in the folder; None where none does."""
    return next((layout for one in PUBLIC.values() for layout in one.layouts if layout.lies_in(folder)), None)


def read_images(name: str, given: str | None) -> tuple[str, Unread]:
    """(name of the data, labels and images to read) of a public dataset of images.

    Raises UsageError where it is not there, holds events, or is another dataset than the name says, and as its reader does.
    """
    public = PUBLIC[name]
    if not public.layouts:
        raise UsageError(f"{public.title} holds recordings of events", where=name, code="wrong_data",
                         limit="This network takes images", remedy="Train it for an event-driven chip, with input.kind events")
    folder = find(name, given)
    layout = next(layout for layout in public.layouts if layout.lies_in(folder))
    found = layout.read(folder)
    n_classes = int(found.y.max()) + 1
    if (found.shape, n_classes) != (public.shape, public.n_classes):
        raise UsageError(f"images {list(found.shape)} in {n_classes} classes", where=str(folder), code="wrong_data",
                         limit=f"{public.title} has {list(public.shape)} in {public.n_classes}",
                         remedy="Give the folder without the name in front of it")
    return name + layout.suffix, found
