"""When samples may follow each other without a gap, and what an assumed rate gives where they may not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from neurodeploy.cost.assumed import expected_at, uniform_rates
from neurodeploy.cost.counts import expected, from_expected
from neurodeploy.cost.windows import carried_state, no_window, schedule_for, steps_until_settled
from neurodeploy.errors import NeurodeployWarning, UsageError
from neurodeploy.hw.profile import target
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import CubaLif
from neurodeploy.place import place
from neurodeploy.sim.reference import simulate

import strangers


def with_neurons(graph: IntGraph, **values: object) -> IntGraph:
    nodes = tuple(replace(n, **values) if isinstance(n, CubaLif) else n for n in graph.nodes)  # type: ignore[arg-type]
    return replace(graph, nodes=nodes)


@pytest.mark.parametrize(
    ("name", "reason"), [("recurrent", "recurrent"), ("unbalanced", "differ in length"), ("delayed", r"delays of 0\.synapse")]
)
def test_networks_without_windows(name: str, reason: str) -> None:
    graph = strangers.NETWORKS[name]()
    found = no_window(graph)
    assert found is not None and reason.replace("\\", "") in found
    assert schedule_for(graph, None) == schedule_for(graph, "single") == "single"
    with pytest.raises(UsageError, match=reason) as caught:
        schedule_for(graph, "pipelined")
    assert caught.value.error_code == "no_pipeline" and "single" in caught.value.remedy


def test_delays_of_zero_are_none() -> None:
    graph = strangers.delayed()
    nodes = tuple(replace(n, delays=np.zeros((8, 6), dtype=np.int64)) if n.name == "0.synapse" else n for n in graph.nodes)
    assert no_window(replace(graph, nodes=nodes)) is None


def test_layers_that_keep_their_state() -> None:
    graph = strangers.plain()
    assert no_window(graph) is None and carried_state(graph) == "0.neuron"
    assert schedule_for(graph, None) == "single"
    with pytest.warns(NeurodeployWarning, match="starts from zero"):
        assert schedule_for(graph, "pipelined") == "pipelined"


@pytest.mark.parametrize(
    ("interval", "offsets", "carried"),
    [(9, (2, 3), None), (9, (11, 12), None), (3, (2, 0), None), (9, (1, 3), "0.neuron"), (9, (2, 2), "1.neuron"),
     (6, (2, 3), "0.neuron"), (18, (2, 3), "0.neuron")],
)  # fmt: skip
def test_resets_at_the_start_of_each_window(interval: int, offsets: tuple[int, int], carried: str | None) -> None:
    graph = strangers.plain()
    assert (graph.latencies["0.neuron"], graph.latencies["1.neuron"], graph.n_timesteps) == (1, 2, 9)
    offset = dict(zip(("0.neuron", "1.neuron"), offsets, strict=True))
    nodes = tuple(
        replace(n, reset_interval=interval, reset_offset=offset[n.name]) if isinstance(n, CubaLif) else n for n in graph.nodes
    )
    found = replace(graph, nodes=nodes)
    assert carried_state(found) == carried
    assert schedule_for(found, None) == ("pipelined" if carried is None else "single")


def test_neurons_that_forget_need_no_reset() -> None:
    assert carried_state(with_neurons(strangers.plain(), i_decay=4096, v_decay=4096)) is None
    assert carried_state(with_neurons(strangers.plain(), i_decay=np.full(1, 4096), v_decay=np.array([4096]))) is None
    assert carried_state(with_neurons(strangers.plain(), i_decay=4096, v_decay=4095)) == "0.neuron"


def test_an_assumed_rate_is_that_of_every_neuron() -> None:
    """Spikes = rate x neurons x T, synops = rate x synapses x T, whatever the wiring."""
    profile = target("loihi2")
    synapses = {"plain": 48 + 32, "recurrent": 48 + 40 + 25, "delayed": 48 + 32, "unbalanced": 48 + 32 + 24}
    for name, n_synapses in synapses.items():
        graph = strangers.NETWORKS[name]()
        plan = place(graph, profile)
        for rate in (0.0, 0.125, 1.0):
            counts = from_expected(graph, plan, expected_at(graph, rate))
            neurons = [counts.layers[n.name] for n in graph.neurons]
            assert sum(layer.n_spikes.sum() for layer in neurons) == pytest.approx(
                rate * 9 * sum(layer.n_neurons for layer in neurons), rel=1e-12  # float sums of one constant
            )
            assert sum(layer.n_synops.sum() for layer in neurons) == pytest.approx(rate * 9 * n_synapses, rel=1e-12)
            active = [layer.n_updates_active.sum() for layer in neurons]
            assert bool(min(active) > 0) is (rate > 0)


def test_with_windows_it_is_what_rates_give() -> None:
    graph = strangers.biased()
    one, other = expected_at(graph, 0.2), expected(graph, uniform_rates(graph, 0.2))
    for name in one.messages:
        assert np.array_equal(one.messages[name], other.messages[name]) and one.messages[name].any()
    for name in one.updated:
        assert np.array_equal(one.updated[name], other.updated[name])


def test_what_no_rate_describes() -> None:
    with pytest.raises(UsageError, match="Delta"):
        expected_at(strangers.sigma_delta(), 0.1)
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="rate is"):
            expected_at(strangers.plain(), rate)


def test_the_last_input_arrives_late() -> None:
    """Two synapses take a timestep each; delays come on top, loops never settle."""
    assert steps_until_settled(strangers.plain()) == steps_until_settled(strangers.recurrent()) == 9 + 2
    assert steps_until_settled(strangers.unbalanced()) == 9 + 2
    graph = strangers.delayed()
    assert steps_until_settled(graph) == 9 + 2 + 4 and graph.n_chip_steps == 9 + 2
    x = strangers.given(graph)
    changed = x.copy()
    changed[-1] = 1 - x[-1]
    one, other = (simulate(graph, values, 40).spikes["1.neuron"] for values in (x, changed))
    assert not np.array_equal(one[11:15], other[11:15]), "the last input is still seen after n_chip_steps"
