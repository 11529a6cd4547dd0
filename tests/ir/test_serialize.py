from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Input, Linear, Vote
from neurodeploy.ir.serialize import digest, from_bytes, load, load_int, same, save, to_bytes

from random_graphs import float_graphs, int_graphs


def small() -> IntGraph:
    host = Graph((Input("image", shape=(2,)), Linear("stem", weight=np.eye(2))), (Edge("image", "stem"),), 1)
    return IntGraph(
        (Input("in", shape=(2,), kind="bias", max_value=9), CubaLif("n", shape=(2,), reset_interval=4),
         Linear("fc", weight=np.array([[2, -4], [6, 8]])), CubaLif("o", shape=(2,)), Vote("vote", n_classes=2)),
        (Edge("in", "n"), Edge("n", "fc", 1), Edge("fc", "o"), Edge("o", "vote")), 4,
        {"arch": ["SRB"], "x": 0.1}, host, "loihi2", {"scales": {"n": 64.0}},
    )


@settings(max_examples=60, deadline=None)
@given(st.one_of(int_graphs(), float_graphs()))
def test_round_trip(graph: Graph) -> None:
    payload = to_bytes(graph)
    back = from_bytes(payload)
    assert same(graph, back) is None
    assert to_bytes(back) == payload


def test_file(tmp_path: Path) -> None:
    graph = small()
    sha = save(graph, tmp_path / "a.npz")
    assert sha == digest(graph) == save(graph, tmp_path / "sub" / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "sub" / "b.npz").read_bytes()
    assert same(load(tmp_path / "a.npz"), graph) is None
    assert load_int(tmp_path / "a.npz").target == "loihi2"
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert [2, -4] in arrays["a00001"].tolist()
    save(graph.host or graph, tmp_path / "f.npz")
    with pytest.raises(UnsafeFile, match="Quantize"):
        load_int(tmp_path / "f.npz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "f.npz", "sub"]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "absent.npz")


def test_same_names_the_first_difference() -> None:
    graph = small()
    fc = graph["fc"]
    assert isinstance(fc, Linear)
    weight = fc.weight.copy()
    weight[1, 0] = 7

    def swapped(**changes: Any) -> IntGraph:
        return replace(graph, nodes=tuple(replace(n, **changes) if n.name == "fc" else n for n in graph.nodes))

    assert same(graph, small()) is None
    assert same(graph, swapped(weight=weight)) == "fc.weight: 1 of 4 values differ, the first at (1, 0): 6 != 7"
    assert same(graph, swapped(weight=fc.weight.astype(np.int32))) == "fc.weight: int64 (2, 2) != int32 (2, 2)"
    assert "n_timesteps" in (same(graph, replace(graph, n_timesteps=5)) or "")
    assert "edges" in (same(graph, replace(graph, edges=(*graph.edges[:1], Edge("n", "fc", 2), *graph.edges[2:]))) or "")
    assert "target" in (same(graph, replace(graph, target="other")) or "")
    assert "metadata" in (same(graph, replace(graph, metadata={})) or "")
    assert "host" in (same(graph, replace(graph, host=None)) or "")
    assert graph.host is not None
    assert "kind" in (same(graph, graph.host) or "")


def rewrite(payload: bytes, *, document: Any = None, entries: dict[str, bytes] | None = None,
            compress: int = zipfile.ZIP_STORED, drop: str = "") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(payload)) as source, zipfile.ZipFile(out, "w", compress) as target:
        for name in source.namelist():
            if name == drop:
                continue
            data = source.read(name)
            if name == "graph.json" and document is not None:
                found = json.loads(data)
                document(found)
                data = json.dumps(found).encode()
            target.writestr(name, (entries or {}).get(name, data))
        for name in set(entries or {}) - set(source.namelist()):
            target.writestr(name, (entries or {})[name])
    return out.getvalue()


def node(d: dict[str, Any], i: int) -> dict[str, Any]:
    found: dict[str, Any] = d["graph"]["nodes"][i]
    return found


@pytest.mark.parametrize("change", [
    lambda d: d.update(format="other"),
    lambda d: d.update(schema_version=2),
    lambda d: d.update(extra=1),
    lambda d: d["graph"].update(kind="Module"),
    lambda d: d["graph"].update(n_timesteps=0),
    lambda d: d["graph"].update(n_timesteps=2**40),
    lambda d: d["graph"].update(n_timesteps=True),
    lambda d: d["graph"].update(metadata=[]),
    lambda d: d["graph"].update(target=3),
    lambda d: d["graph"].update(host=dict(d["graph"])),
    lambda d: d["graph"]["edges"].append(["in", "nowhere", 0]),
    lambda d: d["graph"]["edges"].append(["in", "fc"]),
    lambda d: d["graph"]["edges"].append(["n", "fc", 2**40]),
    lambda d: d["graph"]["edges"].append(["n", "n", 0]),
    lambda d: node(d, 0).update(type="os.system"),
    lambda d: node(d, 0).update(type=["Input"]),
    lambda d: node(d, 0).update(kind="evil"),
    lambda d: node(d, 0).update(shape=[2**40]),
    lambda d: node(d, 0).update(shape=[-2]),
    lambda d: node(d, 0).update(max_value=1.5),
    lambda d: node(d, 0).pop("max_value"),
    lambda d: node(d, 0).update(name="n"),
    lambda d: node(d, 1).update(reset_interval=0),
    lambda d: node(d, 1).update(v_decay=4097),
    lambda d: node(d, 1).update(bias_exp=99),
    lambda d: node(d, 2).update(bias=0),
    lambda d: node(d, 2)["weight"].update(shape=[4, 1]),
    lambda d: node(d, 2)["weight"].update(dtype="|O"),
    lambda d: node(d, 2)["weight"].update(array="a00000"),
    lambda d: node(d, 2).update(weight=None),
    lambda d: node(d, 4).update(group=0),
])
def test_refuses_changed_structure(change: Any) -> None:
    payload = rewrite(to_bytes(small()), document=change)
    with pytest.raises(UnsafeFile) as caught:
        from_bytes(payload, "some.npz")
    assert "some.npz" in caught.value.where and caught.value.remedy and caught.value.exit_code == 6


def array_bytes(array: Any, **kwargs: Any) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, **kwargs)
    return out.getvalue()


def test_refuses_changed_arrays() -> None:
    payload = to_bytes(small())
    floats = array_bytes(np.array([[2.0, -4], [6, 8]]))
    bomb = array_bytes(np.zeros((2, 2), dtype=np.int64)).replace(b"(2, 2)", b"(9, 9)")
    for entries in (
        {"a00001.npy": array_bytes(np.array([[{}, 1], [2, 3]]), allow_pickle=True)},
        {"a00001.npy": floats}, {"a00001.npy": bomb}, {"a00001.npy": b""}, {"a00001.npy": floats[:40]},
        {"a00001.npy": array_bytes(np.ones((2, 2), dtype=np.int64, order="F") * [[1], [2]])[:-1]},
        {"a00001.npy": array_bytes(np.ones((2, 2), dtype=np.uint64))},
        {"a00001.npy": array_bytes(np.ones((2, 2), dtype=np.int64), version=(2, 0))},
        {"extra.npy": floats}, {"../evil.npy": floats}, {"run.py": b"1"}, {"graph.json": b"[]"}, {"graph.json": b"{"},
        {"graph.json": b'{"format": NaN}'}, {"graph.json": b"[" * 100000}, {"graph.json": b"\xff"},
    ):
        with pytest.raises(UnsafeFile):
            from_bytes(rewrite(payload, entries=entries))
    for drop in ("graph.json", "a00001.npy"):
        with pytest.raises(UnsafeFile):
            from_bytes(rewrite(payload, drop=drop))
    with pytest.raises(UnsafeFile, match="compressed"):
        from_bytes(rewrite(payload, compress=zipfile.ZIP_DEFLATED))


def test_refuses_non_finite_weights() -> None:
    graph = small().host
    assert graph is not None
    payload = rewrite(to_bytes(graph), entries={"a00000.npy": array_bytes(np.array([[np.nan, 0], [0, 1]]))})
    with pytest.raises(UnsafeFile, match="not finite"):
        from_bytes(payload)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_never_passes_unseen(data: st.DataObject) -> None:
    graph = small()
    payload = to_bytes(graph)
    if data.draw(st.booleans()):
        damaged = payload[: data.draw(st.integers(0, len(payload) - 1))]
    else:
        at = data.draw(st.integers(0, len(payload) - 1))
        damaged = payload[:at] + bytes([payload[at] ^ data.draw(st.integers(1, 255))]) + payload[at + 1 :]
    try:
        found = from_bytes(damaged)
    except UnsafeFile:
        return
    assert same(found, graph) is None  # only bytes that carry no content (timestamps and the like) may change


def test_save_refuses_what_the_file_cannot_hold() -> None:
    for metadata in ({"x": float("nan")}, {"x": np.zeros(2)}, {"x": object()}):
        with pytest.raises(NeurodeployError, match="JSON"):
            to_bytes(replace(small(), metadata=metadata))
    bad = Graph((Input("in", shape=(1, 3, 3)), Conv2d("c", weight=np.zeros((1, 1, 3, 3), dtype=np.float16))),
                (Edge("in", "c"),), 1)
    with pytest.raises(NeurodeployError, match="float16"):
        to_bytes(bad)
