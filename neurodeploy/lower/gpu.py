"""A graph as a GPU runs it: in real numbers, whole samples at once, every layer in the timestep of its input."""

from __future__ import annotations

from dataclasses import replace

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import Lif, Node
from neurodeploy.lower.fold import fold_batch_norm


def lower_to_gpu(graph: Graph) -> Graph:
    """Fold batch norms; take back the pipeline that another target's lowering added (equal delays on all ways into a node).

    Spikes of every layer stay those of `graph`, without its latencies. Loops and delays that a network has of its own stay.
    Raises UsageError for an integer network, and for one whose first operations belong to a host.
    """
    if isinstance(graph, IntGraph):
        raise UsageError(
            "holds the integers of a chip", where="lower", code="other_arithmetic", limit="A GPU runs networks in real numbers",
            remedy="Give the model that it was exported from",
        )
    if graph.host is not None:
        raise UsageError(
            "its first operations were moved to a host", where="lower", code="other_arithmetic",
            limit="Its input are biases of one chip", remedy="Give the model that it was exported from",
        )
    folded = fold_batch_norm(graph)
    if not any(e.delay for e in folded.edges) or not (folded.is_acyclic and folded.is_balanced):
        return folded
    return replace(
        folded, nodes=tuple(_whole(n) for n in folded.nodes), edges=tuple(Edge(e.src, e.dst) for e in folded.edges)
    )


def _whole(node: Node) -> Node:
    """A neuron layer without the restart that a pipeline of samples needs."""
    return replace(node, reset_interval=None, reset_offset=0) if isinstance(node, Lif) else node
