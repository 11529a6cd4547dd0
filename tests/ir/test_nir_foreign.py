"""NIR files of other tools: what they say is kept, what they leave open is stated, the rest is refused by name."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import neurodeploy as nd
import nir
import numpy as np
import pytest
from neurodeploy.errors import DoesNotFit, NeurodeployWarning, UnsafeFile
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.hw.profile import any_target
from neurodeploy.ir import serialize
from neurodeploy.ir.event_layers import read_cores
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nir import read_nir
from neurodeploy.ir.nir_foreign import NirOptions
from neurodeploy.ir.nodes import Conv2d, Iaf, Lif, Linear, Node, SumPool2d, Vote
from neurodeploy.ir.reference import evaluate
from neurodeploy.lower.event_cores import lower_to_events
from neurodeploy.place import dynapcnn_rules
from neurodeploy.place.dynapcnn_strict import STRICT
from neurodeploy.place.event_cores import configuration, limits_of, place
from neurodeploy.quantize.iaf_core import FloatCore
from neurodeploy.quantize.iaf_sinabs import quantize_sinabs
from numpy.typing import NDArray

import oracles
import speck_nets

RNG = np.random.default_rng(5)
STATED = NirOptions(fire=">=", reset="soft", v_min="-v_threshold", multi_spike=True, n_timesteps=6)
CHIP = any_target("speck2f")
W1, W2, W3 = (RNG.normal(0.1, 0.3, s).astype(np.float32) for s in ((3, 2, 3, 3), (4, 3, 3, 3), (5, 16)))


def conv(weight: NDArray[np.float32], shape: Any = None, **fields: Any) -> nir.Conv2d:
    return nir.Conv2d(**{
        "input_shape": shape, "weight": weight, "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1,
        "bias": np.zeros(len(weight), np.float32), **fields,
    })  # fmt: skip


def neurons(*shape: int, v_th: float = 1.0, r: float = 1.0, v_reset: float = 0.0) -> nir.IF:
    ones = np.ones(shape, np.float32)
    return nir.IF(r=ones * r, v_threshold=ones * v_th, v_reset=ones * v_reset)


def parts(**changes: Any) -> dict[str, Any]:
    """conv, IF, average pool, conv, IF, sum pool, flatten, linear, IF."""
    two = np.array([2, 2])
    return {
        "input": nir.Input(np.array([2, 8, 8])), "c1": conv(W1, (8, 8)), "n1": neurons(3, 8, 8),
        "avg": nir.AvgPool2d(two, two, np.zeros(2, int)), "c2": conv(W2), "n2": neurons(4, 4, 4, v_th=0.5),
        "sum": nir.SumPool2d(two, two, np.zeros(2, int)), "flat": nir.Flatten(None, 0, -1),
        "fc": nir.Affine(W3, np.zeros(5, np.float32)), "n3": neurons(5), "output": nir.Output(np.array([5])), **changes,
    }  # fmt: skip


def write(path: Path, nodes: dict[str, Any], edges: list[tuple[str, str]] | None = None) -> Path:
    names = list(nodes)
    pairs = list(pairwise(names)) if edges is None else edges
    unknown = []  # shapes that real files leave out and nir's writer wants
    for name, node in nodes.items():
        if isinstance(node, nir.Conv2d) and (node.input_shape is None or node.input_shape == (0, 0)):
            node.input_shape = (0, 0)
            unknown.append(f"node/nodes/{name}/input_shape")
        if isinstance(node, nir.Conv1d) and node.input_shape in (None, 0):
            node.input_shape = 0
            unknown.append(f"node/nodes/{name}/input_shape")
        if isinstance(node, nir.Flatten):
            node.input_type = {"input": np.zeros(1)}
            unknown.append(f"node/nodes/{name}/input_type")
    nir.write(path, nir.NIRGraph(nodes, pairs[::-1], type_check=False))  # files list edges in any order
    with h5py.File(path, "a") as file:
        for key in unknown:
            del file[key]
    return path


def read(path: Path, options: NirOptions = STATED) -> Graph:
    return read_nir(path, options)


def test_a_network_with_an_average_pool(tmp_path: Path) -> None:
    graph = read(write(tmp_path / "g.nir", parts()))
    assert [n.name for n in graph.nodes] == ["input", "c1", "n1", "avg", "c2", "n2", "sum", "flat", "fc", "n3"]
    c1, c2, fc, n2, pool = (graph[n] for n in ("c1", "c2", "fc", "n2", "avg"))
    assert isinstance(c1, Conv2d) and c1.bias is None and isinstance(pool, SumPool2d) and pool.kernel == (2, 2)
    assert isinstance(c2, Conv2d) and isinstance(fc, Linear) and fc.bias is None
    np.testing.assert_array_equal(c2.weight, W2 * np.float32(0.25))
    np.testing.assert_array_equal(fc.weight, W3)
    assert isinstance(n2, Lif) and n2.shape == (4, 4, 4)
    assert (n2.v_th, n2.v_min, n2.reset, n2.fire, n2.multi_spike, n2.inv_tau) == (0.5, -0.5, "soft", ">=", True, 0)
    assert graph.n_timesteps == 6 and graph.output.name == "n3"
    assert graph.metadata["nir"]["v_min"] == "-v_threshold"
    x = RNG.poisson(0.5, (6, 1, 2, 8, 8)).astype(float)
    assert all(evaluate(graph, x)[n.name].any() for n in graph.neurons)
    serialize.save(graph, tmp_path / "g.npz")
    assert serialize.load(tmp_path / "g.npz").metadata == graph.metadata


def test_what_is_left_open_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "g.nir", parts())
    with pytest.warns(NeurodeployWarning, match=r"assumed: fire >=, reset soft, v_min -v_threshold, multi_spike True") as seen:
        graph = read_nir(path, NirOptions())
    assert [w.message.code for w in seen] == ["nir_assumed"]  # type: ignore[union-attr]
    assert graph.n_timesteps == 32
    with pytest.warns(NeurodeployWarning, match="assumed") as seen:
        assert nd.load(path).n_timesteps == 32
    assert seen[0].filename.endswith("pipeline.py")
    with pytest.warns(NeurodeployWarning, match="assumed: n_timesteps 32"):
        read_nir(path, replace(STATED, n_timesteps=None))
    other = read(path, NirOptions(">", "hard", "none", False, 3))
    n1 = other["n1"]
    assert isinstance(n1, Lif) and (n1.fire, n1.reset, n1.v_min, n1.multi_spike) == (">", "hard", None, False)
    floor = read(path, replace(STATED, v_min=-2.0))["n1"]
    assert isinstance(floor, Lif) and floor.v_min == -2.0
    with pytest.raises(UnsafeFile, match="was not written by neurodeploy"):
        read_nir(path)


def test_votes_only_where_asked_for(tmp_path: Path) -> None:
    nodes = parts(fc=nir.Linear(RNG.normal(size=(6, 16)).astype(np.float32)), n3=neurons(6), output=nir.Output(np.array([6])))
    path = write(tmp_path / "g.nir", nodes)
    vote = read(path, replace(STATED, n_classes=3)).output
    assert isinstance(vote, Vote) and (vote.n_classes, vote.group) == (3, 2)
    with pytest.raises(UnsafeFile, match="6 output neurons for 4 classes"):
        read(path, replace(STATED, n_classes=4))
    kept = {n: v for n, v in parts(output=nir.Output(np.array([4, 4, 4]))).items() if n in ("input", "c1", "n1", "output")}
    kept["output"] = nir.Output(np.array([3, 8, 8]))
    graph = read(write(tmp_path / "map.nir", kept), replace(STATED, n_classes=3))
    assert isinstance(graph.output, Vote) and graph.output.group == 64


def test_biases_strides_and_words_for_padding_are_kept(tmp_path: Path) -> None:
    bias = np.array([1, 0, -1], np.float32)
    path = write(tmp_path / "g.nir", {
        "input": nir.Input(np.array([2, 9, 9])), "same": conv(W1, bias=bias, padding="same"), "n1": neurons(3, 9, 9),
        "valid": conv(W2, padding="valid", stride=2), "n2": neurons(4, 4, 4), "output": nir.Output(np.array([4, 4, 4])),
    })  # fmt: skip
    graph = read(path)
    same, valid = graph["same"], graph["valid"]
    assert isinstance(same, Conv2d) and isinstance(valid, Conv2d) and same.bias is not None
    assert same.bias.tolist() == [1, 0, -1] and same.padding == (1, 1)
    assert valid.padding == (0, 0) and valid.stride == (2, 2) and graph.shapes["n2"] == (4, 4, 4)


def test_two_paths_into_one_layer(tmp_path: Path) -> None:
    nodes = {
        "input": nir.Input(np.array([2, 8, 8])), "c1": conv(W1), "n1": neurons(3, 8, 8),
        "c2": conv(RNG.normal(0.2, 0.3, (3, 3, 3, 3)).astype(np.float32)), "n2": neurons(3, 8, 8),
        "output": nir.Output(np.array([3, 8, 8])),
    }  # fmt: skip
    names = list(nodes)
    path = write(tmp_path / "g.nir", nodes, [*pairwise(names), ("n1", "n2")])
    graph = read(path)
    assert isinstance(CHIP, EventProfile)
    assert read_cores(lower_to_events(graph, CHIP))["n2"].in_shape == (6, 8, 8)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("scale", {"avg": nir.Scale(np.ones(4))}, r"avg: scale of shape \(4,\)"),
    ("thresholds", {"n1": nir.IF(np.ones((3, 8, 8)), np.arange(1.0, 193).reshape(3, 8, 8))},
     "n1: factors of 0.00520833 to 1 that differ within a channel. One value a channel"),
    ("zero threshold", {"n3": neurons(5, v_th=0.0)}, "n3: thresholds 0. Above 0"),
    ("reset", {"n3": neurons(5, v_reset=0.5)}, "n3: v_reset is not 0"),
    ("neurons", {"n3": neurons(4)}, "n3"),
    ("too many", {"n3": neurons(5, 5)}, "n3: r of shape"),
    ("nan", {"c1": conv(W1 * np.float32(np.nan), (8, 8))}, "c1: weight is empty or not finite"),
    ("rank", {"fc": nir.Linear(np.ones((5, 4, 4)))}, r"fc: weight has shape \(5, 4, 4\)"),
    ("bias", {"fc": nir.Affine(W3, np.ones(4))}, "fc: bias has shape"),
    ("inputs", {"fc": nir.Linear(np.ones((5, 17)))}, "fc: expects 17 inputs, got shape"),
    ("shape", {"c1": conv(W1, (9, 8))}, r"c1: input_shape is \[9, 8\]"),
    ("groups", {"c1": conv(W1, (8, 8), groups=2)}, "c1: 2 groups of 3 channels"),
    ("same", {"c1": conv(W1, (8, 8), padding="same", stride=2)}, r"c1: padding 'same', stride \(2, 2\)"),
    ("stride", {"c1": conv(W1, stride=(0, 1))}, r"c1: stride is \[0, 1\]"),
    ("pool", {"sum": nir.SumPool2d(np.array([9, 9]), np.array([1, 1]), np.zeros(2))}, r"sum: kernel \(9, 9\) does not fit"),
    ("flatten", {"flat": nir.Flatten(None, 2, -1)}, "flat: flattens dimensions 2 to -1"),
    ("input", {"input": nir.Input(np.array([3, 2, 8, 8]))}, r"input: an input of shape \[3, 2, 8, 8\]"),
    ("average", {"fc": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.zeros(2))}, "fc"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "text"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_what_cannot_be_read_is_named(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "g.nir", parts(**changes))
    with pytest.raises(UnsafeFile) as caught:
        read(path)
    assert re.search(text, str(caught.value)) and str(path) in str(caught.value)


def test_graphs_that_lead_nowhere(tmp_path: Path) -> None:
    nodes = parts()
    chain = list(pairwise(nodes))
    for edges, text in (
        ([e for e in chain if e != ("c1", "n1")], "n1: nothing feeds it"),
        ([*chain, ("n1", "c1")], "c1: adds inputs of different shapes"),
        ([*chain, ("n1", "nobody")], "nobody: an edge"),
        ([*chain, ("c1", "input")], "input: an edge c1 -> input"),
        ([*chain, ("output", "n3")], "output: an edge output -> n3"),
        ([*chain, ("n1", "n2")], "n2: its sources have shapes"),
    ):
        with pytest.raises(UnsafeFile, match=text):
            read(write(tmp_path / "g.nir", nodes, edges))
    for more, text in (({"second": nir.Input(np.array([2]))}, "2 nodes of type Input"),
                       ({"second": nir.Output(np.array([2]))}, "2 nodes of type Output")):  # fmt: skip
        with pytest.raises(UnsafeFile, match=text):
            read(write(tmp_path / "g.nir", {**nodes, **more}, chain))
    nir.write(tmp_path / "node.nir", nir.Linear(np.ones((2, 2))))
    with pytest.raises(UnsafeFile, match="not a NIR graph"):
        read(tmp_path / "node.nir")


def test_damaged_files(tmp_path: Path) -> None:
    good = write(tmp_path / "g.nir", parts()).read_bytes()
    for key in ("nodes/c1/weight", "nodes/n1/v_threshold", "nodes/input/type", "edges", "nodes/c1/type"):
        path = tmp_path / "bad.nir"
        path.write_bytes(good)
        with h5py.File(path, "a") as file:
            del file[f"node/{key}"]
        with pytest.raises(UnsafeFile):
            read(path)
    path.write_bytes(good)
    with h5py.File(path, "a") as file:
        file["node/nodes/c1/stride"][...] = 0
    with pytest.raises(UnsafeFile):
        read(path)
    path.write_bytes(good)
    with h5py.File(path, "a") as file:
        del file["node/nodes/c1/weight"]
        file["node/nodes/c1/weight"] = h5py.ExternalLink("elsewhere.h5", "x")
    with pytest.raises(UnsafeFile, match="ExternalLink"):
        read(path)


def nir_files() -> list[Path]:
    """Networks of the NIR paper, where their fixtures are."""
    return sorted(oracles.folder("speck").glob("*/*.nir"))


def quantized(graph: Graph) -> IntGraph:
    """Each core by sinabs' rule."""
    new: dict[str, Node] = {}
    for core in read_cores(graph).layers:
        neuron = core.neuron
        assert isinstance(neuron, Lif) and len(core.kernels) == 1
        ints = quantize_sinabs(FloatCore(core.name, core.weight.astype(np.float32), None, neuron.v_th, neuron.v_min)).ints
        synapse = graph[core.kernels[0].name]
        assert isinstance(synapse, Conv2d | Linear)
        new[synapse.name] = replace(synapse, weight=ints.weight.reshape(synapse.weight.shape))
        new[core.name] = Iaf(core.name, neuron.shape, v_th=ints.v_th, v_min=ints.v_min)
    return IntGraph(tuple(new.get(n.name, n) for n in graph.nodes), graph.edges, graph.n_timesteps)


@pytest.mark.skipif(not nir_files(), reason="no NIR file among the fixtures")
@pytest.mark.parametrize("path", nir_files(), ids=lambda path: path.stem)
def test_a_published_network_becomes_the_integers_of_sinabs(path: Path) -> None:
    """Read, lowered, quantized by sinabs' rule and placed: weights, thresholds, shapes, words and pools as recorded."""
    assert isinstance(CHIP, EventProfile)
    lowered = lower_to_events(read(path), CHIP)
    net = quantized(lowered)
    case, _ = speck_nets.load_nir(path.parent / "discretized_and_spikes.npz")
    plan = place(net, CHIP)
    for core, layer, use in zip(read_cores(net).layers, case.layers("int"), plan.cores, strict=True):
        np.testing.assert_array_equal(core.weight, case.arrays[f"int_w{layer['layer']}"])
        assert isinstance(core.neuron, Iaf)
        assert (core.neuron.v_th, core.neuron.v_min) == (layer["threshold"], layer["min_v_mem"])
        assert (core.in_shape, core.out_shape) == (tuple(layer["in_shape"]), tuple(layer["neuron_shape"]))
        assert (core.stride, core.padding, core.kernel) == tuple(tuple(layer[k]) for k in ("stride", "padding", "kernel"))
        assert [d.pool for d in core.destinations] == [tuple(p) for p in layer["pool"]][: len(core.destinations)]
        assert (use.kernel_words, use.neuron_words) == (layer["memory"]["kernel"], layer["memory"]["neuron"])
    config = configuration(net, plan, CHIP)
    assert dynapcnn_rules.check(config, limits_of(CHIP), strict=STRICT) == ()


def test_a_state_without_floor_is_the_target_s_to_refuse(tmp_path: Path) -> None:
    assert isinstance(CHIP, EventProfile)
    graph = read(write(tmp_path / "g.nir", parts()), replace(STATED, v_min="none"))
    with pytest.raises(DoesNotFit, match="no floor"):
        lower_to_events(graph, CHIP)
