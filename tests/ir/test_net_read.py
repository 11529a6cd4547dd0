"""Strangers' `.net` files: what netx makes of each form, and every trap of the format as an error or a warning."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import neurodeploy as nd
import numpy as np
import pytest
from neurodeploy.data.chip_input import chip_input
from neurodeploy.errors import NeurodeployWarning, UnsafeFile, UsageError
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.net import read_network
from neurodeploy.ir.netx import dense_weights
from neurodeploy.ir.nodes import Conv2d, CubaLif, Delta, Input, Linear, Sigma, SigmaDelta
from neurodeploy.sim.reference import simulate
from numpy.testing import assert_array_equal
from tests.ir.net_files import LIF, SDNN, W, conv, dense, source, write


def read(path: Path, *layers: dict[str, Any], **arguments: Any) -> IntGraph:
    return read_network(write(path / "n.net", *layers), trusted=True, **arguments)


def warned(path: Path, *layers: dict[str, Any], **arguments: Any) -> tuple[IntGraph, list[NeurodeployWarning]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph = read(path, *layers, **arguments)
    found = [w.message for w in caught]
    assert all(isinstance(w, NeurodeployWarning) for w in found)
    return graph, found  # type: ignore[return-value]


def refused(path: Path, *layers: dict[str, Any], **arguments: Any) -> UnsafeFile:
    with pytest.raises(UnsafeFile) as caught:
        read(path, *layers, **arguments)
    assert caught.value.exit_code == 6
    assert "n.net:/" in caught.value.where
    return caught.value


# ---------------------------------------------------------------------- forms


def test_a_convolution_is_read_in_torch_order(tmp_path: Path) -> None:
    """The kernel flip and the two orders of axes cancel: an asymmetric kernel on an asymmetric map, worked by hand."""
    kernel = np.zeros((1, 1, 2, 3), dtype=np.float32)
    kernel[0, 0] = [[2, 4, 6], [8, 10, 12]]
    layer = conv(kernel[..., None], (1, 2, 2), stride=[1, 2], padding=[0, 1], neuron__vThMant=1000, neuron__vDecay=4096)
    graph = read(tmp_path, source(1, 3, 4), layer)
    node = graph["0.conv"]
    assert isinstance(node, Conv2d)
    assert (node.stride, node.padding, node.dilation) == ((1, 2), (0, 1), (1, 1))
    assert_array_equal(node.weight, kernel)
    x = np.zeros((2, 1, 1, 3, 4), dtype=np.int64)
    x[0, 0, 0, 1, 2] = 1  # row 1, column 2
    trace = simulate(graph, x, 2, record_state=True)
    assert trace.i_syn is not None
    # Output (y, x) sees rows y, y+1 and columns 2x-1, 2x, 2x+1: only x = 1 sees column 2, at kernel column 1.
    assert_array_equal(trace.i_syn["0.neuron"][1, 0, 0], np.array([[0, 10], [0, 4]]) * 64)


def test_scalars_and_pairs_mean_the_same(tmp_path: Path) -> None:
    kernel = np.full((2, 2, 2, 2), 4.0)
    one = read(tmp_path, source(2, 5, 5), conv(kernel, (2, 3, 3), padding=1, stride=2, groups=1))["0.conv"]
    pairs = conv(kernel, (2, 3, 3), padding=[1, 1], stride=[2, 2], groups=np.array([1]))
    two = read(tmp_path, source(2, 5, 5), pairs)["0.conv"]
    assert isinstance(one, Conv2d) and isinstance(two, Conv2d)
    assert (one.stride, one.padding) == (two.stride, two.padding) == ((2, 2), (1, 1))


def test_dense_flat_or_matrix_and_without_input_layer(tmp_path: Path) -> None:
    matrix, flat = (read(tmp_path, dense(w, shape=[3]))["0.dense"] for w in (W, W.reshape(-1)))
    assert isinstance(matrix, Linear) and isinstance(flat, Linear)
    assert_array_equal(matrix.weight, W)
    assert_array_equal(flat.weight, W)
    graph = read(tmp_path, source(1, 2, 2), {"type": b"flatten", "shape": [4, 1, 1]}, dense(shape=[3, 1, 1]))
    assert [n.name for n in graph.nodes] == ["input", "0.flatten", "0.dense", "0.neuron"]
    assert graph.shapes["0.neuron"] == (3,)


def test_input_neurons(tmp_path: Path) -> None:
    layer = source(3, weight=np.array([36.0]), bias=np.array([34.0]), **{k.replace("/", "__"): v for k, v in LIF.items()})
    graph = read(tmp_path, layer, dense(W[:, :3]))
    entry, neuron = graph["input"], graph["0.neuron"]
    assert isinstance(entry, Input) and entry.kind == "bias"
    assert isinstance(neuron, CubaLif) and not neuron.bias_mant.any()
    assert graph.host is not None
    # 2 * 36 * x - 36 + 34
    assert_array_equal(chip_input(graph, np.array([[0.0, 0.5, 1.0]]))[0, 0], [-2, 34, 70])


def test_bias_by_channel_and_by_neuron(tmp_path: Path) -> None:
    kernel = np.full((2, 1, 1, 1), 4.0)
    per_neuron = np.arange(12.0).reshape(3, 2, 2)  # x, y, channel
    graph = read(tmp_path, source(1, 2, 3), conv(kernel, (2, 2, 3), bias=per_neuron))
    neuron = graph["0.neuron"]
    assert isinstance(neuron, CubaLif)
    assert neuron.bias_mant[1, 0, 2] == per_neuron[2, 0, 1]
    channel = read(tmp_path, source(1, 2, 3), conv(kernel, (2, 2, 3), bias=np.array([5.0, 7.0])))["0.neuron"]
    assert isinstance(channel, CubaLif)
    assert_array_equal(channel.bias_mant, [[[5]], [[7]]])
    assert "Expected (2,) or (3, 2, 2)" in str(refused(tmp_path, source(1, 2, 3), conv(kernel, (2, 2, 3), bias=np.ones(3))))
    assert "32767" in str(refused(tmp_path, dense(bias=np.full(3, 4e4))))


def test_decays_of_each_neuron_and_channel(tmp_path: Path) -> None:
    neuron = read(tmp_path, dense(neuron__iDecay=np.array([0, 10, 4096]), neuron__vThMant=np.array([5, 6, 7])))["0.neuron"]
    assert isinstance(neuron, CubaLif)
    assert_array_equal(neuron.i_decay, [0, 10, 4096])
    assert_array_equal(neuron.v_th, [5, 6, 7])
    layer = conv(np.full((2, 1, 1, 1), 4.0), (2, 2, 3), neuron__vDecay=np.array([1, 2]))
    mapped = read(tmp_path, source(1, 2, 3), layer)["0.neuron"]
    assert isinstance(mapped, CubaLif) and np.shape(mapped.v_decay) == (2, 1, 1)
    assert "do not broadcast" in str(refused(tmp_path, dense(neuron__iDecay=np.array([1, 2]))))
    assert "0..4096" in str(refused(tmp_path, dense(neuron__vDecay=4097)))


def test_a_dense_layer_without_neurons_adds_up(tmp_path: Path) -> None:
    entries = {name.replace("/", "__"): None for name in LIF}
    graph = read(tmp_path, dense(**entries), reset_interval=4)
    x = np.ones((9, 1, 4), dtype=np.int64)
    trace = simulate(graph, x, 9, record_state=True)
    assert trace.v_mem is not None and not trace.spikes["0.neuron"].any()
    total = 64 * W.sum(axis=1).astype(np.int64)
    # Input reaches it from step 1 on; it is cleared before the dynamics of steps 0, 4, 8. The current never decays.
    assert_array_equal(trace.v_mem["0.neuron"][:6, 0], [k * total for k in (0, 1, 2, 3, 1, 2)])
    assert "convolution without neurons" in str(
        refused(tmp_path, source(1, 2, 2), conv(np.ones((1, 1, 1, 1)) * 2, (1, 2, 2), **entries)))


def test_reset_of_each_block(tmp_path: Path) -> None:
    graph = read(tmp_path, dense(), dense(W[:, :3]), reset_interval=5, reset_offset=2)
    offsets = [n.reset_offset for n in graph.nodes if isinstance(n, CubaLif)]
    assert offsets == [3, 4]  # reset_offset + 1 + block


def test_timesteps(tmp_path: Path) -> None:
    path = write(tmp_path / "t.net", dense(), tSample=40, Ts=1)
    for arguments, steps, source_name in (
        ({}, 40, "tSample"), ({"n_timesteps": 7}, 7, "argument"), ({"reset_interval": 9}, 40, "tSample"),
    ):
        graph = read_network(path, trusted=True, **arguments)
        assert (graph.n_timesteps, graph.metadata["n_timesteps_from"]) == (steps, source_name)
    bare = read(tmp_path, dense())
    assert (bare.n_timesteps, bare.metadata["n_timesteps_from"]) == (16, "default")
    assert read(tmp_path, dense(), reset_interval=9).n_timesteps == 9
    absurd = read_network(write(tmp_path / "t.net", dense(), tSample=2**40, Ts=1), trusted=True)
    assert absurd.metadata["n_timesteps_from"] == "default"


def test_delays(tmp_path: Path) -> None:
    def delays(**entries: Any) -> Any:
        node = read(tmp_path, dense(**entries))["0.dense"]
        assert isinstance(node, Linear)
        return node.delays

    assert_array_equal(delays(delay=np.array([0.0, 1, 5])), [[0] * 4, [1] * 4, [5] * 4])
    assert_array_equal(delays(delay=np.array([0.0, 1, 2, 3])), [[0, 1, 2, 3]] * 3)
    square = np.full((3, 3), 4.0)
    assert_array_equal(delays(weight=square, delay=np.array([0.0, 1, 2])), [[0] * 3, [1] * 3, [2] * 3])  # outputs win
    assert delays(delay=np.zeros(3)) is None
    node, found = warned(tmp_path, dense(delay=np.array([0.0, 70, 1])))
    assert [w.code for w in found] == ["delay_clamped"]
    assert node["0.dense"].delays.max() == 62  # type: ignore[attr-defined]
    _, found = warned(tmp_path, dense(delay=np.array([0.0, 7, 1]), bias=np.array([0.0, 3, 0])))
    assert [w.code for w in found] == ["delay_moved"]
    assert "At least 0" in str(refused(tmp_path, dense(delay=np.array([0.0, -1, 1]))))
    assert "Expected (3,)" in str(refused(tmp_path, dense(delay=np.zeros(5) + 1)))


def test_recurrent_and_sigma_delta(tmp_path: Path) -> None:
    loop = np.array([[2.0, -4, 0], [0, 2, 2], [2, 2, -2]])
    graph = read(tmp_path, dense(kind=b"dense_rec", weight_rec=loop))
    assert_array_equal(graph["0.rec"].weight, loop)  # type: ignore[attr-defined]
    assert [(e.src, e.dst, e.delay) for e in graph.edges][-2:] == [("0.rec", "0.neuron", 0), ("0.neuron", "0.rec", 1)]
    sdnn = {k.replace("/", "__"): v for k, v in SDNN.items()}
    none = {"neuron__iDecay": None, "neuron__vDecay": None}
    graph = read(tmp_path, source(4, **sdnn), dense(bias=np.array([1.0, 2, 3]), **sdnn, **none),
                 dense(W[:, :3], **sdnn, **none, neuron__sigma_output=True))
    kinds = [type(graph[f"{k}.neuron"]) for k in range(3)]
    assert kinds == [Delta, SigmaDelta, Sigma]
    assert graph["1.neuron"].spike_exp == graph["1.neuron"].state_exp == 6  # type: ignore[attr-defined]
    assert graph.inputs[0].signed and graph.inputs[0].kind == "graded"
    _, found = warned(tmp_path, source(4, **sdnn), dense(**sdnn, **none), reset_interval=4)
    assert [w.code for w in found] == ["reset_ignored"]


def test_graded_input_and_layers_left_out(tmp_path: Path) -> None:
    graph = read(tmp_path, dense(), dense(W[:, :3]), message_bits=5)
    assert (graph.inputs[0].kind, graph.inputs[0].max_value) == ("graded", 31)
    layers = (dense(), dense(W[:, :3]), {"type": b"average", "shape": [3]})
    assert [n.name for n in read(tmp_path, *layers, num_layers=2).neurons] == ["0.neuron", "1.neuron"]
    skipped = read(tmp_path, *layers, num_layers=2, skip_layers=1, reset_interval=4)
    assert [(n.name, n.reset_offset) for n in skipped.neurons] == [("0.neuron", 1)]  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="reset_interval"):
        read(tmp_path, dense(), reset_interval=0)


def test_load_reads_a_file_in_a_process_of_its_own(tmp_path: Path) -> None:
    graph = nd.load(write(tmp_path / "n.net", dense(), Ts=1, tSample=8))
    assert isinstance(graph, IntGraph)
    assert graph.metadata["source"] == "lava-dl .net" and graph.target == ""


# ---------------------------------------------------------------------- traps


def test_fractions_are_cut_off_with_a_warning(tmp_path: Path) -> None:
    weight = np.array([[2.0, -2, 4, 3.7], [-3.7, 2, 2, 2], [2, 2, 2, 2]])
    graph, found = warned(tmp_path, dense(weight))
    assert [w.code for w in found] == ["fractional_values"] and "2 of 12 values" in str(found[0])
    assert_array_equal(graph["0.dense"].weight, np.trunc(weight))  # type: ignore[attr-defined]


@pytest.mark.parametrize("weight", [np.full((3, 4), 256.0), np.full((3, 4), -257.0), np.full((3, 4), -256.0)])
def test_one_sign_beyond_its_range_is_refused(weight: Any, tmp_path: Path) -> None:
    err = refused(tmp_path, dense(weight))
    assert "netx makes all of them zero" in str(err) and err.where.endswith("/layer/0/weight") and err.remedy


def test_odd_weights_of_one_sign_beside_zeros_are_refused(tmp_path: Path) -> None:
    """netx takes "no positive weight, but a zero" for mixed and counts nine bits; Dense takes it for inhibitory."""
    err = refused(tmp_path, dense(np.array([[-129.0, 0, -2, -4]])))
    assert "netx makes all of them zero: it counts nine bits" in str(err) and "even" in err.remedy
    read(tmp_path, dense(np.array([[-130.0, 0, -2, -4]])))


def test_all_zero_is_refused(tmp_path: Path) -> None:
    err = refused(tmp_path, dense(np.zeros((3, 4))))
    assert "all weights are zero" in str(err) and "OverflowError" in str(err)


def test_clipped_and_altered_weights_are_warned_of(tmp_path: Path) -> None:
    weight = W.copy()
    weight[0, 0], weight[2, 3] = -300, 301
    graph, found = warned(tmp_path, dense(weight))
    assert [w.code for w in found] == ["weights_altered"] and "2 of 12" in str(found[0])
    assert_array_equal(graph["0.dense"].weight, np.clip(weight, -256, 254))  # type: ignore[attr-defined]
    # [0, -1]: shifted to -256, clipped at -255, cut to -128: two spikes make -1 together, as does one.
    graph, found = warned(tmp_path, dense(np.array([[0.0, -1]])))
    node = graph["0.dense"]
    assert isinstance(node, Linear)
    assert (node.weight.tolist(), node.weight_exp) == ([[0, -128]], -8)
    assert "cuts 8 bits off each sum" in str(found[0])


def test_a_loop_that_netx_zeroes_is_warned_of(tmp_path: Path) -> None:
    """Odd mixed weights beyond 127 count nine bits, which an all-positive matrix beside them does not survive."""
    loop = np.array([[129.0, -3, 0], [0, 2, 2], [2, 2, -2]])
    graph, found = warned(tmp_path, dense(np.abs(W) + 2, kind=b"dense_rec", weight_rec=loop))
    assert [w.code for w in found] == ["weights_zeroed"]
    assert not graph["0.dense"].weight.any()  # type: ignore[attr-defined]
    assert_array_equal(graph["0.rec"].weight, loop)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("entries", "code"),
    [({"neuron__weight_exp": 2}, "weight_exp_ignored"), ({"neuron__wgtExp": -1}, "wgtExp_ignored"),
     ({"neuron__refDelay": 3}, "refDelay_ignored"), ({"neuron__gradedSpike": True}, "gradedSpike_ignored"),
     ({"neuron__strange": 1.0}, "entry_ignored"), ({"strange": 1.0}, "entry_ignored")],
)
def test_what_netx_ignores_is_warned_of(entries: dict[str, Any], code: str, tmp_path: Path) -> None:
    graph, found = warned(tmp_path, dense(**entries))
    assert [w.code for w in found] == [code]
    assert_array_equal(graph["0.dense"].weight, W)  # type: ignore[attr-defined]


def test_harmless_entries_pass_without_a_word(tmp_path: Path) -> None:
    read(tmp_path, dense(inFeatures=4, outFeatures=3, neuron__refDelay=1, neuron__gradedSpike=False, neuron__wgtExp=0,
                         neuron__tauRho=0.5, neuron__scaleRho=10.0, neuron__theta=1600))


def test_conv_delays_and_false_sigma_outputs_are_warned_of(tmp_path: Path) -> None:
    layer = conv(np.full((2, 1, 1, 1), 4.0), (2, 2, 3), delay=np.array([0.0, 3]))
    assert [w.code for w in warned(tmp_path, source(1, 2, 3), layer)[1]] == ["delay_ignored"]
    sdnn = {k.replace("/", "__"): v for k, v in SDNN.items()} | {"neuron__iDecay": None, "neuron__vDecay": None}
    graph, found = warned(tmp_path, dense(**sdnn, neuron__sigma_output=False), message_bits=4)
    assert [w.code for w in found] == ["sigma_output_false"] and isinstance(graph["0.neuron"], Sigma)
    _, found = warned(tmp_path, dense(**sdnn, neuron__activation=b"tanh"), message_bits=4)
    assert [w.code for w in found] == ["activation_ignored"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (({"type": b"residual", "shape": [3]},), "netx skips it without a word"),
        (({"type": b"pool", "shape": [3]},), "strided convolution"),
        (({"type": b"unpool", "shape": [3]},), "netx stops at it"),
        (({"type": b"average", "shape": [3]},), "num_layers"),
        (({"type": b"dense_comp", "shape": [3]},), "real weights"),
        ((dense(neuron__messageBits=8),), "Delete the entry"),
        ((dense(W.reshape(3, 4, 1, 1, 1)),), "netx takes (O, I)"),
        ((dense(neuron__type=b"RF_PHASE"),), "resonate-and-fire"),
        ((dense(neuron__type=b"ADRF"),), "resonate-and-fire"),
        ((dense(neuron__type=b"ALIF"),), "neurons of type"),
        ((dense(weight=None, weight__real=W, weight__imag=W, shape=[3]),), "complex weights"),
        ((dense(), source(4)), "not the first"),
        ((dense(), {"type": b"flatten", "shape": [3]}), "a flatten without a dense layer"),
        ((dense(), {"type": b"flatten", "shape": [3]}, dense(W[:, :3])), "a flatten of what is flat"),
        ((source(1, 2, 2), conv(np.ones((1, 1, 1, 1)) * 2, (1, 2, 2)), dense()), "Flatten it before"),
        ((conv(np.ones((1, 1, 1, 1)) * 2, (1, 2, 2)),), "input_shape"),
        ((source(1, 2, 2), conv(np.ones((1, 1, 1, 1)) * 2, (1, 3, 2))), "gives (1, 2, 2)"),
        ((source(1, 2, 2), conv(np.ones((1, 1, 1, 1)) * 2, (1, 2, 2), groups=None)), "netx needs it"),
        ((source(200, 1, 1), conv(np.ones((200, 1, 1, 1)) * 2, (200, 1, 1), groups=200)), "computes zeros beyond"),
        ((source(1, 2, 2), conv(np.ones((1, 1, 1, 1)) * 2, (1, 2, 2), stride=300)), "1..127"),
        ((source(1, 2, 2), conv(np.ones((1, 1, 3, 3)) * 2, (1, 2, 2))), "does not fit"),
        ((source(1, 9000, 9000), conv(np.ones((4, 1, 1, 1)) * 2, (4, 9000, 9000))), "324000000 neurons"),
        ((source(5), dense()), "weights for 4 inputs"),
        ((dense(np.full((3, 4), np.nan)),), "not finite"),
        ((dense(np.full((3, 4), 1e12)),), "beyond 31 bits"),
        ((dense(neuron__vThMant=1.5),), "not integers"),
        ((dense(shape=[4]),), "for 4 neurons"),
        ((dense(shape=[-3]),), "positive sizes"),
        ((dense(kind=b"dense_rec", weight_rec=np.ones((3, 3)) * 2, delay=np.ones(3)),), "delays in a recurrent layer"),
        ((source(3),), "no layer has neurons"),
        ((), "no layers named 0, 1"),
        (tuple(dense(np.ones((1, 1)) * 2) for _ in range(257)), "257 layers"),
    ],
)
def test_what_cannot_be_read_is_refused(layers: tuple[dict[str, Any], ...], message: str, tmp_path: Path) -> None:
    assert message in str(refused(tmp_path, *layers))


# ---------------------------------------------------------------------- lava-nc's Dense, worked by hand


@pytest.mark.parametrize(
    ("given", "mode", "bits", "acting"),
    [
        ([[3, -3, 300, -300]], None, 8, [[2, -4, 254, -256]]),  # the even rule: floored, clipped to 255 before
        ([[3, 300, 0]], None, 8, [[3, 255, 0]]), ([[-3, -300, 0]], None, 8, [[-3, -255, 0]]),
        ([[3, -3, 13]], None, 6, [[0, -8, 8]]), ([[-13, -3]], None, 6, [[-12, 0]]), ([[13, 3]], None, 6, [[12, 0]]),
        ([[13, -3]], "excitatory", 8, [[13, 0]]), ([[13, 3]], "mixed", 8, [[12, 2]]), ([[13, -3]], "inhibitory", 8, [[0, -3]]),
        ([[2, 3]], None, 9, [[0, 0]]),  # a negative shift
    ],
)
def test_dense_weights(given: Any, mode: Any, bits: int, acting: Any) -> None:
    assert dense_weights(np.array(given), num_weight_bits=bits, sign_mode=mode).tolist() == acting
