"""Our QCFS against what the authors' released code computed (numbers only): activation, gradients, neurons."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Input, Lif, Node, Qcfs
from neurodeploy.ir.reference import evaluate
from neurodeploy.models.from_graph import TorchGraph
from neurodeploy.models.qcfs import Qcfs as QcfsLayer

import oracles

AREA = "seeds"
KINDS = {
    "clipfloor": re.compile(r"clipfloor/up(?P<up>[\d.]+)_L(?P<levels>\d+)/out"),
    "ifneuron": re.compile(r"ifneuron/up(?P<up>[\d.]+)/out_T(?P<steps>\d+)"),
    "ifneuron_tv": re.compile(r"ifneuron_tv/out_scale(?P<up>[\d.]+)"),
    "tcl": re.compile(r"tcl/out_up(?P<up>[\d.]+)"),
}


def cases(kind: str) -> list[Any]:
    """(file, key, its numbers) of every output of a kind."""
    return [
        pytest.param(path, key, match.groupdict(), id=f"{path.stem}-{key}")
        for path in sorted(oracles.folder(AREA).glob("qcfs*.npz"))
        for key in oracles.npz(path) if (match := KINDS[kind].fullmatch(key))
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_fixtures_are_there(kind: str) -> None:
    oracles.require(cases(kind), f"qcfs*.npz, {kind}", AREA)


@pytest.mark.parametrize(("path", "key", "numbers"), cases("clipfloor"))
def test_the_activation_and_its_gradients_equal_the_release(path: Any, key: str, numbers: dict[str, str]) -> None:
    data = oracles.npz(path)
    x = torch.tensor(data["x"], requires_grad=True)
    layer = QcfsLayer(int(numbers["levels"]), float(numbers["up"]))
    y = layer(x)
    y.sum().backward()
    assert data[key].any() and x.grad is not None and layer.up.grad is not None
    assert np.array_equal(y.detach().numpy(), data[key])
    assert np.array_equal(x.grad.numpy(), data[key.removesuffix("out") + "grad_x"])
    # a float32 sum of some hundred terms, in an order of torch's own
    np.testing.assert_allclose(layer.up.grad.numpy(), data[key.removesuffix("out") + "grad_up"], rtol=1e-5)


@pytest.mark.parametrize(("path", "key", "numbers"), cases("clipfloor"))
def test_the_node_in_numpy_equals_the_release(path: Any, key: str, numbers: dict[str, str]) -> None:
    data = oracles.npz(path)
    up, levels = float(numbers["up"]), int(numbers["levels"])
    found = evaluate(row(Qcfs("q", up, levels), len(data["x"])), data["x"][np.newaxis, np.newaxis])
    exact = data["x"].astype(np.float64) / up * levels + 0.5
    near = np.abs(exact - np.round(exact)) < 1e-5  # of a floor: the release rounds to float32
    assert near.mean() < 0.2
    np.testing.assert_allclose(found["q"][0, 0][~near], data[key][~near], rtol=1e-6)


def row(node: Node, n: int, n_timesteps: int = 1) -> Graph:
    return Graph((Input("in", (n,)), node), (Edge("in", node.name),), n_timesteps)


def spikes(x: np.ndarray, up: float) -> np.ndarray:
    """What `lower.ann` makes of an activation with lam `up`, on currents x [T, n]: [T, n] spikes times lam, in float32."""
    neuron = Lif("n", x.shape[1:], v_th=1.0, v_reset=0.5, fire=">", reset="soft")
    with torch.inference_mode():
        found = TorchGraph(row(neuron, x.shape[1], len(x)))((torch.tensor(x) / up)[:, None])["n"][:, 0]
    return np.asarray((found * up).numpy())


@pytest.mark.parametrize(("path", "key", "numbers"), cases("ifneuron"))
def test_neurons_under_a_constant_current_equal_the_release(path: Any, key: str, numbers: dict[str, str]) -> None:
    data, up, steps = oracles.npz(path), float(numbers["up"]), int(numbers["steps"])
    found = spikes(np.repeat(data["x"][np.newaxis], steps, axis=0), up)
    assert found.any() and np.array_equal(found, data[key])
    with torch.inference_mode():
        wanted = QcfsLayer(steps, up)(torch.tensor(data["x"])).numpy()
    exact = data["x"].astype(np.float64) / up * steps + 0.5
    tie = np.abs(exact - np.round(exact)) < 1e-5  # the neurons fire above the threshold, the floor counts reaching it
    assert tie.mean() < 0.2
    np.testing.assert_allclose(found.mean(axis=0)[~tie], wanted[~tie], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("path", "key", "numbers"), cases("ifneuron_tv"))
def test_neurons_under_a_changing_current_equal_the_release(path: Any, key: str, numbers: dict[str, str]) -> None:
    data = oracles.npz(path)
    found = spikes(data["ifneuron_tv/x"], float(numbers["up"]))
    assert found.any() and np.array_equal(found, data[key])


@pytest.mark.parametrize(("path", "key", "numbers"), cases("tcl"))
def test_the_clipping_layer_equals_the_release(path: Any, key: str, numbers: dict[str, str]) -> None:
    data, up = oracles.npz(path), float(numbers["up"])
    with torch.inference_mode():
        found = QcfsLayer(None, up)(torch.tensor(data["x"])).numpy()
    assert (found == up).any()
    np.testing.assert_allclose(found, data[key], rtol=0, atol=1e-6)  # the release subtracts from lam twice, in float32
    node = evaluate(row(Qcfs("q", up), len(data["x"])), data["x"][np.newaxis, np.newaxis])["q"][0, 0]
    np.testing.assert_allclose(node, data[key], rtol=0, atol=1e-6)
