"""The packaged digits equal scikit-learn's copy; bad files are refused with their reason."""

from __future__ import annotations

import pickle
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from neurodeploy import data
from neurodeploy.data import datasets
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from sklearn.datasets import load_digits


def test_digits_equal_scikit_learns_copy():
    digits, reference = data.load("digits"), load_digits()
    assert digits.x.shape == (1797, 1, 8, 8) and digits.x.dtype == np.float32
    assert digits.y.dtype == np.int64 and digits.n_classes == 10 and digits.n_levels == 17
    # k / 16 is exact in binary, so equality and not closeness.
    assert np.array_equal(digits.x[:, 0] * 16, reference.images)
    assert np.array_equal(digits.y, reference.target)


def test_digits_splits_are_stored_disjoint_and_stratified():
    digits = data.load("digits")
    parts = [digits.splits[name] for name in ("train", "validation", "test")]
    together = np.concatenate(parts)
    assert np.array_equal(np.sort(together), np.arange(1797))
    for fraction, part in zip((0.5, 0.2, 0.3), parts, strict=True):
        counts = np.bincount(digits.y[part], minlength=10)
        assert np.all(np.abs(counts - fraction * np.bincount(digits.y)) <= 1)
    with np.load(datasets.DIGITS_FILE) as archive:
        assert np.array_equal(archive["test"], digits.splits["test"])
    x, y = digits.split("test")
    assert x.shape == (len(parts[2]), 1, 8, 8) and np.array_equal(y, digits.y[parts[2]])
    with pytest.raises(UsageError, match="train, validation, test"):
        digits.split("holdout")


def test_digits_arrays_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        data.load("digits").x[0, 0, 0, 0] = 1.0


def test_the_licence_lies_beside_the_digits():
    text = (resources.files("neurodeploy.data") / "digits.LICENSE").read_text()
    assert "CC BY 4.0" in text and "Alpaydin" in text and "Kaynak" in text


def test_altered_digits_are_refused(tmp_path, monkeypatch):
    altered = tmp_path / "digits.npz"
    altered.write_bytes(datasets.DIGITS_FILE.read_bytes() + b"\0")
    monkeypatch.setattr(datasets, "DIGITS_FILE", altered)
    with pytest.raises(UnsafeFile, match="checksum"):
        data.load("digits")


def _write(path: Path, **arrays: object) -> Path:
    good: dict[str, object] = {
        "x": (np.arange(480) % 256).astype(np.uint8).reshape(40, 3, 4), "y": np.arange(40, dtype=np.int32) % 4
    }
    np.savez(path, **{k: v for k, v in {**good, **arrays}.items() if v is not None})  # type: ignore[arg-type]
    return path


def test_npz_without_splits_is_divided_in_a_fixed_way(tmp_path):
    one, two = (data.load(_write(tmp_path / name)) for name in ("a.npz", "b.npz"))
    assert one.name == "a" and one.x.shape == (40, 1, 3, 4) and one.n_levels == 256 and one.n_classes == 4
    assert one.x.max() <= 1 and one.x.dtype == np.float32 and one.image_shape == (1, 3, 4)
    for part, size in (("train", 20), ("validation", 8), ("test", 12)):
        assert np.array_equal(one.splits[part], two.splits[part]) and len(one.splits[part]) == size
        assert np.array_equal(np.bincount(one.split(part)[1]), [size // 4] * 4)


def test_npz_keeps_stored_splits_channels_and_levels(tmp_path):
    path = _write(
        tmp_path / "a.npz", x=np.full((40, 2, 3, 4), 6, np.uint16), n_levels=np.int64(13),
        train=np.arange(20), validation=np.arange(20, 30, dtype=np.uint8), test=np.array([39, 38]),
    )
    dataset = data.load(str(path))
    assert dataset.x.shape == (40, 2, 3, 4) and np.all(dataset.x == 0.5) and dataset.n_levels == 13
    assert dataset.splits["test"].tolist() == [39, 38]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": None}, "no array 'x'"),
        ({"y": None}, "no array 'y'"),
        ({"x": np.zeros((40, 5), np.uint8)}, r"shape \(40, 5\)"),
        ({"x": np.zeros((2, 40, 1, 3, 4), np.uint8)}, "N, C, H, W"),
        ({"x": np.zeros((40, 0, 4), np.uint8)}, "shape"),
        ({"x": np.zeros((40, 3, 4), np.int64)}, "dtype int64"),
        ({"x": np.zeros((40, 3, 4), complex)}, "dtype complex"),
        ({"x": np.full((40, 3, 4), np.nan)}, "480 values that are not finite"),
        ({"x": np.full((40, 3, 4), 1.5)}, "0..1"),
        ({"x": np.full((40, 3, 4), 17, np.uint8), "n_levels": np.int64(17)}, "allows 0..16"),
        ({"n_levels": np.float64(3)}, "n_levels"),
        ({"n_levels": np.int64(1)}, "n_levels"),
        ({"y": np.zeros(39, np.int64)}, "40 images"),
        ({"y": np.zeros(40)}, "dtype float64"),
        ({"y": np.zeros(40, np.int64)}, "1 classes"),
        ({"y": np.arange(40) % 4 + 1}, "Renumber"),
        ({"y": np.array([0] * 37 + [1] * 3)}, "class 1 has 3"),
        ({"train": np.arange(4)}, "lack 'validation'"),
        ({"train": np.arange(4), "validation": np.arange(3, 8), "test": np.arange(8, 9)}, "1 sample"),
        ({"train": np.arange(4), "validation": np.arange(4, 8), "test": np.array([40])}, "outside the 40"),
        ({"train": np.arange(4), "validation": np.arange(4, 8), "test": np.array([-1])}, "outside the 40"),
        ({"train": np.arange(4), "validation": np.arange(4, 8), "test": np.array([2**63], np.uint64)}, "outside"),
        ({"train": np.arange(4), "validation": np.arange(4, 8), "test": np.array([], np.int64)}, "split 'test'"),
        ({"train": np.arange(4), "validation": np.arange(4, 8), "test": np.ones(40, bool)}, "dtype bool"),
    ],
)
def test_unsuitable_npz_is_refused(tmp_path, arrays, message):
    with pytest.raises(UsageError, match=message):
        data.load(_write(tmp_path / "a.npz", **arrays))


def test_pickled_and_damaged_files_are_unsafe(tmp_path):
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "ran").touch, ())

    pickled = _write(tmp_path / "a.npz", x=np.array([Bomb()], dtype=object))
    raw = tmp_path / "b.npz"
    raw.write_bytes(pickle.dumps(Bomb()))
    cut = tmp_path / "c.npz"
    cut.write_bytes(_write(tmp_path / "d.npz").read_bytes()[:200])
    bare = tmp_path / "e.npz"
    with bare.open("wb") as file:
        np.save(file, np.zeros(3))
    for path in (pickled, raw, cut, bare):
        with pytest.raises(UnsafeFile, match=path.name):
            data.load(path)
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_found_or_read_says_what_is_supported(tmp_path):
    (tmp_path / "x.csv").write_text("1,2")
    for name, message in (("mnist", r"no dataset 'mnist'.*/mnist"), (tmp_path, "no sub-folders"),
                          (tmp_path / "x.csv", ".csv files"), (tmp_path / "none.npz", "none.npz")):
        with pytest.raises(UsageError, match=message) as caught:
            data.load(name)
        assert isinstance(caught.value, NeurodeployError)
        assert re.search(r'"digits", or a \.npz file|PNG or JPEG', str(caught.value))
