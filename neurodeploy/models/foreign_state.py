"""The tensors of a `.pt` or `.safetensors` file from anywhere, read as numpy arrays; torch and pickle take no part in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.archive import MAX_BYTES, missing, refuse
from neurodeploy.ir.nodes import Array
from neurodeploy.models.foreign_gate import SAFETENSORS, check_kind, entry, safetensors_header, torch_archive
from neurodeploy.models.foreign_pickle import Declared

SUFFIXES = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True, eq=False)
class State:
    """A state_dict: tensors by name. `own`: the file carries an architecture of neurodeploy. `ordered`: they stand in the order
    of the module that they were saved from, as in a `.pt`."""

    where: str
    tensors: dict[str, Array]
    own: bool
    ordered: bool

    @property
    def modules(self) -> dict[str, dict[str, Array]]:
        """Tensors by the module that they belong to, by their last name, in the order of the file."""
        found: dict[str, dict[str, Array]] = {}
        for name, tensor in self.tensors.items():
            module, _, last = name.rpartition(".")
            found.setdefault(module, {})[last] = tensor
        return found


def refuse_arch(path: Path, arch: str | None) -> None:
    """Raise UsageError where an architecture is given beside a file of another kind, which has its own."""
    if arch is not None and (path.is_dir() or path.suffix.lower() not in SUFFIXES):
        raise UsageError("an architecture belongs to a state_dict", where=f"--arch, {path}",
                         limit=f"Files of {', '.join(SUFFIXES)} are", remedy="Leave --arch out: this file has its own")


def read_state(path: str | Path) -> State:
    """The tensors in a model file, none of one that is our own. Of a checkpoint the one state_dict among its entries counts
    (`state_dict`, `net`, ...).

    Raises UnsafeFile for a file that may not be read, UsageError where it is none or holds several state_dicts.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(missing(path), where=str(path))
    if path.stat().st_size > MAX_BYTES:
        refuse("the file is too large", str(path), f"At most {MAX_BYTES} bytes")
    check_kind(path)
    return _safetensors(path) if path.suffix.lower() == ".safetensors" else _torch(path)


def _is_own(content: Any) -> bool:
    return isinstance(content, dict) and "schema_version" in content


def _safetensors(path: Path) -> State:
    with path.open("rb") as file:
        header, begin = safetensors_header(file, str(path))
        own = _is_own(header.pop("__metadata__", None))
        tensors = {}
        if own:
            return State(str(path), {}, own, False)
        for name, value in header.items():
            first, end = value["data_offsets"]
            file.seek(begin + first)
            tensors[name] = _numbers(file.read(end - first), SAFETENSORS[value["dtype"]]).reshape(value["shape"])
    return State(str(path), _in_order(tensors), False, False)


def _in_order(tensors: dict[str, Array]) -> dict[str, Array]:
    """Names in the order of their numbers, then of the alphabet: a .safetensors keeps no other."""
    def key(name: str) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]

    return {name: tensors[name] for name in sorted(tensors, key=key)}


def _torch(path: Path) -> State:
    where = str(path)
    with path.open("rb") as file:
        archive, entries, folder, content = torch_archive(file, where)
        tensors: dict[str, Array] = {}
        if _is_own(content):
            return State(where, tensors, True, True)
        storages: dict[str, Array] = {}
        for name, tensor in _state_dict(content, where).items():
            storage = tensor.storage
            if storage.key not in storages:
                data = entry(archive, entries[f"{folder}data/{storage.key}"], where)
                storages[storage.key] = _numbers(data, storage.dtype)
            values = storages[storage.key][tensor.offset :]
            strides = [step * values.itemsize for step in tensor.stride]
            tensors[name] = np.lib.stride_tricks.as_strided(values, tensor.shape, strides, writeable=False)
    return State(where, tensors, False, True)


def _state_dict(content: Any, where: str) -> dict[str, Declared]:
    if _is_state(content):
        return dict(content)
    found = {key: value for key, value in content.items() if _is_state(value)} if isinstance(content, dict) else {}
    if len(found) != 1:
        raise UsageError(
            f"holds several state_dicts: {', '.join(map(str, found))}" if found else "holds no state_dict", where=where,
            limit="A state_dict maps names to tensors, and to nothing else", code="arch",
            remedy='Save one alone: torch.save(model.state_dict(), "weights.pt")',
        )
    return dict(next(iter(found.values())))


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(
        type(key) is str and isinstance(tensor, Declared) for key, tensor in value.items()
    )


def _numbers(data: bytes, dtype: str) -> Array:
    if dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
