"""The camera simulation against a slow one in exact arithmetic, against times worked by hand, and what must always hold."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy import data
from neurodeploy.data.camera import CameraSettings, simulate_camera
from neurodeploy.errors import UsageError
from pydantic import ValidationError

SMALL: dict[str, Any] = {"sensor": (5, 6), "saccade_us": 1000, "amplitude": 1.5, "steps_per_saccade": 4}


def seen(image: np.ndarray, y: int, x: int, offset: np.ndarray, scale: float, camera: CameraSettings) -> Fraction:
    """Log intensity of one pixel: bilinear between the image's four nearest values, 0 outside, on the grid of 2**-20."""
    v = (y - (camera.sensor[0] - 1) / 2 - offset[0]) / scale + (image.shape[0] - 1) / 2
    u = (x - (camera.sensor[1] - 1) / 2 - offset[1]) / scale + (image.shape[1] - 1) / 2
    total = 0.0
    for row in (math.floor(v), math.floor(v) + 1):
        for column in (math.floor(u), math.floor(u) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += image[row, column] * (1 - abs(v - row)) * (1 - abs(u - column))
    return Fraction(round(math.log(total + camera.background) * 2**20), 2**20)


def slow(image: np.ndarray, camera: CameraSettings, scale: float) -> list[tuple[int, int, int, int]]:
    """Events of one image, pixel by pixel and event by event, times as fractions."""
    path, step = camera.path(), Fraction(camera.saccade_us, camera.steps_per_saccade)
    on, off = (Fraction(round(v * 2**20), 2**20) for v in (camera.on_threshold, camera.off_threshold))
    events = []
    for y in range(camera.sensor[0]):
        for x in range(camera.sensor[1]):
            levels = [seen(image, y, x, offset, scale, camera) for offset in path]
            memory, blind_until = levels[0], Fraction(0)
            for i, (l0, l1) in enumerate(pairwise(levels)):
                now, end = max(i * step, blind_until), (i + 1) * step
                while now <= end:
                    value = l0 + (l1 - l0) * (now - i * step) / step
                    if value >= memory + on or value <= memory - off:
                        t = now
                    else:
                        goal = memory + on if l1 >= memory + on else memory - off
                        if not (l1 >= memory + on or l1 <= memory - off):
                            break
                        t = i * step + (goal - l0) / (l1 - l0) * step
                    polarity = int((value if t == now else l1) > memory)
                    memory += on if polarity else -off
                    events.append((math.floor(t), polarity, y, x))
                    blind_until = now = t + camera.refractory_us
    return sorted((e for e in events if e[0] < camera.duration_us), key=lambda e: (e[0], e[2], e[3]))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31), n_saccades=st.integers(2, 4), refractory=st.sampled_from([0, 1, 170, 900]),
    on=st.floats(0.07, 0.9), off=st.floats(0.07, 0.9), scale=st.floats(0.6, 2.5),
)  # fmt: skip
def test_equal_to_the_slow_camera(
    seed: int, n_saccades: int, refractory: int, on: float, off: float, scale: float
) -> None:
    images = np.random.RandomState(seed).rand(2, 3, 4)
    camera = CameraSettings(
        **SMALL, n_saccades=n_saccades, refractory_us=refractory, on_threshold=on, off_threshold=off, scale=scale
    )
    found = simulate_camera(images, camera)
    assert sum(map(len, found)) > 0
    for image, stream in zip(images, found, strict=True):
        assert [tuple(e) for e in stream.tolist()] == slow(image, camera, scale)


def one_pixel(refractory_us: int) -> list[list[int]]:
    """A pixel that looks at row 2 of a column, then at row 0, then at row 2 again: its log intensity rises by log 9 in the
    first 1000 us and falls back in the next, for thresholds of 0.5."""
    camera = CameraSettings(
        sensor=(1, 1), scale=1, n_saccades=2, saccade_us=1000, amplitude=2, steps_per_saccade=1, on_threshold=0.5,
        off_threshold=0.5, background=0.125, refractory_us=refractory_us,
    )
    (stream,) = simulate_camera(np.array([[[1.0], [0.3], [0.0]]]), camera)
    assert (stream[:, 2:] == 0).all()
    return stream[:, :2].tolist()


def test_times_worked_by_hand() -> None:
    # log 9 = 2.19722: rising, 0.5 / 2.19722 of 1000 us = 227.56 per threshold. The memory is then 2.0 above the start;
    # falling, 1.5, 1.0 and 0.5 are reached at (2.19722 - 1.5) / 2.19722 = 0.31732, 0.54488 and 0.77244 of the second 1000 us;
    # the last threshold is reached when the recording is over.
    assert one_pixel(0) == [[227, 1], [455, 1], [682, 1], [910, 1], [1317, 0], [1544, 0], [1772, 0]]


def test_refractory_time_worked_by_hand() -> None:
    # Blind until 527.56, when the intensity is 1.159 above the start and the next event waits at 1.0; again at 827.56 (1.818,
    # 1.5). At 1127.56 it is 1.917, inside 1.0..2.0; it falls to 1.0 at 1544.88. At 1844.88 it is 0.341, below 0.5.
    assert one_pixel(300) == [[227, 1], [527, 1], [827, 1], [1544, 0], [1844, 0]]


def digits(n: int) -> np.ndarray:
    return data.load("digits").x[:n, 0]


def test_known_events() -> None:
    """A fingerprint: other events for the same settings would change every network trained on them."""
    camera = CameraSettings(
        sensor=(16, 16), scale=1.625, n_saccades=3, saccade_us=32_000, amplitude=3.0, steps_per_saccade=32, on_threshold=0.4,
        off_threshold=0.3, background=0.15, refractory_us=2_000, noise_hz=3.0, mismatch=0.05,
    )
    streams = simulate_camera(digits(20), camera, seed=7)
    found = np.concatenate(streams).astype("<i8")
    assert len(found) == 20_830
    assert hashlib.sha256(found.tobytes()).hexdigest() == "0e22a164f733081e08789e5abdc936a7d0a3bfe59d24907b39e565afcca94bc2"


def test_a_part_of_a_dataset_gets_the_events_of_the_whole() -> None:
    camera, images = CameraSettings(noise_hz=20, mismatch=0.1), digits(140)
    whole = simulate_camera(images, camera, seed=3)
    parts = [*simulate_camera(images[:5], camera, seed=3), *simulate_camera(images[5:], camera, seed=3, first=5)]
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    other = simulate_camera(images[:5], camera, seed=4)
    assert not any(np.array_equal(a, b) for a, b in zip(whole, other, strict=False))


def test_streams_are_sorted_inside_and_wait() -> None:
    camera = CameraSettings(noise_hz=40)
    for stream in simulate_camera(digits(30), camera):
        assert stream.dtype == np.int64 and stream.shape[1] == 4
        assert (stream >= 0).all() and (stream < [camera.duration_us, 2, 16, 16]).all()
        t, _, y, x = stream.T
        assert np.array_equal(np.lexsort((x, y, t)), np.arange(len(t)))
        order = np.lexsort((t, y * 16 + x))
        same = np.diff((y * 16 + x)[order]) == 0
        assert same.any() and (np.diff(t[order])[same] >= camera.refractory_us).all()


def test_nothing_to_see_and_noise() -> None:
    blank = np.zeros((50, 8, 8))
    assert [len(s) for s in simulate_camera(blank, CameraSettings())] == [0] * 50
    noisy = CameraSettings(noise_hz=10.0, refractory_us=0)
    streams = simulate_camera(blank, noisy)
    expected = 10.0 * 16 * 16 * noisy.duration_us * 1e-6
    mean = np.mean([len(s) for s in streams])
    assert abs(mean - expected) < 4 * math.sqrt(expected / 50)  # four standard deviations of a Poisson mean
    assert 0.45 < np.concatenate(streams)[:, 1].mean() < 0.55


def test_mismatch_belongs_to_pixels_and_not_to_images() -> None:
    images = np.repeat(digits(1), 2, axis=0)
    a, b = simulate_camera(images, CameraSettings(mismatch=0.2))
    (c,) = simulate_camera(images[:1], CameraSettings())
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_defaults_suit_the_digits() -> None:
    camera = CameraSettings()
    assert camera.duration_us % 64 == 0 and camera.refractory_us >= camera.duration_us // 64
    sizes = [len(s) for s in simulate_camera(digits(200), camera)]
    assert 400 <= np.median(sizes) <= 900


def test_the_first_saccade_goes_down_right_and_the_path_is_closed() -> None:
    path = CameraSettings(amplitude=3.0).path()
    assert len(path) == 3 * 32 + 1 and np.array_equal(path[0], path[-1])
    sides = np.diff(path[::32], axis=0)
    assert np.allclose(np.hypot(*sides.T), 3.0, atol=1e-5)  # corners lie on a grid of 2**-20 pixels
    assert (sides[0] > 0).all() and sides[1, 0] < 0 < sides[1, 1] and abs(sides[2, 0]) < 1e-5 and sides[2, 1] < 0


@pytest.mark.parametrize(
    ("images", "reason"),
    [(np.zeros((2, 8)), "shape"), (np.zeros((2, 8, 8), int), "type"), (np.full((1, 4, 4), np.nan), "span"),
     (np.full((1, 4, 4), 1.5), "0..1"), (np.zeros((1, 0, 4)), "shape")],
)  # fmt: skip
def test_unsuitable_images(images: np.ndarray, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        simulate_camera(images, CameraSettings())
    assert caught.value.limit and caught.value.remedy


@pytest.mark.parametrize(
    "wrong", [{"sensor": (0, 16)}, {"sensor": (3, 3)}, {"amplitude": float("nan")}, {"on_threshold": 0.0}, {"n_saccades": 1},
              {"background": 0.0}, {"speed": 2}, {"refractory_us": -1}],
)  # fmt: skip
def test_unsuitable_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CameraSettings(**wrong)
