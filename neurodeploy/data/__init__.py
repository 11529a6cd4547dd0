"""Labelled images and their encodings, labelled events: `load(name_or_path) -> Dataset`,
`encode(images, encoding, n_timesteps)`, `load_events(name_or_path) -> EventDataset`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurodeploy.data.datasets import Dataset, load
    from neurodeploy.data.encoders import encode
    from neurodeploy.data.event_dataset import EventDataset
    from neurodeploy.data.event_sources import load_events

__all__ = ["Dataset", "EventDataset", "encode", "load", "load_events"]


def __getattr__(name: str) -> Any:
    if name in ("Dataset", "load"):
        from neurodeploy.data import datasets

        return getattr(datasets, name)
    if name == "EventDataset":
        from neurodeploy.data.event_dataset import EventDataset

        return EventDataset
    if name == "load_events":
        from neurodeploy.data.event_sources import load_events

        return load_events
    if name == "encode":
        from neurodeploy.data.encoders import encode

        return encode
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
