"""What a model file is, told by its bytes, and whether it is safe to read: asked before anything large is imported or read.

Only headers are read: a refusal takes neither time nor memory, whatever the file claims. A file passes when its content is
what its suffix says, and when nothing in it declares more than the file can hold:

    .pt, .pth      a zip that torch.save wrote: entries stored, apart, its pickle of tensors and plain values (`foreign_pickle`)
    .safetensors   a header whose tensors lie one behind the other to the end of the file
    .npz           a zip of arrays as `ir.archive` writes it
    .nir           HDF5 that declares no more data than its size allows (`ir.hdf5`)
    .net           HDF5, which its reader opens in a process of its own
"""

from __future__ import annotations

import json
import math
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from neurodeploy.errors import UnsafeFile
from neurodeploy.models import foreign_pickle
from neurodeploy.models.foreign_pickle import MAX_RANK, RESAVE, Declared, Storage

MAX_HEADER = 4 * 2**20  # of .safetensors, and the directory of a zip
SIZES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
         "bool": 1}
SAFETENSORS = {"F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
               "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}
_HOLDS = {".pt": "zip", ".pth": "zip", ".npz": "zip", ".safetensors": "safetensors", ".nir": "hdf5", ".net": "hdf5"}
_KINDS = {"zip": "a zip archive (.pt or .npz)", "safetensors": "a .safetensors file", "hdf5": "an HDF5 file (.nir or .net)",
          "pickle": "a pickle", "onnx": "an ONNX model", "empty": "empty", "unknown": "of no kind that is read as a model"}
_COPY = "Write the file again, or get a fresh copy"
DOCUMENT = "graph.json"  # of `ir.archive`, which imports more than a refusal needs
_EXPORT = "Give the weights (a state_dict as .safetensors or .pt, with --arch) or a .nir; `export --target gpu` writes ONNX"
_SCRIPT = "Give the weights of the module behind it: torch.save(module.state_dict(), \"weights.pt\"), with --arch"
_END = struct.Struct("<4s4H2LH")  # end of a zip's directory: signature, ..., entries, size, offset, length of the comment


def check_model_file(path: str | Path) -> None:
    """Raise UnsafeFile where a file is not what its suffix says, or no file that may be opened; folders and missing files, and
    kinds that are no model, are left to the readers, which raise UsageError.
    """
    path = Path(path)
    if not path.is_file():
        return
    check_kind(path)
    where, suffix = str(path), path.suffix.lower()
    with path.open("rb") as file:
        if suffix in (".pt", ".pth"):
            torch_archive(file, where)
        elif suffix == ".safetensors":
            safetensors_header(file, where)
        elif suffix == ".npz":
            _arrays(file, where)
    if suffix == ".nir":
        from neurodeploy.ir.hdf5 import open_checked  # a refusal of other kinds goes without h5py

        with open_checked(path):
            pass


def check_kind(path: Path) -> None:
    """The first half of `check_model_file`: whether a file begins as what its suffix says."""
    where, size, suffix = str(path), path.stat().st_size, path.suffix.lower()
    with path.open("rb") as file:
        kind = _kind(file, size)
        if suffix not in _HOLDS and suffix != ".onnx" and kind in ("unknown", "empty"):
            return
        if kind == "onnx" or suffix == ".onnx":
            raise UnsafeFile("an ONNX model is no source here: its neurons are taken apart into operators", where=where,
                             limit="ONNX is written (`export --target gpu`), not read", remedy=_EXPORT)
        if kind == "pickle":
            _refuse_pickle(file, where)
        if kind == "unknown" and suffix == ".safetensors":
            kind = "safetensors"  # what is wrong with its header, its reader says
        if _HOLDS.get(suffix) != kind:
            _refuse(f"it is {_KINDS[kind]}" + (f", {size} bytes" if size else ""), where,
                    f"Its suffix is {path.suffix}" + (f", which is {_KINDS[_HOLDS[suffix]]}" if suffix in _HOLDS else ""),
                    "Rename it to what it is" if kind in _HOLDS.values() else _COPY)


def _refuse(what: str, where: str, limit: str = "", remedy: str = _COPY) -> NoReturn:
    raise UnsafeFile(what, where=where, limit=limit, remedy=remedy)


def _kind(file: BinaryIO, size: int) -> str:
    head = file.read(16)
    if not head:
        return "empty"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if head[8:9] == b"{" and len(head) > 9:
        return "safetensors"
    if head[0] == 0x80 and head[1:2] <= b"\x05" and len(head) > 1:
        return "pickle"
    return "onnx" if _is_onnx(file, size) else "unknown"


def _is_onnx(file: BinaryIO, size: int) -> bool:
    """Whether the fields of an ONNX ModelProto cover the file: ir_version (1) first, a graph (7) among them."""
    at = 0
    fields: list[int] = []
    while at < size and len(fields) < 64:
        file.seek(at)
        tag, n = _varint(file.read(10))
        at += n
        fields.append(tag >> 3)
        file.seek(at)
        value, n = _varint(file.read(10))
        if n == 0 or tag & 7 not in (0, 2):
            return False
        at += n + (value if tag & 7 == 2 else 0)
    return at == size and fields[0] == 1 and 7 in fields


def _varint(data: bytes) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(data):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, i + 1
    return 0, 0


def _refuse_pickle(file: BinaryIO, where: str) -> NoReturn:
    """A pickle outside a zip: a pickled object, or weights as torch wrote them before version 1.6."""
    file.seek(0)
    head = file.read(foreign_pickle.MAX_BYTES)
    foreign_pickle.refuse_calls(head, where)
    _refuse("a bare pickle, as torch wrote it before version 1.6; nothing in it was executed", where, "Zip archives are read",
            'Write it anew: torch.save(torch.load(FILE, weights_only=True), "weights.pt"), then give weights.pt with --arch')


def zip_entries(file: BinaryIO, where: str) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """An archive and its entries by name, all stored as they are, apart from each other, and inside the file."""
    size = file.seek(0, 2)
    if size < _END.size:
        _refuse("the archive is truncated", where)
    file.seek(size - _END.size)
    signature, *_, directory, _, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\x05\x06" or comment:
        _refuse("the archive is truncated, or something is appended to it", where)
    if directory > MAX_HEADER and directory != 2**32 - 1:
        _refuse(f"the archive's directory has {directory} bytes", where, f"At most {MAX_HEADER}")
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, LookupError, NotImplementedError) as error:
        _refuse("the archive is truncated or corrupt", where, str(error))
    scripted = [name for name in archive.namelist() if name.endswith("constants.pkl") or "/code/" in name]
    if scripted:
        _refuse("a TorchScript archive: it holds a program; nothing in it was executed", where, f"For example {scripted[0]}",
                _SCRIPT)
    entries: dict[str, zipfile.ZipInfo] = {}
    end = 0
    for info in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            _refuse(f"entry {info.filename[:80]!r} is compressed or encrypted", where,
                    f"It claims to unpack to {info.file_size} bytes; entries are stored as they are")
        if info.header_offset < end:
            _refuse(f"entry {info.filename[:80]!r} overlaps another", where)
        end = info.header_offset + 30 + len(info.filename.encode()) + info.file_size
        if info.filename in entries:
            _refuse(f"entry {info.filename[:80]!r} occurs twice", where)
        entries[info.filename] = info
    if end > archive.start_dir:
        _refuse("its entries reach beyond the file", where, f"They claim {end} bytes, the file has {size}")
    return archive, entries


def entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bytes:
    """The bytes of an entry."""
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, LookupError, struct.error, RuntimeError) as error:
        _refuse(f"entry {info.filename[:80]!r} is damaged", where, str(error))


def torch_archive(file: BinaryIO, where: str) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo], str, Any]:
    """(archive, entries, folder in it, what its pickle declares) of a `.pt`, every tensor inside its storage."""
    archive, entries = zip_entries(file, where)
    folder = next((name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl") or name == "data.pkl"), None)
    if folder is None:
        _refuse("an archive without data.pkl, no file of torch.save", where, f"It holds {', '.join(sorted(entries)[:4])}")
    order = entries.get(f"{folder}byteorder")
    if order is not None and entry(archive, order, where) != b"little":
        _refuse("its numbers are not little-endian", where, "", "Save it again on a little-endian machine")
    stream = entries[f"{folder}data.pkl"]
    if stream.file_size > foreign_pickle.MAX_BYTES:
        _refuse(f"its pickle stream has {stream.file_size} bytes", where, f"At most {foreign_pickle.MAX_BYTES}", RESAVE)
    content = foreign_pickle.declared(entry(archive, stream, where), where)
    found = _tensors_in(content)
    for place, tensor in found:
        _inside(tensor, entries.get(f"{folder}data/{tensor.storage.key}"), f"{where}: {place}")
    if not found:
        _refuse("it holds no tensors", where, "A model file is a state_dict: names, and a tensor for each", RESAVE)
    return archive, entries, folder, content


def _tensors_in(content: Any) -> list[tuple[str, Declared]]:
    """(name, tensor) of every tensor in dicts and lists, each container visited once."""
    found: list[tuple[str, Declared]] = []
    waiting: list[tuple[Any, Any]] = [("", content)]
    seen: set[int] = set()
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, Declared):
            found.append((str(key)[:120], value))
        elif type(value) in (dict, list, tuple) and value and id(value) not in seen:
            seen.add(id(value))
            waiting += value.items() if isinstance(value, dict) else enumerate(value)
    return found


def _inside(tensor: Declared, info: zipfile.ZipInfo | None, where: str) -> None:
    storage: Storage = tensor.storage
    if info is None or storage.n * SIZES[storage.dtype] != info.file_size:
        _refuse(f"declares a storage of {storage.n} x {storage.dtype}", where,
                "It is not in the file" if info is None else f"The file holds {info.file_size} bytes of it")
    n = math.prod(tensor.shape)
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))
    if n and (last >= storage.n or n > storage.n):
        _refuse(f"declares shape {list(tensor.shape)}", where, f"Its storage has {storage.n} values")


def safetensors_header(file: BinaryIO, where: str) -> tuple[dict[str, Any], int]:
    """(the header, where the data begins) of a `.safetensors`; its tensors cover the rest of the file exactly."""
    size = file.seek(0, 2)
    file.seek(0)
    (n_header,) = struct.unpack("<Q", file.read(8)) if size >= 8 else (0,)
    if n_header > min(size - 8, MAX_HEADER):
        _refuse("the file is truncated or no safetensors file", where,
                f"Its header claims {n_header} bytes, {max(size - 8, 0)} are left, at most {MAX_HEADER} are read")
    try:
        header = json.loads(file.read(n_header), parse_constant=lambda text: _refuse(f"its header holds {text}", where))
    except (ValueError, RecursionError) as error:
        _refuse("its header is not JSON", where, str(error)[:200])
    if not isinstance(header, dict):
        _refuse("its header is no JSON object", where)
    begin = 0
    named = [(name, value) for name, value in header.items() if name != "__metadata__"]
    for name, begins, ends in sorted((_span(name, value, where) for name, value in named), key=lambda span: span[1:]):
        if begins != begin:
            _refuse(f"tensor {name[:80]!r} begins at byte {begins} of the data", where,
                    f"The one before ends at {begin}: tensors overlap or leave a gap")
        begin = ends
    if 8 + n_header + begin != size:
        _refuse("the file is truncated or has bytes appended", where,
                f"Its header describes {8 + n_header + begin} bytes, it has {size}")
    return header, 8 + n_header


def _span(name: str, value: Any, where: str) -> tuple[str, int, int]:
    entry = value if isinstance(value, dict) else {}
    dtype, shape, span = entry.get("dtype"), _whole(entry.get("shape")), _whole(entry.get("data_offsets"))
    if shape is None or span is None or len(shape) > MAX_RANK or len(span) != 2:
        _refuse(f"header entry {name[:80]!r} has no shape and data_offsets", where)
    if not isinstance(dtype, str) or dtype not in SAFETENSORS:
        _refuse(f"tensor {name[:80]!r} has dtype {str(dtype)[:20]!r}", where, f"Known: {', '.join(SAFETENSORS)}")
    needed = math.prod(shape) * SIZES[SAFETENSORS[dtype]]
    if span[1] - span[0] != needed:
        _refuse(f"tensor {name[:80]!r} of shape {shape} and type {dtype} needs {needed} bytes", where,
                f"Its data_offsets {span} give it {span[1] - span[0]}")
    return name, span[0], span[1]


def _whole(values: Any) -> list[int] | None:
    """Sizes, None where they are none."""
    return values if isinstance(values, list) and all(type(v) is int and 0 <= v < 2**48 for v in values) else None


_BROKEN_ARRAY = (
    zipfile.BadZipFile, ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OSError, EOFError, LookupError,
    RuntimeError, struct.error,
)


def _arrays(file: BinaryIO, where: str) -> None:
    """The headers of an `.npz`: no array declares other bytes than its entry has."""
    import numpy as np  # a refusal of other kinds goes without

    archive, entries = zip_entries(file, where)
    if DOCUMENT not in entries:
        _refuse("arrays alone, no network", where, f"A network of neurodeploy has {DOCUMENT} beside them",
                "Data is given with --data or --input, not as the model")
    for name, info in entries.items():
        if not name.endswith(".npy"):
            continue
        try:
            with archive.open(info) as stream:
                version = np.lib.format.read_magic(stream)
                if version != (1, 0):
                    _refuse(f"{name[:80]}: array format {version}", where, "Expected (1, 0)")
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
                begins = stream.tell()
        except _BROKEN_ARRAY as error:
            _refuse(f"{name[:80]}: the array header is corrupt", where, str(error)[:200])
        if dtype.hasobject:
            _refuse(f"{name[:80]} holds Python objects; nothing in it was executed", where, "Arrays hold numbers")
        if math.prod(shape) * dtype.itemsize != info.file_size - begins or min(shape, default=0) < 0:
            _refuse(f"{name[:80]} declares shape {shape} of {dtype}", where, f"It holds {info.file_size - begins} bytes")
