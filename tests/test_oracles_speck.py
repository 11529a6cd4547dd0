"""Recordings of DYNAP-CNN's toolchain: every file of each kind, told apart by content (`oracles`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, Lif, SumPool2d
from neurodeploy.ir.reference import conv2d, evaluate, step, walk
from neurodeploy.place.core_memory import layer_words, out_map
from neurodeploy.place.dynapcnn_rules import check, verdict
from neurodeploy.place.dynapcnn_strict import STRICT
from neurodeploy.place.matching import Requirement, match
from neurodeploy.quantize.iaf_core import FloatCore
from neurodeploy.quantize.iaf_scale import quantize_best, static_mismatch
from neurodeploy.quantize.iaf_sinabs import FORMATS, candidates, quantize_sinabs
from neurodeploy.sim import clocked, events, events_reference, reference
from neurodeploy.sim.events_stream import from_raster

import oracles
import speck_events
import speck_nets
import speck_static

AREA = "speck"
both_simulators = pytest.mark.parametrize("simulate", [reference.simulate, clocked.simulate], ids=["reference", "clocked"])
every_network = pytest.mark.parametrize("path", speck_nets.paths(), ids=lambda path: path.stem)


def pooled(pool: SumPool2d, values: Array) -> Array:
    """[T, C, H, W] behind a pool."""
    return step(pool, values, {})[0]


def test_networks_are_there() -> None:
    oracles.require(speck_nets.paths(), "network", AREA)


@both_simulators
@every_network
def test_quantized_networks(path: Path, simulate: Any) -> None:
    """sinabs' clocked simulation of the quantized network: every layer's spikes behind every pool, and its last state."""
    case = speck_nets.load(path)
    graph = speck_nets.network(case, "int")
    assert isinstance(graph, IntGraph)
    trace = simulate(graph, case.x, record_state=True)
    compared = {key for key in case.arrays if key.startswith("int_layerinput_")}
    for layer in case.layers("int"):
        name, number = f"n{layer['layer']}", layer["layer"]
        for to, (pool, wanted) in zip(layer["destinations"], case.sent("int", layer), strict=True):
            found = pooled(pool, trace.spikes[name][:, 0])
            wrong = np.argwhere(found != wanted)
            assert not len(wrong), f"layer {number} to {to}: {len(wrong)} of {wanted.size} differ, the first at {wrong[0]}"
            compared.add(f"int_layer{number}_to{to}")
            if case.must_spike and to < 0:
                assert found.any(), f"layer {number} is silent"
        final = f"int_vmem_final{number}"
        assert np.array_equal(trace.v_mem[name][-1], case.arrays[final]), final
        compared.add(final)
    assert {key for key in case.arrays if key.startswith(("int_layer", "int_vmem"))} == compared


@both_simulators
@pytest.mark.parametrize("path", speck_nets.nir_paths(), ids=lambda path: path.parent.name)
def test_nir_network_clocked(path: Path, simulate: Any) -> None:
    """sinabs' clocked simulation of the NIR paper's N-MNIST network: every layer's spikes behind its pool, all samples."""
    case, x = speck_nets.load_nir(path)
    graph = speck_nets.network(case, "int")
    assert isinstance(graph, IntGraph)
    trace = simulate(graph, x)
    for layer in case.layers("int"):
        spikes = trace.spikes[f"n{layer['layer']}"]
        (pool,) = (pool for pool, _ in case.sent("int", layer))
        for sample in range(x.shape[1]):
            wanted = oracles.npz(path)[f"sample{sample}_layer{layer['layer']}_to{layer['destinations'][0]}"]
            np.testing.assert_array_equal(pooled(pool, spikes[:, sample]), wanted)
            assert wanted.any()


@every_network
def test_networks_in_real_numbers(path: Path) -> None:
    """The float network, layer by layer on its recorded input.

    sinabs computes in float32 and sums in an order of its own, the reference in float64. A neuron whose membrane never
    came nearer to a threshold than float32 can have rounded by then must agree in every spike, and in its last state but
    for that rounding; of the others nothing can be said. The whole network must then do what its layers do.
    """
    case = speck_nets.load(path)
    whole = evaluate(speck_nets.network(case, "float"), case.x)
    equal_so_far, n_spikes = True, 0.0
    spikes = close = np.zeros(0)
    for layer in case.layers("float"):
        graph, number = speck_nets.alone(case, layer), layer["layer"]
        x = case.received("float", layer)
        spikes, last, error, close = run(graph, x, number)
        for to, (pool, wanted) in zip(layer["destinations"], case.sent("float", layer), strict=True):
            differs = pooled(pool, spikes) != wanted
            unexplained = np.argwhere(differs & (pooled(pool, close.astype(np.int64)) == 0))
            assert not len(unexplained), f"layer {number} to {to}: {len(unexplained)} differ, the first at {unexplained[0]}"
            equal_so_far &= not differs.any()
            n_spikes += float(wanted.sum())
        rest = np.abs(last - case.arrays[f"float_vmem_final{number}"][0])
        assert np.all((rest <= error) | close[-1]), f"layer {number}: the last state is off by {rest[~close[-1]].max()}"
        if equal_so_far:
            assert np.array_equal(whole[f"n{number}"][:, 0], spikes)
    assert n_spikes > 0 or not case.must_spike
    if equal_so_far and not speck_nets.merges(case, "float"):  # sinabs blends the scales of average pools that merge
        wanted = case.arrays["out_float_snn"]
        assert not np.any((spikes.reshape(wanted.shape) != wanted) & ~close.reshape(wanted.shape))


def run(graph: Any, x: Array, number: int) -> tuple[Array, Array, Array, Array]:
    """(spikes [T, C, H, W], last v [C, H, W], how far float32 may be off by then, bool [T, C, H, W]: came that close to a
    threshold in this step or before)."""
    synapse, neuron = graph[f"c{number}"], graph[f"n{number}"]
    assert isinstance(synapse, Conv2d) and isinstance(neuron, Lif)
    unit = 2.0**-24  # half a unit in the last place of 1 in float32
    error = np.zeros(neuron.shape)
    near = np.zeros(neuron.shape, dtype=bool)
    spikes, close = [], []
    for moment in walk(graph, x):
        v = (moment.before[neuron.name]["v_mem"] + moment.total[neuron.name])[0]
        # A sum of n terms in any order is off by less than n units of the sum of their magnitudes; then v is added to,
        # divided, reset and floored, a rounding of at most its size each.
        terms = conv2d(
            np.abs(moment.output["input"]), np.abs(synapse.weight), synapse.stride, synapse.padding, synapse.dilation, 1
        )[0]
        terms = terms + (0 if synapse.bias is None else np.abs(synapse.bias)[:, None, None])
        floor = abs(neuron.v_min or 0.0)
        error = error + unit * ((synapse.fan_in + 2) * terms + 4 * (np.abs(v) + neuron.v_th + floor))
        multiple = np.maximum(np.rint(v / neuron.v_th), 1.0) if neuron.multi_spike else 1.0
        near = near | (np.abs(v - multiple * neuron.v_th) <= error)
        spikes.append(moment.output[neuron.name][0])
        close.append(near)
    return np.stack(spikes), moment.after[neuron.name]["v_mem"][0], error, np.stack(close)


CORES = speck_static.load({"float", "int", "scale_candidates"})
MAPPINGS = speck_static.load({"layers", "feasible"})
MEMORIES = speck_static.load({"in_shape", "memory"})
CONFIGURATIONS = speck_static.load({"config", "verdicts"})


def test_static_cases_are_there() -> None:
    oracles.require(CORES, "discretize", AREA)
    oracles.require(MAPPINGS, "mapping", AREA)
    oracles.require(MEMORIES, "memory", AREA)
    oracles.require(CONFIGURATIONS, "validator", AREA)


@pytest.mark.parametrize("case", CORES, ids=speck_static.named)
def test_quantized_cores(case: dict[str, Any]) -> None:
    """Scales to the last bit of float32, and every integer."""
    core = speck_static.float_core(case["name"], case["float"])
    found = candidates(core)
    for name, wanted in case["scale_candidates"].items():
        assert found[name] == np.float32(wanted), name
    ints, wanted = quantize_sinabs(core).ints, case["int"]
    assert np.array_equal(ints.weight, wanted["weight"])
    assert (ints.bias is None) == (wanted["bias"] is None)
    assert ints.bias is None or np.array_equal(ints.bias, wanted["bias"])
    assert (ints.v_th, ints.v_min) == (wanted["threshold"], wanted["min_v_mem"])
    assert (ints.v_mem is None) == (wanted["v_mem"] is None)
    assert ints.v_mem is None or np.array_equal(ints.v_mem, wanted["v_mem"])


@every_network
def test_quantization_of_networks(path: Path) -> None:
    """The integers of every layer from its weights, bias, threshold and floor in real numbers."""
    case = speck_nets.load(path)
    quantized = {layer["layer"]: layer for layer in case.layers("int")}
    assert quantized
    for layer in case.layers("float"):
        i, wanted = layer["layer"], quantized[layer["layer"]]
        weight, bias = case.arrays[f"float_w{i}"], case.arrays.get(f"float_b{i}")
        ints = quantize_sinabs(FloatCore(f"layer {i}", weight, bias, layer["threshold"], layer["min_v_mem"])).ints
        assert np.array_equal(ints.weight, case.arrays[f"int_w{i}"]), i
        assert (ints.bias is None) == (f"int_b{i}" not in case.arrays), i
        assert ints.bias is None or np.array_equal(ints.bias, case.arrays[f"int_b{i}"]), i
        assert (ints.v_th, ints.v_min) == (wanted["threshold"], wanted["min_v_mem"]), i


@pytest.mark.parametrize("path", speck_nets.nir_paths(), ids=lambda path: path.parent.name)
def test_quantization_of_the_nir_network(path: Path) -> None:
    """The NIR paper's network, whose file stores no floor: minus the threshold. A dense layer is a kernel over the map."""
    files = sorted(path.parent.glob("*.nir"))
    if not files:
        pytest.skip("the float network is not part of the project")
    wanted, layers = oracles.npz(path), json.loads((path.parent / "layers.json").read_text(encoding="utf-8"))
    synapses, neurons = speck_static.nir_chain(files[0])
    for i, (layer, (weight, bias), v_th) in enumerate(zip(layers, synapses, neurons, strict=True)):
        kernel = weight.reshape(len(weight), *layer["in_shape"]) if weight.ndim == 2 else weight
        core = FloatCore(f"layer {i}", kernel, bias, v_th, -v_th)
        ints = quantize_sinabs(core).ints
        assert np.array_equal(ints.weight, wanted[f"int_w{i}"]), i
        assert (ints.v_th, ints.v_min) == (layer["threshold"], layer["min_v_mem"]), i
        assert ints.bias is not None and ints.bias.any() == layer["bias_nonzero"]
        static = static_mismatch(core)
        assert static(quantize_best(core, FORMATS).ints) <= static(ints), i


@pytest.mark.parametrize("case", MEMORIES, ids=speck_static.named)
def test_memory(case: dict[str, Any]) -> None:
    channels, *in_map = case["in_shape"]
    kernel = (case["kernel"], case["kernel"])
    height, width = out_map(tuple(in_map), kernel, (case["stride"],) * 2, (case["padding"],) * 2)
    out_shape = (case["out_channels"], height, width)
    assert list(out_shape) == case["neuron_shape"]
    words = layer_words(channels, kernel, out_shape, bias=case["bias"])
    assert words == speck_static.words(case["memory"])
    assert list(Requirement("layer", words).cores(speck_static.MEMORIES)) == case["cores_that_fit"]


@pytest.mark.parametrize("case", MAPPINGS, ids=speck_static.named)
def test_mapping(case: dict[str, Any]) -> None:
    """As feasible as it is, and where it is, a core of its own for each layer that holds it."""
    layers = [Requirement(f"layer {i}", speck_static.words(words)) for i, words in enumerate(case["layers"])]
    found = match(layers, speck_static.MEMORIES)
    assert (not found.violations) == case["feasible"] == case["exact_bipartite_feasible"]
    assert case["feasible"] == (None not in found.cores)
    taken = [core for core in found.cores if core is not None]
    assert len(taken) == len(set(taken))
    held = [core is None or core in layer.cores(speck_static.MEMORIES) for layer, core in zip(layers, found.cores, strict=True)]
    assert all(held)


@pytest.mark.parametrize("case", CONFIGURATIONS, ids=speck_static.named)
def test_validator(case: dict[str, Any]) -> None:
    """The vendor's verdict, and among our violations every cause that it names."""
    config = speck_static.chip_config(case["config"])
    violations = check(config, speck_static.LIMITS)
    rules = {violation.rule for violation in violations}
    for module, wanted in case["verdicts"].items():
        assert verdict(violations) == wanted["verdict"], f"{module}: {wanted['message']}"
        if wanted["verdict"] == "rejected":
            assert speck_static.causes(wanted["message"]) <= rules, module
    assert verdict(check(config, speck_static.LIMITS, strict=STRICT)) == verdict(violations)


event_simulators = pytest.mark.parametrize("simulate", [events_reference.simulate, events.simulate], ids=["reference", "fast"])
EVENT_CASES = sorted(oracles.folder(AREA).glob("event_driven/*.json"))
NIR_SAMPLES = sorted(oracles.folder(AREA).glob("nmnist_nir/event_driven_sample*.npz"))


def test_event_cases_are_there() -> None:
    oracles.require(EVENT_CASES, "event_driven", AREA)


@event_simulators
@pytest.mark.parametrize("order", ["depth", "breadth"])
@pytest.mark.parametrize("path", EVENT_CASES, ids=lambda path: path.stem)
def test_event_by_event(path: Path, order: str, simulate: Any) -> None:
    """Every spike of every layer in its order, the last states, updates and saturations, both orders."""
    network, stream, case = speck_events.event_case(path)
    trace, wanted = simulate(network, stream, order=order), case[order]
    names = [layer.name for layer in network.layers]
    for name, spikes, v in zip(names, wanted["out_events_per_layer_before_pool"], wanted["v_final"], strict=True):
        assert trace.spikes[name].tcyx.tolist() == spikes, name
        assert spikes, f"{name} is silent"
        assert trace.v_mem[name].tolist() == v, name
    assert [trace.n_synops[name] for name in names] == wanted["synops"]
    assert [trace.n_saturations[name] for name in names] == wanted["saturations"]


@pytest.mark.parametrize("order", ["depth", "breadth"])
@event_simulators
@pytest.mark.parametrize("path", NIR_SAMPLES, ids=lambda path: path.stem)
def test_nir_network_event_by_event(path: Path, simulate: Any, order: str) -> None:
    """The NIR paper's N-MNIST network: spikes by neuron and timestep, last states and updates."""
    network = speck_events.nir_network(path.parent)
    x = oracles.npz(path.parent / "discretized_and_spikes.npz")[f"input{path.stem.removeprefix('event_driven_sample')}"]
    wanted = oracles.npz(path)
    trace = simulate(network, from_raster(x), order=order)
    for i, layer in enumerate(network.layers):
        np.testing.assert_array_equal(trace.counts[layer.name], wanted[f"event_counts_layer{i}"])
        np.testing.assert_array_equal(trace.spikes[layer.name].raster(len(x)), wanted[f"event_steps_layer{i}"])
        np.testing.assert_array_equal(trace.v_mem[layer.name], wanted[f"v_final{i}"])
        assert trace.n_spikes[layer.name], f"{layer.name} is silent"
    assert list(trace.n_synops.values()) == wanted["synops"].tolist()
