"""Model files: `.safetensors` with the architecture in its metadata, and `.pt` of plain types. Neither can run code.

A state_dict of anybody needs its architecture beside it (`foreign_spec`), and is read by `foreign_state`.

Both hold `schema_version` 1, `arch` = {"macro": fields of MacroConfig, "arch": [block, ...]}, or for a SNASNet {"snasnet":
fields of SnasConfig, "arch": [row of the cell, ...]}, the state_dict, and where the module carries metadata, `data`. In
`.safetensors` the three are strings of its metadata, `arch` and `data` as JSON.
A file is believed only as far as it describes the network that it holds: names, shapes and types must agree exactly.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.ir.archive import read, refuse, write
from neurodeploy.ir.graph import Graph
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.foreign_gate import check_model_file, safetensors_header
from neurodeploy.models.foreign_layers import graph_of
from neurodeploy.models.foreign_modules import missing_arch
from neurodeploy.models.foreign_spec import Spec, read_spec
from neurodeploy.models.foreign_state import SUFFIXES, State, read_state
from neurodeploy.models.macro import MacroConfig
from neurodeploy.models.networks import Network
from neurodeploy.models.plain import plain_metadata, read_fields
from neurodeploy.models.snas_cell import SnasConfig
from neurodeploy.models.snasnet import SnasNet

SCHEMA_VERSION = 1
_WRITTEN = (".safetensors", ".pt")
_MAX_VALUES = 1_000_000  # numbers, strings and characters in the plain part of a .pt
_MAX_DEPTH = 32


def save(module: Network, path: str | Path) -> None:
    """Write a network; the suffix chooses the format. The file appears whole or not at all.

    Raises UsageError for an unknown suffix, a module that is no such network, metadata that is not plain JSON, or a path
    that cannot be written.
    """
    path = _known_suffix(path, _WRITTEN)
    if not isinstance(module, AutoSnn | SnasNet):
        raise UsageError(
            f"{type(module).__name__} cannot be saved as a model", where=str(path),
            limit="A model file holds one AutoSnn or SnasNet",
            remedy="Save supernet.child(arch)",
        )
    arch, data = module.describe(), plain_metadata(module.metadata, module.describe())
    tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    if path.suffix == ".safetensors":
        metadata = {"schema_version": str(SCHEMA_VERSION), "arch": json.dumps(arch, sort_keys=True)}
        if data:
            metadata["data"] = json.dumps(data, sort_keys=True)
        payload = _sorted_header(safetensors.torch.save(tensors, metadata))
    else:
        content = {"schema_version": SCHEMA_VERSION, "arch": arch, "state_dict": tensors, **({"data": data} if data else {})}
        buffer = io.BytesIO()
        torch.save(content, buffer)
        payload = buffer.getvalue()
    write(path, payload)


def _sorted_header(payload: bytes) -> bytes:
    """A safetensors file with its metadata in sorted order: the library writes them in another order each time."""
    (n_header,) = struct.unpack("<Q", payload[:8])
    header = json.loads(payload[8 : 8 + n_header])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format aligns its data
    return struct.pack("<Q", len(text)) + text + payload[8 + n_header :]


def load_model(path: str | Path, arch: str | None = None) -> Network | Graph:
    """The network in a model file: one of our own networks, or the Graph of a state_dict and its architecture `arch`
    (`foreign_spec`).

    Raises as `load_module`; UsageError for a state_dict without `arch`, saying what it holds and what it lacks, for an `arch`
    that is not of the file, and beside a file that has its own.
    """
    path = _known_suffix(path, SUFFIXES)
    state = read_state(path)
    if state.own:
        if arch is not None:
            raise UsageError("the file carries its own architecture", where=str(path), remedy="Leave --arch out")
        return load_module(path)
    if arch is None:
        raise missing_arch(state)
    spec = read_spec(arch)
    return graph_of(state, spec) if spec.autosnn is None else _bare_module(spec, state)


def _bare_module(spec: Spec, state: State) -> AutoSnn:
    tensors = {name: torch.from_numpy(values.copy()) for name, values in state.tensors.items()}
    try:
        module = _build(spec.autosnn or {}, "--arch")
        assert isinstance(module, AutoSnn)  # the only family whose bare state_dict is read
        _check_tensors(module, tensors, state.where)
    except UnsafeFile as error:
        raise UsageError(error.what, where=error.where, limit=error.limit, code="arch",
                         remedy="Give macro and arch of the network that was saved") from error
    module.load_state_dict(tensors, assign=True)
    module.metadata = dict(spec.metadata)
    return module.eval()


def load_module(path: str | Path) -> Network:
    """The network in a model file, on the CPU, in evaluation mode, in the precision in which it was saved.

    Raises UsageError where there is no such file or its suffix is unknown, UnsafeFile for one that is truncated,
    corrupt, pickled, of another program or of a later version; nothing in the file is executed.
    """
    path = _known_suffix(path, SUFFIXES)
    check_model_file(path)
    payload, where = read(path), str(path)
    reader = _read_safetensors if path.suffix.lower() == ".safetensors" else _read_pt
    version, arch, data, tensors = reader(payload, where)
    if str(version) != str(SCHEMA_VERSION):
        raise UnsafeFile(
            f"schema_version is {version!r}", where=where, limit=f"This neurodeploy reads {SCHEMA_VERSION}",
            remedy="Use the version of neurodeploy that wrote it",
        )
    module = _build(arch, where)
    _check_tensors(module, tensors, where)
    module.load_state_dict({k: v.clone() for k, v in tensors.items()}, assign=True)
    module.metadata = data
    return module.eval()


def _known_suffix(path: str | Path, known: tuple[str, ...]) -> Path:
    path = Path(path)
    if path.suffix.lower() not in known:
        raise UsageError(
            f"suffix {path.suffix!r} is no model file", where=str(path), limit=f"Known: {', '.join(known)}",
            remedy="Rename the file or choose another",
        )
    return path


Content = tuple[Any, dict[str, Any], dict[str, Any], dict[str, Tensor]]


def _read_safetensors(payload: bytes, where: str) -> Content:
    header, _ = safetensors_header(io.BytesIO(payload), where)
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or "arch" not in metadata or "schema_version" not in metadata:
        refuse("it carries no architecture", where, "neurodeploy writes schema_version and arch into the metadata")
    try:
        tensors = safetensors.torch.load(payload)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        refuse("the file is corrupt", where, str(error))
    arch = _json_object(metadata["arch"], "arch", where)
    data = _json_object(metadata.get("data", "{}"), "data", where)
    return metadata["schema_version"], arch, data, tensors


def _json_object(text: Any, what: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        refuse(f"its {what} is not JSON", where, str(error))
    if not isinstance(value, dict):
        refuse(f"its {what} is no JSON object", where)
    return value


def _read_pt(payload: bytes, where: str) -> Content:
    try:
        content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle stream can make the restricted loader fail with any type
        first = str(error).partition("\n")[0]
        refuse("it holds more than tensors and plain values, or is corrupt; nothing in it was executed", where, first[:200])
    if not isinstance(content, dict) or not {"schema_version", "arch", "state_dict"} <= content.keys():
        refuse("it is no model of neurodeploy", where, "Expected schema_version, arch and state_dict")
    if set(content) - {"schema_version", "arch", "state_dict", "data"}:
        refuse("it holds unknown entries", where, "Expected schema_version, arch, state_dict and data")
    left = [_MAX_VALUES]
    version, arch, data = (_plain(content.get(k, {}), where, left, 0) for k in ("schema_version", "arch", "data"))
    tensors = content["state_dict"]
    if not (isinstance(arch, dict) and isinstance(data, dict) and isinstance(tensors, dict)):
        refuse("arch, data or state_dict is no dict", where)
    return version, arch, data, tensors


def _plain(value: Any, where: str, left: list[int], depth: int) -> Any:
    """A copy of plain values. A pickle can share one list a billion times, so the copy counts what it copies."""
    left[0] -= 1 + (len(value) if isinstance(value, str) else 0)
    if left[0] < 0 or depth > _MAX_DEPTH:
        refuse("its plain values are too many or too deep", where, f"At most {_MAX_VALUES} values, {_MAX_DEPTH} levels")
    if isinstance(value, list | tuple):
        return [_plain(v, where, left, depth + 1) for v in value]
    if isinstance(value, dict):
        if not all(type(k) is str for k in value):
            refuse("a key is no string", where)
        return {_plain(k, where, left, depth): _plain(v, where, left, depth + 1) for k, v in value.items()}
    if value is not None and type(value) not in (str, int, float, bool):
        refuse(f"a value of type {type(value).__name__} where plain values belong", where)
    return value


def _build(arch: Mapping[str, Any], where: str) -> Network:
    """The network without memory for its weights: what the file claims is compared before anything is allocated."""
    sizes = "snasnet" if "snasnet" in arch else "macro"
    if set(arch) != {sizes, "arch"} or not isinstance(arch[sizes], dict) or not isinstance(arch["arch"], list):
        refuse("its arch is not {macro: {...}, arch: [...]}, nor with snasnet instead of macro", where)
    try:
        with torch.device("meta"):
            if sizes == "snasnet":
                return SnasNet(read_fields(SnasConfig, arch[sizes], "snasnet"), arch["arch"])
            return AutoSnn(MacroConfig.from_dict(arch["macro"]), arch["arch"])
    except UsageError as error:
        if error.error_code == "unknown_extension":  # the file is sound, its block is not here; nothing is imported for it
            raise UnsafeFile(error.what, where=where, limit=error.limit, remedy=error.remedy, code=error.error_code) from error
        refuse("its architecture is invalid", where, str(error))
    except (RuntimeError, OverflowError, TypeError) as error:  # sizes beyond what a tensor can have
        refuse("its architecture has impossible sizes", where, str(error).partition("\n")[0][:200])


def _check_tensors(module: Network, tensors: Mapping[str, Tensor], where: str) -> None:
    expected = module.state_dict()
    wrong = [str(k)[:80] for k in expected.keys() ^ tensors.keys()]
    if wrong:
        refuse(f"{len(wrong)} tensors are missing or unknown: {', '.join(sorted(wrong)[:4])}", where)
    dtypes = set()
    for name, wanted in expected.items():
        t = tensors[name]
        if not isinstance(t, Tensor) or t.layout is not torch.strided or t.shape != wanted.shape or not t.is_contiguous():
            refuse(f"{name} is not a tensor of shape {list(wanted.shape)}", where)
        if wanted.is_floating_point():
            dtypes.add(t.dtype)
            if t.dtype not in (torch.float32, torch.float64):
                refuse(f"{name} has type {t.dtype}", where, "Weights are float32 or float64")
            if not bool(torch.isfinite(t).all()):
                refuse(f"{name} holds values that are not finite", where)
        elif t.dtype != wanted.dtype:
            refuse(f"{name} has type {t.dtype}", where, f"Expected {wanted.dtype}")
    if len(dtypes) > 1:
        refuse("its weights mix float32 and float64", where)
