"""Both simulators against Lava's bit-accurate models: every spike, current, membrane and sigma of the recorded networks.

The kinds of files are told apart by content (`oracles`); `loihi_networks` translates a network, `loihi_netx` reads the
`.net` file of a run of lava-dl's loader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Array, CubaLif, Input, Linear
from neurodeploy.sim import clocked, reference

import compiler_reports
import loihi_netx
import oracles
from loihi_networks import held_weights, time_first, translate

AREA = "loihi"
both_simulators = pytest.mark.parametrize("simulate", [reference.simulate, clocked.simulate], ids=["reference", "clocked"])


def fixtures(wanted: Callable[[dict[str, Any]], bool]) -> list[Any]:
    """(path, meta) of every file whose meta passes, as parameters of a test."""
    found = []
    for path in sorted(oracles.folder(AREA).glob("*.npz")):
        arrays = oracles.npz(path)
        meta = json.loads(str(arrays["meta"])) if "meta" in arrays else {}
        if wanted(meta):
            found.append(pytest.param(path, meta, id=path.stem))
    return found


def is_network(meta: dict[str, Any]) -> bool:
    return "layers" in meta


def is_dense_block(meta: dict[str, Any]) -> bool:
    return "layers" not in meta and {"vth", "du", "dv", "T"} <= set(meta)


def records(arrays: dict[str, Array]) -> list[tuple[str, str, Array]]:
    """(layer, s u v or sigma, [T, 1, *shape]) of everything that a network's file recorded, in the order of the layers."""
    found = [(re.fullmatch(r"L(\d+)_(s|u|v|sigma)", key), values) for key, values in arrays.items()]
    return [
        (f"L{m[1]}", m[2], time_first(values))
        for m, values in sorted(((m, v) for m, v in found if m), key=lambda pair: int(pair[0][1]))
    ]


def test_networks_are_there_and_spike() -> None:
    oracles.require(fixtures(is_network), "network", AREA)
    # Over the set: single networks are silent by design.
    arrays = [oracles.npz(path) for (path, _) in (case.values for case in fixtures(is_network))]
    assert sum(int(np.count_nonzero(values)) for a in arrays for _, key, values in records(a) if key == "s") > 0


@both_simulators
@pytest.mark.parametrize(("path", "meta"), fixtures(is_network))
def test_networks(path: Path, meta: dict[str, Any], simulate: Any) -> None:
    arrays = oracles.npz(path)
    graph, x = translate(meta, arrays)
    trace = simulate(graph, x, len(x), record_state=True)
    tables = {"s": trace.spikes, "u": trace.i_syn, "v": trace.v_mem, "sigma": trace.v_mem}
    found = records(arrays)
    assert {layer for layer, key, _ in found if key == "s"} == {f"L{k}" for k in range(len(meta["layers"]))}
    for layer, key, wanted in found:
        wrong = np.argwhere(wanted != tables[key][layer])
        assert not len(wrong), f"{layer} {key}: {len(wrong)} of {wanted.size} differ, the first at {wrong[0]}"


@both_simulators
@pytest.mark.parametrize(("path", "meta"), fixtures(is_network))
def test_a_chip_reads_out_the_same_but_for_v_on_a_spike(path: Path, meta: dict[str, Any], simulate: Any) -> None:
    arrays = oracles.npz(path)
    graph, x = translate(meta, arrays)
    trace = simulate(graph, x, len(x), record_state=True, v_readout="loihi2")
    for layer, key, wanted in records(arrays):
        if key == "v":
            fired = time_first(arrays[f"{layer}_s"]) != 0
            assert np.array_equal(trace.v_mem[layer], np.where(fired, 2 << 6, wanted))
        elif key == "s":
            assert np.array_equal(trace.spikes[layer], wanted)


@both_simulators
@pytest.mark.parametrize(("path", "meta"), fixtures(is_dense_block))
def test_dense_block(path: Path, meta: dict[str, Any], simulate: Any) -> None:
    """lava-dl's own test of a dense block, 2000 timesteps."""
    arrays = oracles.npz(path)
    weight = held_weights(arrays["weight"], {})
    graph = IntGraph(
        (Input("input", shape=(weight.shape[1],), kind="spikes"), Linear("fc", weight=weight, binary=True),
         CubaLif("n", shape=(weight.shape[0],), i_decay=meta["du"] + 1, v_decay=meta["dv"], v_th=meta["vth"],
                 bias_mant=np.array([meta["bias"]]))),
        (Edge("input", "fc", 1), Edge("fc", "n")), n_timesteps=meta["T"],
    )
    trace = simulate(graph, time_first(arrays["input"]).astype(np.int64), meta["T"])
    assert np.array_equal(trace.spikes["n"], time_first(arrays["output_s"]))
    assert trace.n_spikes["n"] > 0


def is_netx(meta: dict[str, Any]) -> bool:
    return "net_file" in meta


def is_tinynet() -> list[Path]:
    """lava-dl's own recording of its tiny.net, which has no meta."""
    wanted = {"input_bias", "input_s", "layer1_s", "layer1_u_over64", "output_s"}
    return [p for p in sorted(oracles.folder(AREA).glob("*.npz")) if wanted <= set(oracles.npz(p))]


def differs(found: Array, wanted: Array, what: str) -> str:
    wrong = np.argwhere(found != wanted)
    return "" if not len(wrong) else f"{what}: {len(wrong)} of {wanted.size} differ, the first at {wrong[0]}"


def test_netx_runs_are_there_and_spike() -> None:
    oracles.require(fixtures(is_netx), "netx run", AREA)
    arrays = [oracles.npz(path) for (path, _) in (case.values for case in fixtures(is_netx))]
    assert sum(int(np.count_nonzero(values)) for a in arrays for _, key, values in records(a) if key == "s") > 0


@both_simulators
@pytest.mark.parametrize(("path", "meta"), fixtures(is_netx))
def test_netx(path: Path, meta: dict[str, Any], simulate: Any) -> None:
    """A `.net` file as we read it computes what netx makes of it: every layer, every array that was recorded."""
    arrays = oracles.npz(path)
    graph, x = loihi_netx.case(path, meta, arrays)
    by_bias = loihi_netx.is_driven_by_bias(graph)
    run = loihi_netx.as_bias(graph, x) if by_bias else (graph, x)
    trace = simulate(*run, len(x), record_state=True)
    tables = {"s": trace.spikes, "u": trace.i_syn, "v": trace.v_mem, "sigma": trace.v_mem}
    found = records(arrays)
    assert {f"{layer[1:]}.neuron" for layer, _, _ in found} == {n.name for n in graph.neurons}
    for layer, key, wanted in found:
        problem = differs(tables[key][f"{layer[1:]}.neuron"], wanted, f"{layer} {key}")
        assert not problem, problem
    if by_bias:  # values that arrive at the input instead of the bias make the same spikes and membranes
        direct = simulate(graph, x, len(x), record_state=True)
        for name in trace.v_mem:
            assert np.array_equal(direct.spikes[name], trace.spikes[name])
            assert np.array_equal(direct.v_mem[name], trace.v_mem[name])


@both_simulators
@pytest.mark.parametrize("path", is_tinynet(), ids=lambda path: path.stem)
def test_tinynet(path: Path, simulate: Any) -> None:
    """Recorded by lava-dl with a column of padding, each layer shifted by its latency; reset_interval 17, 18 steps."""
    arrays = oracles.npz(path)
    n_steps = 18
    meta = {"net_file": path.with_suffix(".net").name, "T": n_steps, "netx_kwargs": {"reset_interval": 17}}
    graph, x = loihi_netx.case(path, meta, arrays)
    trace = simulate(*loihi_netx.as_bias(graph, x), n_steps, record_state=True)
    first, second, third = (n.name for n in graph.neurons)
    n_recorded = arrays["input_s"].shape[-1] - 1
    for k, (name, key) in enumerate(((first, "input_s"), (second, "layer1_s"), (third, "output_s"))):
        wanted = time_first(arrays[key])[1:]
        assert wanted.any()
        assert not differs(trace.spikes[name][k : k + n_recorded], wanted, key)
    u = trace.i_syn[second][1 : 1 + n_recorded]
    assert not np.any(u % 64)
    assert not differs(u // 64, time_first(arrays["layer1_u_over64"])[1:], "layer1_u_over64")


def test_compiler_reports_are_there() -> None:
    oracles.require(compiler_reports.reports(), "compiler report", AREA)


@pytest.mark.parametrize("report", compiler_reports.reports(), ids=lambda report: report["name"])
def test_cores_of_compiler_reports(report: dict[str, Any]) -> None:
    """Each layer takes the cores that Intel's compiler printed."""
    profile = compiler_reports.profile_of(report)
    assert compiler_reports.cores_of(report, profile) == [layer["cores"] for layer in report["layers"]]
