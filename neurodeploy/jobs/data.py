"""Datasets of either kind: labelled images, or labelled streams of events."""

from __future__ import annotations

from neurodeploy.data.datasets import Dataset
from neurodeploy.data.datasets import load as load_images
from neurodeploy.data.event_dataset import EventDataset
from neurodeploy.data.event_sources import load_events

AnyDataset = Dataset | EventDataset


def load_data(name: str, kind: str) -> AnyDataset:
    """The dataset that networks with an input of this kind (`InputSettings.kind`) take."""
    return load_events(name) if kind == "events" else load_images(name)


def image_shape(data: AnyDataset) -> tuple[int, int, int]:
    """(C, H, W) of an image, or of the sensor."""
    return data.sensor if isinstance(data, EventDataset) else data.image_shape
