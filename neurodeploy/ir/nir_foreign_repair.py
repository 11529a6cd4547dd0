"""What real NIR files get wrong in their shapes and can only mean one way, put right before nir's classes see it.

Scalars where arrays belong, and parameters of one layer in several shapes: broadcast to the largest. Convolutions without
input_shape or bias, Outputs without shape: nothing needs them. An Input without shape: that of the layer it feeds, where the
layer says it. nir's own reader refuses such files, each with the message of an assertion.
"""

from __future__ import annotations

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


def repaired(tree: dict[str, Any]) -> dict[str, Any]:
    """The dict of a NIR graph as it lies in a file, changed in place, graphs inside too."""
    nodes = tree.get("nodes", {})
    for node in nodes.values():
        kind = node.get("type")
        if kind == "NIRGraph":
            repaired(node)
        elif kind in ("Conv1d", "Conv2d"):
            node.setdefault("input_shape", None)
            node.setdefault("bias", None)
        elif kind == "Output":
            node.setdefault("shape", np.zeros(0, dtype=np.int64))
        elif kind in _PARAMETERS:
            _broadcast(node, _PARAMETERS[kind])
    inputs = [name for name, node in nodes.items() if node.get("type") == "Input"]
    for name in inputs if len(inputs) == 1 else ():
        node = nodes[name]
        if np.size(node.get("shape", ())) == 0:
            fed = [nodes[text] for text in (_text(b) for a, b in tree.get("edges", ()) if _text(a) == name) if text in nodes]
            shape = next((s for s in map(_wanted, fed) if s is not None), None)
            if shape is not None:
                node["shape"] = shape
    if tree.get("type") == "NIRGraph":
        tree["type_check"] = False
    return tree


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _broadcast(node: dict[str, Any], names: tuple[str, ...]) -> None:
    """All parameters that are there in one shape; nothing is changed where they have none in common."""
    given = {name: np.asarray(node[name]) for name in names if name in node}
    try:
        shape = np.broadcast_shapes(*(a.shape for a in given.values()))
    except ValueError:
        return
    if not any(a.size == np.prod(shape) for a in given.values()):  # such as (n, 1) beside (1, n): no layer means that
        return
    for name, array in given.items():
        node[name] = array if array.shape == shape else np.broadcast_to(array, shape).copy()


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
