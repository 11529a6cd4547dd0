"""Datasets of either kind: labelled images, or labelled streams of events."""

from __future__ import annotations

from pydantic import ValidationError

from neurodeploy.data.datasets import Dataset
from neurodeploy.data.datasets import load as load_images
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.data.event_sources import load_events
from neurodeploy.data.public import PUBLIC, split_name
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.search.recipe import DataSettings

AnyDataset = Dataset | EventDataset


def load_data(asked: DataSettings | str, kind: str) -> AnyDataset:
    """The dataset that networks with an input of this kind (`InputSettings.kind`) take."""
    if isinstance(asked, str):
        asked = DataSettings(name=asked)
    if kind != "events":
        return load_images(asked.name, size=asked.size, channels=asked.channels, per_class=asked.per_class)
    return load_event_data(asked)


def load_event_data(asked: DataSettings, duration_us: int | None = None) -> EventDataset:
    """Recordings, or images in front of the simulated camera, cut to a duration."""
    if (asked.size, asked.channels) != (None, None):
        raise UsageError("data.size and data.channels are for networks that take images", where=asked.name,
                         limit="The sensor of events is their own", remedy="Leave them out")
    if asked.per_class is None:
        return load_events(asked.name, duration_us=duration_us)
    public = split_name(asked.name)
    if public is None or not PUBLIC[public[0]].layouts:
        raise UsageError(
            "data.per_class is for images", where=asked.name,
            remedy=f"Write fewer with `neurodeploy events {asked.name} --per-class N --out few.npz`, and name that file",
        )
    n = asked.per_class
    return load_events(asked.name, per_class=n if isinstance(n, tuple) else (n, n), duration_us=duration_us)


def part_of(stored: object, where: str) -> DataSettings:
    """The data that a model file or bundle names (its `data`), of which the recipe may have taken a part (`per_class`).

    Raises UnsafeFile for a `per_class` that is no number."""
    per_class = stored.get("per_class") if isinstance(stored, dict) else None
    try:
        return DataSettings(name=where, per_class=per_class)
    except ValidationError as error:
        raise UnsafeFile("data.per_class is no number", where=where, limit=f"It is {per_class!r:.60}") from error


def image_shape(data: AnyDataset) -> tuple[int, int, int]:
    """(C, H, W) of an image, or of the sensor."""
    return data.sensor if isinstance(data, EventDataset) else data.image_shape


def require_same(data: EventDataset, sensor: tuple[int, ...], n_classes: int) -> None:
    """Raise UsageError where the sensor or the classes of recordings are not those of a network."""
    if data.sensor != sensor or data.n_classes != n_classes:
        raise UsageError(
            f"events of a sensor {list(data.sensor)} in {data.n_classes} classes", where=data.name, code="wrong_data",
            limit=f"The network takes {list(sensor)} and tells {n_classes} classes apart",
            remedy="Give the kind of data that the network was trained on",
        )
