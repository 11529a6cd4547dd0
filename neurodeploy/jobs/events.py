"""`neurodeploy events`: what a source of event streams holds, as figures, as an event file, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from neurodeploy.data.camera import CameraSettings, Stream
from neurodeploy.data.event_dataset import MAX_BINS, EventDataset
from neurodeploy.data.event_files import save_events
from neurodeploy.data.event_plot import check_plot_path, plot_events
from neurodeploy.data.event_sources import load_events
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import apply_override, describe
from neurodeploy.sim.files import check_writable


@dataclass(frozen=True)
class EventsResult:
    """What was read and written.

    events_per_sample holds min, median and max; on_share is the share of ON events (channel 1), None without events.
    shared_bins: of the cells (bin, channel, y, x) with events, the share that has more than one, at n_bins per recording; a
    clocked network sees those as counts or loses them. camera: the settings of the simulation, None for recordings.
    """

    source: str
    n_samples: int
    n_classes: int
    sensor: tuple[int, int, int]
    duration_us: int
    splits: dict[str, int]
    events_per_sample: dict[str, float]
    n_empty: int
    on_share: float | None
    n_bins: int
    shared_bins: float
    camera: dict[str, Any] | None
    out: Path | None
    plot: Path | None
    index: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**vars(self), "sensor": list(self.sensor), "out": self.out and str(self.out),
                "plot": self.plot and str(self.plot)}


def camera_settings(overrides: dict[str, Any]) -> CameraSettings:
    """The settings of the simulated camera with `camera.key` changed. Raises UsageError for other keys and wrong values."""
    full: dict[str, Any] = {"camera": CameraSettings().model_dump()}
    for key, value in overrides.items():
        apply_override(full, key, value, where="--set")
    try:
        return CameraSettings.model_validate(full["camera"])
    except ValidationError as error:
        raise UsageError(describe(error), where="camera", remedy="--dry-run prints its settings") from error


def events(
    source: str | Path, *, out: Path | None = None, plot: Path | None = None, index: int = 0, n_bins: int = 32,
    per_class: int | None = None, duration_us: int | None = None, sort: bool = False, seed: int = 0,
    overrides: dict[str, Any] | None = None,
) -> EventsResult:
    """Load `source` (`data.event_sources.load_events`), write it as an event file to `out`, draw sample `index` to `plot`.

    `overrides` are settings of the simulated camera, `camera.amplitude` and so on. Raises UsageError, UnsafeFile.
    """
    if plot is not None:
        check_plot_path(plot)
    for path in (out, plot):
        if path is not None:
            check_writable(path)
    if out is not None and out.suffix.lower() != ".npz":  # by which such a file is known again
        raise UsageError(f"a {out.suffix or 'file without a suffix'}", where=str(out), limit="Event files are .npz",
                         remedy=f"Name it {out.stem}.npz")
    if not 1 <= n_bins <= MAX_BINS:
        raise UsageError(f"{n_bins} bins", where="--bins", limit=f"1 to {MAX_BINS}")
    camera = camera_settings(overrides) if overrides else None
    dataset = load_events(source, camera, seed, per_class=per_class, duration_us=duration_us, sort=sort)
    if plot is not None and not 0 <= index < len(dataset.streams):
        raise UsageError(f"no sample {index}", where="--index", limit=f"0 to {len(dataset.streams) - 1}")
    if out is not None:
        save_events(out, dataset)
    if plot is not None:
        stream, label = dataset.streams[index], dataset.y[index]
        n_frames = 3 if dataset.camera is None else dataset.camera.n_saccades
        plot_events(stream, dataset.sensor, dataset.duration_us, plot, n_frames=n_frames,
                    title=f"{dataset.name}, sample {index}, class {label}: {len(stream)} events")
    return _summary(str(source), dataset, n_bins, out, plot, index)


def _summary(
    source: str, dataset: EventDataset, n_bins: int, out: Path | None, plot: Path | None, index: int
) -> EventsResult:
    sizes = np.asarray([len(stream) for stream in dataset.streams])
    n_events = int(sizes.sum())
    n_on = sum(int(np.count_nonzero(stream[:, 1] == 1)) for stream in dataset.streams)
    return EventsResult(
        source=source, n_samples=len(sizes), n_classes=dataset.n_classes, sensor=dataset.sensor,
        duration_us=dataset.duration_us, splits={name: len(part) for name, part in dataset.splits.items()},
        events_per_sample={"min": int(sizes.min()), "median": float(np.median(sizes)), "max": int(sizes.max())},
        n_empty=int(np.count_nonzero(sizes == 0)), on_share=n_on / n_events if n_events else None, n_bins=n_bins,
        shared_bins=shared_bins(dataset.streams, dataset.sensor, dataset.duration_us, n_bins),
        camera=None if dataset.camera is None else dataset.camera.model_dump(), out=out, plot=plot,
        index=None if plot is None else index,
    )


def shared_bins(streams: Sequence[Stream], sensor: tuple[int, int, int], duration_us: int, n_bins: int) -> float:
    """Of the cells (bin, channel, y, x) that hold events, the share that holds several; 0 without events."""
    occupied = several = 0
    for t, c, y, x in (stream.T for stream in streams):
        cells = np.ravel_multi_index((t * n_bins // duration_us, c, y, x), (n_bins, *sensor))
        counts = np.unique(cells, return_counts=True)[1]
        occupied += len(counts)
        several += int(np.count_nonzero(counts > 1))
    return several / occupied if occupied else 0.0
