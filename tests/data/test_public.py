"""Public datasets by name: files in their published formats, where they are looked for, what is refused."""

from __future__ import annotations

import builtins
import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy import data
from neurodeploy.data import cifar, public, svhn
from neurodeploy.errors import UnsafeFile, UsageError
from numpy.typing import NDArray
from PIL import Image

IMAGES = np.random.default_rng(0).integers(0, 256, (400, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(public.ROOT, raising=False)


def cifar_10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """20 records a file; image i has label i % 10."""
    monkeypatch.setattr(cifar, "RECORDS_10", (20, 20))
    folder.mkdir(parents=True)
    for i, name in enumerate([*cifar.FILES_10[0], *cifar.FILES_10[1]]):
        records = [bytes([k % 10]) + IMAGES[k].tobytes() for k in range(20 * i, 20 * i + 20)]
        (folder / name).write_bytes(b"".join(records))
    return folder


def test_cifar_10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = data.load(f"cifar10:{cifar_10(tmp_path / 'c', monkeypatch)}")
    assert found.name == "cifar10" and found.x.dtype == np.uint8 and (found.n_classes, found.n_levels) == (10, 256)
    assert np.array_equal(found.x, IMAGES[:120]) and found.y.tolist() == [k % 10 for k in range(120)]
    assert found.splits["test"].tolist() == list(range(100, 120)), "the official test split"
    assert np.bincount(found.split("validation")[1]).tolist() == [2] * 10, "a fifth of every class of train"
    assert len(found.splits["train"]) == 80 and not found.x.flags.writeable
    again = data.load(tmp_path / "c")
    assert again.name == "c" and all(np.array_equal(again.splits[k], v) for k, v in found.splits.items())
    x, _ = found.split("train")
    assert x.dtype == np.float32 and np.array_equal(np.rint(x * 255), found.stored("train")[0])


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "cifar10" / "0").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match=r"NEURODEPLOY_DATA is not set.*cs\.toronto\.edu.*\./cifar10") as caught:
        data.load("cifar10")
    assert caught.value.error_code == "missing_data" and caught.value.exit_code == 2
    monkeypatch.setenv(public.ROOT, str(tmp_path))
    with pytest.raises(UsageError, match=f"data_batch_1.bin to test_batch.bin or train.npz and test.npz in {tmp_path}/cifar10, "
                                         f"{tmp_path}/cifar10/cifar-10-batches-bin, {tmp_path}/cifar-10-batches-bin"):
        data.load("cifar10")
    with pytest.raises(UsageError, match=f"Looked for train.bin and test.bin in {tmp_path}, {tmp_path}/cifar-100-binary"):
        data.load(f"cifar100:{tmp_path}")
    made = cifar_10(tmp_path / "cifar-10-batches-bin", monkeypatch)
    unpacked = data.load("cifar10")
    made.rename(tmp_path / "cifar10")
    assert np.array_equal(unpacked.x, data.load("cifar10").x)
    assert np.array_equal(unpacked.x, data.load(f"cifar10:{tmp_path}/cifar10").x)
    assert np.array_equal(unpacked.x, data.load("cifar10:../cifar10").x)


def test_few_of_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"cifar10:{cifar_10(tmp_path / 'c', monkeypatch)}"
    whole, few = data.load(name), data.load(name, per_class=(3, 1))
    assert {k: len(v) for k, v in few.splits.items()} == {"train": 30, "validation": 10, "test": 20} and len(few.x) == 60
    for part, n in (("train", 3), ("validation", 1), ("test", 2)):
        (x, y), (all_x, all_y) = few.split(part), whole.split(part)
        assert np.bincount(y).tolist() == [n] * 10
        assert np.array_equal(x[y == 4], all_x[all_y == 4][:n]), "the first of each class"
    assert np.array_equal(whole.few((3, 1)).x, few.x) and not whole.few(2).x.flags.writeable
    digits = data.load("digits", per_class=5)
    assert {k: len(v) for k, v in digits.splits.items()} == {"train": 50, "validation": 50, "test": 540}
    with pytest.raises(UsageError, match="per_class is 0"):
        data.load("digits", per_class=0)


def test_damaged_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cifar_10(tmp_path / "c", monkeypatch)
    victim = folder / "data_batch_3.bin"
    whole = victim.read_bytes()
    for content, reason in ((whole[:-1], "61459 bytes"), (whole[:-3073], "58387 bytes"), (pickle.dumps({1: 1}), "bytes"),
                            (bytes([10]) + whole[1:], "label is 10")):
        victim.write_bytes(content)
        with pytest.raises(UnsafeFile, match=reason) as caught:
            data.load(folder)
        assert caught.value.where == str(victim) and caught.value.remedy
    victim.unlink()
    with pytest.raises(UsageError, match=r"data_batch_3\.bin"):
        data.load(folder)
    (tmp_path / "py").mkdir()
    (tmp_path / "py" / "data_batch_1").write_bytes(pickle.dumps({b"data": 1}))
    with pytest.raises(UsageError, match="pickled version, which is not read"):
        data.load(f"cifar10:{tmp_path / 'py'}")


def test_cifar_100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "RECORDS_100", (500, 200))
    monkeypatch.setenv(public.ROOT, str(tmp_path))
    (tmp_path / "cifar-100-binary").mkdir()
    for name, n in (("train.bin", 500), ("test.bin", 200)):
        records = b"".join(bytes([k % 20, k % 100]) + IMAGES[k % 400].tobytes() for k in range(n))
        (tmp_path / "cifar-100-binary" / name).write_bytes(records)
    found = data.load("cifar100")
    assert found.n_classes == 100 and found.y.tolist() == [k % 100 for k in [*range(500), *range(200)]], "the fine labels"
    assert np.array_equal(found.x[450], IMAGES[50])
    assert {k: len(v) for k, v in found.splits.items()} == {"train": 400, "validation": 100, "test": 200}


def mat(path: Path, n: int, **changed: Any) -> NDArray[np.uint8]:
    savemat = pytest.importorskip("scipy.io").savemat
    x = IMAGES[:n].transpose(2, 3, 1, 0)
    y = (np.arange(n) % 10 + 1).astype(np.uint8)[:, np.newaxis]
    savemat(str(path), {k: v for k, v in {"X": x, "y": y, **changed}.items() if v is not None}, do_compression=True)
    return IMAGES[:n]


def test_svhn(tmp_path: Path) -> None:
    images = mat(tmp_path / "train_32x32.mat", 60)
    mat(tmp_path / "test_32x32.mat", 30)
    found = data.load(f"svhn:{tmp_path}")
    assert np.array_equal(found.x[:60], images) and np.array_equal(found.x[60:], images[:30])
    assert found.y[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1], "10 stands for 0"
    assert {k: len(v) for k, v in found.splits.items()} == {"train": 50, "validation": 10, "test": 30}
    few = data.load(tmp_path, per_class=1)
    assert len(few.x) == 50 and np.array_equal(few.stored("test")[0], images[:30])


def test_svhn_needs_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in svhn.FILES:
        (tmp_path / name).write_bytes(b"")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"scipy .* not installed.*neurodeploy\[datasets\]") as caught:
        data.load(tmp_path)
    assert caught.value.error_code == "missing_package"


def test_damaged_svhn(tmp_path: Path) -> None:
    mat(tmp_path / "test_32x32.mat", 30)
    victim = tmp_path / "train_32x32.mat"
    mat(victim, 60)
    whole = victim.read_bytes()
    bomb = zlib.compress(bytes(2**25))
    for content, reason in ((whole[:-100], "cut off"), (whole[:50], "no Matlab 5"), (pickle.dumps(1), "no Matlab 5"),
                            (whole[:128] + struct.pack("<II", 15, len(bomb)) + bomb, "unpacks to more"),
                            (whole[:140] + bytes(40) + whole[180:], "cannot be read")):
        victim.write_bytes(content)
        with pytest.raises(UnsafeFile, match=reason) as caught:
            data.load(tmp_path)
        assert str(victim) in caught.value.where
    for changed, reason in (({"X": None}, "holds"), ({"y": np.zeros((60, 1))}, "none of 1 to 10"),
                            ({"X": np.zeros((32, 32, 3, 60))}, "no bytes"), ({"y": np.ones((59, 1))}, "holds"),
                            ({"X": np.array([{"a": 1}], dtype=object)}, "holds")):
        mat(victim, 60, **changed)
        with pytest.raises(UnsafeFile, match=reason):
            data.load(tmp_path)


def tiny(folder: Path, n_classes: int, size: int = 64) -> dict[str, NDArray[np.uint8]]:
    """5 training images and 1 validation image a class; class k of the annotations' order stands at n_classes - 1 - k."""
    shown: dict[str, NDArray[np.uint8]] = {}

    def save(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[len(shown) % 400].transpose(1, 2, 0)).resize((size, size)).save(path, format="JPEG")
        shown[path.name] = np.moveaxis(np.asarray(Image.open(path)), 2, 0)

    names = [f"n{k:08d}" for k in range(n_classes)]
    for name in names:
        for i in range(5):
            save(folder / "train" / name / "images" / f"{name}_{i}.JPEG")
        (folder / "train" / name / f"{name}_boxes.txt").write_text("x")
    lines = []
    for k, name in enumerate(reversed(names)):
        save(folder / "val" / "images" / f"val_{k}.JPEG")
        lines.append(f"val_{k}.JPEG\t{name}\t0\t32\t44\t62")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (folder / "test" / "images").mkdir(parents=True)
    (folder / "wnids.txt").write_text("\n".join(names))
    return shown


def test_tiny_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = tiny(tmp_path / "tiny-imagenet-200", 200)
    monkeypatch.setenv(public.ROOT, str(tmp_path))
    found = data.load("tiny-imagenet", per_class=1)
    assert found.image_shape == (3, 64, 64) and found.n_classes == 200 and found.name == "tiny-imagenet"
    assert {k: len(v) for k, v in found.splits.items()} == {"train": 200, "validation": 200, "test": 200}
    x, y = found.stored("test")
    assert y.tolist() == list(range(199, -1, -1)) and np.array_equal(x[3], shown["val_3.JPEG"])
    x, y = found.stored("train")
    assert y[7] == 7 and any(np.array_equal(x[7], shown[f"n00000007_{i}.JPEG"]) for i in range(5))


def test_damaged_tiny_imagenet(tmp_path: Path) -> None:
    tiny(tmp_path, 3, 16)
    assert data.load(tmp_path).image_shape == (3, 16, 16)
    with pytest.raises(UsageError, match=r"images \[3, 16, 16\] in 3 classes.*\[3, 64, 64\] in 200"):
        data.load(f"tiny-imagenet:{tmp_path}")
    image, listed = tmp_path / "train" / "n00000001" / "images" / "n00000001_2.JPEG", tmp_path / "val" / "val_annotations.txt"
    whole, text = image.read_bytes(), listed.read_text()
    image.write_bytes(whole[:200])
    with pytest.raises(UnsafeFile, match=r"n00000001_2\.JPEG"):
        data.load(tmp_path)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image)
    with pytest.raises(UnsafeFile, match=r"8 x 8 pixels.*16 x 16"):
        data.load(tmp_path)
    image.write_bytes(whole)
    for line in ("val_0.JPEG\tn99999999\t0\n", "../../etc/passwd\tn00000001\t0\n", "\n"):
        listed.write_text(text + line)
        with pytest.raises(UsageError, match="names no image"):
            data.load(tmp_path)


def jpegs(folder: Path, n: int = 60, quality: int = 75, **changed: Any) -> NDArray[np.uint8]:
    """Both archives; the decoded images of train."""
    files = []
    for image in IMAGES[:n]:
        out = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(out, format="JPEG", quality=quality)
        files.append(out.getvalue())
    arrays = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8), "offsets": np.cumsum([0, *map(len, files)]),
        "labels": (np.arange(n) % 10).astype(np.uint8), "classes": np.asarray([f"class {k}" for k in range(10)]),
    }
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "test.npz", **arrays)
    np.savez_compressed(folder / "train.npz", **{k: v for k, v in {**arrays, **changed}.items() if v is not None})
    return np.stack([np.moveaxis(np.asarray(Image.open(io.BytesIO(file))), 2, 0) for file in files])


def test_a_jpeg_copy(tmp_path: Path) -> None:
    decoded = jpegs(tmp_path / "c")
    found = data.load(f"cifar10:{tmp_path / 'c'}")
    assert found.name == "cifar10-jpeg", "its results are not those of the original"
    assert np.array_equal(found.x[:60], decoded) and np.array_equal(found.x[60:], decoded)
    assert {k: len(v) for k, v in found.splits.items()} == {"train": 50, "validation": 10, "test": 60}
    assert np.array_equal(data.load(tmp_path / "c", per_class=2).stored("test")[0], decoded)


def test_a_damaged_jpeg_copy(tmp_path: Path) -> None:
    jpegs(tmp_path)
    with np.load(tmp_path / "train.npz") as archive:
        jpeg, offsets, labels = (archive[name] for name in ("jpeg", "offsets", "labels"))
    spoilt = jpeg.copy()
    spoilt[offsets[7] : offsets[7] + 30] = 0
    other = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(other, format="JPEG")
    small = np.frombuffer(other.getvalue(), np.uint8)
    bmp = io.BytesIO()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(bmp, format="BMP")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"jpeg": None}, "no array jpeg"), ({"offsets": offsets[:-1]}, "holds jpeg"),
        ({"offsets": offsets * 2}, "offsets do not"),
        ({"offsets": offsets[::-1].copy()}, "offsets do not"), ({"offsets": offsets.astype(float)}, "holds jpeg"),
        ({"labels": labels[:, np.newaxis]}, "holds jpeg"), ({"jpeg": jpeg.astype(np.int16)}, "holds jpeg"),
        ({"labels": np.array([], np.uint8), "offsets": offsets[:1]}, "holds jpeg"), ({"jpeg": spoilt}, "train.npz, image 7"),
        ({"jpeg": np.concatenate([jpeg, small]), "offsets": np.append(offsets, len(jpeg) + len(small)),
          "labels": np.append(labels, 0)}, "image 60: 16 x 16 pixels"),
        ({"jpeg": np.frombuffer(bmp.getvalue() + jpeg.tobytes(), np.uint8), "labels": np.append(labels, 0),
          "offsets": np.insert(offsets + len(bmp.getvalue()), 0, 0)}, "image 0: cannot be read as an image"),
        ({"jpeg": np.array([{"a": 1}], dtype=object)}, "Python objects"),
    ]
    for changed, reason in cases:
        jpegs(tmp_path, **changed)
        with pytest.raises(UnsafeFile, match=reason) as caught:
            data.load(tmp_path)
        assert caught.value.exit_code == 6 and caught.value.remedy and "input=x" not in caught.value.remedy
    (tmp_path / "train.npz").write_bytes(pickle.dumps(1))
    with pytest.raises(UnsafeFile, match=r"train\.npz"):
        data.load(tmp_path)


def test_a_jpeg_copy_that_is_another_dataset(tmp_path: Path) -> None:
    jpegs(tmp_path, labels=(np.arange(60) % 5).astype(np.uint8))
    (tmp_path / "test.npz").write_bytes((tmp_path / "train.npz").read_bytes())
    assert data.load(tmp_path).n_classes == 5
    with pytest.raises(UsageError, match="in 5 classes"):
        data.load(f"cifar10:{tmp_path}")


def nmnist(folder: Path) -> None:
    event = bytes([3, 4, 0x80, 0, 9])  # x 3, y 4, ON, 9 us
    for part in ("Train", "Test"):
        for label in range(10):
            (folder / part / str(label)).mkdir(parents=True)
            for i in range(5):
                (folder / part / str(label) / f"{i:05d}.bin").write_bytes(event * (label + 1))


def test_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nmnist(tmp_path / "N-MNIST")
    monkeypatch.setenv(public.ROOT, str(tmp_path))
    found = data.load_events("nmnist")
    assert found.n_classes == 10 and found.sensor == (2, 34, 34) and len(found.streams[49]) == 10
    assert len(found.splits["test"]) == 50
    by_folder = data.load_events(f"nmnist:{tmp_path / 'N-MNIST'}", per_class=4)
    assert len(by_folder.streams) == 80
    (tmp_path / "nmnist").mkdir()
    (tmp_path / "N-MNIST").rename(tmp_path / "nmnist" / "N-MNIST")
    assert len(data.load_events("nmnist").streams) == 100
    with pytest.raises(UsageError, match=f"DVS128-Gesture is not there.*{tmp_path}/dvs128-gesture.*research.ibm.com"):
        data.load_events("dvs128-gesture")
    with pytest.raises(UsageError, match="N-MNIST holds recordings of events"):
        data.load("nmnist")


def test_images_in_front_of_the_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They become the events that the same images become as files, in the splits of the images."""
    source = f"cifar10:{cifar_10(tmp_path / 'c', monkeypatch)}"
    images = data.load(source, per_class=(4, 1))
    found = data.load_events(source, per_class=(4, 1))
    assert found.name == images.name == "cifar10" and found.sensor == (2, 16, 16) and found.per_class == (4, 1)
    assert np.array_equal(found.y, images.y) and found.splits.keys() == images.splits.keys()
    assert all(np.array_equal(found.splits[part], images.splits[part]) for part in found.splits)
    for i, image in enumerate(images.x):
        folder = tmp_path / "files" / str(images.y[i])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.moveaxis(image, 0, 2)).save(folder / f"{i:03d}.png")
    files = data.load_events(tmp_path / "files")
    order = np.argsort(images.y, kind="stable")
    assert len(files.streams) == len(found.streams) == 70
    assert all(len(a) and np.array_equal(a, found.streams[i]) for a, i in zip(files.streams, order, strict=True))
    assert len(data.load_events(source, per_class=1).streams) == 30, "one number: of every split, the test split too"
    assert [len(data.load_events(source).splits[part]) for part in ("train", "test")] == [80, 20]
    with pytest.raises(UsageError, match="apart only of public datasets of images"):
        data.load_events("digits-events", per_class=(4, 1))


def test_names_are_reserved() -> None:
    import neurodeploy as nd

    for name in public.PUBLIC:
        with pytest.raises(UsageError, match=f"'{name}' cannot name a dataset"):
            nd.register_dataset(name)(lambda: None)
