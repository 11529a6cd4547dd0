"""Proxy figures by hand; effective operations by brute force."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.cost.proxies import constants, nonzero_fan_out, proxies
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.hw.profile import names
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, Input, Lif, Linear, MaxPool2d
from neurodeploy.place.layers import read_network

from small_nets import chain, conv, linear


def test_by_hand() -> None:
    """graded x (2) -> fc 2x3, one weight zero -> 3 neurons -> fc 3x1; T = 2."""
    first = Linear("a", weight=np.array([[1.0, 0.0], [2.0, 3.0], [4.0, 5.0]]))
    graph = chain(Input("x", shape=(2,), kind="graded", max_value=9), first, linear("b", 3, 1), n_timesteps=2)
    rates = {
        "x": np.array([[1.0, 0.5], [0.0, 0.5]]), "a.n": np.array([[0.5, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        "b.n": np.array([[0.0], [0.25]]),
    }
    found = proxies(graph, rates)
    assert found["dense_macs_per_timestep"] == 6 + 3 and found["dense_macs"] == 18
    assert found["effective_macs"] == 1.0 * 3 + 1.0 * 2  # x0 has 3 weights, x1 has 2 that are not zero
    assert found["effective_acs"] == 1.5  # 1.5 spikes, one synapse each
    assert found["membrane_updates"] == 8
    assert found["activation_sparsity"] == 1 - 1.75 / 8
    assert found["connection_sparsity"] == 1 / 9 and found["n_weights"] == 9
    assert found["n_dns_ops"] == 6.5 + 10 * 8
    assert found["spikes_per_synapse"] == 6.5 / 9
    assert found["energy_45nm_j"]["fp32"]["snn"] == pytest.approx((5 * 4.6 + 1.5 * 0.9) * 1e-12, rel=1e-12)  # float64 products
    assert found["energy_45nm_j"]["int8"]["dense_pass"] == pytest.approx(9 * 0.23e-12, rel=1e-12)
    assert "not an energy of the target" in found["note"]
    assert json.loads(json.dumps(found)) == found


def test_constants_have_sources_and_are_no_target() -> None:
    table = constants()
    assert {n: q.value for n, q in table.energy_45nm.items()} == {
        "mac_fp32": 4.6, "ac_fp32": 0.9, "mac_int8": 0.23, "ac_int8": 0.03,
    }
    assert all(q.source for q in table.energy_45nm.values()) and all(b.source for b in table.break_even.values())
    assert not any(name.startswith("_") for name in names())


def test_spikes_are_accumulated_and_padding_counts_as_dense() -> None:
    graph = chain(Input("x", shape=(1, 3, 3), kind="spikes"), conv("c", 1, 2, padding=(1, 1)), n_timesteps=1)
    found = proxies(graph, {"x": np.ones((1, 1, 3, 3)), "c.n": np.zeros((1, 2, 3, 3))})
    assert found["dense_macs"] == 2 * 9 * 9 and found["effective_macs"] == 0
    assert found["effective_acs"] == 2 * 49 and found["spikes_per_synapse"] == 1.0  # 4 + 6 + 4 + ... = 49 taps inside


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_nonzero_fan_out_equals_loops(data: st.DataObject) -> None:
    draw = lambda a, b: data.draw(st.integers(a, b))  # noqa: E731
    groups = draw(1, 2)
    weight = np.random.default_rng(draw(0, 99)).integers(0, 2, (groups * draw(1, 2), draw(1, 2), draw(1, 3), draw(1, 3))) * 1.0
    how = {n: (draw(a, 2), draw(a, 2)) for n, a in (("stride", 1), ("padding", 0), ("dilation", 1))}
    node = Conv2d("c", weight=weight, groups=groups, **how)
    (group,) = read_network(chain(Input("x", shape=(groups * weight.shape[1], 5, 6), kind="spikes"), node)).groups
    expected = np.zeros(group.source_map)
    for o, y, x in np.ndindex(group.target_map):
        for i, ky, kx in np.ndindex(weight.shape[1:]):
            sy = y * how["stride"][0] - how["padding"][0] + ky * how["dilation"][0]
            sx = x * how["stride"][1] - how["padding"][1] + kx * how["dilation"][1]
            if 0 <= sy < 5 and 0 <= sx < 6:
                expected[o // (weight.shape[0] // groups) * weight.shape[1] + i, sy, sx] += weight[o, i, ky, kx]
    assert (nonzero_fan_out(group) == expected).all()


def test_what_cannot_be_counted_is_refused() -> None:
    x = Input("x", shape=(1, 4, 4), kind="spikes")
    nodes = (x, MaxPool2d("p"), conv("c", 1, 1, 1), Lif("n", shape=(1, 2, 2)))
    pooled = Graph(nodes=nodes, edges=(Edge("x", "p"), Edge("p", "c", 1), Edge("c", "n")), n_timesteps=1)
    with pytest.raises(NeurodeployError, match="MaxPool2d"):
        proxies(pooled, {})
    with pytest.raises(UsageError, match="missing"):
        proxies(chain(x, conv("c", 1, 1)), {})
