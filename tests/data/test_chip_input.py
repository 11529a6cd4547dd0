"""What of an image enters a graph, for every kind of input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from neurodeploy.data.chip_input import chip_input
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Input, Lif
from neurodeploy.ir.reference import check_input

X = np.array([0.0, 0.5, 1.0, 0.34, 1 / 3, 0.9], dtype=np.float32).reshape(3, 1, 1, 2)


def graph(kind: Any, top: int, scale: float, *, integer: bool, host: Graph | None = None, **metadata: Any) -> Graph:
    entry = Input("x", (1, 1, 2), kind=kind, max_value=top, value_scale=scale)
    edges = (Edge("x", "n"),)
    if integer:
        return IntGraph((entry, CubaLif("n", shape=(1, 1, 2))), edges, 3, metadata, host)
    return Graph((entry, Lif("n", shape=(1, 1, 2))), edges, 3, metadata, host)


def test_analog_values_are_held_for_all_timesteps() -> None:
    found = chip_input(graph("analog", 1, 1.0, integer=False), X)
    assert found.dtype == np.float64 and found.shape == (3, 3, 1, 1, 2)
    assert all(np.array_equal(step, X.astype(np.float64)) for step in found)


@pytest.mark.parametrize("integer", [True, False])
def test_graded_messages_are_rounded_and_saturated(integer: bool) -> None:
    net = graph("graded", 10, 10.0, integer=integer)
    found = chip_input(net, X)
    assert found[0].ravel().tolist() == [0, 5, 10, 3, 3, 9] and found.shape[0] == 3
    assert found.dtype == (np.int64 if integer else np.float64)
    assert chip_input(graph("graded", 7, 10.0, integer=integer), X)[2].max() == 7
    assert chip_input(net, X - 1).min() == 0
    check_input(net, found)


@pytest.mark.parametrize("integer", [True, False])
def test_spikes_are_rate_coded(integer: bool) -> None:
    net = graph("spikes", 1, 1.0, integer=integer)
    found = chip_input(net, X)
    assert found.sum(axis=0).ravel().tolist() == [0, 1, 3, 1, 1, 2]  # floor(3 x), in float64 of the float32 third
    assert set(np.unique(found)) == {0, 1} and found.dtype == (np.int64 if integer else np.float64)
    check_input(net, found)
    analog = graph("analog", 1, 1.0, integer=False, encoding="rate")
    assert np.array_equal(chip_input(analog, X), found)


def test_the_host_computes_biases_which_only_the_chip_rounds() -> None:
    conv = Conv2d("c", weight=np.full((1, 1, 1, 1), -2.0), bias=np.array([1.0]))
    host = Graph((Input("x", (1, 1, 2)), conv), (Edge("x", "c"),), 1)
    real = chip_input(graph("bias", 1, 1.0, integer=False, host=host), X)
    np.testing.assert_allclose(real[1].ravel(), 1 - 2 * X.astype(np.float64).ravel())
    net = graph("bias", 60, 100.0, integer=True, host=host)
    found = chip_input(net, X)
    assert found.dtype == np.int64
    assert found[2].ravel().tolist() == [60, 0, -60, 32, 33, -60]
    check_input(net, found)
    assert np.array_equal(chip_input(replace(net, n_timesteps=1), X)[0], found[0])
