"""Hostile HDF5 files: one clear error each, nothing outside the file read, memory and time bounded, nothing left running."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.ir import archive, hdf5_process
from neurodeploy.ir.hdf5 import Tree
from neurodeploy.ir.hdf5_child import FORMAT, READY, limit_process
from neurodeploy.ir.hdf5_process import Limits, read_tree
from neurodeploy.ir.net import read_network
from tests.ir.net_files import dense, write

import net_fuzz


def test_every_form_of_a_value_arrives(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.net", "w") as file:
        for name in ("i1", "u1", "<i2", ">u2", ">i4", "<u4", "<i8", "<u8", "<f2", ">f4", ">f8", "?"):
            file[f"g/{name[-2:]}"] = np.arange(2).astype(name)
        file["g/scalar"] = np.float32(2.5)
        file.create_dataset("packed", data=np.arange(5000.0), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("lzf", data=np.arange(50), compression="lzf")
        file["fixed"], file["free"] = np.array([b"text"], dtype="S10"), "täxt"
        file.create_group("empty")
    tree = read_tree(tmp_path / "a.net")
    assert all(values.tolist() == [0, 1] for name, values in tree.arrays.items() if name.startswith("g/") and values.ndim)
    assert tree.arrays["g/scalar"].shape == () and tree.arrays["g/scalar"] == 2.5
    assert np.array_equal(tree.arrays["packed"], np.arange(5000.0))
    assert tree.texts == {"fixed": "text", "free": "täxt"} and "empty" in tree.groups


def _group_loop(file: h5py.File) -> None:
    file["layer/0/again"] = file["layer"]


def _many(file: h5py.File) -> None:
    for k in range(20_001):
        h5py.h5g.create(file.id, str(k).encode())


def _unknown_filter(file: h5py.File) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4,))
    plist.set_filter(32013, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((8,)), plist)


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("secret.net", "x", (4,))
    file.create_virtual_dataset("x", layout)


def _deep(file: h5py.File) -> None:
    file.create_group("/".join("d" * 40))


HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "external link": (lambda f: f.__setitem__("x", h5py.ExternalLink("secret.net", "/")), "a link of kind ExternalLink"),
    "soft link": (lambda f: f.__setitem__("x", h5py.SoftLink("/layer")), "a link of kind SoftLink"),
    "external storage": (lambda f: f.create_dataset("x", (4,), "f4", external=[("secret.net", 0, 16)]), "in another file"),
    "virtual dataset": (_virtual, "in another file"),
    "reference": (lambda f: f.create_dataset("x", data=f["layer"].ref, dtype=h5py.ref_dtype), "neither numbers nor text"),
    "loop": (_group_loop, "an object linked twice"),
    "objects": (_many, "too many objects"),
    "depth": (_deep, "nested too deeply"),
    "unknown filter": (_unknown_filter, "filter 32013"),
    "huge": (lambda f: f.create_dataset("x", (2**40,), "f4", chunks=(1024,)), "declares 4398046511104 bytes"),
    "huge chunk": (lambda f: f.create_dataset("x", (1,), "f4", maxshape=(None,), chunks=(2**28,)), "declares"),
    "huge together": (lambda f: [f.create_dataset(f"x{k}", (2**21,), "f4") for k in range(5)], "too much data"),
    "bomb": (lambda f: f.create_dataset("x", data=np.zeros(2**24, np.int8), chunks=True, compression="gzip"), ""),
    "compound": (lambda f: f.create_dataset("x", data=np.zeros(2, dtype=[("a", "f4")])), "neither numbers nor text"),
    "complex": (lambda f: f.create_dataset("x", data=np.zeros(2, dtype="c8")), "neither numbers nor text"),
    "empty": (lambda f: f.create_dataset("x", data=h5py.Empty("f4")), "a dataset without values"),
    "texts": (lambda f: f.create_dataset("x", data=np.zeros(9, dtype="S4")), "9 texts"),
    "not UTF-8": (lambda f: f.create_dataset("x", data=np.array([b"\xff\xfe"], dtype="S4")), "not UTF-8"),
    "big integers": (lambda f: f.create_dataset("x", data=np.array([2**63], dtype="u8")), "beyond 63 bits"),
    "named type": (lambda f: f.__setitem__("x", np.dtype("f8")), "an object of kind"),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_files(name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.net", "w") as secret:
        secret["x"] = np.arange(4, dtype=np.float32)
    make, message = HOSTILE[name]
    path = write(tmp_path / "bad.net", dense())
    with h5py.File(path, "a") as file:
        make(file)
    if not message:  # as large as it says and no larger than allowed: it is read
        assert read_tree(path).arrays["x"].size == 2**24
        return
    with pytest.raises(UnsafeFile) as caught:
        read_tree(path, net_fuzz.fork)
    assert message in caught.value.what and str(path) in caught.value.where
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("keep", [0, 1, 8, 96, 800, 2000, -1])
def test_truncated_files(keep: int, tmp_path: Path) -> None:
    path = write(tmp_path / "n.net", dense())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UnsafeFile):
        read_network(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.net")
    for name, why in (("none.net", "no such file"), ("pipe.net", "no regular file"), (".", "no regular file")):
        with pytest.raises(UsageError, match=why):
            read_network(tmp_path / name)
    with (tmp_path / "huge.net").open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(UnsafeFile, match="At most 1073741824"):
        read_network(tmp_path / "huge.net")


# ---------------------------------------------------------------------- readers that misbehave


def acting(act: Callable[[int], None], ready: bytes = READY) -> hdf5_process.Launch:
    """A reader that says it is ready and then does `act` with the descriptor of its answer."""

    def launch(source: int, limits: Limits) -> tuple[int, int]:
        answer, out = os.pipe()
        pid = os.fork()
        if pid == 0:
            faulthandler.disable()  # pytest's, which would tell of the crash
            os.setsid()
            os.close(answer)
            os.write(out, ready)
            act(out)
            os._exit(0)
        os.close(out)
        return pid, answer

    return launch


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write(tmp_path / "n.net", dense())


def test_a_reader_that_crashes(sound: Path) -> None:
    with pytest.raises(UnsafeFile, match="SIGSEGV"):
        read_tree(sound, acting(lambda out: os.kill(os.getpid(), signal.SIGSEGV)))
    with pytest.raises(UnsafeFile, match="exit status 3"):
        read_tree(sound, acting(lambda out: os._exit(3)))


def test_a_reader_that_hangs_is_killed_with_its_children(sound: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hdf5_process, "TIMEOUT_S", 0.3)
    note = tmp_path / "pid"

    def hang(out: int) -> None:
        child = os.fork()
        if child:
            note.write_text(str(child))
        signal.pause()

    with pytest.raises(UnsafeFile, match="takes too long"):
        read_tree(sound, acting(hang))
    child = int(note.read_text())
    for _ in range(200):
        status = Path(f"/proc/{child}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            break
        time.sleep(0.01)
    else:
        pytest.fail("a process of the reader is still running")


def test_a_reader_that_uses_too_much_time_or_memory(sound: Path) -> None:
    def spin(out: int) -> None:
        limit_process(2**20, 1)
        while True:
            pass

    with pytest.raises(UnsafeFile, match="takes too long"):
        read_tree(sound, acting(spin))

    def grow(out: int) -> None:
        limit_process(2**20, 5)
        try:
            os.write(out, bytes(2**30))
        except MemoryError:
            os._exit(9)

    with pytest.raises(UnsafeFile, match="exit status 9"):
        read_tree(sound, acting(grow))


def test_a_reader_cannot_open_or_write_files(sound: Path, tmp_path: Path) -> None:
    def reach(out: int) -> None:
        limit_process(2**20, 5)
        refused = 0
        for path, flags in (("/etc/passwd", os.O_RDONLY), (str(tmp_path / "new"), os.O_WRONLY | os.O_CREAT)):
            try:
                os.open(path, flags)
            except OSError:
                refused += 1
        os._exit(10 + refused)

    with pytest.raises(UnsafeFile, match="exit status 12"):
        read_tree(sound, acting(reach))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "answer",
    [b"", b"noise" * 1000, archive.pack({"format": "other"}, {}), archive.pack({"format": FORMAT, "error": 5}, {}),
     archive.pack({"format": FORMAT, "arrays": {"a0": "x"}, "texts": {}, "groups": []}, {}),
     archive.pack({"format": FORMAT, "arrays": {}, "texts": {"a": 3}, "groups": []}, {})],
)
def test_a_reader_that_lies(answer: bytes, sound: Path) -> None:
    with pytest.raises(UnsafeFile):
        read_tree(sound, acting(lambda out: _send(out, answer)))


def _send(out: int, answer: bytes) -> None:
    os.write(out, answer)


def test_a_reader_without_end(sound: Path) -> None:
    def pour(out: int) -> None:
        while True:
            os.write(out, bytes(2**20))

    with pytest.raises(UnsafeFile, match="too much data"):
        read_tree(sound, acting(pour))


def test_a_reader_that_does_not_start_is_not_the_files_fault(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NeurodeployError, match="does not start") as caught:
        read_tree(sound, acting(lambda out: os._exit(1), ready=b""))
    assert caught.value.exit_code == 1
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(NeurodeployError, match="cannot be started") as caught:
        read_tree(sound)
    assert caught.value.exit_code == 1


def test_limits_grow_with_the_file_and_stay_bounded() -> None:
    assert Limits.of(1000) == Limits(32 * 2**20, 10.0)
    assert Limits.of(100 * 2**20).max_bytes == 400 * 2**20
    assert Limits.of(2**30) == Limits(2**30, 74.0)


def test_no_descriptor_and_no_process_is_left(sound: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert isinstance(read_tree(sound), Tree)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
