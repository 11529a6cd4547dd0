"""Event datasets: digits in front of the camera, rasters, image folders, and what is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy import data
from neurodeploy.data import event_folders, image_files
from neurodeploy.data.camera import CameraSettings, simulate_camera
from neurodeploy.data.event_dataset import EventDataset, rasterize
from neurodeploy.data.event_sources import load_events
from neurodeploy.errors import UnsafeFile, UsageError
from PIL import Image

SENSOR = (2, 3, 4)


@pytest.fixture(scope="module")
def digits_events() -> EventDataset:
    return load_events("digits-events")


def test_digits_have_their_labels_and_splits(digits_events: EventDataset) -> None:
    digits = data.load("digits")
    assert digits_events.name == "digits-events" and digits_events.sensor == (2, 16, 16)
    assert np.array_equal(digits_events.y, digits.y) and digits_events.n_classes == 10
    assert all(np.array_equal(digits_events.splits[k], v) for k, v in digits.splits.items())
    alone = simulate_camera(digits.split("test")[0][:3, 0], CameraSettings())
    streams, y = digits_events.split("test")
    assert np.array_equal(y, digits.split("test")[1]) and len(streams) == 540
    assert all(np.array_equal(a, b) for a, b in zip(alone, streams, strict=False)), "no noise: alone as in the whole"
    assert digits_events.camera == CameraSettings()
    with pytest.raises(UsageError, match="train, validation, test"):
        digits_events.split("holdout")
    with pytest.raises(ValueError, match="read-only"):
        digits_events.streams[0][0, 0] = 1


def test_digits_are_the_same_every_time(digits_events: EventDataset) -> None:
    again = load_events("digits-events", CameraSettings(), seed=1)  # without noise nothing is random
    assert all(np.array_equal(a, b) for a, b in zip(digits_events.streams, again.streams, strict=True))
    other = load_events("digits-events", CameraSettings(amplitude=2))
    assert not np.array_equal(digits_events.streams[0], other.streams[0])


def test_rasters_of_a_split(digits_events: EventDataset) -> None:
    streams, _ = digits_events.split("validation")
    rasters = digits_events.rasters("validation", 32)
    assert rasters.shape == (359, 32, 2, 16, 16) and rasters.dtype == np.uint8
    assert [int(r.sum()) for r in rasters] == [len(s) for s in streams]
    assert digits_events.rasters("validation", 16, binary=True).max() == 1 < digits_events.rasters("validation", 16).max()


def test_part_of_the_digits(digits_events: EventDataset) -> None:
    few = load_events("digits-events", per_class=2, duration_us=20_000)
    assert {k: len(v) for k, v in few.splits.items()} == {"train": 20, "validation": 20, "test": 20}
    assert few.duration_us == 20_000 and all(s[-1, 0] < 20_000 for s in few.streams)
    for part in few.splits:
        whole, y = digits_events.split(part)
        streams, labels = few.split(part)
        first = np.sort(np.concatenate([np.flatnonzero(y == k)[:2] for k in range(10)]))
        assert np.array_equal(labels, y[first])
        for stream, i in zip(streams, first, strict=True):
            assert np.array_equal(stream, whole[i][whole[i][:, 0] < 20_000])
    with pytest.raises(UsageError, match="per_class is 0"):
        load_events("digits-events", per_class=0)


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 1), st.integers(0, 2), st.integers(0, 3)), max_size=40),
    n_bins=st.integers(1, 130), binary=st.booleans(),
)  # fmt: skip
def test_rasters_count_what_lies_in_a_bin(events: list[tuple[int, int, int, int]], n_bins: int, binary: bool) -> None:
    expected = np.zeros((n_bins, *SENSOR), int)
    for t, c, y, x in events:
        (k,) = [k for k in range(n_bins) if k * 100 <= t * n_bins < (k + 1) * 100]
        expected[k, c, y, x] = 1 if binary else expected[k, c, y, x] + 1
    stream = np.array(sorted(events), dtype=np.int64).reshape(-1, 4)
    found = rasterize((stream, stream[:0]), SENSOR, 100, n_bins, binary)
    assert np.array_equal(found[0], expected) and not found[1].any()


def test_counts_stop_at_255() -> None:
    stream = np.zeros((300, 4), dtype=np.int64)
    assert rasterize((stream,), SENSOR, 10, 2)[0, 0, 0, 0, 0] == 255
    assert rasterize((stream[:254],), SENSOR, 10, 2).sum() == 254


@pytest.mark.parametrize(
    ("events", "code", "where"),
    [([(0, 0, 0, 0), (1, 0, 3, 0)], "event_outside", "recording 1, event 1"), ([(0, 2, 0, 0)], "event_outside", "event 0"),
     ([(0, 0, 0, -1)], "event_outside", "event 0"), ([(5, 0, 0, 0), (4, 0, 0, 0)], "events_unsorted", "event 1"),
     ([(-1, 0, 0, 0)], "event_time", "event 0"), ([(9, 0, 0, 0), (10, 0, 0, 0)], "event_time", "event 1")],
)  # fmt: skip
def test_events_that_cannot_be(events: list[tuple[int, ...]], code: str, where: str) -> None:
    streams = (np.zeros((1, 4), dtype=np.int64), np.array(events, dtype=np.int64))
    with pytest.raises(UsageError) as caught:
        rasterize(streams, SENSOR, 10, 2)
    assert caught.value.error_code == code and where in caught.value.where
    assert caught.value.limit and caught.value.remedy
    with pytest.raises(UsageError):
        EventDataset("own", streams, np.zeros(2, int), 2, SENSOR, 10, {})


def test_other_wrong_values() -> None:
    for stream in (np.zeros((3, 3), np.int64), np.zeros((3, 4), np.int32), np.zeros(4, np.int64)):
        with pytest.raises(UsageError, match="events of shape"):
            rasterize((stream,), SENSOR, 10, 2)
    for n_bins in (0, 5000):
        with pytest.raises(UsageError, match="bins"):
            rasterize((), SENSOR, 10, n_bins)
    with pytest.raises(UsageError, match="GiB"):
        rasterize((np.zeros((0, 4), np.int64),) * 1000, (2, 128, 128), 10, 4096)
    with pytest.raises(UsageError, match="labels of shape"):
        EventDataset("own", (), np.zeros(2, int), 2, SENSOR, 10, {})


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="digits-events") as caught:
        load_events("digit-events")
    assert str(tmp_path / "digit-events") in str(caught.value) and "N-MNIST" in str(caught.value)
    (tmp_path / "movie.avi").write_bytes(b"RIFF")
    with pytest.raises(UsageError, match="avi files cannot be read"):
        load_events("movie.avi")


def images(folder: Path, n: int = 5, size: tuple[int, int] = (9, 7)) -> Path:
    """n images in each of two classes, bright on one side."""
    for label, name in enumerate(("left", "right")):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            grey = np.zeros(size, np.uint8)
            grey[:, : size[1] // 2] = 200 + i
            picture = Image.fromarray(grey[:, ::-1] if label else grey)
            picture.save(folder / name / (f"{i}.png" if i % 2 else f"{i}.JPG"), quality=100)
    return folder


def test_image_folder(tmp_path: Path) -> None:
    found = load_events(images(tmp_path / "sides"))
    assert found.name == "sides" and found.n_classes == 2 and found.y.tolist() == [0] * 5 + [1] * 5
    assert found.camera == CameraSettings() and found.duration_us == CameraSettings().duration_us
    assert sorted(np.concatenate(list(found.splits.values()))) == list(range(10))
    grey = np.asarray(Image.open(tmp_path / "sides" / "left" / "1.png"))
    assert grey[0, 0] == 201
    assert np.array_equal(found.streams[1], simulate_camera(grey[None] / 255, CameraSettings())[0]), "a png loses nothing"
    mirrored = found.streams[6].copy()
    assert len(mirrored) > 50 and not np.array_equal(mirrored, found.streams[1])


def test_large_images_are_reduced_and_small_ones_stand_in_the_middle(tmp_path: Path) -> None:
    images(tmp_path, size=(300, 600))
    Image.new("RGBA", (2, 2), (255, 255, 255, 0)).save(tmp_path / "left" / "see-through.png")
    Image.fromarray(np.full((40, 40), 65535, np.uint16)).save(tmp_path / "right" / "deep.png")
    found = load_events(tmp_path)
    by_file = dict(zip([(k, p.name) for k, f in enumerate(("left", "right")) for p in sorted((tmp_path / f).iterdir())],
                       found.streams, strict=True))
    assert len(by_file[0, "see-through.png"]) == 0, "transparent is black"
    assert len(by_file[1, "deep.png"]) > 0, "16 bits are scaled, not cut off"
    assert all(len(s) > 0 for (_, name), s in by_file.items() if name != "see-through.png")


def test_an_image_folder_with_train_and_test(tmp_path: Path) -> None:
    images(tmp_path / "Train", n=10)
    images(tmp_path / "Test", n=4)
    found = load_events(tmp_path, CameraSettings(sensor=(12, 12)))
    assert found.sensor == (2, 12, 12)
    assert {k: len(v) for k, v in found.splits.items()} == {"train": 16, "validation": 4, "test": 8}
    assert np.bincount(found.split("test")[1]).tolist() == [4, 4]
    with pytest.raises(UsageError, match="counterpart"):
        (tmp_path / "Test").rename(tmp_path / "Other")
        load_events(tmp_path)


def test_many_images_are_seen_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, noisy = images(tmp_path), CameraSettings(noise_hz=50.0, mismatch=0.1)
    whole = load_events(folder, noisy, seed=3)
    monkeypatch.setattr(event_folders, "_IMAGES", 3)
    parts = load_events(folder, noisy, seed=3)
    assert all(np.array_equal(a, b) and len(a) > 50 for a, b in zip(whole.streams, parts.streams, strict=True))
    monkeypatch.setattr(image_files, "MAX_BYTES", 300)
    with pytest.raises(UsageError, match=r"take .* GiB"):
        load_events(folder)


def test_image_files_that_are_refused(tmp_path: Path) -> None:
    folder = images(tmp_path / "one")
    victim = folder / "left" / "1.png"
    for content in (b"", b"not an image", victim.read_bytes()[:45], b"GIF89a" + bytes(40)):
        victim.write_bytes(content)
        with pytest.raises(UnsafeFile, match="cannot be read as an image") as caught:
            load_events(folder)
        assert "1.png" in caught.value.where and caught.value.remedy
    bomb = Image.new("L", (2, 2))
    bomb.save(victim)
    content = bytearray(victim.read_bytes())
    for side in (100_000, 6000):  # the header alone says how large it is
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        victim.write_bytes(content)
        with pytest.raises(UnsafeFile, match=r"pixels"):
            load_events(folder)


def test_folders_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no sub-folders"):
        load_events(tmp_path)
    folder = images(tmp_path / "one")
    (folder / "middle").mkdir()
    with pytest.raises(UsageError, match="class 'middle' is empty") as caught:
        load_events(folder)
    assert caught.value.error_code == "empty_class" and caught.value.remedy
    (folder / "middle" / "0.bin").write_bytes(bytes(5))
    with pytest.raises(UsageError, match="several kinds: N-MNIST, images"):
        load_events(folder)
    with pytest.raises(UsageError, match="2 sample"):  # too few to divide
        load_events(images(tmp_path / "few", n=2))
