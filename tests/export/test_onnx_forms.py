"""The ONNX forms against our simulators and the definition, on networks whose arithmetic is exact: every bit must be equal."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.export.onnx_forms import (
    FORMS,
    STATES_KEY,
    prepared,
    scan_model,
    step_model,
    step_states,
    to_bytes,
    unrolled_model,
)
from neurodeploy.export.onnx_ops import op_counts
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import BatchNorm, Conv2d, Flatten, Iaf, Input, Li, Lif, Linear, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.sim.gpu_input import latency, n_steps, timed
from neurodeploy.sim.gpu_reference import run_reference
from neurodeploy.sim.gpu_run import GpuTrace, run
from neurodeploy.validate.gpu_onnx import run_form, session_of
from tests.event_nets import chain, residual
from tests.float_networks import float_networks, values, values_for
from tests.small_nets import int_chain

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def played(graph: Graph, form: str, x: Any) -> GpuTrace:
    payload = to_bytes(FORMS[form](graph))
    onnx.checker.check_model(payload, full_check=True)
    return run_form(form, session_of(payload), graph, timed(graph, x))


def assert_equal(graph: Graph, expected: GpuTrace, got: GpuTrace, what: str) -> None:
    assert set(expected.spikes) == set(got.spikes) == {n.name for n in graph.neurons}
    for name, raster in expected.spikes.items():
        np.testing.assert_array_equal(got.spikes[name], raster, err_msg=f"{what}: {name}")
    np.testing.assert_array_equal(got.votes, expected.votes, err_msg=what)


fired: list[int] = []


@SLOW
@given(st.data())
def check_every_form(data: st.DataObject) -> None:
    graph = prepared(data.draw(float_networks()))
    x = data.draw(values_for(graph))
    ours = run(graph, x)
    fired.append(int(sum(raster.sum() for raster in ours.spikes.values())))
    defined = evaluate(graph, timed(graph, x), n_steps(graph))  # in float64: equal where float32 rounds nothing
    spikes = {n.name: defined[n.name].astype(np.float32) for n in graph.neurons}
    votes = defined[graph.output.name][latency(graph):].astype(np.float32)
    expected = GpuTrace(spikes, {}, votes.reshape(*votes.shape[:2], -1))
    assert_equal(graph, expected, ours, "torch")
    assert_equal(graph, expected, run_reference(graph, x), "numpy")
    for form in FORMS:
        assert_equal(graph, expected, played(graph, form, x), form)


def test_every_form_of_random_networks_equals_the_definition() -> None:
    fired.clear()
    check_every_form()
    assert sum(n > 0 for n in fired) > len(fired) // 2 > 20, "silent networks prove nothing"


def small(**neuron: Any) -> Graph:
    node = Lif("n", (3, 4, 4), **neuron)
    weight = np.random.default_rng(0).integers(-4, 9, (3, 2, 3, 3)) / 8
    return chain(Input("in", (2, 4, 4)), Conv2d("c", weight, padding=(1, 1)), node, Flatten("f"),
                 Linear("l", np.ones((4, 48)) / 8), Lif("o", (4,)), Vote("vote", 2, 2))  # fmt: skip


@pytest.mark.parametrize(
    ("neuron", "n_ops"),
    [
        ({}, 4),  # add, compare, cast, where
        ({"reset": "soft"}, 4),  # add, compare, cast, sub
        ({"reset": "soft", "v_th": 0.5}, 5),  # and a product
        ({"inv_tau": 0.5}, 6),
        ({"inv_tau": 0.5, "decay_input": True}, 6),
        ({"inv_tau": 0.5, "v_reset": 0.25}, 7),
        ({"multi_spike": True, "reset": "soft"}, 4),  # add, floor, relu, sub
        ({"multi_spike": True, "reset": "soft", "v_min": -1.0}, 5),
        ({"fire": ">"}, 4),
    ],
)
def test_operators_of_each_layer(neuron: dict[str, Any], n_ops: int) -> None:
    counts = op_counts(step_model(small(**neuron)))
    assert counts == {"c": 1, "n": n_ops, "l": 1, "o": 4, "vote": 1}
    assert op_counts(step_model(small(**neuron)), shaping=True)["vote"] == 2


def test_a_sum_of_edges_counts_where_it_enters() -> None:
    assert op_counts(step_model(residual()))["n3"] == 1 + op_counts(step_model(residual()))["n2"]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_graph_gives_the_same_bytes(form: str) -> None:
    assert to_bytes(FORMS[form](residual())) == to_bytes(FORMS[form](residual()))


def test_states_are_described_in_the_file() -> None:
    graph = replace(small(v_reset=-0.5, inv_tau=0.5, reset_interval=2), edges=(*small().edges[:-1], Edge("o", "vote", 2)))
    model = step_model(graph)
    stored = json.loads({p.key: p.value for p in model.metadata_props}[STATES_KEY])
    assert stored == [s.to_dict() for s in step_states(prepared(graph))]
    assert {s["input"]: (s["shape"], s["initial"], s["dtype"]) for s in stored} == {
        "v_mem/n": ([3, 4, 4], -0.5, "float32"), "v_mem/o": ([4], 0.0, "float32"),
    }  # fmt: skip
    back = (Edge("o", "back", 3), Edge("back", "o"))
    loop = replace(graph, nodes=(*graph.nodes, Linear("back", np.eye(4))), edges=(*graph.edges, *back))
    stored = json.loads({p.key: p.value for p in step_model(loop).metadata_props}[STATES_KEY])
    assert {s["input"]: s["shape"] for s in stored} == {"v_mem/n": [3, 4, 4], "v_mem/o": [4], "past/o": [3, 4], "t": []}
    assert [s["dtype"] for s in stored] == ["float32", "float32", "float32", "int64"]


def test_a_pipeline_of_another_chip_is_taken_back() -> None:
    plain = small(inv_tau=0.5)
    late = replace(plain, edges=tuple(replace(e, delay=int(e.dst in ("c", "l"))) for e in plain.edges))
    x = values(plain)
    assert latency(prepared(late)) == 0
    assert to_bytes(unrolled_model(late)) == to_bytes(unrolled_model(plain))
    assert run(prepared(late), x).spikes["o"].any()


def test_scan_takes_any_number_of_timesteps() -> None:
    graph = small(inv_tau=0.5)
    session = session_of(to_bytes(scan_model(graph)))
    longer = replace(graph, n_timesteps=9)
    assert_equal(longer, run(longer, values(longer)), run_form("scan", session, longer, values(longer)), "scan")


def test_batch_norms_are_folded() -> None:
    norm = BatchNorm("bn", np.array([0.1, 0.2, 0.0]), np.ones(3), np.array([1.0, 2.0, 0.5]), np.zeros(3))
    graph = small()
    nodes = (*graph.nodes[:2], norm, *graph.nodes[2:])
    edges = tuple(Edge("bn", "n") if e == Edge("c", "n") else e for e in graph.edges)
    folded = replace(graph, nodes=nodes, edges=(*edges, Edge("c", "bn")))
    assert set(op_counts(step_model(folded))) == {"c", "n", "l", "o", "vote"}
    x = values(graph)
    found = played(prepared(folded), "unrolled", x)
    assert found.spikes["n"].any() and not np.array_equal(found.spikes["n"], run(prepared(graph), x).spikes["n"])


@pytest.mark.parametrize(
    ("graph", "where", "what"),
    [
        (chain(Input("in", (3,)), Linear("fc", np.eye(3), delays=np.ones((3, 3), dtype=np.int64))), "fc", "integers of a chip"),
        (chain(Input("in", (3,)), Linear("fc", np.eye(3)), Iaf("n", (3,))), "n", "integers of a chip"),
        (Graph((Input("in", (3,)), Lif("n", (3,)), Lif("m", (3,))), (Edge("n", "m"), Edge("in", "m")), 2), "n", "feeds it"),
        (chain(Input("in", (3,)), Linear("fc", np.eye(3) * 1e300), Lif("n", (3,))), "fc", "weight exceeds what float32 holds"),
        (chain(Input("in", (3,)), Lif("n", (3,), v_th=1e39)), "n", "v_th exceeds what float32 holds"),
        (int_chain(), "lower", "integers of a chip"),
        (Graph((Input("a", (3,)), Input("b", (3,)), Lif("n", (3,))), (Edge("a", "n"), Edge("b", "n")), 2), "a, b", "2 inputs"),
    ],
)
def test_what_has_no_form_is_refused_by_name(graph: Graph, where: str, what: str) -> None:
    for write in FORMS.values():
        with pytest.raises(UsageError, match=what) as caught:
            write(graph)
        assert caught.value.where == where


def test_a_form_that_would_be_too_long_to_load_is_not_written() -> None:
    with pytest.raises(UsageError, match="100000 timesteps of 11 operators"):
        unrolled_model(replace(small(), n_timesteps=100_000))


def test_two_outputs_are_refused() -> None:
    with pytest.raises(NeurodeployError, match="expected one output"):
        step_model(Graph((Input("in", (3,)), Lif("n", (3,)), Lif("m", (3,))), (Edge("in", "n"), Edge("in", "m")), 2))


def test_a_network_without_votes_gives_what_its_last_node_puts_out() -> None:
    graph = chain(Input("in", (3,)), Linear("fc", np.eye(3)), Li("out", (3,), inv_tau=0.5))
    assert [o.name for o in step_model(graph).graph.output] == ["votes", "next/v_mem/out"]
    x = values(graph)
    for form in FORMS:
        assert_equal(graph, run(graph, x), played(graph, form, x), form)
    spiking = chain(Input("in", (3,)), Linear("fc", np.eye(3)), Lif("out", (3,)))
    found = played(spiking, "step", values(spiking))
    np.testing.assert_array_equal(found.votes, found.spikes["out"])
    assert found.votes.any()
