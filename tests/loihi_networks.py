"""Recorded networks of Lava (`meta.layers` beside arrays) as graphs of neurodeploy.

A fixture has W, H, C with time last, and true convolutions; everything is translated here, at the border. Entries of
unknown meaning are passed over: where they meant something, the recorded arrays will not come out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from neurodeploy.ir.graph import Edge, IntGraph
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Delta, Flatten, Input, Linear, Node, Pair, Shape, Sigma, SigmaDelta

SUM_BITS = 24  # of a convolution in Lava's fixed-point models
MIXED, EXCITATORY, INHIBITORY = 1, 2, 3


def time_first(a: Array) -> Array:
    """(W, H, C, T) or (N, T) -> [T, 1, C, H, W] or [T, 1, N]."""
    return a.transpose(*range(a.ndim - 1, -1, -1))[:, np.newaxis]


def held_weights(weight: Array, synapse: dict[str, Any]) -> Array:
    """What Lava makes of the weights of a Dense or DelayDense: clipped, low bits cut off."""
    mode = synapse.get("sign_mode") or (EXCITATORY if weight.min() >= 0 else INHIBITORY if weight.max() <= 0 else MIXED)
    sign = -1 if mode == INHIBITORY else 1
    low, high = {MIXED: (-256, 255), EXCITATORY: (0, 255), INHIBITORY: (-255, 0)}[mode]
    magnitude = sign * np.clip(weight.astype(np.int64), low, high)
    cut = 8 - synapse.get("num_weight_bits", 8) + (mode == MIXED)
    if cut < 0:  # Lava shifts by a negative number of bits, which leaves nothing
        return np.zeros_like(magnitude)
    return sign * ((magnitude >> cut) << cut)


def _pair(value: Any) -> Pair:
    """(x, y), or one number for both, as (y, x)."""
    x, y = np.broadcast_to(value, 2).tolist()
    return y, x


def synapse_node(name: str, synapse: dict[str, Any], weight: Array, delays: Array | None) -> Conv2d | Linear:
    """The node of a synapse that has weights."""
    binary = not synapse.get("num_message_bits")
    if synapse["type"] == "conv":
        # Lava's convolution ignores num_weight_bits, sign_mode and weight_exp.
        kernel = np.ascontiguousarray(weight[:, ::-1, ::-1].transpose(0, 3, 2, 1)).astype(np.int64)
        return Conv2d(
            name, weight=kernel, stride=_pair(synapse.get("stride", 1)), padding=_pair(synapse.get("padding", 0)),
            dilation=_pair(synapse.get("dilation", 1)), groups=synapse.get("groups", 1), binary=binary, sum_bits=SUM_BITS,
        )
    if synapse["type"] not in ("dense", "delay_dense") or (synapse["type"] == "delay_dense") != (delays is not None):
        raise ValueError(f"{name} is a {synapse['type']} {'with' if delays is not None else 'without'} delays")
    held = held_weights(weight, synapse)
    if delays is not None:
        delays = np.broadcast_to(delays, held.shape).astype(np.int64)
    return Linear(name, weight=held, binary=binary, weight_exp=synapse.get("weight_exp", 0), delays=delays)


def neuron_node(name: str, layer: dict[str, Any], arrays: dict[str, Array]) -> Node:
    """The node of a layer's neurons; an array of the file wins over the layer's entry."""
    entries = layer["neuron"]
    kind, shape = entries["type"], tuple(layer["shape"])

    def value(key: str) -> Any:
        """One integer, or an array [C, H, W] or [N]: Lava broadcasts over W, H, C, the channel last."""
        found = np.asarray(arrays.get(f"{name}_{key}", entries.get(key, 0)))
        whole = found.astype(np.int64)
        assert np.array_equal(found, whole), f"{name}: {key} is not whole"
        return int(whole.reshape(-1)[0]) if whole.size == 1 else np.ascontiguousarray(np.broadcast_to(whole, shape).transpose())

    def array(key: str) -> Array:
        return np.atleast_1d(np.asarray(value(key), dtype=np.int64))

    ours: Shape = shape[::-1]
    if kind == "LIF":
        return CubaLif(
            name, shape=ours, i_decay=value("du") + 1, v_decay=value("dv"), v_th=value("vth"), bias_mant=array("bias_mant"),
            bias_exp=value("bias_exp"), i_init=array("u0"), v_init=array("v0"),
            reset_interval=entries.get("reset_interval") or None, reset_offset=entries.get("reset_offset", 0),
        )
    exponents = {"spike_exp": value("spike_exp"), "state_exp": value("state_exp")}
    if kind == "Delta":
        return Delta(name, shape=ours, v_th=value("vth"), **exponents)
    if kind == "SigmaDelta":
        return SigmaDelta(name, shape=ours, v_th=value("vth"), bias_mant=array("bias"), **exponents)
    if kind == "Sigma":
        return Sigma(name, shape=ours)
    raise ValueError(f"{name} has neurons of unknown type {kind}")


def translate(meta: dict[str, Any], arrays: dict[str, Array]) -> tuple[IntGraph, Array]:
    """(network, chip input) of a fixture. Its neuron layers are `L0`, `L1`, ..."""
    x = time_first(arrays["input"]).astype(np.int64)
    binary = bool(((x == 0) | (x == 1)).all())
    largest = max(1, int(np.abs(x).max()))
    nodes: list[Node] = [
        Input("input", shape=x.shape[2:], kind="spikes" if binary else "graded", max_value=largest, signed=bool(x.min() < 0))
    ]
    edges: list[Edge] = []
    for k, layer in enumerate(meta["layers"]):
        for j, synapse in enumerate(layer["synapses"]):
            name = f"L{k}_S{j}"
            source = "input" if synapse["src"] == -1 else f"L{synapse['src']}"
            if synapse.get("flatten"):
                nodes.append(Flatten(f"{name}.flatten"))
                edges.append(Edge(source, f"{name}.flatten"))
                source = f"{name}.flatten"
            if synapse["type"] == "identity":
                edges.append(Edge(source, f"L{k}"))
                continue
            nodes.append(synapse_node(name, synapse, arrays[f"{name}_weight"], arrays.get(f"{name}_delays")))
            edges += [Edge(source, name, 1), Edge(name, f"L{k}")]
        nodes.append(neuron_node(f"L{k}", layer, arrays))
    return IntGraph(tuple(nodes), tuple(edges), n_timesteps=len(x)), x
