"""ONNX files of strangers: nothing outside the file is touched, nothing is believed that it does not hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from neurodeploy.errors import UnsafeFile, UsageError
from neurodeploy.export.onnx_files import read_onnx
from neurodeploy.export.onnx_forms import FORMS, scan_model, to_bytes
from onnx import ModelProto, TensorProto, helper
from tests.event_nets import residual


@pytest.mark.parametrize("form", FORMS)
def test_our_own_files_are_read(form: str, tmp_path: Path) -> None:
    model = FORMS[form](residual())
    (tmp_path / "m.onnx").write_bytes(to_bytes(model))
    assert read_onnx(tmp_path / "m.onnx") == model


def external(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def quietly_external(model: ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def huge(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.dims[:] = [2**29]
    tensor.raw_data = b"1234"


def overflowing(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [2**62, 2**62]


def negative(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-1, -1, 4]


def text(model: ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(TensorProto(name="t", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"]))


def of_others(model: ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


def imported(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def older(model: ModelProto) -> None:
    model.opset_import[0].version = 11


def functions(model: ModelProto) -> None:
    model.functions.add(name="f", domain="here")


def sparse(model: ModelProto) -> None:
    model.graph.sparse_initializer.add()


def nested(model: ModelProto) -> None:
    inner = next(n for n in model.graph.node if n.op_type == "Scan").attribute
    body = next(a for a in inner if a.name == "body").g
    body.node.append(helper.make_node("If", ["x"], ["y"], then_branch=helper.make_graph([], "deep", [], [])))


def inside(model: ModelProto) -> None:
    scan = next(n for n in model.graph.node if n.op_type == "Scan")
    next(a for a in scan.attribute if a.name == "body").g.node[0].domain = "com.microsoft"


def hidden_tensor(model: ModelProto) -> None:
    value = helper.make_tensor("t", TensorProto.FLOAT, [1], [0.0])
    value.data_location = TensorProto.EXTERNAL
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (external, "lies in another file"), (quietly_external, "lies in another file"), (huge, r"declares \[536870912\]"),
        (overflowing, "declares"), (negative, "declares"), (text, "of type 8"), (of_others, "is of 'com.microsoft'"),
        (imported, "com.example"), (older, "opset 20"), (functions, "functions"), (sparse, "sparse"),
        (nested, "graphs inside graphs"), (inside, "is of 'com.microsoft'"), (hidden_tensor, "lies in another file"),
    ],
)
def test_what_no_form_holds_is_refused(change: Callable[[ModelProto], None], what: str, tmp_path: Path) -> None:
    model = scan_model(residual())
    change(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    started = time.perf_counter()
    with pytest.raises(UnsafeFile, match=what) as caught:
        read_onnx(tmp_path / "m.onnx")
    assert caught.value.exit_code == 6 and "m.onnx" in caught.value.where
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("payload", [b"", b"\x80\x04K\x01.", b"PK\x03\x04" * 9, bytes(range(256)) * 8])
def test_what_is_no_model_is_refused(payload: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(payload)
    with pytest.raises(UnsafeFile):
        read_onnx(tmp_path / "m.onnx")


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    payload = to_bytes(scan_model(residual()))
    for length in (10, len(payload) // 2, len(payload) - 1):
        (tmp_path / "m.onnx").write_bytes(payload[:length])
        with pytest.raises(UnsafeFile):
            read_onnx(tmp_path / "m.onnx")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_onnx(tmp_path / "m.onnx")
