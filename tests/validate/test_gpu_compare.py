"""The rule for spikes at the threshold, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from neurodeploy.errors import Mismatch
from neurodeploy.export.golden_gpu import boundary_distance
from neurodeploy.ir.nodes import Input, Lif
from neurodeploy.validate.gpu_compare import compare
from tests.event_nets import chain

GRAPH = chain(Input("in", (2,)), Lif("a", (2,)), Lif("b", (2,)), T=4)


def recordings(**changes: float) -> dict[str, Any]:
    """Spikes [4, 3, 2] of two layers, all ones; `a_1_0_1=0`: layer a, timestep 1, sample 0, neuron 1."""
    found = {name: np.ones((4, 3, 2)) for name in "ab"}
    for place, value in changes.items():
        name, *at = place.split("_")
        found[name][tuple(int(i) for i in at)] = value
    return found



FAR = {name: np.full((4, 3, 2), 1.5) for name in "ab"}


def test_equal_recordings() -> None:
    found = compare(GRAPH, recordings(), recordings(), FAR)
    assert (found.n_differences, found.n_compared, found.flips, found.divergence) == (0, 48, (), None)
    assert found.agreed.all()


def test_a_spike_at_the_threshold_passes_and_is_listed() -> None:
    at = recordings(a_1_2_0=1 + 9e-6)
    found = compare(GRAPH, recordings(), recordings(a_1_2_0=0, b_3_2_1=0), at)
    assert found.divergence is None and found.n_differences == 2
    (flip,) = found.flips  # what follows in the same sample is its consequence
    assert flip.to_dict() == {
        "layer": "a", "timestep": 1, "neuron": [0], "expected": 1, "got": 0, "sample": 2, "v": 1 + 9e-6, "v_th": 1.0,
    }  # fmt: skip
    assert found.agreed.tolist() == [True, True, False]


@pytest.mark.parametrize("v", [1 + 1.1e-5, 1 - 1.1e-5, 0.5])
def test_a_spike_away_from_the_threshold_does_not(v: float) -> None:
    found = compare(GRAPH, recordings(), recordings(a_1_2_0=0), recordings(a_1_2_0=v))
    assert found.divergence is not None and not found.flips
    assert (found.divergence.layer, found.divergence.timestep, found.divergence.sample) == ("a", 1, 2)


def test_only_the_first_divergence_of_a_sample_may_be_a_flip() -> None:
    near = recordings(b_2_0_0=1.0)
    found = compare(GRAPH, recordings(), recordings(a_1_0_1=0, b_2_0_0=0), {**FAR, "b": near["b"]})
    assert found.divergence is not None and found.divergence.layer == "a"


def test_in_one_timestep_the_layer_that_comes_first_counts() -> None:
    near = {**FAR, "b": np.ones((4, 3, 2))}
    found = compare(GRAPH, recordings(), recordings(a_1_0_1=0, b_1_0_0=0), near)
    assert found.divergence is not None and found.divergence.layer == "a"


def test_every_neuron_of_the_first_divergence_is_asked() -> None:
    v = {**FAR, "a": recordings(a_1_0_0=1.0, a_1_0_1=1.4)["a"]}
    found = compare(GRAPH, recordings(), recordings(a_1_0_0=0, a_1_0_1=0), v)
    assert len(found.flips) == 1 and found.divergence is not None and found.divergence.neuron == (1,)


def test_samples_are_judged_each_for_itself_and_numbered_on() -> None:
    v = {**FAR, "a": recordings(a_3_0_0=1.0)["a"] + 0.0}
    found = compare(GRAPH, recordings(), recordings(a_3_0_0=0, b_2_1_0=0), {**v, "b": FAR["b"]}, first_sample=100)
    assert [f.sample for f in found.flips] == [100]
    assert found.divergence is not None and (found.divergence.sample, found.divergence.layer) == (101, "b")


def test_several_spikes_flip_by_one_at_a_multiple_of_the_threshold() -> None:
    node = Lif("n", (1,), v_th=0.5, multi_spike=True, reset="soft")
    v = np.array([0.5, 1.0, 1.000001, 1.24, -0.5, 0.0], dtype=np.float32)
    np.testing.assert_allclose(boundary_distance(node, v), [0, 0, 1e-6, 0.24, 1.0, 0.5], atol=1e-7)
    graph = chain(Input("in", (1,)), node, T=1)
    two, three = (({"n": np.full((1, 1, 1), float(n))}) for n in (2, 3))
    assert compare(graph, two, three, {"n": np.full((1, 1, 1), 1.5)}).divergence is None
    assert compare(graph, two, {"n": np.full((1, 1, 1), 4.0)}, {"n": np.full((1, 1, 1), 1.5)}).divergence is not None


def test_recordings_of_different_shape() -> None:
    with pytest.raises(Mismatch, match="recordings hold"):
        compare(GRAPH, recordings(), {"a": np.ones((4, 3, 2))}, FAR)
    with pytest.raises(Mismatch, match="recordings hold"):
        compare(GRAPH, recordings(), {**recordings(), "b": np.ones((4, 2, 2))}, FAR)
