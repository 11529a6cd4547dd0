"""The meaning of every node, against vectors worked by hand and against loops written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import (
    BatchNorm,
    Conv2d,
    CubaLif,
    Flatten,
    Input,
    Lif,
    Linear,
    MaxPool2d,
    Node,
    Vote,
)
from neurodeploy.ir.reference import evaluate, initial_state, step, walk
from numpy.typing import NDArray

TOP = 2**23


def drive(node: CubaLif, currents: list[int]) -> tuple[list[int], list[int], list[int]]:
    """(i_syn, v_mem, spikes) of one neuron after each step."""
    state = initial_state(node, 1)
    u, v, s = [], [], []
    for a in currents:
        out, state = step(node, np.array([[a]], dtype=np.int64), state)
        u.append(int(state["i_syn"][0, 0]))
        v.append(int(state["v_mem"][0, 0]))
        s.append(int(out[0, 0]))
    return u, v, s


def cuba(**kwargs: Any) -> CubaLif:
    bias = np.array(kwargs.pop("bias", [0]), dtype=np.int64)
    return CubaLif("n", shape=(1,), bias_mant=bias, **{"i_decay": 4096, "v_decay": 0, "v_th": 100, **kwargs})


def test_integrates_and_resets_hard() -> None:
    # a = 40: u = 2560 each step; v = 2560, 5120, then 7680 > 6400 fires and v = 0 (not 1280).
    assert drive(cuba(), [40, 40, 40, 40]) == ([2560] * 4, [2560, 5120, 0, 2560], [0, 0, 1, 0])


def test_fires_strictly_above_the_threshold() -> None:
    assert drive(cuba(), [100]) == ([6400], [6400], [0])  # v == v_th << 6 does not fire
    assert drive(cuba(), [101]) == ([6464], [0], [1])
    assert drive(cuba(bias=[1], bias_exp=0), [100]) == ([6400], [0], [1])  # one unit above


def test_current_and_membrane_decay_toward_zero() -> None:
    # u: -64 -> -32 -> -16; v: -64, then -64/4096*(4096-3072) = -16, + -32 = -48, then -12 + -16 = -28.
    assert drive(cuba(i_decay=2048, v_decay=3072), [-1, 0, 0])[:2] == ([-64, -32, -16], [-64, -48, -28])
    # An odd negative state: -3 * 0.5 = -1.5 -> -1, not -2.
    assert drive(cuba(i_decay=2048, state_shift=0), [-3, 0, 0])[0] == [-3, -1, 0]


def test_bias_exponents() -> None:
    assert drive(cuba(bias=[3], bias_exp=6), [0, 0])[1] == [192, 384]
    assert drive(cuba(bias=[3], bias_exp=0), [0, 0])[1] == [3, 6]
    assert drive(cuba(bias=[-3], bias_exp=-1), [0, 0])[1] == [-2, -4]  # floors


def test_extremes_wrap_once_and_clip() -> None:
    at = TOP >> 6  # 131072
    assert drive(cuba(v_th=131071), [at])[0] == [TOP]  # +2^23 is kept
    assert drive(cuba(v_th=131071), [-at])[0] == [TOP]  # -2^23 becomes +2^23
    assert drive(cuba(v_th=131071), [at + 1])[0] == [64 - TOP]
    # v saturates at 2^23 - 1, which is still above the largest threshold 131071 << 6 = 8388544.
    assert drive(cuba(v_th=131071), [at]) == ([TOP], [0], [1])
    assert drive(cuba(v_th=131071), [131071, 1]) == ([8388544, 64], [8388544, 0], [0, 1])
    assert drive(cuba(), [-131000, -131000])[1] == [-8384000, 1 - TOP]


@pytest.mark.parametrize(
    ("interval", "offset", "resets_at"), [(3, 0, [2, 5]), (3, 1, [0, 3, 6]), (3, 5, [1, 4]), (1, 0, range(7))]
)
def test_reset_interval(interval: int, offset: int, resets_at: list[int]) -> None:
    node = cuba(reset_interval=interval, reset_offset=offset, v_th=1000, i_decay=0)
    _, v, _ = drive(node, [1] * 7)
    u = expected = 0
    for t, found in enumerate(v):
        if t in resets_at:  # before the dynamics: the input of this step still counts
            u = expected = 0
        u += 64
        expected += u
        assert found == expected


def test_asymmetric_kernel_is_not_flipped() -> None:
    x = np.zeros((1, 1, 1, 3, 4), dtype=np.int64)
    x[..., 1, 2] = 1
    weight = np.array([[[[1, 2, 3], [4, 5, 6]]]])
    graph = IntGraph((Input("in", shape=(1, 3, 4), kind="spikes"), Conv2d("c", weight=weight)), (Edge("in", "c"),), 1)
    # Output (y, x) = sum w[ky, kx] * x[y + ky, x + kx]: the kernel appears rotated around the spike.
    assert evaluate(graph, x)["c"][0, 0, 0].tolist() == [[6, 5], [3, 2]]


def loops(x: NDArray[Any], node: Conv2d) -> NDArray[Any]:
    """Convolution as six loops."""
    n_out, per_group, kh, kw = node.weight.shape
    shape = node.output_shape(x.shape[1:])
    y = np.zeros((x.shape[0], *shape), dtype=x.dtype)
    for o, oy, ox in np.ndindex(*shape):
        first = o // (n_out // node.groups) * per_group
        for i, ky, kx in np.ndindex(per_group, kh, kw):
            iy = oy * node.stride[0] + ky * node.dilation[0] - node.padding[0]
            ix = ox * node.stride[1] + kx * node.dilation[1] - node.padding[1]
            if 0 <= iy < x.shape[2] and 0 <= ix < x.shape[3]:
                y[:, o, oy, ox] += node.weight[o, i, ky, kx] * x[:, first + i, iy, ix]
    return y


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([(1, 1, 1), (2, 3, 1), (4, 4, 2), (4, 8, 4), (6, 3, 3)]),
    st.tuples(*[st.integers(1, 3)] * 2), st.tuples(*[st.integers(1, 3)] * 2), st.tuples(*[st.integers(0, 2)] * 2),
    st.tuples(*[st.integers(1, 2)] * 2), st.tuples(st.integers(5, 7), st.integers(5, 8)),
)
def test_conv_equals_loops(seed: int, channels: tuple[int, int, int], kernel: Any, stride: Any, padding: Any,
                           dilation: Any, size: Any) -> None:
    rng = np.random.default_rng(seed)
    n_in, n_out, groups = channels
    weight = rng.integers(-256, 255, size=(n_out, n_in // groups, *kernel))
    node = Conv2d("c", weight=weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
    x = rng.integers(-4, 300, size=(2, n_in, *size))
    found, _ = step(node, x, {})
    assert found.dtype == np.int64 and np.array_equal(found, loops(x, node))
    other = torch.nn.functional.conv2d(
        torch.tensor(x, dtype=torch.float64), torch.tensor(weight, dtype=torch.float64), None, stride, padding, dilation, groups
    )
    assert np.array_equal(found, other.numpy())  # integers far below 2^53: equal, not close


def test_residual_sum_through_a_relay() -> None:
    """in -> n1 -> (conv -> n2) + (relay -> n2): the shortcut arrives together with the body."""
    one = np.array([[[[64]]]])
    def spike(name: str, v_th: int) -> CubaLif:
        return CubaLif(name, shape=(1, 1, 2), v_decay=4096, v_th=v_th)

    nodes: tuple[Node, ...] = (
        Input("in", shape=(1, 1, 2), kind="spikes"), Conv2d("c0", weight=one), spike("n0", 63),
        Conv2d("c1", weight=one), spike("n1", 63), Conv2d("c2", weight=one),
        Conv2d("r", weight=one), spike("relay", 63), Conv2d("s", weight=one), spike("sum", 127),
    )
    edges = (
        Edge("in", "c0", 1), Edge("c0", "n0"), Edge("n0", "c1", 1), Edge("c1", "n1"), Edge("n1", "c2", 1), Edge("c2", "sum"),
        Edge("n0", "r", 1), Edge("r", "relay"), Edge("relay", "s", 1), Edge("s", "sum"),
    )
    graph = IntGraph(nodes, edges, 2)
    assert graph.is_balanced and graph.n_chip_steps == 5
    x = np.array([[[[[1, 0]]]], [[[[0, 1]]]]])
    out = evaluate(graph, x)
    # "sum" needs both (128 > 127): one spike three steps after its input, and only there.
    assert out["sum"][:, 0, 0, 0].tolist() == [[0, 0], [0, 0], [0, 0], [1, 0], [0, 1]]
    assert out["n0"][:, 0, 0, 0].tolist() == [[0, 0], [1, 0], [0, 1], [0, 0], [0, 0]]


def test_recurrence() -> None:
    """A ring of three neurons passes one spike around, one neuron a step."""
    ring = np.array([[0, 0, 64], [64, 0, 0], [0, 64, 0]])
    graph = IntGraph(
        (Input("in", shape=(3,), kind="spikes"), Linear("w", weight=64 * np.eye(3, dtype=np.int64)),
         CubaLif("n", shape=(3,), v_decay=4096, v_th=63), Linear("r", weight=ring)),
        (Edge("in", "w"), Edge("w", "n"), Edge("n", "r", 1), Edge("r", "n")), 5,
    )
    x = np.zeros((5, 1, 3), dtype=np.int64)
    x[0, 0, 0] = 1
    out = evaluate(graph, x)
    assert out["n"][:, 0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert len(evaluate(graph, x, n_steps=2)["n"]) == 2


def test_inputs_after_the_end() -> None:
    def graph(kind: Any) -> IntGraph:
        return IntGraph((Input("in", shape=(1,), kind=kind, max_value=9), CubaLif("n", shape=(1,), v_th=8, v_decay=0)),
                        (Edge("in", "n"),), 2)

    x = np.array([[[1]], [[4]]])
    assert evaluate(graph("bias"), x, 5)["in"][:, 0, 0].tolist() == [1, 4, 4, 4, 4]
    assert evaluate(graph("bias"), x, 5)["n"][:, 0, 0].tolist() == [0, 0, 1, 0, 0]  # 1, 5, 9 fires, 4, 8
    assert evaluate(graph("graded"), x, 5)["in"][:, 0, 0].tolist() == [1, 4, 0, 0, 0]
    with pytest.raises(UsageError, match=r"0\.\.9"):
        evaluate(graph("graded"), -x)
    with pytest.raises(UsageError, match=r"-9\.\.9"):
        evaluate(graph("bias"), 3 * x)
    with pytest.raises(UsageError, match="float64"):
        evaluate(graph("graded"), x * 1.0)
    with pytest.raises(UsageError, match="shape"):
        evaluate(graph("graded"), x[0])


@pytest.mark.parametrize("fire", [">=", ">"])
def test_lif_at_the_exact_threshold(fire: Any) -> None:
    node = Lif("n", shape=(1,), v_th=1.0, fire=fire)
    out, state = step(node, np.array([[1.0]]), initial_state(node, 1))
    assert out[0, 0] == (1.0 if fire == ">=" else 0.0)
    assert state["v_mem"][0, 0] == (0.0 if fire == ">=" else 1.0)


def test_lif_by_hand() -> None:
    def run(node: Lif, xs: list[float]) -> list[float]:
        state, v = initial_state(node, 1), []
        for x in xs:
            _, state = step(node, np.array([[x]]), state)
            v.append(float(state["v_mem"][0, 0]))
        return v

    # v += (x - v) / 2: 0.5, 1.25 fires -> 0, 1.5 fires.
    assert run(Lif("n", shape=(1,), inv_tau=0.5, decay_input=True), [1.0, 2.0, 3.0]) == [0.5, 0.0, 0.0]
    # v += x - v / 2: 0.5, 0.75, 0.875
    assert run(Lif("n", shape=(1,), inv_tau=0.5), [0.5, 0.5, 0.5]) == [0.5, 0.75, 0.875]
    # Soft reset keeps the excess: 1.5 -> 0.5; 0.5 + 0.75 = 1.25 -> 0.25.
    assert run(Lif("n", shape=(1,), reset="soft"), [1.5, 0.75]) == [0.5, 0.25]
    # v_reset = -1 is the resting value too: -1 + (0 - 0) * .5, then -1 + 4 fires -> -1.
    assert run(Lif("n", shape=(1,), inv_tau=0.5, v_reset=-1.0), [0.0, 4.0]) == [-1.0, -1.0]
    # Restart before steps 1 and 3 (t + 1 = 2, 4).
    assert run(Lif("n", shape=(1,), reset_interval=2, v_th=9), [1.0, 1.0, 1.0, 1.0]) == [1.0, 1.0, 2.0, 1.0]


def test_real_nodes() -> None:
    a = np.arange(2.0 * 2 * 3 * 5).reshape(2, 2, 3, 5)
    norm = BatchNorm("bn", *(np.array(p) for p in ([1.0, 2], [3.0, 0], [2.0, 3], [0.5, 1])), eps=1.0)
    y = step(norm, a, {})[0]
    assert y[0, 0, 0, 2] == (2 - 1) / 2 * 2 + 0.5 and y[0, 1, 0, 0] == (15 - 2) * 3 + 1
    assert step(MaxPool2d("p"), a, {})[0][0].tolist() == [[[6, 8]], [[21, 23]]]  # the odd row and column are dropped
    assert step(Flatten("f"), a, {})[0][1].tolist() == list(range(30, 60))
    linear = Linear("l", weight=np.array([[1.0, 2]]), bias=np.array([3.0]))
    assert step(linear, np.array([[5.0, 7]]), {})[0].tolist() == [[22.0]]
    assert step(Vote("v", n_classes=2, group=2), np.array([[1, 0, 1, 1]]), {})[0].tolist() == [[0.5, 1.0]]


def test_wrong_arithmetic_is_refused() -> None:
    with pytest.raises(NeurodeployError, match="int64"):
        step(Lif("n", shape=(1,)), np.array([[1]]), initial_state(Lif("n", shape=(1,)), 1))
    with pytest.raises(NeurodeployError, match="float64"):
        step(cuba(), np.array([[1.0]]), initial_state(cuba(), 1))
    with pytest.raises(NeurodeployError, match="no reference"):
        step(Node("x"), np.array([[1.0]]), {})


def test_several_edges_add_in_edge_order() -> None:
    graph = Graph(
        (Input("in", shape=(1,)), Linear("a", weight=np.array([[1e16]])), Linear("b", weight=np.array([[-1e16]])),
         Flatten("sum")),
        (Edge("in", "a"), Edge("in", "b"), Edge("a", "sum"), Edge("b", "sum"), Edge("in", "sum")), 1,
    )
    assert evaluate(graph, np.array([[[1.0]]]))["sum"].tolist() == [[[1.0]]]  # (1e16 - 1e16) + 1; another order gives 0


def test_walk_leaves_states_alone() -> None:
    graph = IntGraph((Input("in", shape=(1,), kind="spikes"), CubaLif("n", shape=(1,), v_th=5)), (Edge("in", "n"),), 3)
    moments = list(walk(graph, np.ones((3, 1, 1), dtype=np.int64)))
    assert [int(m.after["n"]["v_mem"][0, 0]) for m in moments] == [64, 128, 192]
    assert [int(m.before["n"]["v_mem"][0, 0]) for m in moments] == [0, 64, 128]
