"""lava-dl's `.net` (HDF5, 0.6.0) for integer graphs that its loader `netx` can hold: a strict chain.

`net_layers` turns a graph into the layers of the file, `write_net` writes them, `read_net` reads them back. What netx
takes as arguments instead of from the file (reset, input message bits) is `netx.netx_kwargs`. The read-out (Vote) happens on
the host and is not part of the file.

Input: kinds `spikes` and `graded` become an input layer without neurons (spikes arrive at `net.inp`, flat where the
first synapse is dense); kind `bias` becomes an input layer with neurons, whose `bias_mant` the host writes per sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neurodeploy.errors import NeurodeployError, UnsafeFile
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.hdf5 import open_checked, read_array, read_text
from neurodeploy.ir.netx import netx_reason
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Flatten, Linear, Node, Pair, Shape


@dataclass(frozen=True, eq=False)
class NetLayer:
    """One layer of a `.net` file: `kind` input, conv, dense or flatten; shapes in (C, H, W), pairs in (y, x).

    weight int64 as in the node (None where there is none); bias int64 (C,), or (W, H, C) for one value a neuron, or None;
    decays and threshold as in CubaLif (None for a layer without neurons).
    """

    kind: str
    shape: Shape
    weight: Array | None = None
    bias: Array | None = None
    stride: Pair | None = None
    padding: Pair | None = None
    dilation: Pair | None = None
    groups: int | None = None
    i_decay: int | None = None
    v_decay: int | None = None
    v_th: int | None = None


def differences(a: tuple[NetLayer, ...], b: tuple[NetLayer, ...]) -> list[str]:
    """Where two files differ, as `layer/field`; empty when they hold the same network."""
    if len(a) != len(b):
        return [f"{len(a)} layers against {len(b)}"]
    found = []
    for index, (one, other) in enumerate(zip(a, b, strict=True)):
        for name in NetLayer.__dataclass_fields__:
            x, y = getattr(one, name), getattr(other, name)
            if (x is None) != (y is None) or (x is not None and not np.array_equal(x, y)):
                found.append(f"layer/{index}/{name}")
    return found


def net_layers(graph: IntGraph) -> tuple[NetLayer, ...]:
    """The layers of the file. Raises NeurodeployError with netx_reason where there is one."""
    reason = netx_reason(graph)
    if reason is not None:
        raise NeurodeployError(
            f"netx cannot hold this network: {reason}", code="netx", remedy="Use graph.npz with the run script"
        )
    layers: list[NetLayer] = []
    source = graph.inputs[0]
    if source.kind != "bias":
        layers.append(NetLayer("input", source.shape))
    synapse: Node | None = None
    for node in graph.feedforward_order:
        if isinstance(node, Flatten):
            layers.append(NetLayer("flatten", graph.shapes[node.name]))
        elif isinstance(node, CubaLif):
            layers.append(_layer(node, synapse))
        synapse = node if isinstance(node, Conv2d | Linear) else None
    return tuple(layers)


def _layer(node: CubaLif, synapse: Node | None) -> NetLayer:
    neuron: dict[str, Any] = {"i_decay": int(node.i_decay), "v_decay": int(node.v_decay), "v_th": int(node.v_th)}
    bias = _bias(node)
    if isinstance(synapse, Conv2d):
        return NetLayer(
            "conv", node.shape, weight=synapse.weight, bias=bias, stride=synapse.stride, padding=synapse.padding,
            dilation=synapse.dilation, groups=synapse.groups, **neuron,
        )
    if isinstance(synapse, Linear):
        return NetLayer("dense", node.shape, weight=synapse.weight, bias=bias, **neuron)
    return NetLayer("input", node.shape, **neuron)


def _bias(node: CubaLif) -> Array | None:
    full = np.broadcast_to(node.bias_mant, node.shape).astype(np.int64)
    if not full.any():
        return None
    if full.ndim == 1:
        return full
    per_channel = full[:, 0, 0]
    same = np.array_equal(full, np.broadcast_to(per_channel[:, None, None], node.shape))
    return per_channel if same else full.transpose(2, 1, 0)


def write_net(graph: IntGraph, path: Path) -> None:
    """Write the graph as a `.net` file; equal graphs give equal bytes. Raises NeurodeployError where netx cannot hold it."""
    layers = net_layers(graph)
    with h5py.File(path, "w", track_order=False) as file:
        for index, layer in enumerate(layers):
            group = file.create_group(f"layer/{index}")
            _put(group, "type", np.array([layer.kind.encode()], dtype="S10"))
            _put(group, "shape", np.array(layer.shape, dtype=np.int64))
            if layer.kind == "dense":
                assert layer.weight is not None
                _put(group, "inFeatures", np.int64(layer.weight.shape[1]))
                _put(group, "outFeatures", np.int64(layer.weight.shape[0]))
            if layer.weight is not None:
                _put(group, "weight", layer.weight.astype(np.float32))  # 9-bit integers: exact in float32
            for name in ("stride", "padding", "dilation"):
                if getattr(layer, name) is not None:
                    _put(group, name, np.array(getattr(layer, name), dtype=np.int64))
            if layer.groups is not None:
                _put(group, "groups", np.int64(layer.groups))
            if layer.bias is not None:
                _put(group, "bias", layer.bias.astype(np.float32))
            if layer.v_th is not None:
                neuron = group.create_group("neuron")
                _put(neuron, "type", np.array([b"CUBA"], dtype="S10"))
                for name, value in (("iDecay", layer.i_decay), ("vDecay", layer.v_decay), ("vThMant", layer.v_th)):
                    _put(neuron, name, np.array(value, dtype=np.int64))
                _put(neuron, "refDelay", np.int64(1))
                _put(neuron, "gradedSpike", np.bool_(False))


def _put(group: h5py.Group, name: str, value: Any) -> None:
    group.create_dataset(name, data=value, track_times=False)


def read_net(path: Path) -> tuple[NetLayer, ...]:
    """The layers of a `.net` file as `write_net` writes them.

    Raises UsageError when there is no such file, UnsafeFile when it is unsafe, corrupt or of another form.
    """
    with open_checked(path) as file:
        group = file.get("layer")
        names = sorted(group) if isinstance(group, h5py.Group) else []
        if not names or set(names) != {str(i) for i in range(len(names))}:
            raise UnsafeFile("no layers 0, 1, ...", where=f"{path}:/layer")
        return tuple(_read_layer(group[str(i)], path) for i in range(len(names)))


def _read_layer(group: h5py.Group, path: Path) -> NetLayer:
    kind = read_text(group, "type", path)
    if kind not in ("input", "conv", "dense", "flatten"):
        raise UnsafeFile(f"layer type {kind!r}", where=f"{path}:{group.name}", limit="Read: input, conv, dense, flatten")
    fields: dict[str, Any] = {"shape": tuple(int(n) for n in _integers(group, "shape", path).reshape(-1))}
    for name in ("weight", "bias"):
        if name in group:
            fields[name] = _integers(group, name, path)
    for name in ("stride", "padding", "dilation"):
        if name in group:
            y, x = _integers(group, name, path).reshape(-1)
            fields[name] = (int(y), int(x))
    if "groups" in group:
        fields["groups"] = int(_integers(group, "groups", path))
    if "neuron" in group:
        neuron = group["neuron"]
        if read_text(neuron, "type", path) not in ("CUBA", "LOIHI"):
            raise UnsafeFile("a neuron other than CUBA", where=f"{path}:{neuron.name}")
        for name, stored in (("i_decay", "iDecay"), ("v_decay", "vDecay"), ("v_th", "vThMant")):
            fields[name] = int(_integers(neuron, stored, path))
    return NetLayer(kind, **fields)


def _integers(group: h5py.Group, name: str, path: Path) -> Array:
    values = read_array(group, name, path)
    whole: Array = np.rint(values).astype(np.int64)
    if not np.array_equal(whole, values):
        raise UnsafeFile("values that are not integers", where=f"{path}:{group.name}/{name}")
    return whole
