"""Graph and IntGraph to one file and back, exactly; `same` says where two graphs differ.

The file is an archive (`archive.py`): the structure as JSON with `schema_version`, the arrays beside it. The same graph
gives the same bytes. A file is data, never code: unknown node types, fields, sizes or types are refused.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np

from neurodeploy.errors import NeurodeployError, UnsafeFile
from neurodeploy.ir import archive
from neurodeploy.ir.checks import check_graph
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import (
    Activation,
    Array,
    BatchNorm,
    Conv2d,
    CubaLif,
    CurrentLif,
    Delta,
    Fire,
    Flatten,
    Iaf,
    Input,
    InputKind,
    Li,
    Lif,
    Linear,
    MaxPool2d,
    Node,
    Qcfs,
    Relu,
    Reset,
    Sigma,
    SigmaDelta,
    SumPool2d,
    Vote,
)

SCHEMA_VERSION = 1
MAX_NODES, MAX_EDGES, MAX_HOSTS = 4096, 16384, 1
_FORMAT = "neurodeploy graph"
_TYPES: dict[str, type[Node]] = {
    t.__name__: t
    for t in (
        Input, Conv2d, Linear, BatchNorm, MaxPool2d, SumPool2d, Relu, Qcfs, Flatten, Lif, CurrentLif, Li, CubaLif, Delta,
        SigmaDelta, Sigma, Iaf, Vote,
    )
}

# Fields that files may lack: those that came after the first files, each with a default that means what was meant before.
# They are written only where they differ from it, so a graph that needs none of them keeps its bytes.
_LATER: dict[str, frozenset[str]] = {
    "Input": frozenset({"signed"}),
    "Conv2d": frozenset({"binary", "sum_bits"}),
    "Linear": frozenset({"binary", "weight_exp", "delays"}),
    "Lif": frozenset({"multi_spike", "v_min", "v_init"}),
    "CurrentLif": frozenset({"multi_spike", "v_min", "v_init"}),
    "CubaLif": frozenset({"i_init", "v_init"}),
}


def to_bytes(graph: Graph) -> bytes:
    """The file of a graph as bytes, a function of the graph alone. Raises NeurodeployError for what it cannot hold."""
    arrays: dict[str, Array] = {}
    document = {"format": _FORMAT, "schema_version": SCHEMA_VERSION, "graph": _encode(graph, arrays)}
    return archive.pack(document, arrays)


def from_bytes(payload: bytes, where: str = "graph") -> Graph:
    """The graph in the bytes of a file. Raises UnsafeFile for anything corrupt, truncated, unknown or senseless."""
    document, arrays = archive.unpack(payload, where)
    if document.get("format") != _FORMAT or set(document) != {"format", "schema_version", "graph"}:
        archive.refuse("this is not a graph of neurodeploy", where)
    if document["schema_version"] != SCHEMA_VERSION:
        raise UnsafeFile(
            f"schema version {document['schema_version']!r}", where=where, limit=f"This version reads {SCHEMA_VERSION}",
            remedy="Read it with the version of neurodeploy that wrote it",
        )
    unused = dict(arrays)
    try:
        graph = _decode(document["graph"], unused, where, depth=0)
        check_graph(graph)
        if graph.host is not None:
            check_graph(graph.host)
    except UnsafeFile:
        raise
    except NeurodeployError as err:
        archive.refuse(f"the graph makes no sense: {err}", where)
    except RecursionError:
        archive.refuse("the graph is nested too deeply", where)
    if unused:
        archive.refuse(f"{len(unused)} arrays belong to nothing, the first is {min(unused)}", where)
    return graph


def save(graph: Graph, path: Path | str) -> str:
    """Write a graph (`.npz`) and return the sha256 of the file. Raises NeurodeployError, UsageError (cannot write)."""
    payload = to_bytes(graph)
    archive.write(Path(path), payload)
    return hashlib.sha256(payload).hexdigest()


def load(path: Path | str) -> Graph:
    """Read a graph. Raises UsageError where there is no such file, UnsafeFile where it is not a sound graph file."""
    return from_bytes(archive.read(Path(path)), str(path))


def load_int(path: Path | str) -> IntGraph:
    """`load` for a file that must hold an IntGraph; raises UnsafeFile for a graph in real arithmetic."""
    graph = load(path)
    if not isinstance(graph, IntGraph):
        raise UnsafeFile("this is a graph in real arithmetic", where=str(path), remedy="Quantize it first")
    return graph


def digest(graph: Graph) -> str:
    """sha256 of the graph's file."""
    return hashlib.sha256(to_bytes(graph)).hexdigest()


def same(a: Graph, b: Graph) -> str | None:
    """The first difference between two graphs ("conv1.weight: 3 of 12 values differ, ..."), or None."""
    if type(a) is not type(b):
        return f"kind: {type(a).__name__} != {type(b).__name__}"
    if a.n_timesteps != b.n_timesteps:
        return f"n_timesteps: {a.n_timesteps} != {b.n_timesteps}"
    if (names := [[n.name for n in g.nodes] for g in (a, b)])[0] != names[1]:
        return f"nodes: {names[0]} != {names[1]}"
    for mine, other in zip(a.nodes, b.nodes, strict=True):
        if type(mine) is not type(other):
            return f"{mine.name}: {type(mine).__name__} != {type(other).__name__}"
        for f in fields(mine):
            found = difference(getattr(mine, f.name), getattr(other, f.name))
            if found:
                return f"{mine.name}.{f.name}: {found}"
    if a.edges != b.edges:
        return f"edges: {[e for e in a.edges if e not in b.edges]} != {[e for e in b.edges if e not in a.edges]}"
    for name in _EXTRAS[type(a)]:
        if (pair := [_text(getattr(g, name)) for g in (a, b)])[0] != pair[1]:
            return f"{name}: {pair[0]} != {pair[1]}"
    if a.host is None or b.host is None:
        return None if a.host is b.host else "host: only one of the graphs has a host part"
    inner = same(a.host, b.host)
    return inner and f"host.{inner}"


_EXTRAS: dict[type[Graph], dict[str, type]] = {
    Graph: {"metadata": dict},
    IntGraph: {"metadata": dict, "target": str, "quantization": dict},
}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def difference(a: Any, b: Any) -> str | None:
    """Where two values of a field differ, arrays with their first differing place, or None."""
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        equal = type(a) is type(b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else a == b
        return None if equal else f"{a!r} != {b!r}"
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype} {a.shape} != {b.dtype} {b.shape}"
    differs = np.argwhere(a != b)
    if not len(differs):
        return None
    first = tuple(int(i) for i in differs[0])
    return f"{len(differs)} of {a.size} values differ, the first at {first}: {a[first]} != {b[first]}"


def _encode(graph: Graph, arrays: dict[str, Array]) -> dict[str, Any]:
    extras = _EXTRAS.get(type(graph))
    if extras is None:
        raise NeurodeployError(f"{type(graph).__name__} has no file format", code="cannot_save")
    check_graph(graph)
    return {
        "kind": type(graph).__name__,
        "n_timesteps": operator.index(graph.n_timesteps),
        "nodes": [_encode_node(n, arrays) for n in graph.nodes],
        "edges": [[e.src, e.dst, operator.index(e.delay)] for e in graph.edges],
        "host": None if graph.host is None else _encode(graph.host, arrays),
        **{name: getattr(graph, name) for name in extras},
    }


def _encode_node(node: Node, arrays: dict[str, Array]) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": type(node).__name__}
    for f in fields(node):
        value = getattr(node, f.name)
        kind = str(f.type)
        if f.name in _LATER.get(type(node).__name__, ()) and difference(value, _default(f)) is None:
            continue
        if isinstance(value, np.ndarray):
            name = f"a{len(arrays):05d}"
            arrays[name] = value
            value = {"array": name, "dtype": value.dtype.newbyteorder("<").str, "shape": list(value.shape)}
        elif kind in ("int", "int | None", "int | Array") and value is not None:
            value = operator.index(value)
        elif kind in ("Shape", "Pair"):
            value = [operator.index(v) for v in value]
        elif kind in ("float", "float | None", "float | Array") and value is not None:
            value = float(value)
        entry[f.name] = value
    return entry


def _default(f: Field[Any]) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def _is_int(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**62


def _ints(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 4 and all(_is_int(v) for v in value)


# Annotation of a node's field -> (is this JSON value one?, the Python value).
_SCALARS: dict[str, tuple[Callable[[Any], bool], Callable[[Any], Any]]] = {
    "str": (lambda v: isinstance(v, str) and 0 < len(v) <= 512, str),
    "int": (_is_int, int),
    "int | None": (lambda v: v is None or _is_int(v), lambda v: v),
    "float": (lambda v: type(v) in (int, float), float),
    "float | None": (lambda v: v is None or type(v) in (int, float), lambda v: None if v is None else float(v)),
    "bool": (lambda v: type(v) is bool, bool),
    "Shape": (_ints, tuple),
    "Pair": (lambda v: _ints(v) and len(v) == 2, tuple),
    "InputKind": (lambda v: v in get_args(InputKind), str),
    "Fire": (lambda v: v in get_args(Fire), str),
    "Reset": (lambda v: v in get_args(Reset), str),
    "Activation": (lambda v: v in get_args(Activation), str),
}


def _expect(entry: Any, wanted: set[str], where: str, optional: frozenset[str] = frozenset()) -> dict[str, Any]:
    if not isinstance(entry, dict) or not wanted - optional <= set(entry) <= wanted:
        odd = sorted((set(entry) ^ wanted) - optional) if isinstance(entry, dict) else [type(entry).__name__]
        archive.refuse(f"missing or unknown entries: {', '.join(map(repr, odd[:8]))}", where)
    return entry


def _decode(entry: Any, unused: dict[str, Array], where: str, depth: int) -> Graph:
    kinds: dict[str, type[Graph]] = {"Graph": Graph, "IntGraph": IntGraph}
    kind = kinds.get(str(entry.get("kind"))) if isinstance(entry, dict) else None
    if kind is None:
        archive.refuse("the graph's kind is unknown", where)
    extras = _EXTRAS[kind]
    entry = _expect(entry, {"kind", "n_timesteps", "nodes", "edges", "host", *extras}, where)
    nodes, edges = entry["nodes"], entry["edges"]
    if not isinstance(nodes, list) or not isinstance(edges, list) or not _is_int(entry["n_timesteps"]):
        archive.refuse("nodes, edges or n_timesteps have the wrong type", where)
    if len(nodes) > MAX_NODES or len(edges) > MAX_EDGES:
        archive.refuse(f"{len(nodes)} nodes, {len(edges)} edges", where, f"At most {MAX_NODES} and {MAX_EDGES}")
    for name, wanted in extras.items():
        if not isinstance(entry[name], wanted):
            archive.refuse(f"{name} is not of type {wanted.__name__}", where)
    if entry["host"] is not None and depth >= MAX_HOSTS:
        archive.refuse("a host part inside a host part", where)
    host = None if entry["host"] is None else _decode(entry["host"], unused, f"{where}: host", depth + 1)
    if isinstance(host, IntGraph):
        archive.refuse("the host part is not in real arithmetic", where)
    return kind(
        nodes=tuple(_decode_node(n, unused, where) for n in nodes), edges=tuple(_decode_edge(e, where) for e in edges),
        n_timesteps=entry["n_timesteps"], host=host, **{name: entry[name] for name in extras},
    )


def _decode_edge(entry: Any, where: str) -> Edge:
    if not (isinstance(entry, list) and len(entry) == 3 and all(isinstance(e, str) for e in entry[:2]) and _is_int(entry[2])):
        archive.refuse(f"{entry!r:.80} is not an edge", where)
    if entry[2] > 2**16:
        archive.refuse(f"the edge {entry[0]} -> {entry[1]} has delay {entry[2]}", where, "At most 65536")
    return Edge(*entry)


def _decode_node(entry: Any, unused: dict[str, Array], where: str) -> Node:
    kind = _TYPES.get(str(entry.get("type"))) if isinstance(entry, dict) else None
    if kind is None:
        name = entry.get("type") if isinstance(entry, dict) else entry
        archive.refuse(f"unknown node type {name!r:.80}", where, f"Known: {', '.join(sorted(_TYPES))}")
    wanted = {f.name: str(f.type) for f in fields(kind)}
    where = f"{where}: {str(entry.get('name'))[:80]}"
    entry = _expect(entry, {"type", *wanted}, where, _LATER.get(kind.__name__, frozenset()))
    return kind(**{
        name: _decode_value(entry[name], w, unused, f"{where}.{name}") for name, w in wanted.items() if name in entry
    })


def _decode_value(value: Any, kind: str, unused: dict[str, Array], where: str) -> Any:
    if kind in _SCALARS:
        fits, convert = _SCALARS[kind]
        if not fits(value):
            archive.refuse(f"{value!r:.80} is not of type {kind}", where)
        return convert(value)
    if (kind == "Array | None" and value is None) or (kind == "int | Array" and _is_int(value)):
        return value
    if kind == "float | Array" and type(value) in (int, float):
        return float(value)
    value = _expect(value, {"array", "dtype", "shape"}, where)
    array = unused.pop(str(value["array"]), None)
    if array is None:
        archive.refuse(f"its array {value['array']!r:.80} is missing", where)
    found = {"dtype": array.dtype.newbyteorder("<").str, "shape": list(array.shape)}
    if found != {"dtype": value["dtype"], "shape": value["shape"]}:
        archive.refuse(f"its array is {found}", where, f"Declared {value['dtype']!r:.20} {value['shape']!r:.40}")
    return array
