"""The float32 runs: equal to torch's own modules, to their definition, and stopping where they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from neurodeploy.early_exit.confidence import ConfidencePolicy, exit_steps
from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import CurrentLif, Input, Lif, Linear, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.ir.votes import predictions
from neurodeploy.lower.gpu import lower_to_gpu
from neurodeploy.models.convert import to_graph
from neurodeploy.models.from_graph import TorchGraph
from neurodeploy.models.record import record
from neurodeploy.sim.gpu_input import latency, n_steps, timed
from neurodeploy.sim.gpu_reference import run_reference
from neurodeploy.sim.gpu_run import GpuNetwork, run, run_until, votes_of
from neurodeploy.validate.gpu_compare import compare
from tests.event_nets import chain, residual
from tests.float_networks import float_networks, values, values_for
from tests.models.test_convert import ARCHS, trained
from tests.small_nets import int_chain

# What torch's training neurons refuse to combine, `Dynamics` says why.
UNCOMMON = ("multi_spike", "v_min", "reset_interval")


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_networks_equal_torchs_module(data: st.DataObject) -> None:
    graph = data.draw(float_networks(delays=False))
    assume(all(value is None or value is False for n in graph.nodes for value in (getattr(n, name, None) for name in UNCOMMON)))
    x = data.draw(values_for(graph))
    with torch.inference_mode():
        expected = TorchGraph(graph)(torch.from_numpy(x))
    found = run(graph, x, membranes=True)
    for node in graph.neurons:
        np.testing.assert_array_equal(found.spikes[node.name], expected[node.name].numpy(), err_msg=node.name)
    np.testing.assert_array_equal(found.votes, expected[graph.output.name].flatten(2).numpy())


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("fields", [{}, {"decay_input": False, "v_reset": -0.25, "v_th": 0.9}, {"reset": "soft"}], ids=str)
def test_a_trained_network_equals_its_module_in_float32(arch: Any, fields: dict[str, object]) -> None:
    net = trained(arch, **fields).float()
    graph = lower_to_gpu(to_graph(net))
    images = torch.rand(200, 1, 8, 9, generator=torch.Generator().manual_seed(4)) * 2
    x = np.broadcast_to(images.numpy(), (graph.n_timesteps, *images.shape))
    with torch.no_grad(), record(net) as recorded:
        votes = net(images)
    found = run(graph, x, membranes=True)
    expected = {n.name: recorded[n.name].numpy() for n in graph.neurons}
    # Batch norms are folded in float64 here and computed beside the convolution there: only spikes at the threshold differ.
    result = compare(graph, expected, found.spikes, found.membranes)
    assert result.divergence is None and result.agreed.mean() > 0.9
    assert all(0 < raster.sum() < raster.size for raster in expected.values())
    apart = np.abs(votes.numpy().cumsum(0) - found.votes.cumsum(0))[:, result.agreed]
    assert apart.max() < 1e-5
    slow = compare(graph, run_reference(graph, x).spikes, found.spikes, found.membranes)
    assert slow.divergence is None and slow.agreed.mean() > 0.9


def late() -> Graph:
    """A vote two steps behind its input, by ways of different length."""
    weight = np.random.default_rng(1).integers(-4, 9, (4, 6)) / 8
    nodes = (Input("in", (6,)), Linear("a", weight), Lif("n", (4,)), Linear("b", np.eye(4)), Lif("m", (4,), inv_tau=0.5),
             Vote("vote", 2, 2))  # fmt: skip
    edges = (Edge("in", "a"), Edge("a", "n"), Edge("n", "b", 2), Edge("b", "m"), Edge("a", "m"), Edge("m", "vote"))
    return Graph(nodes, edges, 5)


def test_own_delays_stay_and_lengthen_the_run() -> None:
    graph = late()
    assert lower_to_gpu(graph).edges == graph.edges
    assert (latency(graph), n_steps(graph)) == (2, 7)
    x = values(graph)
    trace = run(graph, x)
    assert trace.spikes["m"].shape == (7, 3, 4) and trace.votes.shape == (5, 3, 2)
    np.testing.assert_array_equal(timed(graph, x)[5:], 0)
    assert trace.spikes["m"][5:].any(), "what was delayed arrives after the input ended"


@pytest.mark.parametrize("graph", [late(), lower_to_gpu(residual())], ids=["late", "residual"])
@pytest.mark.parametrize("metric", ["confidence", "entropy"])
@pytest.mark.parametrize("logits", ["sum", "mean"])
def test_early_exit_stops_where_the_votes_say(graph: Graph, metric: Any, logits: Any) -> None:
    x = values(graph, batch=40)
    votes = run(graph, x).votes
    reached = ConfidencePolicy(1.0, 0.5, metric, logits).confidences(votes)[1]
    policy = ConfidencePolicy(float(np.median(reached)), 0.5, metric, logits)
    found = run_until(graph, x, policy)
    steps = exit_steps(votes, policy)
    np.testing.assert_array_equal(found.exit_steps, steps)
    assert len(set(steps.tolist())) > 1 and steps.min() < graph.n_timesteps
    np.testing.assert_array_equal(found.answers, predictions(votes)[steps - 1, np.arange(40)])
    alive = np.arange(1, graph.n_timesteps + 1)[:, None] <= steps
    np.testing.assert_array_equal(found.votes, votes * alive[:, :, None])
    ran = [40] * latency(graph) + alive.sum(axis=1).tolist()
    assert list(found.n_running) == [n for n in ran if n], "no timestep is computed for samples that have left"


def test_nobody_leaves_at_a_threshold_of_one() -> None:
    graph = late()
    found = run_until(graph, values(graph), ConfidencePolicy(1.0))
    assert found.exit_steps.tolist() == [5, 5, 5] and found.n_running == (3,) * 7


def test_batches_change_nothing() -> None:
    graph = lower_to_gpu(residual())
    x = values(graph, batch=7)
    np.testing.assert_array_equal(votes_of(graph, x, batch=3), run(graph, x).votes)


@pytest.mark.parametrize(
    ("x", "what"),
    [
        (np.zeros((5, 2, 7)), "has shape"), (np.zeros((4, 2, 6)), "has shape"), (np.zeros((5, 0, 6)), "has shape"),
        (np.full((5, 2, 6), np.nan), "no finite float32"), (np.full((5, 2, 6), 1e300), "no finite float32"),
    ],
)
def test_inputs_that_do_not_fit(x: Any, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        run(late(), x)
    assert caught.value.where == "in"


def test_neurons_that_hold_their_current_run_as_an_integrator_and_a_neuron() -> None:
    node = CurrentLif("n", (3,), inv_tau=0.5, inv_tau_syn=0.5, reset_interval=4, reset_offset=1)
    graph = chain(Input("in", (3,)), Linear("fc", np.eye(3) / 2), node, Vote("vote", 3, 1), T=9)
    x = values(graph)
    lowered = lower_to_gpu(graph)
    assert [type(n).__name__ for n in lowered.order] == ["Input", "Linear", "Li", "Lif", "Vote"]
    expected = evaluate(graph, x)["n"]
    assert expected.any()
    np.testing.assert_array_equal(run(lowered, x).spikes["n"], expected)


def test_integers_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="no float32 simulator") as caught:
        GpuNetwork(int_chain(), 2)
    assert caught.value.where == "fc.n"
    delayed = chain(Input("in", (3,)), Linear("fc", np.eye(3), delays=np.ones((3, 3), dtype=np.int64)))
    with pytest.raises(UsageError, match="no float32 simulator"):
        GpuNetwork(delayed, 2)
    assert isinstance(int_chain(), IntGraph)
