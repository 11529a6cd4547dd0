"""Recorded runs of lava-dl's loader netx: the `.net` file as we read it, and the input in our order.

A case is an npz whose meta names `net_file`; what netx takes beside the file is in `netx_kwargs`, in its order (x, y, c).
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from neurodeploy.errors import NeurodeployWarning
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.net import read_network
from neurodeploy.ir.nodes import Array, CubaLif

from loihi_networks import time_first

_OURS = {"input_message_bits": "message_bits"}


def arguments(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of read_network for those of netx's Network."""
    ours = {_OURS.get(name, name): value for name, value in kwargs.items() if value is not None}
    ours.pop("sparse_fc_layer", None)  # another process of lava-nc that computes the same
    if "input_shape" in ours:
        ours["input_shape"] = tuple(ours["input_shape"][::-1])
    return ours


def read(path: Path, kwargs: dict[str, Any], n_steps: int, signed: bool = False) -> IntGraph:
    """The network; what netx ignores is no news in a recorded case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NeurodeployWarning)
        return read_network(path, n_timesteps=n_steps, signed_messages=signed, **arguments(kwargs))


def _with(graph: IntGraph, *nodes: Any) -> IntGraph:
    by_name = {node.name: node for node in nodes}
    return replace(graph, nodes=tuple(by_name.get(n.name, n) for n in graph.nodes))


def _admit(graph: IntGraph, x: Array) -> IntGraph:
    """The graph with an input as wide as the recorded values; lava-nc does not bound them."""
    entry = graph.inputs[0]
    if entry.kind == "spikes":
        return graph
    return _with(graph, replace(entry, max_value=max(entry.max_value, int(np.abs(x).max()))))


def case(path: Path, meta: dict[str, Any], arrays: dict[str, Array]) -> tuple[IntGraph, Array]:
    """(network, chip input [T, 1, *shape]) of a recorded run; values for input neurons enter as the input."""
    net, n_steps, kwargs = path.parent / meta["net_file"], int(meta["T"]), meta.get("netx_kwargs", {})
    if "input_bias" in arrays:
        once = arrays["input_bias"].astype(np.int64).transpose()
        x = np.repeat(once[np.newaxis, np.newaxis], n_steps, axis=0)
        graph = read(net, kwargs, n_steps)
        return _admit(graph, x), x
    x = time_first(arrays["input"]).astype(np.int64)
    graph = read(net, kwargs, n_steps, signed=bool(x.min() < 0))
    entry = graph.inputs[0]
    if entry.kind == "spikes":
        x = (x != 0).astype(np.int64)  # lava-nc takes any other value for a spike
    return _admit(graph, x), x.reshape(*x.shape[:2], *entry.shape)  # flat where the first synapse is dense


def as_bias(graph: IntGraph, x: Array) -> tuple[IntGraph, Array]:
    """The same run as netx is driven: the values of a bias input as bias_mant of its neurons, nothing at the input."""
    entry = graph.inputs[0]
    (first,) = (graph[e.dst] for e in graph.outgoing(entry.name))
    assert isinstance(first, CubaLif) and entry.kind == "bias"
    return _with(graph, replace(first, bias_mant=np.ascontiguousarray(x[0, 0]))), np.zeros_like(x)


def is_driven_by_bias(graph: IntGraph) -> bool:
    return graph.inputs[0].kind == "bias"
