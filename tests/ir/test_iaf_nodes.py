"""DYNAP-CNN's neuron and its pool: worked by hand, against plain integers, in files, and where other chips meet them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.errors import NeurodeployError, UnsafeFile
from neurodeploy.ir import archive
from neurodeploy.ir.checks import check_node
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.net import write_net
from neurodeploy.ir.netx import netx_reason
from neurodeploy.ir.nir import read_nir, write_nir
from neurodeploy.ir.nodes import Conv2d, CubaLif, Flatten, Iaf, Input, Lif, Linear, Node, SumPool2d
from neurodeploy.ir.reference import evaluate, initial_state, step
from neurodeploy.ir.serialize import from_bytes, same, to_bytes

from random_graphs import iaf_graphs


def run(node: Iaf | Lif, drive: list[float]) -> tuple[list[float], list[float]]:
    """(output, v after each step) of one neuron."""
    dtype = np.int64 if isinstance(node, Iaf) else np.float64
    state, sent, v = initial_state(node, 1), [], []
    for a in drive:
        out, state = step(node, np.full((1, 1), a, dtype=dtype), state)
        sent.append(out[0, 0].item())
        v.append(state["v_mem"][0, 0].item())
    return sent, v


def iaf(**fields: Any) -> Iaf:
    return Iaf("n", **{"shape": (1,), "v_th": 5, "v_min": -3, **fields})


# drive 4: 4; 1: exactly 5, one spike, 0; 17: three spikes, 2; -4: -2; -9: -11, floored to -3; 7: 4; 1: 5; 10: two spikes.
DRIVE = [4, 1, 17, -4, -9, 7, 1, 10]


@pytest.mark.parametrize(("fields", "sent", "v"), [
    ({}, [0, 1, 3, 0, 0, 0, 1, 2], [4, 0, 2, -2, -3, 4, 0, 0]),
    ({"v_min": None}, [0, 1, 3, 0, 0, 0, 0, 1], [4, 0, 2, -2, -11, -4, -3, 2]),
    ({"reset": "hard"}, [0, 1, 3, 0, 0, 0, 1, 2], [4, 0, 0, -3, -3, 4, 0, 0]),
    # One spike a step: of 17 two are left, and one of them fires in the next step although the drive falls.
    ({"multi_spike": False}, [0, 1, 1, 1, 0, 0, 1, 1], [4, 0, 12, 3, -3, 4, 0, 5]),
    ({"bias": np.array([1])}, [1, 0, 4, 0, 0, 1, 0, 2], [0, 2, 0, -3, -3, 0, 2, 3]),
    ({"v_init": np.array([6])}, [2, 0, 3, 0, 0, 0, 1, 2], [0, 1, 3, -1, -3, 4, 0, 0]),
])
def test_worked_by_hand(fields: dict[str, Any], sent: list[int], v: list[int]) -> None:
    assert run(iaf(**fields), DRIVE) == (sent, v)


def test_extremes() -> None:
    top = 2**31 - 1
    assert run(iaf(v_th=1, v_min=None), [top]) == ([top], [0])
    assert run(iaf(v_th=top, v_min=None), [top, -top]) == ([1, 0], [0, -top])
    assert run(iaf(v_min=0), [-7, 4, 1]) == ([0, 0, 1], [0, 4, 0])
    assert run(iaf(v_min=-5, v_init=np.array([-9])), [0, 9, 1]) == ([0, 0, 1], [-5, 4, 0])  # floored after the first step
    for beyond in (2**31, -(2**31)):
        with pytest.raises(NeurodeployError, match=f"reaches {2**31}"):
            run(iaf(), [beyond])


@given(
    st.lists(st.integers(-3000, 3000), min_size=1, max_size=25), st.integers(1, 900), st.none() | st.integers(-900, 0),
    st.integers(-40, 40), st.sampled_from(["soft", "hard"]), st.booleans(), st.integers(-900, 900),
)
def test_against_plain_integers(
    drive: list[int], v_th: int, v_min: int | None, bias: int, reset: Any, multi_spike: bool, v_init: int
) -> None:
    node = iaf(v_th=v_th, v_min=v_min, bias=np.array([bias]), reset=reset, multi_spike=multi_spike, v_init=np.array([v_init]))
    v, wanted = v_init, []
    for a in drive:
        v += a + bias
        n = 0
        while v >= v_th * (n + 1) and (multi_spike or n == 0):
            n += 1
        if n:
            v = 0 if reset == "hard" else v - n * v_th
        v = v if v_min is None or v > v_min else v_min
        wanted.append((n, v))
    assert list(zip(*run(node, list(map(float, drive))), strict=True)) == wanted
    # In real numbers the same: everything here is a whole number.
    real = Lif(
        "n", shape=(1,), v_th=v_th, v_min=v_min, reset=reset, multi_spike=multi_spike, v_reset=0.0,
    )
    if v_init == 0:
        assert list(zip(*run(real, [a + bias for a in drive]), strict=True)) == wanted


def test_real_numbers_by_hand() -> None:
    node = Lif("n", shape=(1,), v_th=0.5, v_min=-0.75, reset="soft", multi_spike=True)
    assert run(node, [0.25, 0.25, 1.75, -9, 1.0]) == ([0, 1, 3, 0, 0], [0.25, 0.0, 0.25, -0.75, 0.25])
    assert run(replace(node, reset="hard", v_reset=0.125), [0.25, 1.75, -9]) == ([0, 4, 0], [0.375, 0.125, -0.75])
    assert run(Lif("n", shape=(1,), v_min=-1.0, inv_tau=0.5), [-9, 0, 1]) == ([0, 0, 0], [-1, -0.5, 0.75])


def test_sum_pool() -> None:
    x = np.arange(2 * 5 * 7).reshape(1, 2, 5, 7)
    node = SumPool2d("p", kernel=(2, 3))
    out = step(node, x, {})[0]
    assert out.shape == (1, *node.output_shape((2, 5, 7))) == (1, 2, 2, 2)
    assert out[0, 0, 0, 0] == 0 + 1 + 2 + 7 + 8 + 9 and out[0, 1, 1, 1] == x[0, 1, 2:4, 3:6].sum()
    assert step(node, x / 2, {})[0][0, 0, 0, 0] == 13.5
    with pytest.raises(NeurodeployError, match="does not fit"):
        node.output_shape((2, 1, 7))


def test_a_merge_adds_what_its_sources_send() -> None:
    """Two pools of different size towards one convolution, and one layer that hears another twice."""
    one = np.array([[[[1]]]])
    nodes = (
        Input("in", shape=(1, 4, 4), kind="graded", max_value=9), Conv2d("a", weight=one, stride=(2, 2)),
        Iaf("n", shape=(1, 2, 2)), SumPool2d("p", kernel=(4, 4)), SumPool2d("q", kernel=(2, 2)), Conv2d("b", weight=2 * one),
        Iaf("m", shape=(1, 1, 1), v_th=3),
    )
    edges = (Edge("in", "a"), Edge("a", "n"), Edge("in", "p"), Edge("n", "q"), Edge("p", "b"), Edge("q", "b"), Edge("b", "m"))
    x = np.arange(16).reshape(1, 1, 1, 4, 4) % 10
    total = x.sum() + x[..., ::2, ::2].sum()
    assert evaluate(IntGraph(nodes, edges, 1), x)["m"].item() == 2 * total // 3


@settings(max_examples=60, deadline=None)
@given(iaf_graphs())
def test_files_come_back(graph: IntGraph) -> None:
    payload = to_bytes(graph)
    back = from_bytes(payload)
    assert same(graph, back) is None and to_bytes(back) == payload


def small(**fields: Any) -> IntGraph:
    nodes: tuple[Node, ...] = (
        Input("x", shape=(1, 2, 2), kind="graded", max_value=3), SumPool2d("p", kernel=(2, 1)),
        Conv2d("c", weight=np.array([[[[2, 4]]]])), Iaf("n", **{"shape": (1, 1, 1), "v_th": 4, **fields}),
    )
    return IntGraph(nodes, tuple(Edge(a.name, b.name, int(b.is_synapse)) for a, b in pairwise(nodes)), 2)


def test_old_graphs_keep_their_bytes_and_load() -> None:
    nodes = (Input("x", shape=(1,)), Linear("s", weight=np.eye(1)), Lif("n", shape=(1,)))
    graph = Graph(nodes, (Edge("x", "s"), Edge("s", "n")), 2)
    document, _ = archive.unpack(to_bytes(graph), "graph")
    entry = document["graph"]["nodes"][2]
    assert set(entry) == {
        "type", "name", "shape", "inv_tau", "decay_input", "v_th", "v_reset", "fire", "reset", "reset_interval", "reset_offset",
    }  # fmt: skip
    several = replace(graph, nodes=(*nodes[:2], replace(nodes[2], multi_spike=True, v_min=-1)))  # type: ignore[call-arg]
    back = from_bytes(to_bytes(several))
    assert same(several, back) is None and isinstance(back["n"].v_min, float) and back["n"].multi_spike  # type: ignore[attr-defined]
    assert "v_min" in (same(graph, several) or "") or "multi_spike" in (same(graph, several) or "")


@pytest.mark.parametrize(("node", "entries"), [
    ("n", {"v_th": 0}), ("n", {"v_th": 2**31}), ("n", {"v_th": 1.5}), ("n", {"v_th": None}), ("n", {"v_min": 1}),
    ("n", {"v_min": -(2**31)}), ("n", {"v_min": -0.5}), ("n", {"multi_spike": 1}), ("n", {"reset": "none"}),
    ("n", {"state_bits": 1}), ("n", {"state_bits": 33}), ("n", {"shape": [0, 1, 1]}), ("n", {"bias": 0}), ("n", {"bias": None}),
    ("n", {"i_decay": 0}), ("p", {"kernel": [0, 1]}), ("p", {"kernel": [2]}), ("p", {"kernel": [2, 3]}),
    ("p", {"kernel": [-1, 1]}), ("p", {"stride": [2, 2]}), ("c", {"stride": [0, 1]}), ("c", {"stride": [1, -1]}),
])
def test_senseless_files_are_refused(node: str, entries: dict[str, Any]) -> None:
    document, arrays = archive.unpack(to_bytes(small()), "graph")
    (entry,) = (e for e in document["graph"]["nodes"] if e["name"] == node)
    for name, value in entries.items():
        if isinstance(entry.get(name), dict):
            arrays.pop(entry[name]["array"])
        entry[name] = value
    with pytest.raises(UnsafeFile):
        from_bytes(archive.pack(document, arrays))


@pytest.mark.parametrize("node", [
    iaf(bias=np.zeros(2, dtype=np.int64)), iaf(bias=np.array([0.5])), iaf(v_init=np.array([2**31])),
    iaf(v_init=np.zeros((1, 1), dtype=np.int64)), Lif("n", shape=(1,), multi_spike=True, v_th=0),
    Lif("n", shape=(1,), multi_spike=True, fire=">"), Lif("n", shape=(1,), v_min=0.5), Lif("n", shape=(1,), v_min=-np.inf),
])
def test_senseless_values_are_refused(node: Node) -> None:
    with pytest.raises(NeurodeployError) as caught:
        check_node(node)
    assert caught.value.where == "n"


def test_two_chips_in_one_graph_are_refused() -> None:
    graph = small()
    other = CubaLif("u", shape=(1, 1, 1))
    with pytest.raises(NeurodeployError, match="an Iaf in one graph with u, a CubaLif") as caught:
        replace(graph, nodes=(*graph.nodes, other), edges=(*graph.edges, Edge("n", "u")))
    assert caught.value.where == "n"
    with pytest.raises(NeurodeployError, match="a synapse with a bias"):
        replace(graph, nodes=(*graph.nodes[:2], replace(graph["c"], bias=np.array([1])), graph["n"]))  # type: ignore[call-arg]


def test_real_values_and_integers_do_not_mix() -> None:
    with pytest.raises(NeurodeployError, match="received values of type float64"):
        step(iaf(), np.ones((1, 1)), initial_state(iaf(), 1))


def test_netx_has_no_such_neurons(tmp_path: Path) -> None:
    nodes = (Input("x", shape=(2,), kind="spikes"), Linear("s", weight=np.array([[2, 4]])), Iaf("n", shape=(1,)))
    graph = IntGraph(nodes, (Edge("x", "s", 1), Edge("s", "n")), 2)
    assert netx_reason(graph) == "n is an Iaf, the arithmetic of another chip; netx has no such neurons"
    assert netx_reason(small()) == "p is a SumPool2d; netx has no such layer"
    with pytest.raises(NeurodeployError, match="n is an Iaf, the arithmetic of another chip"):
        write_net(graph, tmp_path / "g.net")


def event_driven(neuron: Node) -> Graph:
    """The neuron behind a synapse, in integers or real numbers as it is."""
    weight = np.array([[2, 4]]) if isinstance(neuron, Iaf) else np.array([[0.5, 0.25]])
    nodes = (Input("x", shape=(2,), kind="graded", max_value=9), Linear("s", weight=weight), neuron)
    edges = (Edge("x", "s"), Edge("s", "n"))
    return IntGraph(nodes, edges, 2) if isinstance(neuron, Iaf) else Graph(nodes, edges, 2)


@pytest.mark.parametrize("neuron", [
    Iaf("n", (1,), v_th=5, v_min=-7), Iaf("n", (1,), v_th=5, reset="hard", multi_spike=False),
    Lif("n", (1,), reset="soft", v_min=-2.5, multi_spike=True), Lif("n", (1,), reset="soft"),
    Lif("n", (1,), v_min=-1.0), Lif("n", (1,), multi_spike=True),
], ids=["iaf", "iaf-hard", "lif", "soft", "floor", "several"])  # fmt: skip
def test_neurons_of_event_driven_chips_are_ifs_in_nir(neuron: Node, tmp_path: Path) -> None:
    """With reset, floor and several spikes in the metadata; any reader of NIR takes the file, ours gives the graph back."""
    graph = event_driven(neuron)
    write_nir(graph, tmp_path / "g.nir")
    assert same(graph, read_nir(tmp_path / "g.nir")) is None
    found = nir.read(tmp_path / "g.nir").nodes["n"]
    assert isinstance(found, nir.IF) and found.v_threshold == getattr(neuron, "v_th") and found.r == 1  # noqa: B009
    assert found.metadata["reset"] == getattr(neuron, "reset")  # noqa: B009
    floor = getattr(neuron, "v_min")  # noqa: B009
    assert found.metadata.get("v_min") == floor


@pytest.mark.parametrize(("neuron", "what"), [
    (Iaf("n", (1,), bias=np.array([1])), "a bias or a first state"),
    (Iaf("n", (1,), v_init=np.array([1])), "a bias or a first state"),
    (Lif("n", (1,), inv_tau=0.5, multi_spike=True), "a leak beside soft reset"),
], ids=["bias", "state", "leak"])  # fmt: skip
def test_what_nir_cannot_say_of_them(neuron: Node, what: str, tmp_path: Path) -> None:
    with pytest.raises(NeurodeployError, match=what) as caught:
        write_nir(event_driven(neuron), tmp_path / "g.nir")
    assert caught.value.where == "n" and caught.value.remedy and not list(tmp_path.iterdir())


def test_nir_holds_a_sum_pool(tmp_path: Path) -> None:
    nodes: tuple[Node, ...] = (
        Input("x", shape=(1, 5, 4)), SumPool2d("p", kernel=(2, 2)), Conv2d("c", weight=np.full((2, 1, 2, 2), 0.5)),
        Lif("n", shape=(2, 1, 1)), Flatten("f"), Linear("s", weight=np.eye(2)), Lif("o", shape=(2,)),
    )
    graph = Graph(nodes, tuple(Edge(a.name, b.name) for a, b in pairwise(nodes)), 3)
    write_nir(graph, tmp_path / "g.nir")
    assert same(graph, read_nir(tmp_path / "g.nir")) is None
