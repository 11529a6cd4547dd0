"""Real to integer parameters of one layer: when they are exact, and what they never exceed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neurodeploy.errors import NeurodeployError
from neurodeploy.hw.profile import Arithmetic, target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, CubaLif, Input, Lif, Linear, MaxPool2d
from neurodeploy.ir.reference import initial_state, step
from neurodeploy.quantize.formats import (
    Layer,
    integer_neuron,
    integer_weight,
    is_grid_exact,
    largest_scale,
    layer_of,
    snap,
    wrap_scale,
)

CHIP = target("loihi2").arithmetic


def layer(weight: Any = 1.0, bias: Any = 0.0, **neuron: Any) -> Layer:
    node = Lif("n", shape=(1,), **neuron)
    return Layer(node, (Linear("s", weight=np.full((1, 1), weight)),), np.full(1, bias), None)


def fires(neuron: Lif | CubaLif, currents: np.ndarray) -> np.ndarray:
    """Spikes [T, B] of a layer of one neuron for currents [T, B]."""
    state = initial_state(neuron, currents.shape[1])
    out = []
    for a in currents[..., np.newaxis]:
        s, state = step(neuron, a, state)
        out.append(s[:, 0])
    return np.stack(out)


@pytest.mark.parametrize("fire", [">=", ">"])
@pytest.mark.parametrize("inv_tau", [0.0, 1.0])
@pytest.mark.parametrize("v_th", [1.0, 0.7, 0.5, 3.2])
def test_if_and_memoryless_neurons_are_exact_at_every_integer_current(fire: Any, inv_tau: float, v_th: float) -> None:
    """All pairs of currents around the threshold in turn, the exact threshold among them."""
    real = Layer(Lif("n", shape=(1,), inv_tau=inv_tau, v_th=v_th, fire=fire), (), np.zeros(1), None)
    scale = 10.0 / v_th  # a threshold of 10 in integers
    integer = integer_neuron(real, scale, CHIP)
    assert is_grid_exact(real.neuron)
    assert (integer.v_th, integer.v_decay) == (9 if fire == ">=" else 10, 4096 * inv_tau)
    first, second = (a.ravel() for a in np.meshgrid(np.arange(-25, 26), np.arange(-25, 26)))
    currents = np.stack([first, second, first])
    # On the real side whole numbers again: the membrane in units of 1 / scale, so that float rounding breaks no tie.
    unit = Lif("n", shape=(1,), inv_tau=inv_tau, v_th=10.0, fire=fire)
    wanted = fires(unit, currents.astype(float))
    assert 0 < wanted.sum() < wanted.size
    assert np.array_equal(fires(integer, currents), wanted)
    at = np.array([[9, 10, 11]])
    assert fires(integer, at).tolist() == [[0, int(fire == ">="), 1]]


@pytest.mark.parametrize("decay_input", [True, False])
def test_a_leaky_neuron_uses_the_chips_comparison_and_the_nearest_threshold(decay_input: bool) -> None:
    real = layer(inv_tau=0.25, decay_input=decay_input, v_th=1.0)
    gain = 0.25 if decay_input else 1.0
    for scale, v_th in ((10.0 * gain, 10), (10.4 * gain, 10), (10.6 * gain, 11)):
        integer = integer_neuron(real, scale, CHIP)
        assert (integer.v_th, integer.v_decay) == (v_th, 1024)
    # The exact threshold does not fire on the chip, though >= does in training.
    assert fires(integer_neuron(real, 10.0 * gain, CHIP), np.array([[10, 11]])).tolist() == [[0, 1]]
    assert not is_grid_exact(real.neuron)


@given(scale=st.floats(0.01, 1e5), v_th=st.floats(0.05, 20), inv_tau=st.floats(0.05, 1), decay_input=st.booleans())
def test_snap_gives_the_nearest_smaller_scale_with_a_whole_threshold(
    scale: float, v_th: float, inv_tau: float, decay_input: bool
) -> None:
    real = layer(inv_tau=inv_tau, decay_input=decay_input, v_th=v_th)
    snapped = snap(real, scale)
    steps = snapped * real.threshold
    assert snapped <= scale * (1 + 1e-12)
    if scale * real.threshold >= 1:
        assert steps == pytest.approx(round(steps), rel=1e-12) and round(steps) >= 1
        # A hair below a whole number counts as the one before: still within a step.
        assert scale * real.threshold - steps < 1 + 1e-9
    else:
        assert snapped == scale


def test_the_weight_grid_is_even_from_minus_256_to_254() -> None:
    w = np.array([0, 0.9, 1.1, -0.9, -1.1, 3.0, 5.0, 253.1, 254.9, 300, -255.1, -256, -900])
    assert integer_weight(w, 1.0, CHIP).tolist() == [0, 0, 2, 0, -2, 4, 4, 254, 254, 254, -256, -256, -256]
    assert integer_weight(w[:6], 10.0, CHIP).tolist() == [0, 8, 12, -8, -12, 30]  # 9 and 11 are ties, to even multiples


@given(weight=st.floats(1e-7, 50), bias=st.floats(-50, 50), v_th=st.floats(0.01, 50), inv_tau=st.floats(0.01, 1),
       decay_input=st.booleans())  # fmt: skip
def test_at_the_largest_scale_everything_fits_and_something_would_not_at_more(
    weight: float, bias: float, v_th: float, inv_tau: float, decay_input: bool
) -> None:
    real = layer(weight, bias, v_th=v_th, inv_tau=inv_tau, decay_input=decay_input)
    scale = largest_scale(real, CHIP)
    integer = integer_neuron(real, scale, CHIP)
    assert weight * scale <= CHIP.weight_max * (1 + 1e-12)
    assert np.abs(real.bias * scale).max() <= CHIP.bias_max * (1 + 1e-12)
    assert 0 <= integer.v_th <= CHIP.v_th_max and 0 <= integer.v_decay <= CHIP.decay_one
    more = 1.01 * scale
    assert weight * more > CHIP.weight_max or abs(bias) * more > CHIP.bias_max or real.threshold * more > CHIP.v_th_max


def test_biases_saturate_at_the_format() -> None:
    real = layer(bias=np.array([1.0]), v_th=1.0)
    for scale, mant in ((4095.0, 4095), (5000.0, 4095), (10.4, 10)):
        neuron = integer_neuron(real, scale, CHIP)
        assert neuron.bias_mant.tolist() == [mant] and neuron.bias_exp == CHIP.bias_exp
    negative = layer(bias=np.array([-1.0]))
    assert integer_neuron(negative, 9999.0, CHIP).bias_mant.tolist() == [-4095]


def test_wrap_scale_keeps_the_worst_current_inside() -> None:
    rng = np.random.default_rng(0)
    weight = np.abs(rng.normal(size=(2, 5000)))
    real = Layer(Lif("n", shape=(2,)), (Linear("s", weight=weight),), np.zeros(2), None)
    scale = wrap_scale(real, CHIP)
    integer = integer_weight(weight, scale, CHIP)
    limit = (2**23 - 1) >> 6
    assert 0.9 * limit < integer.sum(1).max() <= limit
    assert scale < largest_scale(real, CHIP)
    assert wrap_scale(Layer(real.neuron, (), np.zeros(2), None), CHIP) == np.inf


def graph_of(neuron: Lif, *before: Any) -> Graph:
    nodes = (Input("x", shape=(1, 2, 2), kind="spikes"), *before, neuron)
    names = [n.name for n in nodes]
    return Graph(nodes, tuple(Edge(a, b) for a, b in pairwise(names)), 2)


CONV = Conv2d("c", weight=np.ones((1, 1, 1, 1)))


@pytest.mark.parametrize(("fields", "message"), [
    ({"reset": "soft"}, "n: resets soft to 0.0"), ({"v_reset": -0.5}, "n: resets hard to -0.5"),
    ({"inv_tau": 0.0, "decay_input": True}, "needs inv_tau > 0"), ({"v_th": 0.0}, "v_th is 0.0"),
])  # fmt: skip
def test_neurons_without_an_integer_form_are_named(fields: dict[str, Any], message: str) -> None:
    neuron = Lif("n", shape=(1, 2, 2), **fields)
    with pytest.raises(NeurodeployError, match=message) as caught:
        layer_of(graph_of(neuron, CONV), neuron)
    assert caught.value.error_code == "cannot_quantize"


def test_what_feeds_a_neuron_must_be_a_synapse_that_reads_spikes() -> None:
    neuron = Lif("n", shape=(1, 1, 1))
    with pytest.raises(NeurodeployError, match=r"is fed by \['p'\] without a synapse"):
        layer_of(graph_of(neuron, CONV, MaxPool2d("p")), neuron)
    neuron = Lif("n", shape=(1, 2, 2))
    with pytest.raises(NeurodeployError, match="d: reads c, a Conv2d"):
        layer_of(graph_of(neuron, CONV, Conv2d("d", weight=np.ones((1, 1, 1, 1)))), neuron)


def test_the_formats_come_from_the_profile() -> None:
    other: Arithmetic = target("loihi2", {"arithmetic.weight_step": 32, "arithmetic.bias_bits": 5}).arithmetic
    assert integer_weight(np.array([-300.0, 15.9, 17.0, 239.0]), 1.0, other).tolist() == [-256, 0, 32, 224]
    assert integer_neuron(layer(bias=100.0), 1.0, other).bias_mant.tolist() == [15]
    assert largest_scale(layer(weight=1.0), other) == 224
