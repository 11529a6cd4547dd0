"""Recordings of DYNAP-CNN's toolchain: every file of each kind, told apart by content (`oracles`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, Lif, SumPool2d
from neurodeploy.ir.reference import conv2d, evaluate, step, walk
from neurodeploy.sim import clocked, reference

import oracles
import speck_nets

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
            if case.must_spike:
                assert found.any(), f"layer {number} is silent"
        final = f"int_vmem_final{number}"
        assert np.array_equal(trace.v_mem[name][-1], case.arrays[final]), final
        compared.add(final)
    assert {key for key in case.arrays if key.startswith(("int_layer", "int_vmem"))} == compared


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
    assert n_spikes > 0
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
