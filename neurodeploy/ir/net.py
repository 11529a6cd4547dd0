"""lava-dl's `.net` (HDF5, 0.6.0): read as its loader `netx` reads it, written for graphs that netx can hold.

`read_network` gives the IntGraph that netx builds of any file, `net_layers` turns a graph into the layers of a file,
`write_net` writes them, `read_net` reads them back. What netx takes as arguments instead of from the file (reset, input
message bits) is `netx.netx_kwargs`. A read-out (Vote) happens on the host and is not part of the file.

Input: kinds `spikes` and `graded` are an input layer without neurons (messages arrive at `net.inp`, flat where the first
synapse is dense); kind `bias` is an input layer with neurons, whose `bias_mant` the host writes per sample; `graded`
before a Delta are values connected to its `a_in`.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neurodeploy.errors import NeurodeployError, UnsafeFile, UsageError
from neurodeploy.ir.checks import check_graph
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.hdf5 import Tree, read_trusted
from neurodeploy.ir.hdf5_process import read_tree
from neurodeploy.ir.net_entries import Notes
from neurodeploy.ir.net_graph import Options, nodes_of, transform
from neurodeploy.ir.net_layers import NetLayer, parse, sample_steps
from neurodeploy.ir.netx import Block, blocks, netx_reason, whole_weight
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Delta, Linear, Shape, Sigma, SigmaDelta
from neurodeploy.ir.serialize import same

DEFAULT_STEPS = 16  # of a file that names none, as metadata["n_timesteps_from"] then says


def read_network(
    path: Path, *, n_timesteps: int | None = None, reset_interval: int | None = None, reset_offset: int = 0,
    message_bits: int = 0, signed_messages: bool = False, num_layers: int | None = None, skip_layers: int = 0,
    input_shape: Shape | None = None, spike_exp: int = 6, trusted: bool = False,
) -> IntGraph:
    """The network that netx makes of a `.net` file, bit for bit; nodes `0.conv`, `0.neuron`, ..., input `input`.

    The arguments are those of netx's Network: message_bits of what arrives at a first synapse (0: spikes;
    `signed_messages` for graded ones that may be negative), input_shape (C, H, W) for a file without an input layer.
    n_timesteps: as given, else tSample / Ts of the file, else reset_interval, else 16; metadata["n_timesteps_from"]
    says which. An input layer's weight and bias become the graph's host part, 2 * weight * x - weight + bias of x in
    0..1. A stranger's file is read in a child process (`hdf5_process`); `trusted` reads it in this one.

    Warns (NeurodeployWarning) of everything that netx ignores, truncates or clips. Raises UsageError for a missing file
    or impossible arguments, UnsafeFile for one that is unsafe, corrupt, or unsupported (code `unsupported`).
    """
    options = Options(
        reset_interval, reset_offset, message_bits, signed_messages, num_layers, skip_layers, input_shape, spike_exp
    )
    _check_options(options, n_timesteps)
    path = Path(path)
    tree = read_trusted(path) if trusted else read_tree(path)
    graph, notes = network_of(tree, str(path), options, n_timesteps)
    for warning in notes.warnings:
        warnings.warn(warning, stacklevel=2)
    return graph


def network_of(tree: Tree, where: str, options: Options, n_timesteps: int | None = None) -> tuple[IntGraph, Notes]:
    """The network in the datasets of a file, and what is to be said about it. Raises UnsafeFile."""
    notes = Notes(where)
    nodes, edges, host = nodes_of(parse(tree, notes, options.num_layers), options, notes)
    named = {"argument": n_timesteps, "tSample": sample_steps(tree), "reset_interval": options.reset_interval}
    source, steps = next(((name, n) for name, n in named.items() if n is not None), ("default", DEFAULT_STEPS))
    metadata = {"source": "lava-dl .net", "n_timesteps_from": source}
    try:
        graph = IntGraph(nodes, edges, steps, metadata, host)
        check_graph(graph)
    except NeurodeployError as err:
        raise UnsafeFile(f"the network makes no sense: {err.what}", where=f"{where}: {err.where}", limit=err.limit) from err
    return graph, notes


def _check_options(options: Options, n_timesteps: int | None) -> None:
    for name, value, low, high in (
        ("n_timesteps", n_timesteps, 1, 2**20), ("reset_interval", options.reset_interval, 1, 2**31),
        ("reset_offset", options.reset_offset, 0, 2**31), ("message_bits", options.message_bits, 0, 24),
        ("num_layers", options.num_layers, 1, 2**31), ("skip_layers", options.skip_layers, 0, 2**31),
        ("spike_exp", options.spike_exp, 0, 16),
    ):
        if value is not None and not low <= value <= high:
            raise UsageError(f"{name} is {value}", where=name, limit=f"{low}..{high}")
    shape = options.input_shape
    if shape is not None and (len(shape) not in (1, 3) or min(shape) < 1):
        raise UsageError(f"input_shape is {shape}", where="input_shape", limit="(C, H, W) or (N,)")


def read_net(path: Path, *, trusted: bool = False) -> tuple[NetLayer, ...]:
    """The layers of a `.net` file. Raises as `read_network`."""
    notes = Notes(str(path))
    layers = parse(read_trusted(path) if trusted else read_tree(path), notes)
    for warning in notes.warnings:
        warnings.warn(warning, stacklevel=2)
    return layers


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
    found = blocks(graph)
    if found[0].synapse is not None:
        layers.append(NetLayer("input", graph.inputs[0].shape))
    for block in found:
        if block.flatten is not None:
            layers.append(NetLayer("flatten", graph.shapes[block.flatten.name]))
        layers.append(_layer(block))
    if found[0].synapse is None:
        layers[0] = _with_transform(layers[0], graph)
    return tuple(layers)


def _layer(block: Block) -> NetLayer:
    neuron, synapse = _neuron(block), block.synapse
    shape: Shape = block.neuron.shape  # type: ignore[attr-defined]
    if isinstance(synapse, Conv2d):
        return NetLayer(
            "conv", shape, weight=synapse.weight, stride=synapse.stride, padding=synapse.padding,
            dilation=synapse.dilation, groups=synapse.groups, **neuron,
        )
    if isinstance(synapse, Linear):
        loop = None if block.loop is None else whole_weight(block.loop)
        return NetLayer(
            "dense" if loop is None else "dense_rec", shape, weight=whole_weight(synapse), weight_rec=loop,
            delay=_delay(synapse), **neuron,
        )
    return NetLayer("input", shape, **neuron)


def _neuron(block: Block) -> dict[str, Any]:
    node = block.neuron
    if isinstance(node, CubaLif):
        return {
            "neuron": "CUBA", "bias": _bias(node.bias_mant, node.shape),
            **{name: _constant(getattr(node, name), node.shape) for name in ("i_decay", "v_decay", "v_th")},
        }
    if isinstance(node, Sigma):
        return {"neuron": "SDNN", "sigma_output": True}
    assert isinstance(node, Delta)
    bias = _bias(node.bias_mant, node.shape) if isinstance(node, SigmaDelta) else None
    return {"neuron": "SDNN", "bias": bias, "v_th": int(np.asarray(node.v_th).reshape(-1)[0])}


def _constant(value: int | Array, shape: Shape) -> int | Array:
    """In the order of the file: one value, or one a neuron or channel, channels last."""
    full = np.broadcast_to(np.asarray(value, dtype=np.int64), shape)
    if np.all(full == full.flat[0]):
        return int(full.flat[0])
    return _channels_last(full)


def _channels_last(full: Array) -> Array:
    if full.ndim == 1:
        return np.asarray(full)
    per_channel = full[:, 0, 0]
    same_map = np.array_equal(full, np.broadcast_to(per_channel[:, None, None], full.shape))
    return np.asarray(per_channel if same_map else full.transpose(2, 1, 0))


def _bias(bias: Array, shape: Shape) -> Array | None:
    return _channels_last(np.broadcast_to(bias, shape).astype(np.int64)) if bias.any() else None


def _delay(node: Linear) -> Array | None:
    """One delay per output neuron where that is all, else one per input, else one per weight."""
    delays = node.delays
    if delays is None or not delays.any():
        return None
    if np.all(delays == delays[:, :1]):
        return np.asarray(delays[:, 0])
    # A vector as long as there are output neurons would be taken for theirs.
    if delays.shape[0] != delays.shape[1] and np.all(delays == delays[:1]):
        return np.asarray(delays[0])
    return delays


def _with_transform(layer: NetLayer, graph: IntGraph) -> NetLayer:
    """The input layer with the weight and bias that stand for the graph's host part, where they do."""
    host = graph.host
    if host is None or len(host.nodes) != 2:
        return layer
    gamma, beta = (getattr(host.nodes[1], name, np.zeros(1)) for name in ("gamma", "beta"))
    weight = float(gamma.flat[0]) / 2
    if weight != int(weight) or float(beta.flat[0]) != int(beta.flat[0]):
        return layer
    made = NetLayer(
        **{**vars(layer), "weight": np.array([int(weight)]), "bias": np.array([int(beta.flat[0]) + int(weight)])}
    )
    return made if same(transform(made), host) is None else layer


def write_net(graph: IntGraph, path: Path) -> None:
    """Write the graph as a `.net` file; equal graphs give equal bytes. Raises NeurodeployError where netx cannot hold it."""
    layers = net_layers(graph)
    with h5py.File(path, "w", track_order=False) as file:
        for index, layer in enumerate(layers):
            # HDF5 lays a file out by which of its groups are open: both stay so until the next takes their names.
            group = file.create_group(f"layer/{index}")
            _write_layer(group, layer)
            if layer.neuron is not None:
                neuron = group.create_group("neuron")
                _write_neuron(neuron, layer)


def _write_layer(group: h5py.Group, layer: NetLayer) -> None:
    _put(group, "type", np.array([layer.kind.encode()], dtype="S10"))
    _put(group, "shape", np.array(layer.shape, dtype=np.int64))
    if layer.kind in ("dense", "dense_rec"):
        assert layer.weight is not None
        _put(group, "inFeatures", np.int64(layer.weight.shape[1]))
        _put(group, "outFeatures", np.int64(layer.weight.shape[0]))
    for name in ("weight", "weight_rec"):
        if getattr(layer, name) is not None:
            _put(group, name, getattr(layer, name).astype(np.float32))  # integers of at most 25 bits: exact in float32
    for name in ("stride", "padding", "dilation"):
        if getattr(layer, name) is not None:
            _put(group, name, np.array(getattr(layer, name), dtype=np.int64))
    if layer.groups is not None:
        _put(group, "groups", np.int64(layer.groups))
    for name in ("bias", "delay"):
        if getattr(layer, name) is not None:
            _put(group, name, getattr(layer, name).astype(np.float32))


def _write_neuron(group: h5py.Group, layer: NetLayer) -> None:
    assert layer.neuron is not None
    _put(group, "type", np.array([layer.neuron.encode()], dtype="S10"))
    for name, value in (("iDecay", layer.i_decay), ("vDecay", layer.v_decay), ("vThMant", layer.v_th)):
        if value is not None:
            _put(group, name, np.array(value, dtype=np.int64))
    if layer.sigma_output:
        _put(group, "sigma_output", np.bool_(True))
    if layer.neuron == "CUBA":
        _put(group, "refDelay", np.int64(1))
        _put(group, "gradedSpike", np.bool_(False))


def _put(group: h5py.Group, name: str, value: Any) -> None:
    group.create_dataset(name, data=value, track_times=False)
