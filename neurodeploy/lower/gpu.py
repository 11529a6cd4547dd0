"""A graph as a GPU runs it: in real numbers, whole samples at once, every layer in the timestep of its input."""

from __future__ import annotations

from dataclasses import fields, replace

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import CurrentLif, Li, Lif, Node
from neurodeploy.lower.fold import fold_batch_norm


def lower_to_gpu(graph: Graph) -> Graph:
    """Fold batch norms; take back what another target's lowering did: a pipeline (equal delays on all ways into a node) and
    currents inside neurons.

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
    if any(isinstance(n, Lif) and n.v_init is not None for n in graph.nodes):
        raise UsageError(
            "its gates were made for a chip on which loops take time", where="lower", code="other_arithmetic",
            limit="A GPU runs the network itself", remedy="Give the model that it was lowered from",
        )
    folded = _currents_apart(fold_batch_norm(graph))
    if not any(e.delay for e in folded.edges) or not (folded.is_acyclic and folded.is_balanced):
        return folded
    return replace(
        folded, nodes=tuple(_whole(n) for n in folded.nodes), edges=tuple(Edge(e.src, e.dst) for e in folded.edges)
    )


def _whole(node: Node) -> Node:
    """A neuron layer without the restart that a pipeline of samples needs."""
    return replace(node, reset_interval=None, reset_offset=0) if isinstance(node, Lif | Li) else node


def _currents_apart(graph: Graph) -> Graph:
    """Every CurrentLif as the Li `<name>.current` and the Lif that it stands for."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node, CurrentLif):
            nodes.append(Li(f"{node.name}.current", node.shape, inv_tau=node.inv_tau_syn, reset_interval=node.reset_interval,
                            reset_offset=node.reset_offset))
            node = Lif(**{f.name: getattr(node, f.name) for f in fields(Lif)})
        nodes.append(node)
    split = {n.name for n in graph.nodes if isinstance(n, CurrentLif)}
    edges = [Edge(e.src, f"{e.dst}.current" if e.dst in split else e.dst, e.delay) for e in graph.edges]
    own = [Edge(f"{name}.current", name) for name in sorted(split)]
    return replace(graph, nodes=tuple(nodes), edges=(*edges, *own)) if split else graph
