"""Work on a GPU from shapes: worked by hand, and its kernels equal to the operators of the exported ONNX forms."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from neurodeploy.cost.gpu_work import LayerWork, work_of
from neurodeploy.export.onnx_forms import prepared, step_model, unrolled_model
from neurodeploy.export.onnx_ops import op_counts
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, Flatten, Input, Li, Lif, Linear, MaxPool2d, Node, Qcfs, Relu, SumPool2d, Vote

from random_graphs import float_graphs, int_graphs


def kernels(work: tuple[LayerWork, ...]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for entry in work:
        found[entry.name] += entry.n_kernels
    return dict(found)


def row(*nodes: Node, n_timesteps: int = 3) -> Graph:
    return Graph(nodes, tuple(Edge(a.name, b.name) for a, b in pairwise(nodes)), n_timesteps)


def test_a_convolution_by_hand() -> None:
    """8 channels of 6 x 6 from 4 of 8 x 8 by 3 x 3 kernels in two groups: each output has 2 x 9 weights."""
    conv = Conv2d("c", weight=np.zeros((8, 2, 3, 3)), bias=np.zeros(8), groups=2)
    (work,) = work_of(row(Input("x", shape=(4, 8, 8)), conv))
    assert work == LayerWork(
        "c", "synapse", 1, n_ops=2 * 288 * 18, n_read=256, n_written=288, n_macs=288 * 18, n_weights=144 + 8
    )


def test_a_network_by_hand() -> None:
    """Flatten costs nothing; a decaying Lif is Sub, Mul, Add, GreaterOrEqual, Cast, Where; the vote a mean."""
    graph = row(
        Input("x", shape=(1, 4, 4)), MaxPool2d("p"), Flatten("f"), Linear("l", weight=np.zeros((6, 4))),
        Lif("n", shape=(6,), inv_tau=0.5, decay_input=True), Vote("v", n_classes=3, group=2),
    )
    work = work_of(graph)
    assert kernels(work) == {"p": 1, "l": 1, "n": 6, "v": 1}
    neuron = next(w for w in work if w.name == "n")
    assert (neuron.n_state, neuron.each_step, neuron.n_once, neuron.n_ops) == (6, True, 2, 36)
    assert sum(w.n_macs for w in work) == 24 and not any(w.each_step for w in work if w.name != "n")


LIFS: list[dict[str, Any]] = [
    {}, {"inv_tau": 0.5}, {"inv_tau": 0.5, "v_reset": 0.25}, {"inv_tau": 0.5, "decay_input": True},
    {"inv_tau": 0.5, "decay_input": True, "v_reset": -0.5}, {"reset": "soft"}, {"reset": "soft", "v_th": 0.5},
    {"multi_spike": True, "reset": "soft"}, {"multi_spike": True, "reset": "soft", "v_th": 0.5, "v_min": -1.0},
    {"multi_spike": True, "v_th": 0.5}, {"fire": ">", "v_min": -1.0}, {"reset_interval": 2, "reset_offset": 1},
]


@pytest.mark.parametrize("fields", LIFS)
def test_kernels_of_a_neuron_are_the_operators_of_its_step_form(fields: dict[str, Any]) -> None:
    graph = row(Input("x", shape=(4,)), Linear("l", weight=np.ones((3, 4))), Lif("n", shape=(3,), **fields))
    assert kernels(work_of(graph)) == op_counts(step_model(graph))


@pytest.mark.parametrize("node", [
    Li("n", shape=(3,)), Li("n", shape=(3,), inv_tau=0.5), Li("n", shape=(3,), inv_tau=0.5, gain=2.0, v_leak=0.25), Relu("n"),
    Qcfs("n", 2.0, 4), Qcfs("n", 2.0),
])
def test_kernels_of_an_integrator_and_of_activations(node: Node) -> None:
    graph = row(Input("x", shape=(4,)), Linear("l", weight=np.ones((3, 4))), node, Lif("m", shape=(3,)))
    assert kernels(work_of(graph)) == op_counts(step_model(graph))


def joined() -> Graph:
    """A sum of two ways, a pool of sums, a loop with delays of one and two timesteps."""
    conv = Conv2d("c", weight=np.ones((2, 1, 3, 3)), padding=(1, 1))
    nodes = (
        Input("x", shape=(1, 4, 4)), conv, replace(conv, name="d"), Lif("n", shape=(2, 4, 4)), SumPool2d("p"), Flatten("f"),
        Linear("l", weight=np.ones((4, 8))), Linear("r", weight=np.ones((4, 4))), Lif("m", shape=(4,)), Vote("v", n_classes=4),
    )
    ways = ("xc", "xd", "cn", "dn", "np", "pf", "fl", "lm", "rm", "mv")
    return Graph(nodes, (*(Edge(a, b) for a, b in ways), Edge("m", "r", 1), Edge("f", "l", 2)), 3)


def test_sums_delays_and_loops_cost_what_the_step_form_has() -> None:
    graph = joined()
    work = work_of(graph)
    assert kernels(work) == op_counts(step_model(graph))
    assert all(w.each_step for w in work), "in a loop everything goes step after step"


@given(graph=float_graphs())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_kernels_of_random_networks_are_the_operators_of_both_forms(graph: Graph) -> None:
    graph = replace(graph, host=None)
    ready = prepared(graph)
    work = work_of(ready)
    assert kernels(work) == op_counts(step_model(graph))
    if ready.is_acyclic and not any(e.delay for e in ready.edges):
        unrolled = sum(
            w.n_kernels * (ready.n_timesteps if w.each_step else 1) + w.n_once for w in work if w.kind != "delay"
        )
        restarts = sum(4 * ready.n_timesteps for n in ready.neurons if getattr(n, "reset_interval", None) is not None)
        assert unrolled - restarts == sum(op_counts(unrolled_model(graph)).values())


@given(graph=int_graphs())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_integer_network_has_work_too(graph: Graph) -> None:
    work = work_of(graph)
    assert {n.name for n in graph.neurons} <= {w.name for w in work} and all(w.n_kernels > 0 for w in work)
    assert not any(w.kind == "delay" for w in work), "a chip's delays are none of a GPU's"
