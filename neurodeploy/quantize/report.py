"""The per-layer report of a network whose integers came from its file: what it holds, since nothing was rounded."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Conv2d, Linear


def as_given(graph: IntGraph) -> dict[str, Any]:
    """`IntGraph.quantization` of a network that was quantized elsewhere, as plain JSON values.

    `layers`: for each neuron layer the range of the weights that feed it, and lowest and highest threshold, decays and
    bias mantissa (None where its neurons have none). A network that was quantized here keeps its own report.
    """
    if graph.quantization:
        return dict(graph.quantization)
    layers = []
    for node in graph.neurons:
        weights = [s.weight for s, _ in graph.sources(node.name) if isinstance(s, Conv2d | Linear) and s.weight.size]
        layers.append({
            "layer": node.name, "neuron": type(node).__name__,
            "weight": [min(int(w.min()) for w in weights), max(int(w.max()) for w in weights)] if weights else None,
            **{name: _span(getattr(node, name, None)) for name in ("v_th", "i_decay", "v_decay", "bias_mant")},
        })
    return {"calibrated": False, "as_given": True, "layers": layers}


def _span(values: Any) -> list[int] | None:
    return None if values is None else [int(np.min(values)), int(np.max(values))]
