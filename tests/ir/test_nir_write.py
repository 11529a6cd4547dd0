"""What we write for integrators, currents, delays and loops: NIR's equations, and others reading it, give our spikes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nir import read_nir, to_nir, write_nir
from neurodeploy.ir.nir_foreign import NirOptions
from neurodeploy.ir.nodes import Flatten, Input, Li, Lif, Linear, Node, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.ir.serialize import same
from tests.ir.nir_euler import euler

T = 10
TEXT = NirOptions(fire=">", reset="hard", v_min="none", multi_spike=False, n_timesteps=T)


def linear(rng: np.random.Generator, name: str, n_out: int, n_in: int) -> Linear:
    return Linear(name, weight=rng.normal(0.3, 0.6, (n_out, n_in)), bias=rng.normal(0, 0.1, n_out))


def neuron(name: str, n: int = 5, **fields: Any) -> Lif:
    return Lif(name, (n,), **{"inv_tau": 0.3, "fire": ">", **fields})


def chain(*nodes: Node) -> Graph:
    return Graph(nodes, tuple(Edge(a.name, b.name) for a, b in pairwise(nodes)), T)


def integrating() -> Graph:
    """A current, an Li with a value for each neuron, an integrator in the middle, an LI at the end."""
    rng = np.random.default_rng(4)
    return chain(
        Input("x", (3,)), linear(rng, "w0", 5, 3), Li("n0.current", (5,), inv_tau=0.25, gain=1.5), neuron("n0"),
        linear(rng, "w1", 5, 5), Li("l1", (5,), inv_tau=rng.uniform(0.2, 0.6, 5), gain=rng.uniform(0.5, 1, 5), v_leak=0.1),
        neuron("n1", inv_tau=0.5, decay_input=True, v_reset=-0.1), linear(rng, "w2", 5, 5), Li("i2", (5,), gain=0.1),
        neuron("n2", inv_tau=0.0, v_th=2.0), linear(rng, "w3", 4, 5), Li("l3", (4,), inv_tau=0.2),
        Vote("vote", n_classes=2, group=2),
    )  # fmt: skip


def recurrent() -> Graph:
    """A loop of one timestep, one of three, and a path that arrives late."""
    rng = np.random.default_rng(5)
    nodes = (Input("x", (3,)), linear(rng, "w0", 5, 3), neuron("n0"), linear(rng, "r0", 5, 5), linear(rng, "w1", 5, 5),
             Li("n1.current", (5,), inv_tau=0.4), neuron("n1"), linear(rng, "r1", 5, 5), linear(rng, "w2", 2, 5),
             linear(rng, "late", 2, 5), neuron("n2", 2))  # fmt: skip
    edges = (Edge("x", "w0"), Edge("w0", "n0"), Edge("n0", "r0", 1), Edge("r0", "n0"), Edge("n0", "w1"),
             Edge("w1", "n1.current"), Edge("n1.current", "n1"),
             Edge("n1", "r1", 3), Edge("r1", "n1.current"), Edge("n1", "w2"), Edge("w2", "n2"),
             Edge("n0", "late", 2), Edge("late", "n2"))  # fmt: skip
    return Graph(nodes, edges, T)


def inputs(graph: Graph) -> Any:
    return np.random.default_rng(6).poisson(0.8, (T, 2, *graph.inputs[0].shape)).astype(float)


@pytest.mark.parametrize("dt", [1.0, 1e-4, 0.5])
@pytest.mark.parametrize("make", [integrating, recurrent])
def test_they_come_back_equal(make: Any, dt: float, tmp_path: Path) -> None:
    graph = make()
    write_nir(graph, tmp_path / "g.nir", dt)
    back = read_nir(tmp_path / "g.nir")
    assert same(graph, back) is None
    mine, theirs = evaluate(graph, inputs(graph)), evaluate(back, inputs(graph))
    for node in graph.nodes:
        np.testing.assert_array_equal(mine[node.name], theirs[node.name])
        assert not node.is_neuron or 0 < mine[node.name].mean() < 1, node.name


@pytest.mark.parametrize("dt", [1.0, 1e-4])
@pytest.mark.parametrize(("make", "last"), [(integrating, []), (recurrent, [("n0", "r0")])])
def test_nir_s_equations_give_our_spikes(make: Any, last: Any, dt: float, tmp_path: Path) -> None:
    graph = make()
    write_nir(graph, tmp_path / "g.nir", dt)
    loaded = nir.read(tmp_path / "g.nir")
    assert isinstance(loaded.nodes["n0"], nir.LIF | nir.CubaLIF) and isinstance(loaded.nodes["n1"], nir.LIF | nir.CubaLIF)
    kinds = {type(n) for n in loaded.nodes.values()}
    assert kinds >= ({nir.CubaLIF, nir.LI, nir.I} if make is integrating else {nir.CubaLIF, nir.Delay})
    x = inputs(graph)
    ours = evaluate(graph, x)
    order = _order(loaded, last)
    theirs = euler({n: loaded.nodes[n] for n in order}, loaded.edges, x[:, 0], dt, last=last)
    for node in graph.nodes:
        if node.is_neuron:
            np.testing.assert_array_equal(ours[node.name][:, 0], theirs[node.name], err_msg=node.name)
            assert theirs[node.name].any()


def _order(loaded: nir.NIRGraph, last: list[tuple[str, str]]) -> list[str]:
    """Names, sources first; a Delay needs only what was put out before."""
    order: list[str] = []
    free = set(last) | {(a, b) for a, b in loaded.edges if isinstance(loaded.nodes[b], nir.Delay)}
    while len(order) < len(loaded.nodes):
        order += [n for n in loaded.nodes if n not in order and all(
            a in order for a, b in loaded.edges if b == n and (a, b) not in free)]  # fmt: skip
    return order


@pytest.mark.parametrize("make", [integrating, recurrent])
def test_a_stranger_s_reader_takes_the_nodes_for_the_same_network(make: Any, tmp_path: Path) -> None:
    """Our own reading of others' files, which knows nothing of the structure in the metadata."""
    graph = make()
    write_nir(graph, tmp_path / "g.nir", 1e-4)
    with h5py.File(tmp_path / "g.nir", "a") as file:
        del file["node/metadata"]
    back = read_nir(tmp_path / "g.nir", replace(TEXT, dt=1e-4))
    mine, theirs = evaluate(graph, inputs(graph)), evaluate(back, inputs(graph))
    for node in graph.nodes:
        if node.is_neuron:
            np.testing.assert_array_equal(mine[node.name], theirs[node.name], err_msg=node.name)
            assert mine[node.name].any()


def test_the_timestep_is_part_of_the_file(tmp_path: Path) -> None:
    write_nir(integrating(), tmp_path / "g.nir", 1e-4)
    loaded = nir.read(tmp_path / "g.nir")
    assert float(loaded.metadata["dt"]) == 1e-4 and "dt = 0.0001" in loaded.metadata["time"]
    assert loaded.nodes["n1"].tau[0] == 2e-4
    for value in (2e-4, float("nan"), -1.0):
        with h5py.File(tmp_path / "g.nir", "a") as file:
            del file["node/metadata/dt"]
            file["node/metadata/dt"] = value
        with pytest.raises(UnsafeFile, match=r"timestep in its metadata|disagree"):
            read_nir(tmp_path / "g.nir")
    with pytest.raises(UsageError, match="a timestep of 0"):
        write_nir(integrating(), tmp_path / "g.nir", 0.0)


@pytest.mark.parametrize(
    ("node", "what"),
    [(Li("l", (2,), v_leak=0.5), "without leak that starts"),
     (Li("l", (2,), inv_tau=np.array([0.0, 0.5])), "with and without leak")],
)  # fmt: skip
def test_what_nir_lacks_is_named(node: Li, what: str) -> None:
    with pytest.raises(NeurodeployError, match=what) as caught:
        to_nir(chain(Input("x", (2,)), node))
    assert caught.value.where == "l"


def test_a_current_that_others_read_stays_an_integrator(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    nodes = (Input("x", (3,)), linear(rng, "w", 5, 3), Li("c", (5,), inv_tau=0.5), neuron("a"), neuron("b"), Flatten("f"))
    edges = (Edge("x", "w"), Edge("w", "c"), Edge("c", "a"), Edge("c", "b"), Edge("a", "f"), Edge("b", "f"))
    graph = Graph(nodes, edges, T)
    write_nir(graph, tmp_path / "g.nir")
    loaded = nir.read(tmp_path / "g.nir")
    assert isinstance(loaded.nodes["c"], nir.LI) and isinstance(loaded.nodes["a"], nir.LIF)
    assert same(graph, read_nir(tmp_path / "g.nir")) is None
