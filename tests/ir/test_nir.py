from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nir import read_nir, to_nir, write_nir
from neurodeploy.ir.nodes import Conv2d, Flatten, Input, Lif, Linear, MaxPool2d, Node, Vote
from neurodeploy.ir.reference import conv2d, evaluate
from neurodeploy.ir.serialize import same
from numpy.typing import NDArray
from tests.ir.hand_graphs import chain, inputs, residual, wire


def real_graph(T: int = 7) -> Graph:
    """Lowered, real-valued: both kinds of leak, IF, grouped convolution, biases, unequal fire rules."""
    rng = np.random.default_rng(3)
    nodes: list[Node] = [
        Input("input", shape=(2, 5, 4), kind="graded", max_value=15, value_scale=15.0),
        Conv2d("a.conv", weight=rng.normal(size=(4, 2, 3, 3)) / 15, bias=rng.normal(size=4) * 0.3, padding=(1, 1)),
        Lif("a", shape=(4, 5, 4), inv_tau=0.3, decay_input=True, v_th=0.4, reset_interval=T, reset_offset=2),
        Conv2d("b.conv", weight=rng.normal(size=(6, 2, 2, 2)), bias=rng.normal(size=6) * 0.3, groups=2, stride=(2, 1)),
        Lif("b", shape=(6, 2, 3), inv_tau=0.7, v_th=0.5, v_reset=-0.1, fire=">", reset_interval=T, reset_offset=3),
        Flatten("flat"),
        Linear("fc", weight=rng.normal(size=(6, 36)), bias=rng.normal(size=6)),
        Lif("out", shape=(6,), v_th=0.9, reset_interval=T, reset_offset=4),
        Vote("vote", n_classes=2, group=3),
    ]
    return Graph(tuple(nodes), wire(nodes), T, {"data": {"name": "digits"}, "x": [1, 0.1]})


def host_graph() -> Graph:
    """The first convolution on the host, its result as biases."""
    graph = real_graph()
    source, conv = graph.nodes[:2]
    host = Graph((replace(source, kind="analog"), conv), (Edge("input", "a.conv"),), 1)  # type: ignore[call-arg]
    nodes = (Input("input", shape=(4, 5, 4), kind="bias", max_value=9, value_scale=2.0), *graph.nodes[2:])
    return Graph(nodes, wire(list(nodes)), graph.n_timesteps, host=host)


def real_inputs(graph: Graph) -> NDArray[np.float64]:
    return np.random.default_rng(1).integers(0, 16, size=(graph.n_timesteps, 3, *graph.inputs[0].shape)).astype(float)


@pytest.mark.parametrize("make", [real_graph, host_graph])
def test_real_graphs_come_back_equal(make: Callable[[], Graph], tmp_path: Path) -> None:
    graph = make()
    write_nir(graph, tmp_path / "g.nir")
    back = read_nir(tmp_path / "g.nir")
    assert same(graph, back) is None
    mine, theirs = evaluate(graph, real_inputs(graph)), evaluate(back, real_inputs(graph))
    for neuron in graph.neurons:
        np.testing.assert_array_equal(mine[neuron.name], theirs[neuron.name])
        assert 0 < mine[neuron.name].mean() < 1, neuron.name


@pytest.mark.parametrize("graph", [chain("spikes"), chain("graded"), residual("bias")], ids=["chain", "graded", "residual"])
def test_integer_graphs_come_back_equal(graph: IntGraph, tmp_path: Path) -> None:
    write_nir(graph, tmp_path / "g.nir")
    back = read_nir(tmp_path / "g.nir")
    assert isinstance(back, IntGraph)
    assert same(graph, back) is None
    x = inputs(graph)
    mine, theirs = evaluate(graph, x), evaluate(back, x)
    for neuron in graph.neurons:
        np.testing.assert_array_equal(mine[neuron.name], theirs[neuron.name])
        assert mine[neuron.name].any(), neuron.name


def test_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.nir", "b.nir"):
        write_nir(real_graph(), tmp_path / name)
    assert (tmp_path / "a.nir").read_bytes() == (tmp_path / "b.nir").read_bytes()


@pytest.mark.parametrize("graph", [real_graph(), host_graph(), residual()], ids=["real", "host", "residual"])
def test_any_reader_of_nir_can_load_the_file(graph: Graph, tmp_path: Path) -> None:
    write_nir(graph, tmp_path / "g.nir")
    loaded = nir.read(tmp_path / "g.nir")  # with its type check
    assert {type(n).__name__ for n in loaded.nodes.values()} >= {"Input", "Conv2d", "LIF", "Flatten", "Output"}
    assert loaded.metadata["time"].startswith("dt = 1 timestep")


def euler(graph: nir.NIRGraph, x: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """NIR's own equations with dt = 1 on x [T, *shape], written from NIR's documentation, not from ours."""
    order: list[str] = []
    while len(order) < len(graph.nodes):
        order += [n for n in graph.nodes if n not in order and all(a in order for a, b in graph.edges if b == n)]
    v: dict[str, Any] = {n: graph.nodes[n].v_reset.copy() for n in order if hasattr(graph.nodes[n], "v_reset")}
    current: dict[str, Any] = {n: np.zeros_like(v[n]) for n in v}
    seen: dict[str, list[Any]] = {n: [] for n in order}
    for frame in x:
        out: dict[str, Any] = {}
        for name in order:
            node = graph.nodes[name]
            a = sum(out[s] for s, d in graph.edges if d == name)
            if isinstance(node, nir.Input):
                a = frame
            elif isinstance(node, nir.Conv2d):
                pairs = [tuple(int(i) for i in p) for p in (node.stride, node.padding, node.dilation)]
                a = conv2d(a[np.newaxis], node.weight, *pairs, 1)[0] + node.bias[:, None, None]
            elif isinstance(node, nir.Linear | nir.Affine):
                a = node.weight @ a + getattr(node, "bias", 0.0)
            elif isinstance(node, nir.Flatten):
                a = a.reshape(-1)
            elif isinstance(node, nir.Scale):
                a = a * node.scale
            elif isinstance(node, nir.IF | nir.LIF | nir.CubaLIF):
                if isinstance(node, nir.CubaLIF):
                    current[name] = current[name] + (-current[name] + node.w_in * a) / node.tau_syn
                    v[name] = v[name] + ((node.v_leak - v[name]) + node.r * current[name]) / node.tau_mem
                elif isinstance(node, nir.LIF):
                    v[name] = v[name] + ((node.v_leak - v[name]) + node.r * a) / node.tau
                else:
                    v[name] = v[name] + node.r * a
                a = v[name] >= node.v_threshold if node.metadata["fire"] == ">=" else v[name] > node.v_threshold
                v[name] = np.where(a, node.v_reset, v[name])
                a = a.astype(float)
            out[name] = a
        for name in order:
            seen[name].append(out[name])
    return {name: np.stack(values) for name, values in seen.items()}


def test_nir_s_own_equations_give_our_spikes(tmp_path: Path) -> None:
    graph = real_graph()
    x = real_inputs(graph)
    write_nir(graph, tmp_path / "g.nir")
    ours = evaluate(graph, x)
    for sample in range(x.shape[1]):
        theirs = euler(nir.read(tmp_path / "g.nir"), x[:, sample])
        for neuron in graph.neurons:
            d = graph.latencies[neuron.name]
            wanted = ours[neuron.name][d : d + graph.n_timesteps, sample]
            np.testing.assert_array_equal(wanted, theirs[neuron.name], err_msg=neuron.name)
            assert wanted.any()


def test_nir_s_own_equations_give_the_spikes_of_an_integer_graph(tmp_path: Path) -> None:
    """Exact where the chip's rounding cannot act: decays that are powers of two on few timesteps, IF, and OR."""
    graph = residual("spikes", T=3)
    x = inputs(graph)
    write_nir(graph, tmp_path / "g.nir")
    ours = evaluate(graph, x)
    theirs = euler(nir.read(tmp_path / "g.nir"), x[:, 0].astype(float))
    for name in ("a", "a.relay1", "b"):
        d = graph.latencies[name]
        np.testing.assert_array_equal(ours[name][d : d + 3, 0], theirs[name])
        assert theirs[name].any()


BAD: list[tuple[str, Node, str]] = [
    ("pool", MaxPool2d("x"), "a MaxPool2d"),
    ("soft", Lif("x", shape=(2, 4, 4), inv_tau=0.5, reset="soft"), "a leak beside soft reset"),
    ("deaf", Lif("x", shape=(2, 4, 4), decay_input=True), "ignores its input"),
]


@pytest.mark.parametrize(("node", "what"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_what_nir_lacks_is_named(node: Node, what: str) -> None:
    nodes: list[Node] = [Input("input", shape=(2, 4, 4)), node]
    with pytest.raises(NeurodeployError, match=what) as caught:
        to_nir(Graph(tuple(nodes), wire(nodes), 1))
    assert caught.value.where == "x"
    assert caught.value.remedy


def test_unbalanced_paths_get_delays(tmp_path: Path) -> None:
    graph = residual()
    edges = tuple(replace(e, src="a") if (e.src, e.dst) == ("a.relay1", "c.identity") else e for e in graph.edges)
    kept = tuple(n for n in graph.nodes if not n.name.startswith("a.relay1"))
    edges = tuple(e for e in edges if "a.relay1" not in e.src + e.dst)
    uneven = IntGraph(kept, edges, graph.n_timesteps)
    assert not uneven.is_balanced
    write_nir(uneven, tmp_path / "g.nir")
    loaded = nir.read(tmp_path / "g.nir")
    assert sum(isinstance(n, nir.Delay) for n in loaded.nodes.values()) == sum(e.delay > 0 for e in uneven.edges)
    assert same(uneven, read_nir(tmp_path / "g.nir")) is None


def test_changed_and_foreign_files_are_refused(tmp_path: Path) -> None:
    write_nir(real_graph(), tmp_path / "g.nir")
    good = (tmp_path / "g.nir").read_bytes()
    for what, key, at in (("weight", "node/nodes/fc/weight", (0, 0)), ("tau", "node/nodes/a/tau", (0, 0, 0))):
        path = tmp_path / f"{what}.nir"
        path.write_bytes(good)
        with h5py.File(path, "a") as file:
            file[key][at] += 1.0
        if what == "weight":  # a weight is the value itself: nothing else in the file could disagree with it
            assert read_nir(path)["fc"].weight[0, 0] == real_graph()["fc"].weight[0, 0] + 1  # type: ignore[attr-defined]
        else:
            with pytest.raises(UnsafeFile, match=r"a\.tau"):
                read_nir(path)
    (tmp_path / "cut.nir").write_bytes(good[:1000])
    with pytest.raises(UnsafeFile, match="not a readable HDF5 file"):
        read_nir(tmp_path / "cut.nir")
    other = nir.NIRGraph.from_list(nir.Affine(weight=np.ones((2, 3)), bias=np.ones(2)))
    nir.write(tmp_path / "other.nir", other)
    with pytest.raises(UnsafeFile, match="was not written by neurodeploy"):
        read_nir(tmp_path / "other.nir")
    with pytest.raises(UsageError, match="no such file"):
        read_nir(tmp_path / "none.nir")
