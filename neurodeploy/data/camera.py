"""An event camera that looks at a static image while it moves in saccades, as N-MNIST was recorded.

A pixel remembers a level of log intensity. Where the log intensity has risen by `on_threshold` above it the pixel sends an ON
event and the level rises by that much; `off_threshold` below it, an OFF event. After an event the pixel is blind for
`refractory_us`; what is still a threshold away by then causes the next event at that moment. Between sub-steps of the motion
the log intensity runs linearly, so events have times of their own. Channel 0 is OFF, channel 1 is ON, as in N-MNIST and sinabs.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from neurodeploy.errors import UsageError

Stream = NDArray[np.int64]  # [n, 4], columns (t in us, c, y, x), sorted by time
Floats = NDArray[np.float64]

OFF, ON = 0, 1
_IMAGES_AT_A_TIME = 128  # keeps the frames of a block in the processor's cache
# Logarithms of different processors and numpy builds differ in their last bits; on this grid they are equal. Thresholds lie on
# it too, so whether a threshold is reached is decided without rounding.
_GRID = 2.0**20
_LEAST_THRESHOLD = 0.1  # of a pixel, as a share of the nominal one: mismatch makes no threshold vanish


class CameraSettings(BaseModel):
    """How the camera is built and moved; the defaults are for the packaged digits of 8x8 pixels.

    sensor: (H, W) in pixels. scale: sensor pixels per image pixel (bilinear); None fits the image and its path on the sensor.
    The image moves along the sides of a regular polygon, n_saccades sides of `amplitude` sensor pixels, `saccade_us` each; 3 is
    N-MNIST's triangle, 2 there and back. The log intensity is that of image + background, with image in 0..1, at
    steps_per_saccade + 1 points of a side. noise_hz: rate of events without a cause per pixel, half of them ON; those within a
    refractory time of another event are left out. mismatch: relative standard deviation of the pixels' thresholds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sensor: tuple[int, int] = (16, 16)
    scale: float | None = Field(default=None, gt=0, le=64)
    n_saccades: int = Field(default=3, ge=2, le=16)
    saccade_us: int = Field(default=32_000, ge=100, le=10_000_000)
    amplitude: float = Field(default=3.0, gt=0, le=256)
    steps_per_saccade: int = Field(default=32, ge=1, le=1024)
    on_threshold: float = Field(default=0.55, ge=0.01)
    off_threshold: float = Field(default=0.55, ge=0.01)
    background: float = Field(default=0.15, ge=1e-3)
    refractory_us: int = Field(default=3_000, ge=0)
    noise_hz: float = Field(default=0.0, ge=0, le=1e4)
    mismatch: float = Field(default=0.0, ge=0, le=0.5)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not all(1 <= side <= 1024 for side in self.sensor):
            raise ValueError(f"sensor is {self.sensor}; sides are 1 to 1024 pixels")
        if self.scale is None and min(self.sensor) <= self.amplitude + 1:
            raise ValueError(f"an amplitude of {self.amplitude} pixels leaves no room for an image on {self.sensor} pixels")
        return self

    @property
    def duration_us(self) -> int:
        """Length of a recording; every event lies before it."""
        return self.n_saccades * self.saccade_us

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the events: two polarities."""
        return 2, *self.sensor

    def path(self) -> Floats:
        """Offset (y, x) of the image's centre from that of the sensor at every sub-step, [n_saccades * steps + 1, 2]."""
        n = self.n_saccades
        radius = self.amplitude / (2 * math.sin(math.pi / n))
        # The second corner is the lowest one: the first saccade goes down to the right, the last to the left, as N-MNIST's.
        angles = math.pi / 2 + 2 * math.pi / n * (1 - np.arange(n + 1))
        corners = np.rint(radius * np.stack([np.sin(angles), np.cos(angles)], axis=1) * _GRID) / _GRID
        share = np.arange(self.steps_per_saccade) / self.steps_per_saccade
        sides = [start + (stop - start) * share[:, np.newaxis] for start, stop in pairwise(corners)]
        return np.concatenate([*sides, corners[-1:]])


def simulate_camera(
    images: NDArray[np.floating], settings: CameraSettings, seed: int = 0, first: int = 0
) -> tuple[Stream, ...]:
    """Events of every image of `images` [N, H, W] in 0..1: int64 [n, 4] with columns (t_us, c, y, x), 0 <= t < duration_us.

    Sorted by (t, y, x). Equal images, settings and seeds give equal events. The noise of image i is drawn from (seed,
    first + i), so a part of a dataset that begins at `first` gets the events it has in the whole. Raises UsageError for
    images of another shape or range.
    """
    images = np.asarray(images)
    if images.ndim != 3 or 0 in images.shape[1:] or images.dtype.kind != "f":
        raise UsageError(f"images of shape {images.shape} and type {images.dtype}", where="camera",
                         limit="Images are real numbers [N, H, W]", remedy="Simulate colour images one channel at a time")
    if images.size and not (images.min() >= 0 and images.max() <= 1):  # NaN fails both
        raise UsageError(f"images span {images.min()}..{images.max()}", where="camera", limit="Images lie in 0..1",
                         remedy="Rescale them")
    on, off = _thresholds(settings, seed)
    streams: list[Stream] = []
    for start in range(0, len(images), _IMAGES_AT_A_TIME):
        found = _events(images[start : start + _IMAGES_AT_A_TIME].astype(np.float64), settings, on, off)
        streams += [_with_noise(s, settings, seed, first + start + i) for i, s in enumerate(found)]
    return tuple(streams)


def _thresholds(settings: CameraSettings, seed: int) -> tuple[Floats, Floats]:
    """ON and OFF threshold of every pixel, [H * W]; a property of the sensor, the same for all images."""
    n = math.prod(settings.sensor)
    spread = np.ones((2, n))
    if settings.mismatch:
        # RandomState's stream is frozen by numpy's compatibility promise, Generator's is not.
        spread += settings.mismatch * np.random.RandomState([seed, 0]).standard_normal((2, n))
    nominal = np.asarray([[settings.on_threshold], [settings.off_threshold]])
    on, off = np.rint(np.maximum(spread, _LEAST_THRESHOLD) * nominal * _GRID) / _GRID
    return on, off


def _taps(n_image: int, n_sensor: int, offset: float, scale: float) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Where pixels of the sensor lie on one axis of the image with a border of 1: (lower index, upper index, upper weight)."""
    position = (np.arange(n_sensor) - (n_sensor - 1) / 2 - offset) / scale + (n_image - 1) / 2
    lower = np.floor(position)
    index = lower.astype(np.int64) + 1
    return np.clip(index, 0, n_image + 1), np.clip(index + 1, 0, n_image + 1), position - lower


def _log_intensity(bordered: Floats, offset: Floats, scale: float, settings: CameraSettings) -> Floats:
    """What the sensor sees with the image moved by `offset`: [N, pixels]; outside the image there is nothing but background.

    Plain sums of products: those of a matrix library depend on the machine and on the number of images.
    """
    y0, y1, fy = _taps(bordered.shape[1] - 2, settings.sensor[0], float(offset[0]), scale)
    x0, x1, fx = _taps(bordered.shape[2] - 2, settings.sensor[1], float(offset[1]), scale)
    rows = bordered[:, y0] * (1 - fy)[:, np.newaxis] + bordered[:, y1] * fy[:, np.newaxis]
    seen = rows[:, :, x0] * (1 - fx) + rows[:, :, x1] * fx
    found: Floats = np.rint(np.log(seen + settings.background) * _GRID) / _GRID
    return found.reshape(len(bordered), -1)


def scale_of(settings: CameraSettings, height: int, width: int) -> float:
    """Sensor pixels per image pixel: as set, or the largest at which the image stays on the sensor along its path."""
    if settings.scale is not None:
        return settings.scale
    room = np.asarray(settings.sensor) - np.ptp(settings.path(), axis=0)
    return float(np.min(room / [height, width]))


def _events(images: Floats, settings: CameraSettings, on: Floats, off: Floats) -> list[Stream]:
    """Events of a block of images, by image."""
    n, height, width = images.shape
    bordered = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    scale, n_pixels, step = scale_of(settings, height, width), on.size, settings.saccade_us / settings.steps_per_saccade
    on, off = np.tile(on, n), np.tile(off, n)
    path = settings.path()
    before = _log_intensity(bordered, path[0], scale, settings).ravel()
    level, free = before.copy(), np.zeros(before.size)  # free: when a pixel sees again after its last event
    found: list[tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]] = []
    for i, offset in enumerate(path[1:]):
        after = _log_intensity(bordered, offset, scale, settings).ravel()
        t0, t1 = i * step, (i + 1) * step
        reaches = (np.maximum(before, after) >= level + on) | (np.minimum(before, after) <= level - off)
        pixels = np.flatnonzero(reaches & (free <= t1))
        while pixels.size:  # the next event of every pixel that has one before t1
            l0, l1, start = before[pixels], after[pixels], np.maximum(free[pixels], t0)
            high, low = level[pixels] + on[pixels], level[pixels] - off[pixels]
            now = l0 + (l1 - l0) * ((start - t0) / step)
            at_once, rises = (now >= high) | (now <= low), np.where(now >= high, True, (now > low) & (l1 >= high))
            fires = at_once | (l1 >= high) | (l1 <= low)
            slope = np.where(l1 == l0, 1.0, l1 - l0)  # where a crossing is used, now lies inside and l1 outside
            crossing = t0 + (np.where(rises, high, low) - l0) * step / slope  # the product is exact: one rounding
            t = np.where(at_once, start, np.clip(crossing, start, t1))
            pixels, t, rises = pixels[fires], t[fires], rises[fires]
            level[pixels] += np.where(rises, on[pixels], -off[pixels])
            free[pixels] = t + settings.refractory_us
            found.append((t, pixels, rises))
            pixels = pixels[free[pixels] <= t1]
        before = after
    if not found:
        return [np.zeros((0, 4), dtype=np.int64) for _ in range(n)]
    times, pixels, rises = (np.concatenate(column) for column in zip(*found, strict=True))
    t_us = np.floor(times).astype(np.int64)
    kept = t_us < settings.duration_us
    return _by_image(t_us[kept], pixels[kept], rises[kept], n, n_pixels, settings.sensor[1])


def _by_image(
    t_us: NDArray[np.int64], pixels: NDArray[np.int64], rises: NDArray[np.bool_], n: int, n_pixels: int, width: int
) -> list[Stream]:
    """Events in the order found, as one stream an image sorted by (t, y, x)."""
    image, pixel = np.divmod(pixels, n_pixels)
    order = np.lexsort((pixel, t_us, image))  # stable: events of one pixel in one microsecond keep their order
    y, x = np.divmod(pixel, width)
    events = np.stack([t_us, np.where(rises, ON, OFF), y, x], axis=1)[order]
    return np.split(events, np.cumsum(np.bincount(image, minlength=n))[:-1])


def _with_noise(stream: Stream, settings: CameraSettings, seed: int, index: int) -> Stream:
    """The stream with events that nothing causes, those within a refractory time of another one of their pixel left out."""
    if not settings.noise_hz:
        return stream
    rng = np.random.RandomState([seed, 1, index])
    height, width = settings.sensor
    n = rng.poisson(settings.noise_hz * settings.duration_us * 1e-6 * height * width)
    noise = np.stack([rng.randint(0, high, n) for high in (settings.duration_us, 2, height, width)], axis=1)
    events = np.concatenate([stream, noise.astype(np.int64)])
    is_noise = np.arange(len(events)) >= len(stream)
    pixel = events[:, 2] * width + events[:, 3]
    order = np.lexsort((events[:, 0], pixel))
    close = (np.diff(pixel[order]) == 0) & (np.diff(events[order, 0]) < max(settings.refractory_us, 1))
    crowded = np.zeros(len(events), dtype=bool)
    crowded[order[1:]] |= close
    crowded[order[:-1]] |= close
    events = events[~(is_noise & crowded)]
    return events[np.lexsort((events[:, 3], events[:, 2], events[:, 0]))]
