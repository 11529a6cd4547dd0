"""Labelled streams of events: digits and images in front of a simulated camera, event files, public recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data import datasets
from neurodeploy.data.camera import CameraSettings, Stream, simulate_camera
from neurodeploy.errors import UsageError

MAX_BINS = 4096
MAX_RASTER = 2**33  # bytes of one call of `rasterize`
DIGITS = "digits-events"
SUPPORTED = (
    f'Supported: "{DIGITS}"; a folder of images, one sub-folder a class; an .npz of `neurodeploy events --out`; '
    "a folder of N-MNIST, DVS128-Gesture or CIFAR10-DVS as it was published"
)


@dataclass(frozen=True, eq=False)
class EventDataset:
    """Recordings of one sensor with labels y int64 [N] in 0..n_classes-1; the arrays are read-only.

    streams: one int64 [n, 4] a sample, columns (t, c, y, x), 0 <= t < duration_us never decreasing, addresses inside `sensor`
    (C, H, W); channel 0 is OFF, 1 is ON. `splits` holds disjoint index arrays `train`, `validation` and `test`. Raises
    UsageError for events that are not so.
    """

    name: str
    streams: tuple[Stream, ...]
    y: NDArray[np.int64]
    n_classes: int
    sensor: tuple[int, int, int]
    duration_us: int
    splits: dict[str, NDArray[np.int64]]

    def __post_init__(self) -> None:
        check_streams(self.streams, self.sensor, self.duration_us, self.name)
        if self.y.shape != (len(self.streams),):
            raise UsageError(f"{len(self.streams)} recordings and labels of shape {self.y.shape}", where=self.name)
        for array in (self.y, *self.splits.values(), *self.streams):
            array.setflags(write=False)

    def _indices(self, name: str) -> NDArray[np.int64]:
        if name not in self.splits:
            raise UsageError(f"no split {name!r}", where=self.name, limit=f"It has {', '.join(self.splits)}")
        return self.splits[name]

    def split(self, name: str) -> tuple[tuple[Stream, ...], NDArray[np.int64]]:
        """Streams and labels of `train`, `validation` or `test`; UsageError for another name."""
        index = self._indices(name)
        return tuple(self.streams[i] for i in index), self.y[index]

    def rasters(self, split_name: str, n_bins: int, binary: bool = False) -> NDArray[np.uint8]:
        """Counts per bin of a split, [N, T, C, H, W]; see `rasterize`."""
        return rasterize(self.split(split_name)[0], self.sensor, self.duration_us, n_bins, binary)


def check_streams(streams: tuple[Stream, ...], sensor: tuple[int, int, int], duration_us: int, where: str) -> None:
    """UsageError, naming the recording and the event, unless streams are as `EventDataset` says."""
    for i, stream in enumerate(streams):
        check_stream(stream, sensor, duration_us, f"{where}, recording {i}")


def check_stream(stream: Stream, sensor: tuple[int, int, int], duration_us: int | None, where: str) -> None:
    """UsageError, naming the event, unless one stream int64 [n, 4] lies inside the sensor, runs forward and ends in time.

    `duration_us` None sets no end.
    """
    if stream.ndim != 2 or stream.shape[1] != 4 or stream.dtype != np.int64:
        raise UsageError(f"events of shape {stream.shape} and type {stream.dtype}", where=where,
                         limit="A stream is int64 [n, 4]: t, c, y, x")
    outside = np.flatnonzero(((stream[:, 1:] < 0) | (stream[:, 1:] >= np.asarray(sensor))).any(axis=1))
    if len(outside):
        i = int(outside[0])
        c, y, x = stream[i, 1:].tolist()
        raise UsageError(
            f"channel {c}, y {y}, x {x}; {len(outside)} of {len(stream)} events lie outside the sensor",
            where=f"{where}, event {i}", limit="The sensor has {} channels, height {}, width {}".format(*sensor),
            remedy="Check the order of the columns (t, c, y, x) and the size of the sensor", code="event_outside",
        )
    t = stream[:, 0]
    if len(t) and t[0] < 0:
        raise UsageError(f"time {t[0]} us", where=f"{where}, event 0", limit="Times start at 0", code="event_time",
                         remedy="Subtract the first time of the recording")
    late = np.flatnonzero(np.diff(t) < 0)
    if len(late):
        i = int(late[0]) + 1
        raise UsageError(
            f"time {t[i]} us after {t[i - 1]} us; times decrease {len(late)} time(s)", where=f"{where}, event {i}",
            limit="Times never decrease", code="events_unsorted",
            remedy="Sort the events by time, keeping the order of equal times: events[np.argsort(events[:, 0], kind='stable')]",
        )
    if duration_us is not None and len(t) and t[-1] >= duration_us:
        n = int(np.count_nonzero(t >= duration_us))
        raise UsageError(f"time {t[-1]} us; {n} event(s) come after the end", where=f"{where}, event {len(t) - n}",
                         limit=f"A recording lasts {duration_us} us", code="event_time",
                         remedy="Correct the duration, or leave these events out")


def rasterize(
    streams: tuple[Stream, ...], sensor: tuple[int, int, int], duration_us: int, n_bins: int, binary: bool = False
) -> NDArray[np.uint8]:
    """Counts of events, uint8 [N, T, C, H, W]; bin k holds t in [k * duration / T, (k + 1) * duration / T).

    Counts stop at 255, with `binary` at 1. Raises UsageError for events outside of sensor or duration, and for rasters
    larger than 8 GiB.

    >>> import numpy as np
    >>> stream = np.array([[0, 1, 0, 0], [5, 1, 0, 0], [9, 0, 0, 1]])
    >>> rasterize((stream,), (2, 1, 2), 10, 2)[0, :, :, 0].tolist()
    [[[0, 0], [1, 0]], [[0, 1], [1, 0]]]
    """
    if not 1 <= n_bins <= MAX_BINS:
        raise UsageError(f"{n_bins} bins", where="raster", limit=f"1 to {MAX_BINS}")
    check_streams(streams, sensor, duration_us, "raster")
    shape = (n_bins, *sensor)
    size = int(np.prod(shape))
    if size * len(streams) > MAX_RASTER:
        raise UsageError(f"{len(streams)} rasters of {shape} take {size * len(streams) / 2**30:.3g} GiB", where="raster",
                         limit=f"At most {MAX_RASTER / 2**30:g} GiB", remedy="Take fewer samples or bins at a time")
    rasters = np.zeros((len(streams), size), dtype=np.uint8)
    for raster, stream in zip(rasters, streams, strict=True):
        t, c, y, x = stream.T
        cells, counts = np.unique(np.ravel_multi_index((t * n_bins // duration_us, c, y, x), shape), return_counts=True)
        raster[cells] = np.minimum(counts, 1 if binary else 255)
    return rasters.reshape(len(streams), *shape)


def load_events(name_or_path: str | Path, camera: CameraSettings | None = None, seed: int = 0) -> EventDataset:
    """The recordings behind a name or a path.

    "digits-events": the packaged digits through the camera simulation, with the splits of the digits. Raises UsageError for
    an unknown name and unsuitable events, UnsafeFile for a damaged file.

    >>> load_events("digits-events").sensor
    (2, 16, 16)
    """
    if str(name_or_path) == DIGITS:
        return _digits(camera or CameraSettings(), seed)
    path = Path(name_or_path)
    raise UsageError(f"no events {str(name_or_path)!r}", where="events",
                     limit=f"Looked for the packaged name and for {path.resolve()}. {SUPPORTED}")


def _digits(camera: CameraSettings, seed: int) -> EventDataset:
    digits = datasets.load("digits")
    streams = simulate_camera(digits.x[:, 0], camera, seed)
    return EventDataset(DIGITS, streams, digits.y, digits.n_classes, camera.shape, camera.duration_us, digits.splits)
