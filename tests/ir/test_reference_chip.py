"""Vectors worked by hand for what chips' neurons and synapses do beyond one constant a layer: the definition, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Delta, Input, Linear, Node, Sigma, SigmaDelta
from neurodeploy.ir.reference import evaluate, initial_state, step, walk


def run(node: Node, drive: Any, *names: str) -> list[list[Any]]:
    """Outputs, then the states `names`, of a node fed one row a timestep."""
    state = initial_state(node, 1)
    found: list[list[Any]] = [[] for _ in (None, *names)]
    for row in np.asarray(drive, dtype=np.int64):
        out, state = step(node, np.atleast_2d(row), state)
        for values, a in zip(found, (out, *(state[n] for n in names)), strict=True):
            values.append(a[0].tolist() if a[0].size > 1 else int(a[0].reshape(())))
    return found


def test_every_neuron_has_its_own_constants() -> None:
    node = CubaLif(
        "n", shape=(3,), i_decay=np.array([4096, 2048, 0]), v_decay=np.array([4096, 0, 2048]), v_th=np.array([1, 2, 1000]),
        bias_mant=np.array([1, -1, 3]), bias_exp=np.array([6, 0, -1]),
    )
    spikes, u, v = run(node, [[1, 1, 1], [0, 0, 0], [1, 0, -2]], "i_syn", "v_mem")
    assert u == [[64, 64, 64], [0, 32, 64], [64, 16, -64]]
    # 1: 64 + 64 = 128 > 64. 2: 63 stays, 63 + 32 - 1 = 94, 94 + 16 - 1 = 109; never > 128. 3: bias 3 >> 1 = 1: 65,
    # 32 + 64 + 1 = 97, 48 - 64 + 1 = -15.
    assert v == [[0, 63, 65], [64, 94, 97], [0, 109, -15]]
    assert spikes == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_constants_by_channel_broadcast_over_the_map() -> None:
    node = CubaLif("n", shape=(2, 1, 2), v_decay=np.array([4096, 0]).reshape(2, 1, 1), v_th=np.array([1, 9]).reshape(2, 1, 1))
    state = initial_state(node, 1)
    for _ in range(2):
        _, state = step(node, np.ones((1, 2, 1, 2), dtype=np.int64), state)
    assert state["v_mem"][0, :, 0].tolist() == [[64, 64], [128, 128]]


def test_states_before_the_first_timestep() -> None:
    start: dict[str, Any] = {"i_init": np.array([100]), "v_init": np.array([-8388607])}
    node = CubaLif("n", shape=(1,), i_decay=2048, v_decay=2048, v_th=1000, **start)
    # u: 50, 25; v: -8388607 / 2 = -4194303.5 -> -4194303 + 50, then -4194253 / 2 -> -2097126 + 25.
    assert run(node, [[0], [0]], "i_syn", "v_mem")[1:] == [[50, 25], [-4194253, -2097101]]
    # A reset in the first step (t + 1 = 1) forgets both.
    reset = CubaLif("n", shape=(1,), reset_interval=5, reset_offset=1, **start)
    assert run(reset, [[1]], "i_syn", "v_mem")[1:] == [[64], [64]]
    # v starts above the threshold: nothing fires before the first dynamics.
    assert run(CubaLif("n", shape=(1,), v_th=1, v_init=np.array([65])), [[0], [0]])[0] == [1, 0]


def test_a_threshold_beyond_all_membranes_never_fires() -> None:
    node = CubaLif("n", shape=(1,), v_th=1 << 17, v_init=np.array([2**23 - 1]))
    assert run(node, [[131071]], "v_mem") == [[0], [2**23 - 1]]  # clipped at the top, 2^23 - 1 > 2^23 is false
    assert run(CubaLif("n", shape=(1,), v_th=(1 << 17) - 1, v_init=np.array([2**23 - 1])), [[0]])[0] == [1]


def test_weight_exponents_shift_the_sum() -> None:
    def drive(exponent: int, x: list[int]) -> int:
        return int(run(Linear("s", weight=np.array([[3, -5, 1]]), weight_exp=exponent), [x])[0][0])

    assert [drive(e, [1, 1, 0]) for e in (2, 1, 0, -1, -2, -9)] == [-8, -4, -2, -1, -1, -1]  # floors, never to zero
    assert drive(-1, [1, 0, 0]) == 1 and drive(-1, [0, 1, 0]) == -3
    assert drive(-1, [1, 0, 1]) == 2  # 3 and 1 are added before the shift: 4 >> 1, not 1 + 0


def test_a_binary_synapse_takes_any_value_for_one_spike() -> None:
    x = [[7, -3, 0]]
    assert run(Linear("s", weight=np.array([[10, 20, 40]]), binary=True), x)[0] == [30]
    assert run(Linear("s", weight=np.array([[10, 20, 40]])), x)[0] == [10]
    weight = np.array([[[[10, 20]]]])
    a = np.array([[[[7, -3, 0]]]])
    assert step(Conv2d("c", weight=weight, binary=True), a, {})[0].tolist() == [[[[30, 10]]]]
    assert step(Conv2d("c", weight=weight), a, {})[0].tolist() == [[[[10, -30]]]]


@pytest.mark.parametrize(("x", "expected"), [
    (2**22 - 1, 2**23 - 2), (2**22, -(2**23)), (-(2**22), -(2**23)), (-(2**22) - 1, 2**23 - 2), (2**23, 0),
    (3 * 2**22, -(2**23)),
])
def test_a_convolution_wraps_its_sum(x: int, expected: int) -> None:
    node = Conv2d("c", weight=np.array([[[[2]]]]), sum_bits=24)
    assert step(node, np.array([[[[x]]]]), {})[0].tolist() == [[[[expected]]]]
    assert step(Conv2d("c", weight=node.weight), np.array([[[[x]]]]), {})[0].tolist() == [[[[2 * x]]]]


def test_delays_inside_a_synapse() -> None:
    weight = np.array([[1, 10], [100, 1000]])
    node = Linear("s", weight=weight, delays=np.array([[0, 3], [2, 0]]))
    x = [[1, 1], [0, 2], [0, 0], [0, 0], [0, 0]]
    assert run(node, x)[0] == [[1, 1000], [0, 2000], [0, 100], [10, 0], [20, 0]]
    # Binary, and each delay's sum floored by itself: (1 >> 1) + (10 >> 1), and at t = 0 only the first.
    halved = Linear("s", weight=weight[:1], delays=np.array([[0, 1]]), weight_exp=-1, binary=True)
    assert run(halved, [[1, 1], [5, 0], [0, 0]])[0] == [0, 5, 0]
    assert run(Linear("s", weight=-weight[:1], delays=np.array([[0, 1]]), weight_exp=-1), [[1, 1], [1, 0]])[0] == [-1, -6]
    # The same delay everywhere is the same as a slower edge.
    assert run(Linear("s", weight=weight, delays=np.full((2, 2), 1)), x[:3])[0] == [[0, 0], [11, 1100], [20, 2000]]


@given(st.integers(0, 2**32 - 1), st.integers(-3, 3), st.booleans())
def test_a_delayed_synapse_is_one_synapse_for_each_delay(seed: int, exponent: int, binary: bool) -> None:
    rng = np.random.default_rng(seed)
    weight, delays = rng.integers(-9, 10, size=(3, 4)), rng.choice([0, 1, 5, 62], size=(3, 4))
    x = rng.integers(-2, 3, size=(70, 2, 4))
    whole = Linear("s", weight=weight, delays=delays, weight_exp=exponent, binary=binary)
    source = Input("x", shape=(4,), kind="graded", max_value=2, signed=True)
    parts = [
        Linear(f"s{d}", weight=np.where(delays == d, weight, 0), weight_exp=exponent, binary=binary) for d in (0, 1, 5, 62)
    ]
    nodes = (source, whole, *parts, Sigma("n", shape=(3,)), Sigma("m", shape=(3,)))
    edges = (Edge("x", "s", 1), Edge("s", "n"), *(Edge("x", p.name, 1 + int(p.name[1:])) for p in parts),
             *(Edge(p.name, "m") for p in parts))
    out = evaluate(IntGraph(nodes, edges, 70), x, 70)
    assert np.array_equal(out["n"], out["m"]) and out["s"].any()


def test_delta_keeps_what_it_does_not_send() -> None:
    node = Delta("d", shape=(1,), v_th=3)
    # act 2: change 2 is kept; 4: 2 + 2 = 4 >= 3 is sent; 7: exactly 3 is sent; 5: -2 kept; 5: still -2; 4: -3 sent.
    sent, act, residue = run(node, [[2], [4], [7], [5], [5], [4]], "act", "residue")
    assert sent == [0, 4, 3, 0, 0, -3]
    assert act == [2, 4, 7, 5, 5, 4] and residue == [2, 0, 0, -2, -2, 0]
    # Scaled: 6 + 6 bits in the state, 6 in the message, the threshold scaled like the state.
    scaled = Delta("d", shape=(1,), v_th=3, spike_exp=6, state_exp=6)
    assert run(scaled, [[2], [4], [7], [5], [5], [4]])[0] == [0, 256, 192, 0, 0, -192]
    assert run(Delta("d", shape=(1,), v_th=0), [[5], [5], [0]])[0] == [5, 0, -5]
    assert run(Delta("d", shape=(2,), v_th=np.array([1, 9])), [[5, 5], [9, 9]])[0] == [[5, 0], [4, 9]]


@given(
    st.lists(st.integers(-2000, 2000), min_size=1, max_size=20), st.integers(0, 30), st.integers(0, 7), st.integers(0, 7),
)
def test_messages_of_a_delta_add_up_to_its_input(values: list[int], v_th: int, spike_exp: int, state_exp: int) -> None:
    node = Delta("d", shape=(1,), v_th=v_th, spike_exp=spike_exp, state_exp=state_exp)
    sent, residue = run(node, [[v] for v in values], "residue")
    e = spike_exp + state_exp
    for t, (value, kept) in enumerate(zip(values, residue, strict=True)):
        # Nothing is lost but what is kept back, which stays below the threshold.
        assert (sum(sent[: t + 1]) << state_exp) + kept == value << e
        assert abs(kept) < max(v_th << e, 1)
        assert sent[t] == 0 or abs(sent[t]) >= v_th << spike_exp


@given(st.lists(st.integers(-(2**15), 2**15), min_size=1, max_size=20), st.integers(0, 7), st.integers(-9, 9))
def test_messages_of_a_sigma_delta_lose_less_than_a_unit_each(values: list[int], state_exp: int, bias: int) -> None:
    node = SigmaDelta("n", shape=(1,), bias_mant=np.array([bias]), state_exp=state_exp, activation="unit")
    sent, act = run(node, [[v] for v in values], "act")
    lost = act[-1] - (sum(sent) << state_exp)
    assert act[-1] == sum(values) + (bias << state_exp)
    assert 0 <= lost <= len(values) * (2**state_exp - 1)


def test_sigma_delta_by_hand() -> None:
    relu = SigmaDelta("n", shape=(1,), v_th=2, bias_mant=np.array([-3]), state_exp=1)
    # bias -6, threshold 4. sigma 5: act 0; 10: act 4, sent 4 >> 1 = 2; 13: 7, change 3 kept; 3: act 0, -7 + 3 = -4 sent.
    sent, sigma, act, residue = run(relu, [[5], [5], [3], [-10]], "sigma", "act", "residue")
    assert (sent, sigma, act, residue) == ([0, 2, 0, -2], [5, 10, 13, 3], [0, 4, 7, 0], [0, 0, 3, 0])
    unit = SigmaDelta("n", shape=(1,), bias_mant=np.array([-3]), state_exp=1, activation="unit")
    assert run(unit, [[1], [0]])[0] == [-3, 0]  # -5 >> 1 floors
    # An odd activation loses half a unit in the message, and does not get it back.
    lossy = SigmaDelta("n", shape=(1,), state_exp=1, activation="unit")
    assert run(lossy, [[1], [1], [1], [1]])[0] == [0, 0, 0, 0]


def test_sigma_adds_up_and_sends_itself() -> None:
    assert run(Sigma("n", shape=(2,)), [[1, -1], [0, 0], [5, -5]])[0] == [[1, -1], [1, -1], [6, -6]]


@pytest.mark.parametrize(("node", "drive"), [
    (Sigma("n", shape=(1,)), [[2**31 - 1], [1]]), (Sigma("n", shape=(1,)), [[1 - 2**31], [-1]]),
    (Delta("n", shape=(1,), spike_exp=6, state_exp=6), [[2**19 - 1], [2**19]]),
    (Delta("n", shape=(1,)), [[2**30], [-(2**30)]]),  # the states fit, the change does not
    (SigmaDelta("n", shape=(1,), bias_mant=np.array([1])), [[2**31 - 2], [1]]),
])
def test_sigma_delta_states_end_at_32_bits(node: Node, drive: Any) -> None:
    run(node, drive[:1])
    with pytest.raises(NeurodeployError, match="n: its state reaches") as caught:
        run(node, drive)
    assert caught.value.error_code == "overflow" and "32 bits" in caught.value.limit


def test_a_layer_that_nothing_feeds_lives_on_its_bias() -> None:
    nodes = (
        Input("x", shape=(1,), kind="spikes"), CubaLif("clock", shape=(1,), v_th=2, v_decay=0, bias_mant=np.array([1])),
        Linear("s", weight=np.array([[64]])), CubaLif("n", shape=(1,), v_decay=4096, v_th=63),
    )
    graph = IntGraph(nodes, (Edge("clock", "s", 1), Edge("s", "n"), Edge("x", "n")), 3)
    out = evaluate(graph, np.zeros((8, 1, 1), dtype=np.int64), 8)
    assert out["clock"][:, 0, 0].tolist() == [0, 0, 1, 0, 0, 1, 0, 0]  # 64, 128, 192 > 128
    assert out["n"][:, 0, 0].tolist() == [0, 0, 0, 1, 0, 0, 1, 0]
    assert graph.latencies == {"x": 0, "clock": 0, "s": 1, "n": 1}


def test_a_loop_by_itself_rings() -> None:
    """Two neurons that hear only each other, started by an initial state: 4160 > 63 << 6."""
    nodes = (
        Input("x", shape=(1,), kind="spikes"), CubaLif("n", shape=(2,), v_decay=0, v_th=63, v_init=np.array([4160, 0])),
        Linear("r", weight=np.array([[0, 64], [64, 0]])),
    )
    graph = IntGraph(nodes, (Edge("n", "r", 1), Edge("r", "n")), 1)
    found = [m.output["n"][0].tolist() for m in walk(graph, np.zeros((1, 1, 1), dtype=np.int64), 4)]
    assert found == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert graph.latencies["n"] == 0


def test_signed_graded_input() -> None:
    node = Input("x", shape=(1,), kind="graded", max_value=9, signed=True)
    graph = IntGraph((node, Delta("d", shape=(1,))), (Edge("x", "d"),), 1)
    x: Array = np.array([[[-9]], [[9]]])
    assert evaluate(graph, x, 3)["d"][:, 0, 0].tolist() == [-9, 18, -9]  # after its end the input is zero
    with pytest.raises(UsageError, match=r"-9\.\.9"):
        evaluate(graph, x - 1)


@pytest.mark.parametrize("node", [
    Linear("s", weight=np.eye(1), binary=True), Linear("s", weight=np.eye(1), weight_exp=1),
    Linear("s", weight=np.eye(1), delays=np.zeros((1, 1), dtype=np.int64)), Delta("s", shape=(1,)), Sigma("s", shape=(1,)),
    SigmaDelta("s", shape=(1,)), Conv2d("s", weight=np.ones((1, 1, 1, 1)), sum_bits=24),
])
def test_integer_nodes_refuse_real_numbers(node: Node) -> None:
    with pytest.raises(NeurodeployError, match="float64"):
        step(node, np.ones((1, 1)), initial_state(node, 1))
