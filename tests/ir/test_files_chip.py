"""Files of networks with everything a chip's nodes can have: equal after the way there and back, refused where senseless."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import NeurodeployError, UnsafeFile
from neurodeploy.ir import archive
from neurodeploy.ir.checks import check_node
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nir import read_nir, to_nir, write_nir
from neurodeploy.ir.nodes import Conv2d, CubaLif, Delta, Flatten, Input, Linear, Node, Sigma, SigmaDelta
from neurodeploy.ir.reference import evaluate
from neurodeploy.ir.serialize import from_bytes, same, to_bytes
from neurodeploy.resources import folder

import oracles
from loihi_networks import translate

RECORDED = [
    pytest.param(path, id=path.stem) for path in sorted((oracles.GOLDEN / "loihi").glob("*.npz"))
    if "layers" in json.loads(str(oracles.npz(path).get("meta", "{}")))
]


def network(path: Path) -> IntGraph:
    arrays = oracles.npz(path)
    return translate(json.loads(str(arrays["meta"])), arrays)[0]


def everything() -> IntGraph:
    """One of each node, each later field away from its default."""
    one = np.ones((1, 1), dtype=np.int64)
    nodes: tuple[Node, ...] = (
        Input("x", shape=(1, 1, 1), kind="graded", max_value=5, signed=True),
        Conv2d("c", weight=np.ones((1, 1, 1, 1), dtype=np.int64), binary=True, sum_bits=24),
        CubaLif("n", shape=(1, 1, 1), i_decay=np.array([[[3]]]), v_decay=np.array([4]), v_th=np.array([5]),
                bias_exp=np.array([-2]), i_init=np.array([7]), v_init=np.array([-8])),
        Flatten("f"), Linear("s", weight=one, binary=True, weight_exp=-3, delays=one * 62),
        Delta("d", (1,), np.array([1]), 2, 3), Linear("t", weight=one),
        SigmaDelta("e", (1,), 4, 5, 6, np.array([-7]), "unit"), Linear("u", weight=one), Sigma("o", (1,)),
    )
    edges = tuple(Edge(a.name, b.name, int(b.is_synapse)) for a, b in pairwise(nodes))
    return IntGraph(nodes, edges, 3)


def test_one_of_each_comes_back() -> None:
    graph = everything()
    back = from_bytes(to_bytes(graph))
    assert same(graph, back) is None
    for mine, other in zip(graph.nodes, back.nodes, strict=True):
        assert [type(getattr(mine, f.name)) for f in fields(mine)] == [type(getattr(other, f.name)) for f in fields(other)]
    assert to_bytes(back) == to_bytes(graph)


@pytest.mark.parametrize("path", RECORDED)
def test_recorded_networks_come_back(path: Path) -> None:
    graph = network(path)
    assert same(graph, from_bytes(to_bytes(graph))) is None


def test_a_difference_in_any_field_is_seen() -> None:
    graph = everything()
    for name, change in (
        ("x", {"signed": False}), ("c", {"binary": False}), ("c", {"sum_bits": None}), ("n", {"v_th": 5}),
        ("n", {"v_init": np.array([-7])}), ("s", {"weight_exp": -2}), ("s", {"delays": None}), ("e", {"activation": "relu"}),
    ):
        other = replace(graph, nodes=tuple(replace(n, **change) if n.name == name else n for n in graph.nodes))  # type: ignore[arg-type]
        assert f"{name}.{next(iter(change))}" in (same(graph, other) or "")
        assert to_bytes(other) != to_bytes(graph)


def test_files_of_before_load_and_keep_their_bytes() -> None:
    payload = (folder("exports") / "digits-loihi2" / "graph.npz").read_bytes()
    document, _ = archive.unpack(payload, "graph")
    entries = {e["type"]: e for e in document["graph"]["nodes"]}
    assert "i_init" not in entries["CubaLif"] and "binary" not in entries["Conv2d"] and "signed" not in entries["Input"]
    graph = from_bytes(payload)
    assert to_bytes(graph) == payload
    neuron = next(n for n in graph.nodes if isinstance(n, CubaLif))
    assert neuron.i_init.tolist() == neuron.v_init.tolist() == [0]


def changed(node: str, **entries: Any) -> bytes:
    document, arrays = archive.unpack(to_bytes(everything()), "graph")
    (entry,) = (e for e in document["graph"]["nodes"] if e["name"] == node)
    for name, value in entries.items():
        old = entry.pop(name, None)
        if isinstance(old, dict):
            arrays.pop(old["array"])
        if isinstance(value, np.ndarray):
            arrays["mine"] = value
            value = {"array": "mine", "dtype": value.dtype.str, "shape": list(value.shape)}
        if value is not ...:
            entry[name] = value
    return archive.pack(document, arrays)


@pytest.mark.parametrize(("node", "entries"), [
    ("n", {"i_decay": 4097}), ("n", {"i_decay": np.array([4097])}), ("n", {"v_decay": np.array([0.5])}), ("n", {"v_th": 2**31}),
    ("n", {"v_th": np.array([1, 2])}), ("n", {"v_th": None}), ("n", {"v_th": "5"}), ("n", {"v_th": 1.5}), ("n", {"v_th": ...}),
    ("n", {"bias_exp": 32}), ("n", {"bias_exp": np.array([-32])}), ("n", {"i_init": np.array([2**40])}),
    ("n", {"i_init": np.array([1.0])}), ("n", {"i_init": 3}), ("n", {"v_init": np.zeros((2, 1, 1), dtype=np.int64)}),
    ("c", {"binary": 1}), ("c", {"sum_bits": 1}), ("c", {"sum_bits": 33}), ("c", {"weight": np.ones((1, 1, 1, 1))}),
    ("s", {"weight_exp": 32}), ("s", {"weight_exp": 1.0}), ("s", {"delays": np.array([[-1]])}),
    ("s", {"delays": np.array([[2**40]])}), ("s", {"delays": np.array([1])}),
    ("s", {"delays": np.array([[1.0]])}), ("s", {"delays": 1}), ("x", {"signed": 1}),
    ("d", {"spike_exp": -1}), ("d", {"state_exp": 16}), ("d", {"v_th": np.array([1, 2])}), ("d", {"v_th": -(2**31)}),
    ("e", {"activation": "tanh"}), ("e", {"activation": None}), ("e", {"bias_mant": np.array([2**35])}), ("o", {"shape": [0]}),
    ("o", {"v_th": 1}),
])
def test_senseless_files_are_refused(node: str, entries: dict[str, Any]) -> None:
    with pytest.raises(UnsafeFile):
        from_bytes(changed(node, **entries))


def test_real_weights_have_no_integer_fields() -> None:
    for node in (Linear("s", weight=np.eye(2), weight_exp=1), Conv2d("s", weight=np.ones((1, 1, 1, 1)), sum_bits=24)):
        with pytest.raises(NeurodeployError, match="integers with weights of type float64"):
            check_node(node)


def spiking(**neuron: Any) -> IntGraph:
    nodes: tuple[Node, ...] = (
        Input("x", shape=(3,), kind="spikes"), Linear("s", weight=np.array([[64, -32, 8]] * 2), weight_exp=-2, binary=True),
        CubaLif("n", **({"shape": (2,), "v_decay": np.array([1024, 2048]), "v_th": np.array([10, 20])} | neuron)),
    )
    return IntGraph(nodes, (Edge("x", "s", 1), Edge("s", "n")), 4)


@pytest.mark.parametrize("neuron", [
    {}, {"i_decay": np.array([4096, 2048])}, {"v_decay": np.zeros(1, dtype=np.int64), "v_th": 3},
    {"bias_mant": np.array([5, -3]), "bias_exp": np.array([6, 3])},
], ids=["leaks", "currents", "no leak", "exponents"])
def test_nir_holds_constants_by_neuron(neuron: dict[str, Any], tmp_path: Path) -> None:
    graph = spiking(**neuron)
    write_nir(graph, tmp_path / "g.nir")
    back = read_nir(tmp_path / "g.nir")
    assert same(graph, back) is None
    x = np.random.default_rng(0).integers(0, 2, size=(4, 2, 3))
    assert np.array_equal(evaluate(graph, x)["n"], evaluate(back, x)["n"])
    assert to_nir(graph).nodes["s"].weight.tolist() == [[16, -8, 2]] * 2
    assert to_nir(graph).nodes["n"].v_threshold.tolist() == (np.broadcast_to(graph["n"].v_th, 2) * 64).tolist()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("graph", "where", "what"), [
    (spiking(v_init=np.array([1])), "n", "before the first timestep"),
    (spiking(v_decay=np.array([0, 5])), "n", "with and without leak"),
    (spiking(v_decay=0, i_decay=np.array([4096, 0])), "n", "memory"),
    (spiking(i_decay=np.array([4096, 0])), "n", "never decays"),
    (everything(), "c", "any value for one spike"),
])
def test_what_nir_cannot_hold_is_named(graph: IntGraph, where: str, what: str) -> None:
    with pytest.raises(NeurodeployError, match=what) as caught:
        to_nir(graph)
    assert caught.value.where == where and caught.value.remedy


def test_nir_has_no_delays_in_synapses_and_no_sigma_delta() -> None:
    x = Input("x", shape=(1,), kind="graded", max_value=5)
    one = np.ones((1, 1), dtype=np.int64)
    delayed = Linear("y", weight=one, delays=one)
    for node, what in ((delayed, "delays inside"), (Delta("y", (1,)), "a Delta"), (Sigma("y", (1,)), "a Sigma")):
        with pytest.raises(NeurodeployError, match=what) as caught:
            to_nir(IntGraph((x, node), (Edge("x", "y"),), 1))
        assert caught.value.where == "y"
