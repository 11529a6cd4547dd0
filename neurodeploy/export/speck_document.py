"""A chip configuration as `speck.json` and `speck_arrays.npz`, in the vendor's field names and axis order, and back.

    speck.json        plain values; each core names its arrays
    speck_arrays.npz  weights [out][in][x][y], biases [out], neurons_initial_value [f][x][y]: x before y, as samna has it

The vendor's own text form is not written: its keys differ between modules of one version of its package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from neurodeploy.errors import UnsafeFile
from neurodeploy.ir import archive
from neurodeploy.ir.nodes import Array
from neurodeploy.ir.serialize import difference
from neurodeploy.place.dynapcnn_config import ChipConfig, CnnLayer, Destination, DvsLayer, IntArray, Pair, Shape

DOCUMENT, ARRAYS = "speck.json", "speck_arrays.npz"
FORMAT, SCHEMA_VERSION = "neurodeploy speck configuration", 1
_ARRAYS_DOCUMENT = {"format": "neurodeploy speck arrays", "schema_version": 1}
_MAX_JSON, _MAX_CORES, _MAX_DESTINATIONS = 2**22, 64, 8
_SWITCHES = ("return_to_zero", "leak_enable", "monitor_enable")
_FIELDS = {"weights": "weights", "biases": "biases", "neurons_initial_value": "initial_state"}  # the vendor's, ours
T = TypeVar("T")


def encode(config: ChipConfig, layers: Mapping[int, str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """({cnn_layers, dvs_layer} in the vendor's words, arrays); `layers` names the network's layer on each core.

    Nothing is checked: a configuration that no chip takes is written too, so that the vendor's tool can say so.
    """
    arrays: dict[str, Array] = {}
    cores = {}
    for core, layer in sorted(config.cores.items()):
        names = {field: f"{core}/{field}" for field in _FIELDS}
        for field, name in names.items():
            arrays[name] = _small(_turned(getattr(layer, _FIELDS[field])))
        cores[str(core)] = {"layer": layers.get(core, ""), **_core(layer), **names}
    return {"cnn_layers": cores, "dvs_layer": None if config.dvs is None else _dvs(config.dvs)}, arrays


def _core(layer: CnnLayer) -> dict[str, Any]:
    return {
        "dimensions": {
            "input_shape": _shape(layer.in_shape), "output_shape": _shape(layer.out_shape),
            "kernel_size": int(layer.kernel_size), "stride": _xy(layer.stride), "padding": _xy(layer.padding),
        },
        "threshold_high": int(layer.threshold_high), "threshold_low": int(layer.threshold_low),
        **{name: bool(getattr(layer, name)) for name in _SWITCHES},
        "destinations": [
            {"layer": int(d.layer), "enable": bool(d.enable), "pooling": int(d.pooling), "feature_shift": int(d.feature_shift)}
            for d in layer.destinations
        ],
    }


def _dvs(dvs: DvsLayer) -> dict[str, Any]:
    return {
        "destinations": [{"layer": int(d.layer), "enable": bool(d.enable)} for d in dvs.destinations],
        "merge": bool(dvs.merge), "mirror_diagonal": bool(dvs.mirror_diagonal),
        **{name: _xy(getattr(dvs, name)) for name in ("pooling", "origin", "cut")},
    }


def _xy(pair: Pair) -> dict[str, int]:
    return {"x": int(pair[1]), "y": int(pair[0])}


def _shape(shape: Shape) -> dict[str, Any]:
    return {"size": _xy((shape[1], shape[2])), "feature_count": int(shape[0])}


def _turned(array: Array) -> Array:
    """The last two axes exchanged: (y, x) and (x, y)."""
    return np.ascontiguousarray(array.swapaxes(-1, -2)) if array.ndim > 1 else array


def _small(array: Array) -> Array:
    """Integers in the smallest type of an archive that holds them."""
    if array.dtype.kind not in "iu":
        return array
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind)
    return array.astype(np.int64)


def write_document(folder: Path, document: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write both files. Equal values give equal bytes. Raises UsageError where they cannot be written."""
    full = {**document, "format": FORMAT, "schema_version": SCHEMA_VERSION, "arrays": ARRAYS}
    payload = json.dumps(full, sort_keys=True, allow_nan=False, indent=1) + "\n"
    archive.write(folder / DOCUMENT, payload.encode())
    archive.write(folder / ARRAYS, archive.pack(_ARRAYS_DOCUMENT, arrays))


def read_document(folder: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """(document, arrays) of a folder. Raises UsageError where a file is missing, UnsafeFile where it is corrupt."""
    path = folder / DOCUMENT
    payload = archive.read(path)
    if len(payload) > _MAX_JSON:
        archive.refuse(f"{len(payload)} bytes", str(path), f"At most {_MAX_JSON}")
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as err:
        archive.refuse("it is not valid JSON", str(path), str(err))
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        archive.refuse("it is no configuration of a chip", str(path))
    if document.get("schema_version") != SCHEMA_VERSION:
        raise UnsafeFile(
            f"schema version {document.get('schema_version')!r:.80}", where=str(path),
            limit=f"This version reads {SCHEMA_VERSION}", remedy="Read it with the version of neurodeploy that wrote it",
        )
    if document.get("arrays") != ARRAYS:
        archive.refuse("its arrays lie in another file", str(path), f"Expected {ARRAYS}")
    kind, arrays = archive.unpack(archive.read(folder / ARRAYS), str(folder / ARRAYS))
    if kind != _ARRAYS_DOCUMENT:
        archive.refuse("it holds no arrays of a known version", str(folder / ARRAYS))
    return document, arrays


def read_speck(folder: Path) -> ChipConfig:
    """The configuration in a folder; positions are (c, y, x) again.

    Raises UsageError where a file is missing, UnsafeFile where it is corrupt, or an array has another shape than its
    core's dimensions. Limits of the chip are not checked here.
    """
    document, arrays = read_document(folder)
    where = str(folder / DOCUMENT)
    cores = document.get("cnn_layers")
    if not isinstance(cores, dict) or not set(cores) <= {str(core) for core in range(_MAX_CORES)}:
        archive.refuse("its cores are no table by number", where, f"At most {_MAX_CORES} cores")
    unused = dict(arrays)
    read = {int(core): _read_core(layer, unused, f"{where}: core {core}") for core, layer in cores.items()}
    if unused:
        archive.refuse(f"{len(unused)} arrays belong to nothing, the first is {min(unused)}", where)
    dvs = document.get("dvs_layer")
    return ChipConfig(dict(sorted(read.items())), None if dvs is None else _read_dvs(dvs, f"{where}: dvs_layer"))


def _read_core(entry: Any, unused: dict[str, Array], where: str) -> CnnLayer:
    sizes = _get(entry, "dimensions", dict, where)
    in_shape, out_shape = (_read_shape(_get(sizes, name, dict, where), where) for name in ("input_shape", "output_shape"))
    kernel = _get(sizes, "kernel_size", int, where)
    wanted = {
        "weights": (out_shape[0], in_shape[0], kernel, kernel), "biases": (out_shape[0],), "neurons_initial_value": out_shape,
    }
    values: dict[str, Any] = {
        **{_FIELDS[field]: _read_array(entry, field, shape, unused, where) for field, shape in wanted.items()},
        **{name: _get(entry, name, int, where) for name in ("threshold_high", "threshold_low")},
        **{name: _get(entry, name, bool, where) for name in _SWITCHES},
    }
    return CnnLayer(
        in_shape=in_shape, out_shape=out_shape, kernel_size=kernel, stride=_read_xy(sizes, "stride", where),
        padding=_read_xy(sizes, "padding", where), destinations=_read_destinations(entry, where), **values,
    )


def _read_dvs(entry: Any, where: str) -> DvsLayer:
    return DvsLayer(
        destinations=_read_destinations(entry, where), merge=_get(entry, "merge", bool, where),
        pooling=_read_xy(entry, "pooling", where), origin=_read_xy(entry, "origin", where), cut=_read_xy(entry, "cut", where),
        mirror_diagonal=_get(entry, "mirror_diagonal", bool, where),
    )


def _get(entry: Any, name: str, kind: type[T], where: str) -> T:
    """A field of exactly that type, integers within 32 bits."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if type(value) is not kind or (isinstance(value, int) and abs(value) >= 2**31):
        archive.refuse(f"{name} is {value!r:.40}", where, f"Expected one of type {kind.__name__}")
    return value


def _read_xy(entry: Any, name: str, where: str) -> Pair:
    pair = _get(entry, name, dict, where)
    return _get(pair, "y", int, where), _get(pair, "x", int, where)


def _read_shape(entry: dict[str, Any], where: str) -> Shape:
    return _get(entry, "feature_count", int, where), *_read_xy(entry, "size", where)


def _read_destinations(entry: Any, where: str) -> tuple[Destination, ...]:
    found = _get(entry, "destinations", list, where)
    if len(found) > _MAX_DESTINATIONS:
        archive.refuse(f"{len(found)} destinations", where, f"At most {_MAX_DESTINATIONS}")
    return tuple(_read_destination(d, where) for d in found)


def _read_destination(entry: Any, where: str) -> Destination:
    """The sensor's destinations have a layer alone."""
    layer, enable = _get(entry, "layer", int, where), _get(entry, "enable", bool, where)
    rest = {name: _get(entry, name, int, where) for name in ("pooling", "feature_shift") if name in entry}
    return Destination(layer, enable, **rest)


def _read_array(
    entry: dict[str, Any], field: str, shape: tuple[int, ...], unused: dict[str, Array], where: str
) -> IntArray:
    array = unused.pop(_get(entry, field, str, where), None)
    if array is None:
        archive.refuse(f"its array {field} is missing", where)
    turned = _turned(array)
    if turned.shape != shape or array.dtype.kind != "i":
        found = f"its {field} are {array.dtype} {list(turned.shape)} (y before x)"
        archive.refuse(found, where, f"Its dimensions say {list(shape)}")
    return turned.astype(np.int64)


def differences(a: ChipConfig, b: ChipConfig) -> str | None:
    """The first field in which two configurations differ ("core 3.weights: 2 of 90 values differ, ..."), or None.

    A destination that nothing was written to is the same as none.
    """
    if sorted(a.cores) != sorted(b.cores):
        return f"cores: {sorted(a.cores)} != {sorted(b.cores)}"
    pairs: list[tuple[str, Any, Any]] = [(f"core {core}", a.cores[core], b.cores[core]) for core in sorted(a.cores)]
    for where, mine, other in [*pairs, ("DVS layer", a.dvs, b.dvs)]:
        if mine is None or other is None:
            if mine is not other:
                return f"{where}: only one of the configurations has it"
            continue
        for f in fields(mine):
            left, right = (getattr(side, f.name) for side in (mine, other))
            if f.name == "destinations":
                left, right = _written(left), _written(right)
            found = difference(left, right)
            if found:
                return f"{where}.{f.name}: {found}"
    return None


def _written(destinations: tuple[Destination, ...]) -> tuple[Destination, ...]:
    last = max((i for i, d in enumerate(destinations) if d != Destination()), default=-1)
    return destinations[: last + 1]
