"""The leaky integrator: by hand, in torch, in a file, and as the current of a neuron."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.errors import NeurodeployError
from neurodeploy.ir import checks, serialize
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Input, Li, Lif, Linear, Node, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.models.from_graph import TorchGraph
from tests.ir.hand_graphs import wire


def graph_of(*nodes: Node, T: int = 4) -> Graph:
    return Graph(nodes, wire(list(nodes)), T)


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        # 0 + 2, 2 - 1 + 0, 1 - 0.5 + 4, 4.5 - 2.25 - 2
        (Li("l", (1,), inv_tau=0.5), [2, 1, 4.5, 0.25]),
        (Li("l", (1,)), [2, 2, 6, 4]),  # no leak: the sum
        (Li("l", (1,), inv_tau=0.5, gain=0.5), [1, 0.5, 2.25, 0.125]),
        # rests at 1: 1 + 2, 3 - 1, 2 - 0.5 + 4, 5.5 - 2.25 - 2
        (Li("l", (1,), inv_tau=0.5, v_leak=1.0), [3, 2, 5.5, 1.25]),
        (Li("l", (1,), inv_tau=1.0), [2, 0, 4, -2]),  # forgets everything: passes on
        (Li("l", (1,), reset_interval=2, reset_offset=0), [2, 0, 4, -2]),  # anew before steps 1 and 3
    ],
)  # fmt: skip
def test_by_hand(node: Li, wanted: list[float]) -> None:
    graph = graph_of(Input("x", (1,)), node)
    x = np.array([2.0, 0, 4, -2]).reshape(4, 1, 1)
    assert evaluate(graph, x)["l"].reshape(-1).tolist() == wanted


def network(seed: int = 0) -> Graph:
    rng = np.random.default_rng(seed)
    per = rng.uniform(0.1, 0.9, (3, 5))
    return graph_of(
        Input("x", (4,)), Linear("w", weight=rng.integers(-8, 16, (5, 4)) / 16), Li("n.current", (5,), inv_tau=0.3),
        Lif("n", (5,), inv_tau=0.2, v_th=0.8, fire=">"), Linear("u", weight=rng.integers(-8, 12, (5, 5)) / 16),
        Li("out", (5,), inv_tau=per[0], gain=per[1], v_leak=per[2]), Vote("vote", n_classes=5), T=9,
    )  # fmt: skip


def test_torch_computes_the_same() -> None:
    graph = network()
    x = np.random.default_rng(1).integers(-1, 3, (9, 3, 4)).astype(float)  # sums are exact in any order
    wanted = evaluate(graph, x)
    with torch.no_grad():
        found = TorchGraph(graph, torch.float64)(torch.from_numpy(x))
    assert wanted["n"].any() and wanted["n"].mean() < 1
    for name in ("n.current", "n", "out", "vote"):  # one order of operations, in float64 both
        late = graph.latencies[name]  # the synapses' timesteps, which torch leaves out
        np.testing.assert_array_equal(found[name].numpy(), wanted[name][late : late + 9])


def test_a_file_holds_it() -> None:
    graph = network()
    back = serialize.from_bytes(serialize.to_bytes(graph))
    assert serialize.same(graph, back) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"inv_tau": 1.5}, "inv_tau spans 1.5"), ({"inv_tau": np.array([-0.1, 0.5])}, "inv_tau spans -0.1"),
        ({"gain": np.ones(3)}, r"gain of shape \(3,\) does not broadcast"), ({"v_leak": float("nan")}, "v_leak is nan"),
        ({"gain": np.ones(2, dtype=int)}, "expected real numbers"), ({"reset_interval": 0}, "reset_interval is 0"),
    ],
)  # fmt: skip
def test_senseless_values_are_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(NeurodeployError, match=text):
        checks.check_node(replace(Li("l", (2,)), **changes))


def test_integers_and_other_shapes_are_refused() -> None:
    with pytest.raises(NeurodeployError, match=r"integrates shape \(2,\)"):
        graph_of(Input("x", (3,)), Li("l", (2,)))
