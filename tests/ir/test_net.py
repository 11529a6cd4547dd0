from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.net import differences, net_layers, read_net, write_net
from neurodeploy.ir.netx import netx_kwargs, netx_reason, survives_packing
from neurodeploy.ir.nodes import Conv2d, CubaLif, InputKind, Linear, Node, SigmaDelta
from tests.ir.hand_graphs import chain, residual
from tests.ir.netx_graphs import random_graph

KINDS: tuple[InputKind, ...] = ("spikes", "graded", "bias")


def swap(graph: IntGraph, node: Node) -> IntGraph:
    return replace(graph, nodes=tuple(node if n.name == node.name else n for n in graph.nodes))


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_and_equal_bytes(kind: InputKind, tmp_path: Path) -> None:
    graph = chain(kind)
    for name in ("a.net", "b.net"):
        write_net(graph, tmp_path / name)
    assert (tmp_path / "a.net").read_bytes() == (tmp_path / "b.net").read_bytes()
    assert differences(read_net(tmp_path / "a.net"), net_layers(graph)) == []


def test_the_file_has_the_layout_that_netx_reads(tmp_path: Path) -> None:
    graph = chain("spikes")
    write_net(graph, tmp_path / "n.net")
    with h5py.File(tmp_path / "n.net") as file:
        layers = [file[f"layer/{i}"] for i in range(len(file["layer"]))]
        assert [g["type"][0] for g in layers] == [b"input", b"conv", b"conv", b"conv", b"flatten", b"dense"]
        assert "neuron" not in layers[0]
        assert tuple(layers[0]["shape"]) == (2, 6, 4)
        conv = layers[3]
        np.testing.assert_array_equal(conv["weight"][()], graph["conv"].weight)  # type: ignore[attr-defined]
        assert conv["weight"].dtype == np.float32
        assert (tuple(conv["stride"]), tuple(conv["padding"]), conv["groups"][()]) == ((2, 1), (0, 1), 2)
        assert conv["bias"].shape == (2, 1, 6)  # W, H, C: one value a neuron
        assert layers[1]["bias"].shape == (4,)
        assert (conv["neuron/iDecay"][()], conv["neuron/vThMant"][()]) == (3000, 110)


def test_changes_are_found(tmp_path: Path) -> None:
    graph = chain()
    write_net(graph, tmp_path / "n.net")
    fc = graph["fc"]
    other = swap(graph, replace(fc, weight=fc.weight + 2 * (np.arange(72).reshape(6, 12) == 5)))  # type: ignore[call-arg, attr-defined]
    assert differences(read_net(tmp_path / "n.net"), net_layers(other)) == ["layer/5/weight"]


def test_arguments_for_netx() -> None:
    assert netx_kwargs(chain("spikes", T=6)) == {"input_message_bits": 0, "reset_interval": 6, "reset_offset": 1}
    assert netx_kwargs(chain("graded", T=6)) == {"input_message_bits": 4, "reset_interval": 6, "reset_offset": 1}
    assert netx_kwargs(chain("bias", T=6)) == {"input_message_bits": 0, "reset_interval": 6, "reset_offset": 0}


def test_reasons_name_the_node() -> None:
    graph = chain()
    assert netx_reason(graph) is None
    assert "a has several" in (netx_reason(residual()) or "")
    late = replace(graph, edges=tuple(replace(e, delay=2) if e.dst == "fc" else e for e in graph.edges))
    assert "fc is fed with delay 2" in (netx_reason(late) or "")
    late = swap(graph, replace(graph["out"], reset_offset=9))  # type: ignore[call-arg]
    assert "out resets at offset 9" in (netx_reason(late) or "")
    other = swap(graph, replace(graph["out"], bias_exp=5))  # type: ignore[call-arg]
    assert "out has a bias exponent" in (netx_reason(other) or "")
    zero = swap(graph, replace(graph["fc"], weight=np.zeros((6, 12), dtype=np.int64)))  # type: ignore[call-arg]
    assert "fc has weights" in (netx_reason(zero) or "")
    biased = chain("bias")
    biased = swap(biased, replace(biased["stem.lif"], bias_mant=np.ones((4, 1, 1), dtype=np.int64)))  # type: ignore[call-arg]
    assert "stem.lif takes the input directly" in (netx_reason(biased) or "")


def test_a_residual_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NeurodeployError, match=r"a has several sources or destinations.*"):
        write_net(residual(), tmp_path / "r.net")
    assert not (tmp_path / "r.net").exists()


# Worked by hand from netx/utils.py and lava's clipping: inhibitory weights are clipped at -255.
@pytest.mark.parametrize(
    ("weights", "exact"),
    [([[2, -4]], True), ([[254, -256]], True), ([[-256, -2]], False), ([[-254, -2]], True), ([[0, -2]], False),
     ([[0, -6]], True), ([[0, 0]], False), ([[254, 0]], True), ([[64, 64]], True), ([[256, 2]], False)],
)
def test_dense_packing(weights: list[list[int]], exact: bool) -> None:
    assert survives_packing(np.array(weights)) is exact


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_net(tmp_path / "none.net")
    (tmp_path / "text.net").write_text("hello")
    with pytest.raises(UnsafeFile, match="not a readable HDF5 file"):
        read_net(tmp_path / "text.net")


def test_files_that_reach_outside_are_refused(tmp_path: Path) -> None:
    write_net(chain(), tmp_path / "good.net")
    raw = tmp_path / "secret.bin"
    raw.write_bytes(bytes(4 * 72))
    for name, put in {
        "external link": lambda f: f.__setitem__("layer/5/bias", h5py.ExternalLink("good.net", "/layer/1/bias")),
        "soft link": lambda f: f.__setitem__("layer/5/bias", h5py.SoftLink("/layer/1/bias")),
        "external storage": lambda f: f.create_dataset("layer/5/bias", (6,), "f4", external=[(str(raw), 0, 24)]),
        "virtual": lambda f: f.create_virtual_dataset("layer/5/bias", _virtual(tmp_path / "good.net")),
        "reference": lambda f: f.create_dataset("layer/5/bias", data=f["layer/1"].ref, dtype=h5py.ref_dtype),
        "loop": lambda f: f.__setitem__("layer/5/loop", f["layer"]),
        "huge": lambda f: f.create_dataset("layer/5/bias", (2**31,), "f4", chunks=(1024,)),
    }.items():
        path = tmp_path / f"{name}.net"
        path.write_bytes((tmp_path / "good.net").read_bytes())
        with h5py.File(path, "a") as file:
            del file["layer/5/bias"]
            put(file)
        with pytest.raises(UnsafeFile) as caught:
            read_net(path)
        assert "layer" in caught.value.where, name


def _virtual(path: Path) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(path), "layer/1/bias", (4,))
    return layout


def test_a_loop_of_one_layer_is_held_and_others_are_not(tmp_path: Path) -> None:
    graph = chain()
    loop = replace(graph, nodes=(*graph.nodes, Linear("rec", weight=np.full((6, 6), 2))),
                   edges=(*graph.edges, Edge("out", "rec", 1), Edge("rec", "out")))
    assert netx_reason(loop) is None
    write_net(loop, tmp_path / "r.net")
    assert [layer.kind for layer in read_net(tmp_path / "r.net")][-1] == "dense_rec"
    late = replace(loop, edges=(*loop.edges[:-2], Edge("out", "rec", 2), Edge("rec", "out")))
    assert "rec is a loop of 2 timesteps" in (netx_reason(late) or "")
    wide = replace(graph, nodes=(*graph.nodes, Linear("rec", weight=np.full((12, 6), 2)), CubaLif("back", shape=(12,))),
                   edges=(*graph.edges, Edge("out", "rec", 1), Edge("rec", "back")))
    assert "out has several sources or destinations" in (netx_reason(wide) or "")


def _changed(seed: int, name: str, **fields: Any) -> str:
    """netx_reason of a random graph with other fields in the first node whose name ends so."""
    graph = random_graph(seed)
    node = next(n for n in graph.nodes if n.name.endswith(name))
    return netx_reason(swap(graph, replace(node, **fields))) or ""


def _seed_with(kind: type[Node]) -> int:
    return next(s for s in range(60) if any(type(n) is kind for n in random_graph(s).nodes))


def test_reasons_beyond_spiking_chains() -> None:
    sdnn = _seed_with(SigmaDelta)
    name = next(n.name for n in random_graph(sdnn).nodes if isinstance(n, SigmaDelta))
    assert "has the activation 'unit'" in _changed(sdnn, name, activation="unit")
    assert "has a state exponent of 5" in _changed(sdnn, name, state_exp=5)
    assert "has several thresholds" in _changed(sdnn, name, v_th=np.arange(random_graph(sdnn).shapes[name][0]))
    lif = _seed_with(CubaLif)
    assert "starts with a state" in _changed(lif, ".neuron", v_init=np.ones(1, dtype=np.int64))
    delayed = next(s for s in range(60) for n in random_graph(s).nodes if isinstance(n, Linear) and n.delays is not None)
    node = next(n for n in random_graph(delayed).nodes if isinstance(n, Linear) and n.delays is not None)
    assert node.delays is not None
    assert "netx clamps them at 62" in _changed(delayed, node.name, delays=node.delays + 63)
    assert "netx chooses the exponent" in _changed(delayed, node.name, weight=node.weight | 1, weight_exp=-3)
    conv = _seed_with(Conv2d)
    assert "24 bits in which netx adds" in _changed(conv, ".conv", sum_bits=20)
