"""Integrators in front of neurons as the neurons' synaptic current, which the neurons of a chip hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.errors import DoesNotFit, Violation
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Array, Conv2d, CurrentLif, Li, Lif, Linear, Node
from neurodeploy.lower.pool import one_to_one


def fold_currents(graph: Graph, target: str) -> Graph:
    """Each Li and the Lif that it alone feeds as one CurrentLif; the Li's gain goes into synapses in front of it.

    Raises DoesNotFit naming every integrator that is no such current.
    """
    lis = [n for n in graph.nodes if isinstance(n, Li)]
    found = tuple(v for li in lis if (v := _violation(graph, li)) is not None)
    if found:
        raise DoesNotFit(found, target=target)
    for li in lis:
        graph = _gain_in_front(graph, li, target)
        (lif,) = (graph[e.dst] for e in graph.outgoing(li.name))
        assert isinstance(lif, Lif) and isinstance(li.inv_tau, float)
        whole = CurrentLif(**vars(lif), inv_tau_syn=li.inv_tau)
        nodes = tuple(whole if n is lif else n for n in graph.nodes if n is not li)
        edges = tuple(replace(e, dst=lif.name) if e.dst == li.name else e for e in graph.edges if e.src != li.name)
        graph = replace(graph, nodes=nodes, edges=edges)
    return graph


def _violation(graph: Graph, li: Li) -> Violation | None:
    behind = [graph[e.dst] for e in graph.outgoing(li.name)]
    if len(behind) != 1 or not isinstance(behind[0], Lif) or len(graph.incoming(behind[0].name)) != 1:
        heard = ", ".join(n.name for n in behind) or "the host"
        return _refused(li, f"an integrator whose state {heard} would read", "What leaves a neuron of the chip are spikes",
                        "End the network with spiking neurons" if not behind else "Put it in front of one layer of neurons")
    if isinstance(li.inv_tau, np.ndarray):
        return _refused(li, f"currents that lose {li.inv_tau.min():g} to {li.inv_tau.max():g} of themselves in a timestep",
                        "One value for the currents of a layer", "Give each value a layer of its own")
    if np.any(li.v_leak):
        return _refused(li, f"a current that rests at {np.max(np.abs(li.v_leak)):g}", "Currents of the chip rest at 0",
                        "Train with v_leak = v_reset")
    if not li.inv_tau:
        return _refused(li, "a current that never decays", "It would wrap in the end", "Give it a time constant")
    return None


def _refused(li: Li, what: str, limit: str, remedy: str) -> Violation:
    return Violation("integrator", li.name, what, limit, remedy)


def _gain_in_front(graph: Graph, li: Li, target: str) -> Graph:
    """The gain in the synapses that feed the integrator alone, or in one-to-one synapses of its own."""
    if np.all(np.asarray(li.gain) == 1):
        return graph
    shape = graph.shapes[li.name]
    gain = np.broadcast_to(li.gain, shape).reshape(shape[0], -1)
    if (gain != gain[:, :1]).any():
        raise DoesNotFit((_refused(li, f"gains of {gain.min():g} to {gain.max():g} within a channel", "One a channel",
                                   "Put them into the weights"),), target=target)
    rows = gain[:, 0]
    changed: dict[str, Node] = {}
    added: list[Node] = []
    edges: list[Edge] = []
    for edge in graph.edges:
        source = graph[edge.src]
        if edge.dst != li.name:
            edges.append(edge)
        elif isinstance(source, Conv2d | Linear) and len(graph.outgoing(source.name)) == 1:
            changed[source.name] = _scaled(source, rows)
            edges.append(edge)
        else:
            own = one_to_one(f"{li.name}.gain{len(added) or ''}", shape)
            added.append(_scaled(own, rows))
            edges += [replace(edge, dst=own.name), Edge(own.name, li.name)]
    return replace(graph, nodes=(*(changed.get(n.name, n) for n in graph.nodes), *added), edges=tuple(edges))


def _scaled(node: Conv2d | Linear, rows: Array) -> Conv2d | Linear:
    bias = None if node.bias is None else node.bias * rows
    return replace(node, weight=node.weight * rows.reshape(-1, *[1] * (node.weight.ndim - 1)), bias=bias)


def refuse_biases(lowered: Graph, target: str) -> None:
    """Raise DoesNotFit where a synapse adds a constant to a current with memory: the chip adds biases to the membrane."""
    found = tuple(
        Violation("current_bias", source.name, f"a bias in front of {node.name}, whose current has memory",
                  "The chip adds biases to the membrane, behind the current", "Train that layer without bias")
        for node in lowered.nodes if isinstance(node, CurrentLif)
        for source, _ in lowered.sources(node.name)
        if isinstance(source, Conv2d | Linear) and source.bias is not None and source.bias.any()
    )
    if found:
        raise DoesNotFit(found, target=target)
