"""Both simulators against Lava's bit-accurate models: every spike, current and membrane of the recorded networks.

The fixtures are W, H, C with time last, and true convolutions; they are translated here, at the border. Sigma-delta
networks and `.net` files are other kinds, with tests of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.fixedpoint import shift_signed
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Flatten, Input, InputKind, Linear, Node
from neurodeploy.sim import clocked, reference

import oracles

AREA = "loihi"


def fixtures(wanted: Callable[[dict[str, Any]], bool]) -> list[Any]:
    """(arrays, meta) of every file whose meta passes."""
    found = []
    for path in sorted(oracles.folder(AREA).glob("*.npz")):
        arrays = oracles.npz(path)
        meta = json.loads(str(arrays["meta"])) if "meta" in arrays else {}
        if wanted(meta):
            found.append(pytest.param(path, meta, id=path.stem))
    return found


def is_lif_network(meta: dict[str, Any]) -> bool:
    return "layers" in meta and all(layer["neuron"]["type"] == "LIF" for layer in meta["layers"])


def is_dense_block(meta: dict[str, Any]) -> bool:
    return "layers" not in meta and {"vth", "du", "dv", "T"} <= set(meta)


def time_first(a: Array) -> Array:
    """(W, H, C, T) or (N, T) -> [T, 1, C, H, W] or [T, 1, N]."""
    return a.transpose(*range(a.ndim - 1, -1, -1))[:, np.newaxis]


def truncated(weight: Array, synapse: dict[str, Any]) -> Array:
    """What lava makes of the weights of a Dense or DelayDense: clipped, low bits cut off, shifted by weight_exp."""
    mode = synapse.get("sign_mode") or (2 if weight.min() >= 0 else 3 if weight.max() <= 0 else 1)
    sign = -1 if mode == 3 else 1
    clipped = sign * np.clip(weight.astype(np.int64), *{1: (-256, 255), 2: (0, 255), 3: (-255, 0)}[mode])
    k = 8 - synapse.get("num_weight_bits", 8) + (mode == 1)
    exponent = synapse.get("weight_exp", 0)
    if exponent < 0:
        pytest.skip("a negative weight_exp shifts the sum, which the IR's integer weights do not express")
    return sign * ((clipped >> k) << k) << exponent


def linear_nodes(name: str, weight: Array, delays: Array | None) -> list[tuple[Linear, int]]:
    """One Linear per delay, each with the weights of that delay."""
    if delays is None:
        return [(Linear(name, weight=weight), 1)]
    return [(Linear(f"{name}.d{d}", weight=np.where(delays == d, weight, 0)), 1 + int(d)) for d in np.unique(delays)]


def neuron(name: str, layer: dict[str, Any], k: int, arrays: dict[str, Array]) -> CubaLif:
    def entry(key: str) -> Array:
        return np.asarray(arrays.get(f"L{k}_{key}", layer["neuron"].get(key, 0)), dtype=np.int64)

    for key in ("u0", "v0"):
        if entry(key).any():
            pytest.skip(f"starts with {key}, the IR starts at zero")
    for key in ("du", "dv", "vth"):
        if len(np.unique(entry(key))) > 1:
            pytest.skip(f"{key} differs between the neurons of a layer, the IR has one per layer")
    shape = tuple(layer["shape"][::-1])
    # Exponents may differ by neuron: the effective bias with exponent 0 is the same number.
    mant, exp = np.broadcast_arrays(entry("bias_mant"), entry("bias_exp"))
    bias = np.array([shift_signed(m, int(e)) for m, e in zip(mant.flat, exp.flat, strict=True)]).reshape(mant.shape)
    du, dv, vth = (int(entry(key).flat[0]) for key in ("du", "dv", "vth"))
    return CubaLif(
        name, shape=shape, i_decay=du + 1, v_decay=dv, v_th=vth, bias_mant=bias.transpose() if bias.ndim else bias.reshape(1),
        bias_exp=0, reset_interval=layer["neuron"].get("reset_interval"), reset_offset=layer["neuron"].get("reset_offset", 0),
    )


def translate(meta: dict[str, Any], arrays: dict[str, Array]) -> tuple[IntGraph, Array]:
    """(network, chip input) of a fixture."""
    x = time_first(arrays["input"]).astype(np.int64)
    synapses = [s for layer in meta["layers"] for s in layer["synapses"]]
    graded = any(s.get("num_message_bits") for s in synapses if s["src"] == -1)
    if not graded:
        x = (x != 0).astype(np.int64)
    # Graded messages of the IR have no sign; values that have one enter as the other kind of integer input.
    kind: InputKind = "spikes" if not graded else "graded" if x.min() >= 0 else "bias"
    nodes: list[Node] = [Input("input", shape=x.shape[2:], kind=kind, max_value=max(1, int(np.abs(x).max())))]
    edges: list[Edge] = []
    for k, layer in enumerate(meta["layers"]):
        for j, synapse in enumerate(layer["synapses"]):
            source = "input" if synapse["src"] == -1 else f"L{synapse['src']}"
            name, weight = f"L{k}_S{j}", arrays[f"L{k}_S{j}_weight"]
            if synapse["type"] == "conv":
                pairs = {p: tuple(synapse[p][::-1]) for p in ("stride", "padding", "dilation")}
                kernel = np.ascontiguousarray(weight[:, ::-1, ::-1].transpose(0, 3, 2, 1)).astype(np.int64)
                added: list[tuple[Any, int]] = [(Conv2d(name, weight=kernel, groups=synapse["groups"], **pairs), 1)]
            else:
                if synapse.get("flatten"):
                    nodes.append(Flatten(f"{name}.flatten"))
                    edges.append(Edge(source, f"{name}.flatten"))
                    source = f"{name}.flatten"
                added = linear_nodes(name, truncated(weight, synapse), arrays.get(f"L{k}_S{j}_delays"))
            for node, delay in added:
                nodes.append(node)
                edges += [Edge(source, node.name, delay), Edge(node.name, f"L{k}")]
        nodes.append(neuron(f"L{k}", layer, k, arrays))
    return IntGraph(tuple(nodes), tuple(edges), n_timesteps=len(x)), x


def test_fixtures_are_there_and_spike() -> None:
    # A dense block comes with lava-dl and may not be copied: the golden folder has none.
    oracles.require(fixtures(is_lif_network), "LIF network", AREA)
    # Over the set: single networks are silent by design.
    arrays = [oracles.npz(path) for (path, _) in (case.values for case in fixtures(is_lif_network))]
    assert sum(int(a[key].sum()) for a in arrays for key in a if key.startswith("L") and key.endswith("_s")) > 0


@pytest.mark.parametrize("simulate", [reference.simulate, clocked.simulate], ids=["reference", "clocked"])
@pytest.mark.parametrize(("path", "meta"), fixtures(is_lif_network))
def test_networks(path: Path, meta: dict[str, Any], simulate: Any) -> None:
    arrays = oracles.npz(path)
    graph, x = translate(meta, arrays)
    trace = simulate(graph, x, len(x), record_state=True)
    for k in range(len(meta["layers"])):
        for key, table in (("u", trace.i_syn), ("v", trace.v_mem), ("s", trace.spikes)):
            wrong = np.argwhere(time_first(arrays[f"L{k}_{key}"]) != table[f"L{k}"])
            assert not len(wrong), f"layer {k} {key}: {len(wrong)} differ, the first at {wrong[0]}"


@pytest.mark.parametrize("simulate", [reference.simulate, clocked.simulate], ids=["reference", "clocked"])
@pytest.mark.parametrize(("path", "meta"), fixtures(is_dense_block))
def test_dense_block(path: Path, meta: dict[str, Any], simulate: Any) -> None:
    """lava-dl's own test of a dense block, 2000 timesteps."""
    arrays = oracles.npz(path)
    weight = truncated(arrays["weight"], {})
    graph = IntGraph(
        (Input("input", shape=(weight.shape[1],), kind="spikes"), Linear("fc", weight=weight),
         CubaLif("n", shape=(weight.shape[0],), i_decay=meta["du"] + 1, v_decay=meta["dv"], v_th=meta["vth"],
                 bias_mant=np.array([meta["bias"]]))),
        (Edge("input", "fc", 1), Edge("fc", "n")), n_timesteps=meta["T"],
    )
    trace = simulate(graph, time_first(arrays["input"]).astype(np.int64), meta["T"])
    assert np.array_equal(trace.spikes["n"], time_first(arrays["output_s"]))
    assert trace.n_spikes["n"] > 0
