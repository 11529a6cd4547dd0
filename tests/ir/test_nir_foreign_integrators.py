"""Integrators, currents with memory, parameters per neuron and odd pools of other tools' NIR, against NIR's equations."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from neurodeploy.errors import NeurodeployWarning
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, Li, Lif, Linear, Vote
from neurodeploy.ir.reference import evaluate
from numpy.typing import NDArray
from tests.ir.nir_euler import Edges, euler
from tests.ir.test_nir_foreign import conv, neurons
from tests.ir.test_nir_foreign_equations import ONE, TEXT, fc, lif, net, read

RNG = np.random.default_rng(12)
START = RNG.bit_generator.state
STEPS = replace(TEXT, dt=1.0)
T = 12


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    RNG.bit_generator.state = START


def per(n: int, low: float, high: float) -> NDArray[np.float64]:
    return RNG.uniform(low, high, n)


def cuba(n: int, **changes: Any) -> nir.CubaLIF:
    one = np.ones(n)
    return nir.CubaLIF(**{"tau_syn": one * 3, "tau_mem": one * 4, "r": one * 4, "v_leak": one * 0, "v_threshold": one,
                          "v_reset": one * 0, "w_in": one * 3, **changes})  # fmt: skip


def integrator(n: int) -> nir.LI:
    return nir.LI(tau=per(n, 2, 6), r=per(n, 0.5, 3), v_leak=per(n, -0.5, 0.5))


def run(graph: Graph, x: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """[T, *shape] of one sample."""
    return {n: v[:, 0] for n, v in evaluate(graph, x[:, np.newaxis], len(x)).items()}


def agree(tmp_path: Path, nodes: dict[str, Any], edges: Edges | None = None, last: Edges | None = None) -> Graph:
    """Spikes equal to Euler's, states within rounding; every layer of neurons fires, and rests."""
    x = RNG.poisson(1.0, (T, *nodes["input"].input_type["input"])).astype(float)
    order = list(pairwise(nodes)) if edges is None else edges
    wanted, graph = euler(nodes, order, x, 1.0, last=last), read(tmp_path, nodes, edges, STEPS)
    found = run(graph, x)
    for node in graph.nodes:
        if isinstance(node, Lif):
            np.testing.assert_array_equal(found[node.name], wanted[node.name], err_msg=node.name)
            assert 0 < found[node.name].mean() < 1, node.name
        elif isinstance(node, Li) and node.name in wanted:
            np.testing.assert_allclose(found[node.name], wanted[node.name], rtol=1e-12, atol=1e-12)  # sums in another order
    return graph


@pytest.mark.parametrize(
    ("node", "x", "wanted"),
    [
        # i = i/2 + x: 1, 0.75, 0.375; v = v/2 + i: 1 (not above), 1.25 fires, 0.375: the current is not reset
        (cuba(1, **{name: np.array([2.0]) for name in ("tau_syn", "tau_mem", "r", "w_in")}), [1, 0.25, 0], [0, 1, 0]),
        # i = i/2 + x/2: 0.5, 0.25; v = v/2 + i/2 + 0.75 with v_leak 1.5: 1, 0.5 + 0.125 + 0.75 = 1.375 fires, 0.0625 + 0.75
        (cuba(1, tau_syn=np.array([2.0]), tau_mem=np.array([2.0]), r=np.array([1.0]), w_in=np.array([1.0]),
              v_leak=np.array([1.5])), [1, 0, 0], [0, 1, 0]),
    ],
)  # fmt: skip
def test_a_current_with_memory_by_hand(node: nir.CubaLIF, x: list[float], wanted: list[float], tmp_path: Path) -> None:
    nodes = net(1, ("fc", ONE), ("n", node))
    graph = read(tmp_path, nodes, options=STEPS)
    current, neuron = graph["n.current"], graph["n"]
    assert isinstance(current, Li) and isinstance(neuron, Lif) and (current.inv_tau, neuron.inv_tau) == (0.5, 0.5)
    assert Edge("fc", "n.current") in graph.edges and Edge("n.current", "n") in graph.edges
    assert run(graph, np.array(x)[:, np.newaxis])["n"].reshape(-1).tolist() == wanted
    assert euler(nodes, list(pairwise(nodes)), np.array(x)[:, np.newaxis], 1.0)["n"].reshape(-1).tolist() == wanted


def test_integrators_against_euler(tmp_path: Path) -> None:
    """LI, I and CubaLI in the middle, on maps, and at the end; all parameters differ between neurons."""
    maps = {"input": nir.Input(np.array([2, 4, 4])), "c": conv(RNG.normal(0.3, 0.5, (3, 2, 3, 3)), (4, 4)),
            "li": nir.LI(*(RNG.uniform(*b, (3, 4, 4)) for b in ((2, 5), (0.5, 2), (0, 0.2)))), "n0": lif(3, 4, 4, r=3.0),
            "flat": nir.Flatten(None, 0, -1), "fc": nir.Linear(RNG.normal(0.02, 0.15, (6, 48))), "i": nir.I(per(6, 0.1, 0.4)),
            "n1": lif(6, tau=5.0, r=2.0), "fc2": fc(4, 6),
            "out": nir.CubaLI(per(4, 2, 4), per(4, 2, 4), per(4, 1, 2), per(4, 0, 1)),
            "output": nir.Output(np.array([4]))}  # fmt: skip
    graph = agree(tmp_path, maps)
    assert [n.name for n in graph.nodes if isinstance(n, Li)] == ["li", "i", "out.current", "out"]
    assert graph.output.name == "out"
    voting = read(tmp_path, maps, options=replace(STEPS, n_classes=2))
    assert isinstance(voting.output, Vote) and voting.incoming(voting.output.name)[0].src == "out"


def test_currents_and_thresholds_per_neuron_against_euler(tmp_path: Path) -> None:
    agree(tmp_path, net(
        4, ("fc", fc(6, 4, bias=True)),
        ("n0", cuba(6, tau_syn=per(6, 2, 4), w_in=per(6, 1, 4), r=per(6, 2, 4), v_leak=per(6, -0.2, 0.3),
                    v_threshold=per(6, 0.5, 1.5), v_reset=per(6, -0.3, 0.2))),
        ("fc1", fc(6, 6, bias=True)),
        ("n1", nir.LIF(tau=np.full(6, 3.0), r=per(6, 2, 4), v_leak=per(6, -0.2, 0.4), v_threshold=per(6, 0.5, 1.5),
                       v_reset=per(6, -0.3, 0.2))),
        ("fc2", fc(6, 6)), ("n2", nir.IF(per(6, 0.5, 1.5), per(6, 0.5, 1.5), per(6, -0.3, 0.2))),
        ("fc3", fc(4, 6)), ("n3", nir.Threshold(per(4, 0.2, 0.6))), out=4,
    ))  # fmt: skip


def test_thresholds_per_channel_go_into_the_weights(tmp_path: Path) -> None:
    v_th = np.broadcast_to(np.array([0.5, 1.0, 2.0])[:, None, None], (3, 6, 6))
    weight = RNG.normal(0.2, 0.4, (3, 2, 3, 3))
    graph = agree(tmp_path, {
        "input": nir.Input(np.array([2, 6, 6])), "c": conv(weight, (6, 6)),
        "n": nir.IF(np.ones((3, 6, 6)), v_th), "output": nir.Output(np.array([3, 6, 6])),
    })  # fmt: skip
    c, n = graph["c"], graph["n"]
    assert isinstance(c, Conv2d) and isinstance(n, Lif) and n.v_th == 1
    np.testing.assert_array_equal(c.weight, weight / np.array([0.5, 1, 2]).reshape(3, 1, 1, 1))


def test_a_loop_of_neurons_with_currents(tmp_path: Path) -> None:
    """As snntorch writes RSynaptic."""
    nodes = net(3, ("fc", fc(4, 3)), ("w", nir.Linear(RNG.normal(0, 0.6, (4, 4)))), ("n1", cuba(4)), ("fc2", fc(2, 4)),
                ("n2", lif(2, r=2.0)), out=2)  # fmt: skip
    edges = [("input", "fc"), ("fc", "n1"), ("n1", "w"), ("w", "n1"), ("n1", "fc2"), ("fc2", "n2"), ("n2", "output")]
    graph = agree(tmp_path, nodes, edges, [("n1", "w")])
    assert Edge("n1", "w", 1) in graph.edges and Edge("w", "n1.current") in graph.edges


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((3, 3), (2, 2), (0, 0)), ((3, 2), (1, 2), (1, 1)), ((2, 2), (2, 2), (1, 1))]
)
@pytest.mark.parametrize("kind", [nir.AvgPool2d, nir.SumPool2d])
def test_pools_that_overlap_or_have_a_border(kind: Any, kernel: Any, stride: Any, padding: Any, tmp_path: Path) -> None:
    pool = kind(*(np.array(v) for v in (kernel, stride, padding)))
    nodes = {"input": nir.Input(np.array([2, 7, 6])), "s": nir.Scale(np.full((2, 7, 6), 0.5)), "p": pool,
             "output": nir.Output(np.array([1]))}  # fmt: skip
    x = RNG.integers(0, 5, (3, 2, 7, 6)).astype(float)
    graph = read(tmp_path, nodes)
    assert isinstance(graph.output, Conv2d) and graph.output.groups == 2
    wanted = torch.nn.functional.avg_pool2d(torch.from_numpy(x), kernel, stride, padding) / 2
    wanted = wanted * (1 if kind is nir.AvgPool2d else kernel[0] * kernel[1])
    np.testing.assert_allclose(run(graph, x)["p"], wanted.numpy(), rtol=1e-12)  # thirds are rounded
    assert wanted.any()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")  # torch, about its own speed
@pytest.mark.parametrize("kernel", [(3, 3), (2, 2), (4, 3), (1, 2)])
def test_same_padding_as_torch_has_it(kernel: tuple[int, int], tmp_path: Path) -> None:
    weight = RNG.integers(-3, 4, (2, 2, *kernel)).astype(np.float32)
    nodes = {"input": nir.Input(np.array([2, 5, 6])), "c": conv(weight, padding="same"), "output": nir.Output(np.ones(1))}
    x = RNG.integers(0, 5, (2, 2, 5, 6)).astype(float)
    wanted = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight).double(), padding="same")
    np.testing.assert_array_equal(run(read(tmp_path, nodes), x)["c"], wanted.numpy())


def test_a_factor_without_weights_gets_its_own(tmp_path: Path) -> None:
    """An average pool between neurons, r of neurons that neurons feed, v_leak without weights, and a Scale at the end."""
    two = np.array([2, 2])
    x = RNG.poisson(1.0, (T, 2, 4, 4)).astype(float)
    nodes = {"input": nir.Input(np.array([2, 4, 4])), "n0": lif(2, 4, 4, r=2.0),
             "p": nir.AvgPool2d(two, two, np.zeros(2, int)), "n1": neurons(2, 2, 2, r=0.9),
             "flat": nir.Flatten(None, 0, -1),
             "n2": lif(8, tau=4.0, r=3.0, leak=0.4), "s": nir.Scale(per(8, 1, 2)),
             "output": nir.Output(np.array([8]))}  # fmt: skip
    graph, wanted = agree(tmp_path, nodes), euler(nodes, list(pairwise(nodes)), x, 1.0)
    assert {"p.factor", "flat.factor", "output.factor"} <= set(graph.by_name) and isinstance(graph["output.factor"], Linear)
    np.testing.assert_allclose(run(graph, x)["output.factor"], wanted["s"], rtol=1e-12)  # a product of two roundings
    assert graph["flat.factor"].bias is not None  # type: ignore[attr-defined]


def test_weights_that_others_read_keep_their_values(tmp_path: Path) -> None:
    nodes = net(3, ("fc", fc(4, 3)), ("n1", lif(4, r=2.0)), ("n2", lif(4, r=3.0)), ("fc2", fc(2, 4)),
                ("n3", lif(2, r=2.0)), out=2)  # fmt: skip
    edges = [("input", "fc"), ("fc", "n1"), ("fc", "n2"), ("n1", "fc2"), ("n2", "fc2"), ("fc2", "n3"), ("n3", "output")]
    graph = agree(tmp_path, nodes, edges)
    assert graph.incoming("n2")[0].src == "n2.factor" and graph.incoming("n1")[0].src == "fc"


def test_what_slashes_and_doubles_in_a_file_mean(tmp_path: Path) -> None:
    nodes = {"input": nir.Input(np.array([2])), "enc/fc": fc(3, 2), "enc/lif": lif(3), "output": nir.Output(np.array([3]))}
    edges = list(pairwise(nodes))
    with pytest.warns(NeurodeployWarning, match=r"enc: part of the names enc\.fc, enc\.lif; input -> enc\.fc: one edge, there"):
        graph = read(tmp_path, nodes, [*edges, edges[0]], STEPS)
    assert [n.name for n in graph.nodes] == ["input", "enc.fc", "enc.lif"] and len(graph.edges) == 2


def test_one_value_for_a_layer_is_said(tmp_path: Path) -> None:
    nodes = {"input": nir.Input(np.array([2, 4, 4])), "c": conv(np.ones((3, 2, 3, 3))), "n": neurons(1),
             "output": nir.Output(np.array([3, 4, 4]))}  # fmt: skip
    with pytest.warns(NeurodeployWarning, match=r"read as: n: one value for all of \(3, 4, 4\)\. Nothing"):
        assert read(tmp_path, nodes)["n"].shape == (3, 4, 4)  # type: ignore[attr-defined]
