"""Folders of images as labelled pixels: sizes, colours, parts, and what is refused."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy import data
from neurodeploy.data import image_files
from neurodeploy.errors import UnsafeFile, UsageError
from numpy.typing import NDArray
from PIL import Image


def grey(i: int, size: tuple[int, int] = (6, 5)) -> NDArray[np.uint8]:
    return np.random.default_rng(i).integers(0, 256, size, dtype=np.uint8)


def folder(path: Path, n: int = 6, classes: tuple[str, ...] = ("0", "2", "10"), size: tuple[int, int] = (6, 5)) -> Path:
    """n grey images in each class, the k-th of class c of `grey(100 * c + k)`."""
    for c, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for k in range(n):
            Image.fromarray(grey(100 * c + k, size)).save(path / name / f"{k}.png")
    return path


def test_a_folder_of_grey_images(tmp_path: Path) -> None:
    found = data.load(folder(tmp_path / "numbers"))
    assert found.name == "numbers" and found.image_shape == (1, 6, 5) and found.n_levels == 256
    assert found.y.tolist() == [0] * 6 + [1] * 6 + [2] * 6, "classes in the order of their numbers"
    assert found.x.dtype == np.uint8 and np.array_equal(found.x[7, 0], grey(101))
    assert {k: len(v) for k, v in found.splits.items()} == {"train": 9, "validation": 3, "test": 6}
    x, y = found.split("test")
    assert x.dtype == np.float32 and np.array_equal(np.rint(x * 255), found.x[found.splits["test"]]) and len(y) == 6
    assert x.max() <= 1 and x.min() >= 0 and x.max() > 0.5
    with pytest.raises(ValueError, match="read-only"):
        found.x[0] = 0


def test_the_same_images_in_an_npz_are_the_same_data(tmp_path: Path) -> None:
    one = data.load(folder(tmp_path / "numbers"))
    np.savez(tmp_path / "numbers.npz", x=one.x, y=one.y)
    two = data.load(tmp_path / "numbers.npz")
    for part in one.splits:
        assert np.array_equal(one.split(part)[0], two.split(part)[0]) and np.array_equal(one.split(part)[1], two.split(part)[1])


def test_parts_are_kept(tmp_path: Path) -> None:
    for part, n in (("Train", 10), ("test", 3), ("val", 2)):
        folder(tmp_path / part, n, ("a", "b"))
    found = data.load(tmp_path)
    assert {k: len(v) for k, v in found.splits.items()} == {"train": 20, "validation": 4, "test": 6}
    assert np.array_equal(np.rint(found.split("validation")[0][2, 0] * 255), grey(100))
    (tmp_path / "val").rename(tmp_path.parent / "elsewhere")
    again = data.load(tmp_path)
    assert {k: len(v) for k, v in again.splits.items()} == {"train": 16, "validation": 4, "test": 6}
    assert np.array_equal(np.unique(np.concatenate(list(again.splits.values()))), np.arange(26))
    folder(tmp_path / "valid", 2, ("a", "c"))
    with pytest.raises(UsageError, match="Train and valid differ in the classes b, c"):
        data.load(tmp_path)
    folder(tmp_path / "validation", 2, ("a", "b"))
    with pytest.raises(UsageError, match="has validation and valid"):
        data.load(tmp_path)


def test_colours(tmp_path: Path) -> None:
    folder(tmp_path)
    rgb = np.stack([grey(c) for c in (7, 8, 9)], axis=2)
    Image.fromarray(rgb).save(tmp_path / "10" / "0.png")
    Image.fromarray(np.dstack([rgb, np.zeros((6, 5), np.uint8)])).save(tmp_path / "10" / "1.png")
    found = data.load(tmp_path)
    assert found.image_shape == (3, 6, 5)
    assert np.array_equal(found.x[12], np.moveaxis(rgb, 2, 0))
    assert np.array_equal(found.x[0], np.repeat(grey(0)[None], 3, axis=0)), "grey is three equal channels"
    assert not found.x[13].any(), "transparent is black"
    assert data.load(tmp_path, channels=1).image_shape == (1, 6, 5)


def test_sizes(tmp_path: Path) -> None:
    folder(tmp_path)
    Image.fromarray(grey(5, (9, 12))).save(tmp_path / "2" / "3.png")
    with pytest.raises(UsageError, match=r"2 sizes: 17 of 18 have 6 x 5 .*2/3\.png has 9 x 12.*--set data\.size=5") as caught:
        data.load(tmp_path)
    assert caught.value.error_code == "mixed_sizes" and caught.value.exit_code == 2
    found = data.load(tmp_path, size=(6, 5))
    assert np.array_equal(found.x[0, 0], grey(0)), "an image of that size is left alone"
    assert data.load(tmp_path, size=4).image_shape == (1, 4, 4)
    assert data.load(tmp_path, like=(3, 8, 7)).image_shape == (3, 8, 7), "as a network takes them"
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 200
    Image.fromarray(wide).save(tmp_path / "2" / "3.png")
    assert (data.load(tmp_path, size=4).x[9] == 200).all(), "the middle is kept"


def test_a_photograph_stands_upright(tmp_path: Path) -> None:
    folder(tmp_path, size=(12, 8))
    for name in ("0", "2"):
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by a quarter
        picture = np.zeros((8, 12), np.uint8)
        picture[:, :6] = 255
        Image.fromarray(picture).save(tmp_path / name / "0.jpg", exif=exif, quality=100)
    found = data.load(tmp_path)
    turned = found.x[0, 0]
    assert turned.shape == (12, 8) and turned[:5].min() > 250 and turned[7:].max() < 5


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = folder(tmp_path / "one")
    victim = one / "2" / "4.png"
    for content in (b"", b"GIF89a" + bytes(40), victim.read_bytes()[:50]):
        victim.write_bytes(content)
        with pytest.raises(UnsafeFile, match="cannot be read as an image") as caught:
            data.load(one)
        assert caught.value.where.endswith("2/4.png") and caught.value.exit_code == 6
    Image.new("L", (2, 2)).save(victim)
    bomb = bytearray(victim.read_bytes())
    for side in (6000, 60_000):  # the header alone says how large it is
        bomb[16:24] = struct.pack(">II", side, side)
        bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
        victim.write_bytes(bomb)
        with pytest.raises(UnsafeFile, match="pixels"):
            data.load(one)
    with pytest.raises(UsageError, match="one class"):
        data.load(folder(tmp_path / "same", classes=("a",)))
    with pytest.raises(UsageError, match="class 'b' is empty"):
        (folder(tmp_path / "hole", classes=("a",)) / "b").mkdir()
        data.load(tmp_path / "hole")
    with pytest.raises(UsageError, match="3 sample"):
        data.load(folder(tmp_path / "few", n=3))
    monkeypatch.setattr(image_files, "MAX_BYTES", 100)
    with pytest.raises(UsageError, match=r"take .* GiB.*data\.size"):
        data.load(folder(tmp_path / "much"))


def test_many_large_images_need_little_memory(tmp_path: Path) -> None:
    """300 photographs of 1.5 MB decoded each, 450 MB together: 32 x 32 of each stay, one at a time is whole."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for k in range(150):
            Image.new("RGB", (700, 700), (k, 9, 9)).save(tmp_path / name / f"{k}.jpg", quality=30)
    script = (
        "import resource, sys, numpy, PIL.Image; from neurodeploy import data; from neurodeploy.data import image_classes\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "x = data.load(sys.argv[1], size=32).x\n"
        "print(x.nbytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    n_bytes, grown = (int(text) for text in done.stdout.split())
    assert n_bytes == 300 * 3 * 32 * 32
    assert grown * 1024 < 60e6, "memory of decoding, not of all images"


@pytest.mark.parametrize("settings", [{"size": 4}, {"channels": 3}])
def test_other_data_have_their_own_size(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"data\.size and data\.channels are for folders"):
        data.load("digits", **settings)
