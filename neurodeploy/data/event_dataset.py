"""Labelled streams of events of one sensor, and their counts in time bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.camera import CameraSettings, Stream
from neurodeploy.data.event_checks import check_streams
from neurodeploy.errors import UsageError

MAX_BINS = 4096
MAX_RASTER = 2**33  # bytes of one call of `rasterize`
DIGITS = "digits-events"
SUPPORTED = (
    f'Supported: "{DIGITS}"; a folder of images, one sub-folder a class; an .npz of `neurodeploy events --out`; '
    "a folder of N-MNIST, DVS128-Gesture or CIFAR10-DVS as it was published, or nmnist, dvs128-gesture, cifar10-dvs; "
    "cifar10 and other public datasets of images"
)


@dataclass(frozen=True, eq=False)
class EventDataset:
    """Recordings of one sensor with labels y int64 [N] in 0..n_classes-1; the arrays are read-only.

    streams: one int64 [n, 4] a sample, columns (t, c, y, x), 0 <= t < duration_us never decreasing, addresses inside `sensor`
    (C, H, W); channel 0 is OFF, 1 is ON. `splits` holds disjoint index arrays `train`, `validation` and `test`. `camera` are
    the settings of a simulation, `images` [N, C, H, W] in 0..1 what stood in front of it; None for recordings. `per_class` are
    the most samples of each class that were taken to train and to validate, None for all. Raises UsageError for events that are
    not so.
    """

    name: str
    streams: tuple[Stream, ...]
    y: NDArray[np.int64]
    n_classes: int
    sensor: tuple[int, int, int]
    duration_us: int
    splits: dict[str, NDArray[np.int64]]
    camera: CameraSettings | None = None
    images: NDArray[np.float32] | None = None
    per_class: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_streams(self.streams, self.sensor, self.duration_us, self.name)
        if self.y.shape != (len(self.streams),):
            raise UsageError(f"{len(self.streams)} recordings and labels of shape {self.y.shape}", where=self.name)
        if self.images is not None and len(self.images) != len(self.streams):
            raise UsageError(f"{len(self.streams)} recordings of {len(self.images)} images", where=self.name)
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

    def images_of(self, name: str) -> NDArray[np.float32] | None:
        """What stood in front of the camera, [n, C, H, W] of a split; None for recordings."""
        return None if self.images is None else self.images[self._indices(name)]

    def rasters(self, split_name: str, n_bins: int, binary: bool = False) -> NDArray[np.uint8]:
        """Counts per bin of a split, [N, T, C, H, W]; see `rasterize`."""
        return rasterize(self.split(split_name)[0], self.sensor, self.duration_us, n_bins, binary)


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


def refuse_camera(camera: CameraSettings | None, where: str) -> None:
    """Raise UsageError where settings of the camera were given for something recorded."""
    if camera is not None:
        raise UsageError("these are recordings; settings of the simulated camera change nothing", where=where,
                         limit="The camera looks at digits-events, folders and public datasets of images",
                         remedy="Leave camera.* out")
