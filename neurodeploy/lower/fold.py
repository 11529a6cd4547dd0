"""Fold each batch norm into the synapse before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import BatchNorm, Conv2d, Linear, Node


def fold_batch_norm(graph: Graph) -> Graph:
    """w' = w * g, b' = beta + (b - mean) * g with g = gamma / sqrt(var + eps), per output channel; float64.

    Raises UsageError for a batch norm that does not follow exactly one synapse which feeds nothing else.
    """
    folded: dict[str, Node] = {}
    gone: dict[str, str] = {}  # batch norm -> the synapse that took it in
    for norm in graph.order:
        if not isinstance(norm, BatchNorm):
            continue
        before = graph.incoming(norm.name)
        source = graph[before[0].src] if len(before) == 1 else None
        if not isinstance(source, Conv2d | Linear) or len(graph.outgoing(source.name)) != 1 or before[0].delay:
            raise UsageError(
                "this batch norm does not follow one synapse of its own", where=norm.name, code="cannot_lower",
                remedy="Place it directly behind a convolution or linear layer that feeds nothing else",
            )
        gain = norm.gamma / np.sqrt(norm.var + norm.eps)
        weight = source.weight * gain.reshape(-1, *[1] * (source.weight.ndim - 1))
        bias = norm.beta + ((0.0 if source.bias is None else source.bias) - norm.mean) * gain
        folded[source.name] = replace(source, weight=weight, bias=bias)
        gone[norm.name] = source.name
    nodes = tuple(folded.get(n.name, n) for n in graph.nodes if n.name not in gone)
    edges = tuple(Edge(gone.get(e.src, e.src), e.dst, e.delay) for e in graph.edges if e.dst not in gone)
    return replace(graph, nodes=nodes, edges=edges)
