"""Files that attack whoever opens them as a model, each as bytes; what would run writes the file `executed`."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from neurodeploy.ir.archive import pack

EXECUTED = "executed"
GIGABYTES = 2**31


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(EXECUTED),)


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def torch_zip(stream: bytes, storages: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive as torch.save lays it out."""
    data = {f"archive/data/{key}": values for key, values in storages.items()}
    return zipped({"archive/data.pkl": stream, **data, "archive/version": b"3\n"}, method)


def tensor_stream(n: int, shape: tuple[int, ...], stride: tuple[int, ...], key: str = "0") -> bytes:
    """The pickle of {"w": tensor} whose storage claims n float32."""
    def ints(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", v) for v in values) + b"t"

    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        + b"X" + struct.pack("<I", len(key)) + key.encode() + b"X\x03\x00\x00\x00cpu\x8a\x08" + struct.pack("<q", n) + b"tQ"
        + b"K\x00" + ints(shape) + ints(stride) + b"\x89ccollections\nOrderedDict\n)RtRs."
    )  # fmt: skip


def legacy(value: Any) -> bytes:
    """torch's format before version 1.6: a magic number, a version, a description of the system, the object."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, value)
    return b"".join(pickle.dumps(part, protocol=2) for part in parts)


def safetensors(header: dict[str, Any] | bytes, body: bytes = b"", claimed: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if claimed is None else claimed) + text + body


def one(shape: list[Any], span: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": span}}


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def overlapping() -> bytes:
    """Two entries whose data are the same bytes: David Fifield's bomb, of one layer."""
    whole = bytearray(zipped({"a/data.pkl": b"x" * 400, "a/data/0": b"y" * 400}))
    second = whole.rfind(b"PK\x01\x02")
    whole[second + 42 : second + 46] = struct.pack("<I", 10)  # the second entry begins inside the first
    return bytes(whole)


def hdf5_declaring(n_bytes: int) -> bytes:
    """A NIR-like file of a kilobyte or two whose dataset declares n_bytes, none of them there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        with h5py.File(path, "w", libver="latest") as file:
            file.create_dataset("node/nodes/a/weight", shape=(n_bytes // 8,), dtype="f8", chunks=(2**10,))
        return path.read_bytes()


def onnx_bytes() -> bytes:
    """The outermost fields of an ONNX model: ir_version 8, a producer, an empty graph, opset 20."""
    return b"\x08\x08\x12\x07pytorch" + b"\x3a\x02\x0a\x00" + b"\x42\x02\x10\x14"


def torchscript() -> bytes:
    return zipped({"net/code/__torch__.py": b"import os", "net/data.pkl": b"\x80\x02N.", "net/constants.pkl": b"\x80\x02)."})


def _graph(name: str, data: bytes) -> bytes:
    return zipped({"graph.json": b"{}", name: data})


def files() -> dict[str, bytes]:
    """Name -> content. Every one is refused with exit code 6."""
    good = pack({"format": "x"}, {"a": np.zeros(3)})
    return {
        "evil.pt": torch_zip(pickle.dumps(Evil(), protocol=2), {}),
        "evil_protocol4.pt": torch_zip(pickle.dumps({"w": Evil()}, protocol=4), {}),
        "evil_bare.pt": pickle.dumps(Evil()),
        "evil_legacy.pt": legacy({"w": Evil()}),
        "evil_renamed.safetensors": pickle.dumps(Evil()),
        "evil.pth": torch_zip(pickle.dumps({"state_dict": {}, "model": Evil()}, protocol=2), {}),
        "deep.pt": torch_zip(b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".", {}),
        "memo.pt": torch_zip(b"\x80\x02]r\xff\xff\xff\x7f.", {}), "plain.pt": torch_zip(b"\x80\x02}.", {}),
        "bomb.pt": torch_zip(bytes(50 * 2**20), {}, zipfile.ZIP_DEFLATED),
        "bomb.npz": zipped({"graph.json": b"{}", "a00000.npy": bytes(50 * 2**20)}, zipfile.ZIP_DEFLATED),
        "overlapping.pt": overlapping(),
        "two_gigabytes.pt": torch_zip(tensor_stream(GIGABYTES // 4, (GIGABYTES // 4,), (1,)), {"0": bytes(16)}),
        "expanded.pt": torch_zip(tensor_stream(4, (GIGABYTES // 4,), (0,)), {"0": bytes(16)}),
        "outside.pt": torch_zip(tensor_stream(4, (2, 2), (3, 1)), {"0": bytes(16)}),
        "negative.pt": torch_zip(tensor_stream(4, (4,), (-1,)), {"0": bytes(16)}),
        "no_storage.pt": torch_zip(tensor_stream(4, (4,), (1,), key="7"), {"0": bytes(16)}),
        "escape.pt": torch_zip(tensor_stream(4, (4,), (1,), key="../../etc/passwd"), {"0": bytes(16)}),
        "script.pt": torchscript(),
        "empty.pt": b"", "text.pt": b"weights\n" * 99, "truncated.pt": torch_zip(b"\x80\x02}.", {})[:-9],
        "appended.pt": torch_zip(b"\x80\x02}.", {}) + b"PK",
        "longer_than_file.safetensors": safetensors(one([2], [0, 8]), bytes(8), claimed=2**40),
        "negative.safetensors": safetensors(one([2], [8, 0])),
        "overlapping.safetensors": safetensors({**one([2], [0, 8]), "v": one([2], [4, 12])["w"]}, bytes(12)),
        "gap.safetensors": safetensors({**one([2], [0, 8]), "v": one([2], [12, 20])["w"]}, bytes(20)),
        "wrong_size.safetensors": safetensors(one([2], [0, 8], "F64"), bytes(8)),
        "two_gigabytes.safetensors": safetensors(one([GIGABYTES // 4], [0, GIGABYTES]), bytes(16)),
        "product.safetensors": safetensors(one([2**40, 2**40], [0, 8]), bytes(8)),
        "text_sizes.safetensors": safetensors(one(["2"], ["0", "8"]), bytes(8)),
        "dtype.safetensors": safetensors(one([2], [0, 8], "F8_X"), bytes(8)),
        "nested.safetensors": safetensors(b"[" * 10**6),
        "list.safetensors": safetensors(b"[]"),
        "two_gigabytes.npz": _graph("a00000.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (268435456,), }")),
        "objects.npz": _graph("a00000.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", bytes(8))),
        "negative.npz": _graph("a00000.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }", bytes(8))),
        "code.npz": _graph("a00000.npy", npy("__import__('pathlib').Path('executed').touch()")),
        "no_document.npz": zipped({"x.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", bytes(8))}),
        "truncated.npz": good[:-30],
        "two_gigabytes.nir": hdf5_declaring(GIGABYTES), "eight_gigabytes.nir": hdf5_declaring(4 * GIGABYTES),
        "model.onnx": onnx_bytes(), "onnx.pt": onnx_bytes(), "onnx.safetensors": onnx_bytes(), "empty.onnx": b"",
        "renamed.nir": good, "renamed.pt": hdf5_declaring(2**20), "renamed.npz": safetensors(one([2], [0, 8]), bytes(8)),
        "renamed.safetensors": torch_zip(b"\x80\x02}.", {}), "renamed.bin": torch_zip(b"\x80\x02}.", {}),
        "pickle.pkl": pickle.dumps(Evil()),
    }  # fmt: skip
