"""Chip input from a file: every axis order gives the same array, and nothing hostile gets further than its header."""

from __future__ import annotations

import io
import pickle
import struct
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.data.one_array import MAX_VALUES
from neurodeploy.data.spikes import axes_back, read_input
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Input, InputKind

SHAPE = (2, 3, 4)  # C, H, W all different
X = (np.arange(5 * 2 * 24).reshape(5, 2, *SHAPE) % 2).astype(np.int64)  # no two samples or timesteps alike
X[0, 0, 0] = 0
X[3, 1, 1] = 1


def network(kind: InputKind = "spikes", max_value: int = 1) -> IntGraph:
    nodes: tuple[Any, ...]
    if kind == "bias":
        nodes = (Input("in", shape=SHAPE, kind=kind, max_value=max_value), CubaLif("n", shape=SHAPE))
        return IntGraph(nodes, (Edge("in", "n"),), 7)
    nodes = (
        Input("in", shape=SHAPE, kind=kind, max_value=max_value), Conv2d("c", weight=np.ones((1, 2, 1, 1), dtype=np.int64)),
        CubaLif("n", shape=(1, 3, 4)),
    )
    return IntGraph(nodes, (Edge("in", "c", 1), Edge("c", "n")), 7)


def stored(folder: Path, *one: Any, **arrays: Any) -> Path:
    np.savez(folder / "in.npz", *one, **arrays)
    return folder / "in.npz"


@pytest.mark.parametrize("name", ["input", "x", "anything"])
@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint16, np.int64, np.float32, np.float64, ">i4"])
def test_names_and_types(tmp_path: Path, name: str, dtype: Any) -> None:
    found = read_input(stored(tmp_path, **{name: X.astype(dtype)}), network())
    assert found.x.dtype == np.int64 and np.array_equal(found.x, X)
    assert found.batched and found.timed and found.n_timesteps(network()) == 5


def test_every_order_is_the_same_input(tmp_path: Path) -> None:
    one = X[:, 1]
    for values, layout in (
        (one, "torch"), (one.reshape(5, 24), "torch"), (np.asfortranarray(one), "torch"),
        (one.transpose(3, 2, 1, 0), "lava"), (one.reshape(5, 24).T, "lava"),
    ):  # fmt: skip
        found = read_input(stored(tmp_path, input=values), network(), layout)  # type: ignore[arg-type]
        assert np.array_equal(found.x, X[:, 1:]) and not found.batched
        back = axes_back(found.x, found)
        assert np.array_equal(back, one if layout == "torch" else one.transpose(3, 2, 1, 0))
    batched = read_input(stored(tmp_path, input=X.reshape(5, 2, 24)), network())
    assert np.array_equal(batched.x, X) and np.array_equal(axes_back(batched.x, batched), X)


def test_a_bias_may_be_written_once(tmp_path: Path) -> None:
    graph = network("bias", 100)
    once = np.arange(24).reshape(SHAPE) - 12
    for values, layout in ((once, "torch"), (once.transpose(2, 1, 0), "lava"), (once.reshape(24), "torch")):
        found = read_input(stored(tmp_path, input=values), graph, layout)  # type: ignore[arg-type]
        assert found.x.shape == (1, 1, *SHAPE) and np.array_equal(found.x[0, 0], once) and not found.timed
        assert found.n_timesteps(graph) == 7 and found.n_timesteps(graph, 3) == 3
    timed = read_input(stored(tmp_path, input=np.repeat(once[np.newaxis], 4, axis=0)), graph)
    assert timed.timed and timed.n_timesteps(graph, 4) == 4
    with pytest.raises(UsageError, match="has 4 timesteps"):
        timed.n_timesteps(graph, 5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (X[0, 0], "takes"), (X[:, :, :1], "takes"), (X[np.newaxis], "takes"), (np.zeros((0, 2, *SHAPE)), "takes"),
        (np.zeros((5, 0, *SHAPE)), "takes"), (np.int64(3), "takes"), (X.transpose(0, 1, 4, 3, 2), "takes"),
        (X * 2, "span"), (-X, "span"), (X * 0.5, "no integers"), (np.full(X.shape, np.nan), "no integers"),
        (np.full(X.shape, np.inf), "no integers"), (np.full(X.shape, 1e300), "no integers"),
        (np.full(X.shape, 2**63, np.uint64), "reaches"),
    ],
)  # fmt: skip
def test_what_the_network_cannot_take(tmp_path: Path, values: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_input(stored(tmp_path, input=values), network())
    assert "in.npz" in caught.value.where and caught.value.limit and caught.value.remedy


def test_lava_order_takes_one_sample(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\(4, 3, 2, T\)"):
        read_input(stored(tmp_path, input=X.transpose(4, 3, 2, 1, 0)), network(), "lava")


def test_several_arrays_need_a_name(tmp_path: Path) -> None:
    assert np.array_equal(read_input(stored(tmp_path, input=X, other=X[:1]), network()).x, X)
    with pytest.raises(UsageError, match="holds the arrays a, b"):
        read_input(stored(tmp_path, a=X, b=X), network())
    with pytest.raises(UsageError, match="holds no array"):
        read_input(stored(tmp_path), network())


def test_images_enter_as_the_network_says(tmp_path: Path) -> None:
    graph = replace(network("graded", 15), target="loihi2")
    graph = replace(graph, nodes=(replace(graph.nodes[0], value_scale=15.0), *graph.nodes[1:]))  # type: ignore[call-arg]
    images = np.random.default_rng(0).random((3, *SHAPE))
    found = read_input(stored(tmp_path, images), graph, "images")
    wanted = np.rint(15 * images).astype(np.int64)
    assert np.array_equal(found.x, np.repeat(wanted[np.newaxis], 7, axis=0)) and found.batched and found.timed
    one = read_input(stored(tmp_path, images[1].astype(np.float32)), graph, "images")
    assert np.array_equal(one.x[:, 0], found.x[:, 1]) and not one.batched
    for wrong, said in ((images[0, 0], "shape"), (images - 1, "span"), (images * 2, "span"), (images[:0], "shape"),
                        (np.full(SHAPE, np.nan), "span"), (images[np.newaxis], "shape")):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            read_input(stored(tmp_path, wrong), graph, "images")
    with pytest.raises(UsageError, match="does not say how images enter"):
        read_input(stored(tmp_path, images), replace(graph, target=""), "images")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def npy(descr: str, shape: str, payload: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    size = struct.pack("<H" if version[0] == 1 else "<I", len(header) + 1)
    return b"\x93NUMPY" + version + size + header + b"\n" + payload


def zipped(payload: bytes, compression: int = zipfile.ZIP_STORED, names: tuple[str, ...] = ("input.npy",)) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        for name in names:
            file.writestr(name, payload)
    return out.getvalue()


def hostile() -> dict[str, bytes]:
    whole = io.BytesIO()
    np.savez(whole, input=X)
    objects = io.BytesIO()
    np.save(objects, np.array([Evil()], dtype=object), allow_pickle=True)
    good = whole.getvalue()
    i8 = "'<i8'"
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 255
    return {
        "empty": b"", "text": b"hello\n" * 99, "pickle": pickle.dumps(Evil()), "bare npy": npy(i8, "(1,)", b"\0" * 8),
        "truncated": good[:-30], "half": good[: len(good) // 2], "head": good[:40], "flipped": bytes(flipped),
        "objects": zipped(objects.getvalue()), "bomb": zipped(npy(i8, "(4611686018427387904,)")),
        "compressed bomb": zipped(npy(i8, f"({MAX_VALUES + 1},)", b"\0" * 10**7), zipfile.ZIP_DEFLATED),
        "too short": zipped(npy(i8, "(99999999,)", b"\0" * 8)), "too long": zipped(npy(i8, "(1,)", b"\0" * 99)),
        "negative": zipped(npy(i8, "(-1, -1)")), "text array": zipped(npy("'<U9'", "(1,)", b"\0" * 36)),
        "complex": zipped(npy("'<c16'", "(1,)", b"\0" * 16)), "record": zipped(npy("[('a', '<i8')]", "(1,)", b"\0" * 8)),
        "dates": zipped(npy("'<M8[s]'", "(1,)", b"\0" * 8)), "format 9": zipped(npy(i8, "(1,)", b"\0" * 8, b"\x09\x00")),
        "header": zipped(npy("__import__('os')", "(1,)")), "deep": zipped(npy("(" * 3000 + ")" * 3000, "(1,)")),
        "no numpy": zipped(b"nothing"), "shape": zipped(npy(i8, "'abc'")),
        "entries": zipped(b"", names=tuple(map(str, range(5000)))),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(hostile()))
def test_hostile_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.npz").write_bytes(hostile()[name])
    began = time.monotonic()
    with pytest.raises(UnsafeFile) as caught:
        read_input(Path("in.npz"), network())
    assert "in.npz" in caught.value.where and caught.value.remedy
    assert time.monotonic() - began < 5 and not Path("executed").exists()


def test_an_array_that_occurs_twice(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        (tmp_path / "in.npz").write_bytes(zipped(npy("'<i8'", "(1,)", b"\0" * 8), names=("input.npy", "input.npy")))
    with pytest.raises(UnsafeFile, match="twice"):
        read_input(tmp_path / "in.npz", network())


def test_random_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.savez_compressed(whole, input=X)
    good = np.frombuffer(whole.getvalue(), dtype=np.uint8)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = good.copy()
        damaged[rng.integers(len(good), size=rng.integers(1, 4))] = rng.integers(256)
        (tmp_path / "in.npz").write_bytes(damaged.tobytes())
        try:
            assert read_input(tmp_path / "in.npz", network()).x.max() <= 1
        except NeurodeployError as error:
            assert error.exit_code in (2, 6)
            refused += 1
    assert refused > 100


def test_a_missing_file(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "nowhere.npz", "no such file"), (tmp_path, "no regular file")):
        with pytest.raises(UsageError, match=why):
            read_input(path, network())
