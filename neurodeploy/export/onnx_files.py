"""ONNX files of strangers: read as data, within limits, without files beside them and without operators of others."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from neurodeploy.errors import UnsafeFile
from neurodeploy.export.onnx_forms import OPSET
from neurodeploy.ir import archive

_BYTES: dict[int, int] = {TensorProto.FLOAT: 4, TensorProto.INT64: 8}
_DEPTH = 1  # graphs inside graphs: the body of a Scan


def read_onnx(path: Path) -> ModelProto:
    """The model in a file, which nothing was run of.

    Raises UsageError where it cannot be read; UnsafeFile where it is no model, is larger than a protocol buffer may be, keeps
    tensors in other files, declares tensors that it does not hold, or names operators outside ONNX.
    """
    payload, where = archive.read(path), str(path)
    try:
        model: ModelProto = ModelProto.FromString(payload)
    except DecodeError as err:
        _refuse("no ONNX model", where, str(err))
    imports = [(entry.domain, entry.version) for entry in model.opset_import]
    if imports != [("", OPSET)]:
        _refuse(f"it needs the operators {imports}", where, f"Read are those of ONNX, opset {OPSET}")
    if model.functions or model.training_info:
        _refuse("it defines functions or a training", where, "A form has one graph of ONNX's own operators")
    _check_graph(model.graph, where, 0)
    return model


def _refuse(what: str, where: str, limit: str = "") -> NoReturn:
    raise UnsafeFile(what, where=where, limit=limit, remedy="Export again, or get a fresh copy")


def _check_graph(graph: GraphProto, where: str, depth: int) -> None:
    if depth > _DEPTH:
        _refuse("graphs inside graphs inside graphs", where)
    if graph.sparse_initializer:
        _refuse("it holds sparse tensors", where)
    _check_tensors(graph.initializer, where)
    for node in graph.node:
        if node.domain:
            _refuse(f"operator {node.name!r:.80} is of {node.domain!r:.80}", where, "Only ONNX's own are read")
        for attribute in node.attribute:
            _check_attribute(node, attribute, where, depth)


def _check_attribute(node: NodeProto, attribute: AttributeProto, where: str, depth: int) -> None:
    if attribute.sparse_tensors or attribute.HasField("sparse_tensor"):
        _refuse(f"operator {node.name!r:.80} holds a sparse tensor", where)
    if attribute.HasField("g"):
        _check_graph(attribute.g, where, depth + 1)
    for inner in attribute.graphs:
        _check_graph(inner, where, depth + 1)
    _check_tensors([*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors], where)


def _check_tensors(tensors: Iterable[TensorProto], where: str) -> None:
    for tensor in tensors:
        name = f"tensor {tensor.name!r:.80}"
        if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
            _refuse(f"{name} lies in another file", where, "Everything is read from the file itself")
        size = _BYTES.get(tensor.data_type)
        if size is None or min(tensor.dims, default=0) < 0 or math.prod(tensor.dims) * size != len(tensor.raw_data):
            _refuse(f"{name} declares {list(tensor.dims)} of type {tensor.data_type}", where,
                    f"It holds {len(tensor.raw_data)} bytes")
