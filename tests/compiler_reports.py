"""Layers of a compiler's report (`loihi2_compiler_reports.json`) as networks that can be cut into cores.

A report prints shapes as (W, H, C), kernels and input channels, but neither strides nor paddings: they follow from the
sizes of a layer and the one before where these agree, and else each layer stands alone behind a map of its own.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from neurodeploy.hw.profile import Profile, target
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Input, Lif, Node, Shape
from neurodeploy.place.layers import read_network
from neurodeploy.place.partition import cut_layer

import oracles
from small_nets import biased, conv, linear

NAME = "loihi2_compiler_reports.json"


def reports() -> list[dict[str, Any]]:
    """Every network of every report file in the folder of fixtures."""
    found: list[dict[str, Any]] = []
    for path in sorted(oracles.folder("loihi").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        found += [net for net in content.get("nets", []) if "layers" in net] if isinstance(content, dict) else []
    return found


def profile_of(report: dict[str, Any], compiler: str | None = None) -> Profile:
    """loihi2 with the compiler generation that fills as many words as the report's (or the named one)."""
    known = target("loihi2").partition.compilers
    limit = report.get("synapse_words_limit")
    name = compiler or next((name for name, words in known.items() if words == limit), None)
    if name is None:
        return target("loihi2", {"partition.compilers": {"report": limit}, "partition.compiler": "report",
                                 "capacity.synapse_words_per_core.value": limit})
    return target("loihi2", {"partition.compiler": name})


def cores_of(report: dict[str, Any], profile: Profile) -> list[int]:
    """Cores of each layer of the report as `place` cuts it."""
    shapes = [tuple(reversed(layer["out"])) for layer in report["layers"]]
    found = []
    for index, layer in enumerate(report["layers"]):
        graph = _alone(layer, shapes[index], shapes[index - 1] if index else None, is_last=index == len(shapes) - 1)
        first = read_network(graph).layers[0]
        cut = cut_layer(first, profile)
        found.append(cut.n_cores if cut is not None else 0)
    return found


def _alone(layer: dict[str, Any], shape: Shape, before: Shape | None, *, is_last: bool) -> Graph:
    """The layer behind an input of the shape that it expects, and before a layer that listens (the last one has none)."""
    nodes: list[Node]
    edges: list[Edge]
    if layer["type"] == "input":
        nodes, edges = (list(part) for part in biased("layer", shape))
        last = "layer.n"
    else:
        synapse, source = _conv(layer, shape, before) if layer["type"] == "conv" else _dense(layer, shape)
        assert synapse.output_shape(source) == shape
        nodes = [Input("x", shape=source, kind="spikes"), synapse, Lif("layer.n", shape=shape)]
        edges, last = [Edge("x", synapse.name, 1), Edge(synapse.name, "layer.n")], "layer.n"
    if not is_last:
        listener = conv("next", shape[0], 1, 1) if len(shape) == 3 else linear("next", shape[0], 1)
        nodes += [listener, Lif("next.n", shape=listener.output_shape(shape))]
        edges += [Edge(last, "next", 1), Edge("next", "next.n")]
    return Graph(tuple(nodes), tuple(edges), n_timesteps=16)


def _dense(layer: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
    return linear("dense", layer["n_in"], int(np.prod(shape))), (layer["n_in"],)


def _conv(layer: dict[str, Any], shape: Shape, before: Shape | None) -> tuple[Node, Shape]:
    k, n_in, (c, *size) = layer["k"], layer["in_ch"], shape
    if before is not None and len(before) == 3 and before[0] == n_in:
        fitting = [
            [(s, p) for s in range(1, 5) for p in range(k) if (old + 2 * p - k) // s + 1 == new]
            for old, new in zip(before[1:], size, strict=True)
        ]
        if all(fitting):
            (sy, py), (sx, px) = (options[0] for options in fitting)
            return conv("conv", n_in, c, k, stride=(sy, sx), padding=(py, px)), before
    return conv("conv", n_in, c, k), (n_in, size[0] + k - 1, size[1] + k - 1)
