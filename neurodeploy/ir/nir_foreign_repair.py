"""What real NIR files get wrong and can only mean one way, put right before nir's classes see it, and told line by line.

Scalars where arrays belong, and parameters of one layer in several shapes: broadcast to the largest. Convolutions without bias,
Outputs without shape: nothing needs them. An Input without shape: that of the layer it feeds, where the layer says it. Edges
there twice: once, for NIR's edges are a set. Names with slashes, which HDF5 takes for groups: joined by dots. nir's own reader
refuses such files, each with the message of an assertion. What needs the network's shapes (one value for a layer, the batch's
axis) is put right in `nir_foreign_nodes.py`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from neurodeploy.ir.nodes import Array

_PARAMETERS = {
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "LI": ("tau", "r", "v_leak"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "I": ("r",), "Threshold": ("threshold",), "Scale": ("scale",), "Delay": ("delay",),
}  # fmt: skip


def repair(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """Change the dict of a NIR graph as it lies in a file, graphs inside too; returns what was put right, a line each."""
    told: list[str] = []
    if tree.get("type") != "NIRGraph":
        return told
    tree["nodes"] = nodes = _without_slashes(tree.get("nodes", {}), told, prefix)
    for name, node in nodes.items():
        kind, full = node.get("type"), prefix + name
        if kind == "NIRGraph":
            told += repair(node, f"{full}.")
        elif kind in ("Conv1d", "Conv2d"):
            node.setdefault("input_shape", None)  # NIR leaves it out where the size is not known
            if "bias" not in node:
                node["bias"] = None
                told.append(f"{full}: no bias")
        elif kind == "Output" and "shape" not in node:
            node["shape"] = np.zeros(0, dtype=np.int64)
            told.append(f"{full}: the shape of what reaches it")
        elif kind in _PARAMETERS and _broadcast(node, _PARAMETERS[kind]):
            told.append(f"{full}: its parameters in one shape")
    edges = [(_text(a).replace("/", "."), _text(b).replace("/", ".")) for a, b in tree.get("edges", ())]
    twice, n_times = next(iter(Counter(edges).most_common(1)), (("", ""), 0))
    if n_times > 1:
        told.append(f"{prefix}{twice[0]} -> {prefix}{twice[1]}: one edge, there several times")
    if "edges" in tree:
        tree["edges"] = list(dict.fromkeys(edges))
    inputs = [name for name, node in nodes.items() if node.get("type") == "Input"]
    for name in inputs if len(inputs) == 1 else ():
        node = nodes[name]
        if np.size(node.get("shape", ())) == 0:
            shape = next((s for s in (_wanted(nodes[b]) for a, b in edges if a == name and b in nodes) if s is not None), None)
            if shape is not None:
                node["shape"] = shape
                told.append(f"{prefix}{name}: shape {shape.tolist()}, that of the layer behind")
    tree["type_check"] = False
    return told


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _without_slashes(nodes: dict[str, Any], told: list[str], prefix: str) -> dict[str, Any]:
    """The nodes by name; what is no node but holds nodes was one name with a slash."""
    found: dict[str, Any] = {}
    waiting = list(nodes.items())
    while waiting:
        name, node = waiting.pop(0)
        if isinstance(node, dict) and "type" not in node and node and all(isinstance(inner, dict) for inner in node.values()):
            told.append(f"{prefix}{name}: part of the names {', '.join(f'{prefix}{name}.{part}' for part in node)}")
            waiting = [(f"{name}.{part}", inner) for part, inner in node.items()] + waiting
        elif name in found:
            raise ValueError(f"two nodes are named {name}")
        else:
            found[name] = node
    return found


def _broadcast(node: dict[str, Any], names: tuple[str, ...]) -> bool:
    """All parameters that are there in one shape; nothing is changed where they have none in common. Was any changed?"""
    given = {name: np.asarray(node[name]) for name in names if name in node}
    try:
        shape = np.broadcast_shapes(*(a.shape for a in given.values()))
    except ValueError:
        return False
    if not any(a.size == np.prod(shape) for a in given.values()):  # such as (n, 1) beside (1, n): no layer means that
        return False
    for name, array in given.items():
        node[name] = array if array.shape == shape else np.broadcast_to(array, shape).copy()
    return any(array.shape != shape for array in given.values())


def _wanted(node: dict[str, Any]) -> Array | None:
    """Shape that a node in a file receives, where it says so."""
    weight, kind = np.asarray(node.get("weight", 0)), node.get("type")
    if kind in ("Linear", "Affine") and weight.ndim == 2:
        return np.array([weight.shape[1]])
    if kind in ("Conv1d", "Conv2d") and node.get("input_shape") is not None and weight.ndim > 2:
        return np.array([weight.shape[1] * int(node.get("groups", 1)), *np.ravel(node["input_shape"])])
    if kind == "Flatten" and np.size(node.get("input_type", ())):
        return np.asarray(node["input_type"])
    if kind in _PARAMETERS and np.ndim(node.get(_PARAMETERS[kind][0], 0)):
        return np.array(np.shape(node[_PARAMETERS[kind][0]]))
    return None
