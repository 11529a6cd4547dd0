"""IntGraphs as event-driven cores: charge is conserved, whatever the order of the events, by the IR's own convolutions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, Flatten, Iaf, Input, Linear, MaxPool2d, Node, SumPool2d
from neurodeploy.ir.reference import step
from neurodeploy.sim import events, events_reference
from neurodeploy.sim.events_graph import from_graph
from neurodeploy.sim.events_stream import from_raster
from neurodeploy.sim.events_trace import EventTrace, first_difference

import speck_nets


def edges(*pairs: tuple[str, str]) -> tuple[Edge, ...]:
    return tuple(Edge(a, b) for a, b in pairs)


def without_floor(graph: IntGraph) -> IntGraph:
    """The same graph with nothing that loses charge: no floor but the state's, soft resets."""
    nodes = tuple(replace(n, v_min=None, reset="soft") if isinstance(n, Iaf) else n for n in graph.nodes)
    return replace(graph, nodes=nodes)


def check_charge(graph: IntGraph, trace: EventTrace, x: Array) -> None:
    """v = v_init + weights applied to all spikes that came - v_th times all spikes that went, in every layer."""
    counts = {graph.inputs[0].name: x.sum(axis=0)}
    counts |= {n: c.reshape(graph[n].shape) for n, c in trace.counts.items()}  # type: ignore[attr-defined]
    output: dict[str, Array] = {}
    for node in graph.order:
        arriving = sum(output[e.src] for e in graph.incoming(node.name))
        if node.name in counts:
            if isinstance(node, Iaf):
                wanted = node.v_init + arriving[0] - node.v_th * counts[node.name]
                np.testing.assert_array_equal(trace.v_mem[node.name].reshape(node.shape), wanted)
            output[node.name] = counts[node.name][np.newaxis]
        else:
            output[node.name] = step(node, np.asarray(arriving), {})[0]


@pytest.mark.parametrize("path", speck_nets.paths(), ids=lambda path: path.stem)
def test_recorded_networks_conserve_charge(path):
    case = speck_nets.load(path)
    graph = speck_nets.network(case, "int")
    lossless = without_floor(graph)
    network, states = from_graph(lossless)
    x = case.x[:, 0]
    trace = events.simulate(network, from_raster(x), v_init=states)
    assert not any(trace.n_saturations.values())
    check_charge(lossless, trace, x)
    if case.must_spike:
        assert all(trace.n_spikes.values())
    real, states = from_graph(graph)
    few = from_raster(x)[:30]
    for order in ("depth", "breadth"):
        slow = events_reference.simulate(real, few, order=order, v_init=states)
        assert first_difference(slow, events.simulate(real, few, order=order, v_init=states)) is None


def residual() -> IntGraph:
    """A 3x3 convolution beside a 1x1 one into the same neurons, a pool, a linear layer."""
    rng = np.random.default_rng(1)
    nodes: tuple[Node, ...] = (
        Input("x", (2, 5, 4), "spikes"), Conv2d("c0", rng.integers(-9, 20, (3, 2, 3, 3)), padding=(1, 1)),
        Iaf("n0", (3, 5, 4), 20), Conv2d("c1", rng.integers(-9, 20, (4, 3, 3, 3)), padding=(1, 1)),
        Conv2d("skip", rng.integers(0, 30, (4, 2, 1, 1))), Iaf("n1", (4, 5, 4), 30, bias=np.arange(4).reshape(4, 1, 1)),
        SumPool2d("p", (2, 2)), Flatten("f"), Linear("fc", rng.integers(-9, 20, (6, 16))),
        Iaf("n2", (6,), 40, v_init=np.full(6, 7)),
    )  # fmt: skip
    return IntGraph(nodes, edges(("x", "c0"), ("c0", "n0"), ("n0", "c1"), ("c1", "n1"), ("x", "skip"), ("skip", "n1"),
                                 ("n1", "p"), ("p", "f"), ("f", "fc"), ("fc", "n2")), 1)  # fmt: skip


def test_several_synapses_become_one_kernel():
    graph = residual()
    network, states = from_graph(graph)
    core = network["n1"]
    assert core.weight.shape == (4, 5, 3, 3) and core.bias is not None and core.bias.tolist() == [0, 1, 2, 3]
    assert [d.feature_shift for d in (*network["n0"].destinations, network.entry[1])] == [0, 3]
    assert network["n2"].weight.shape == (6, 4, 2, 2)
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, (30, 2, 5, 4))
    trace = events.simulate(network, from_raster(x), v_init=states)
    assert all(trace.n_spikes.values()) and trace.n_dropped["n1"]
    check_charge(graph, trace, x)


def changed(**by_name: dict[str, object]) -> IntGraph:
    graph = residual()
    return replace(graph, nodes=tuple(replace(n, **by_name.get(n.name, {})) for n in graph.nodes))  # type: ignore[arg-type]


def test_what_cores_cannot_do():
    graph = residual()
    x = graph.inputs[0]
    for bad, what in (
        (changed(x={"kind": "bias"}), "an input of kind bias"),
        (changed(c0={"dilation": (2, 2), "padding": (2, 2)}), "dilation"),
        (changed(c0={"sum_bits": 24}), "sum_bits 24"),
        (changed(fc={"weight_exp": 1}), "graded weights"),
        (changed(n0={"state_bits": 12}), r"states of \[12, 16\] bits"),
        (changed(n1={"bias": np.arange(4)}), "biases that differ"),
        (replace(graph, edges=(Edge("x", "c0", 1), *graph.edges[1:])), "a delay of 1"),
        (replace(graph, nodes=tuple(MaxPool2d("p", (2, 2)) if n.name == "p" else n for n in graph.nodes)), "MaxPool2d"),
        (IntGraph((x, Iaf("n", (2, 5, 4), 3)), edges(("x", "n")), 1), "x before neurons"),
        (IntGraph((x, graph["c0"], graph["c1"], replace(graph["n1"], bias=np.zeros(1, dtype=np.int64))),
                  edges(("x", "c0"), ("c0", "c1"), ("c1", "n1")), 1), "no neurons between"),
        (changed(c1={"stride": (2, 2), "padding": (3, 3)}), "strides"),
    ):  # fmt: skip
        with pytest.raises(NeurodeployError, match=what) as caught:
            from_graph(bad)
        assert caught.value.error_code in ("not_event_driven", "bad_graph")
