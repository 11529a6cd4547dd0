"""A trained network as cores of integrate-and-fire neurons, or all the reasons why it cannot be one.

The lowered graph has the same function: batch norms and sums are folded or split, nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from neurodeploy.errors import DoesNotFit, NeurodeployError, UsageError, Violation
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.ir.event_layers import examine
from neurodeploy.ir.graph import Edge, Graph, IntGraph
from neurodeploy.ir.nodes import BatchNorm, Conv2d, CurrentLif, Flatten, InputKind, Lif, Linear, MaxPool2d, Node, SumPool2d
from neurodeploy.lower import event_rules
from neurodeploy.lower.activations import refuse_relu
from neurodeploy.lower.fold import fold_batch_norm

MAX_COUNT = 255  # events of one pixel in one timestep that a lowered graph takes
_EVENT_ENCODINGS = {"events", "rate"}


def lower_to_events(graph: Graph, profile: EventProfile, *, allow_bias: bool = False) -> Graph:
    """A trained float graph in the target's primitives, in real arithmetic still; metadata `input` is `events`.

    Every synapse of the result has one source (neurons or input, pools between) and feeds neurons. Batch norms are folded;
    a shortcut into neurons becomes an identity synapse; a synapse of a sum of sources becomes one for each, which lie side
    by side on the core. The input takes counts of events, or 0 and 1 for a network trained on rate coded images.
    allow_bias: keep biases where the target adds them on a slow clock; their meaning changes.

    Raises DoesNotFit with everything that the target cannot do, UsageError for an IntGraph or a graph lowered before.
    """
    if isinstance(graph, IntGraph) or graph.host is not None or graph.metadata.get("input"):
        raise UsageError(
            "this network was lowered or quantized before", where="lower", remedy="Lower the trained network in real numbers"
        )
    refuse_relu(graph, profile.name)
    found = [*_input(graph), *(v for n in graph.nodes for rule in NODE_RULES for v in rule(n, profile))]
    lowered = _fold(graph, found)
    keep_bias = allow_bias and profile.arithmetic.bias != "none"
    if not keep_bias:
        found += _biases(graph, lowered, profile)
    lowered = _split_sums(_shortcuts(_bare(lowered, keep_bias)))
    network, faults = examine(lowered)
    found += faults
    if network is not None:
        found += event_rules.violations(network, profile)
    if found:
        raise DoesNotFit(event_rules.merged(found), target=profile.name)
    return replace(lowered, metadata={**graph.metadata, "input": "events"})


def _input(graph: Graph) -> Iterator[Violation]:
    encoding = graph.metadata.get("encoding")
    if encoding is not None and encoding not in _EVENT_ENCODINGS:
        yield Violation("input_values", ", ".join(n.name for n in graph.inputs), f"was trained on {encoding!r} encoded images",
                        "The chip receives events", "Train on events, or on rate coded images")


def _neuron(node: Node, profile: EventProfile) -> Iterator[Violation]:
    if not node.is_neuron:
        return
    if not isinstance(node, Lif) or isinstance(node, CurrentLif):
        yield Violation("neuron", node.name, f"neurons of type {type(node).__name__}", "Integrate-and-fire neurons",
                        "Start from the trained network in real numbers")
        return
    if node.inv_tau != 0:
        yield Violation("leak", node.name, "leaky neurons (LIF)", "Integrate-and-fire neurons without leak",
                        "Train with IF neurons (inv_tau = 0)")
    elif node.decay_input:
        yield Violation("leak", node.name, "neurons that ignore their input (inv_tau = 0 with decay_input)", "Plain IF neurons",
                        "Train with decay_input=False")


def _firing(node: Node, profile: EventProfile) -> Iterator[Violation]:
    if not isinstance(node, Lif):
        return
    if node.fire != profile.arithmetic.fire:
        yield Violation("fire", node.name, f"fires at v {node.fire} threshold",
                        f"The chip fires at v {profile.arithmetic.fire} threshold", "Train with the chip's comparison")
    if node.v_th <= 0:
        yield Violation("threshold", node.name, f"a threshold of {node.v_th:g}", "It is above 0", "Train with a positive one")
    if node.reset not in profile.arithmetic.resets:
        yield Violation("reset", node.name, f"a {node.reset} reset", f"Resets are {', '.join(profile.arithmetic.resets)}",
                        "Train with one of them")
    if node.v_reset != 0:
        yield Violation("reset", node.name, f"states that start at {node.v_reset:g}", "They start at 0",
                        "Train with v_reset 0; convert with --start zero")
    if node.reset_interval is not None:
        yield Violation("reset", node.name, f"a reset every {node.reset_interval} timesteps", "The chip has no timesteps",
                        "Start from the network as it was trained")
    if node.v_min is None:
        yield Violation("no_floor", node.name, "the state has no floor", "The chip has one, and it takes part in the scale",
                        "Train with a floor, for example minus the threshold (min_v_mem of sinabs)")
    elif node.v_min > 0:
        yield Violation("no_floor", node.name, f"a floor of {node.v_min:g}", "It is at or below 0", "Train with a lower one")


def _pool(node: Node, profile: EventProfile) -> Iterator[Violation]:
    if isinstance(node, MaxPool2d):
        yield Violation("max_pool", node.name, "a max-pool", f"Pools are of kind {', '.join(profile.arithmetic.pools)}",
                        "Train with sum pools or strides instead")
    if isinstance(node, SumPool2d) and "sum" not in profile.arithmetic.pools:
        yield Violation("pool", node.name, "a sum pool", "The chip has none", "Train with strides instead")


NODE_RULES: tuple[Callable[[Node, EventProfile], Iterator[Violation]], ...] = (_neuron, _firing, _pool)


def _fold(graph: Graph, found: list[Violation]) -> Graph:
    """Batch norms folded; one that cannot be is a violation, and left out for the checks behind."""
    while True:
        try:
            return fold_batch_norm(graph)
        except NeurodeployError as err:
            found.append(Violation("batch_norm", err.where, err.what, "The chip has no batch norm", err.remedy))
            graph = _without(graph, err.where)


def _without(graph: Graph, name: str) -> Graph:
    sources = [e.src for e in graph.incoming(name)]
    edges = tuple(
        new for e in graph.edges if e.dst != name
        for new in ([Edge(src, e.dst, e.delay) for src in sources] if e.src == name else [e])
    )
    return replace(graph, nodes=tuple(n for n in graph.nodes if n.name != name), edges=edges)


def _biases(graph: Graph, folded: Graph, profile: EventProfile) -> Iterator[Violation]:
    clocked = profile.arithmetic.bias != "none"
    limit = "The chip adds them on ticks of a slow clock, not per timestep" if clocked else "The chip has none"
    norms = {e.src for n in graph.nodes if isinstance(n, BatchNorm) for e in graph.incoming(n.name)}
    for node in folded.nodes:
        if isinstance(node, Conv2d | Linear) and node.bias is not None and node.bias.any():
            if node.name in norms:
                yield Violation("bias", node.name, "its batch norm leaves biases when it is folded", limit,
                                "Train without batch norm, or with one that neither shifts nor subtracts a mean")
            else:
                yield Violation("bias", node.name, "has biases", limit, "Train without biases")


def _bare(graph: Graph, keep_bias: bool) -> Graph:
    """An input of events, no biases that are all zero or violations by now, sum pools where max-pools (the same) were."""
    kind: InputKind = "spikes" if graph.metadata.get("encoding") == "rate" else "graded"

    def bare(node: Node) -> Node:
        if isinstance(node, Conv2d | Linear) and node.bias is not None and not (keep_bias and node.bias.any()):
            return replace(node, bias=None)
        if isinstance(node, MaxPool2d):
            return SumPool2d(node.name, node.kernel)
        return node

    inputs = {
        n.name: n if n.kind == "spikes" else replace(n, kind=kind, max_value=1 if kind == "spikes" else MAX_COUNT)
        for n in graph.inputs if n.kind != "bias"
    }
    return replace(graph, nodes=tuple(inputs.get(n.name) or bare(n) for n in graph.nodes))


def _shortcuts(graph: Graph) -> Graph:
    """An identity synapse on every edge into neurons that does not come from a synapse."""
    nodes: list[Node] = list(graph.nodes)
    edges: list[Edge] = []
    for edge in graph.edges:
        if graph[edge.dst].is_neuron and not graph[edge.src].is_synapse:
            shape = graph.shapes[edge.src]
            name = f"{edge.dst}.shortcut{sum(e.src.startswith(f'{edge.dst}.shortcut') for e in edges) or ''}"
            one = np.eye(shape[0])
            nodes.append(Linear(name, one) if len(shape) == 1 else Conv2d(name, one[:, :, np.newaxis, np.newaxis]))
            edges += [Edge(edge.src, name, edge.delay), Edge(name, edge.dst)]
        else:
            edges.append(edge)
    return replace(graph, nodes=tuple(nodes), edges=tuple(edges))


def _split_sums(graph: Graph) -> Graph:
    """Pools, flattenings and synapses of a sum of sources once for each: f(a + b) = f(a) + f(b), biases counted once."""
    if not graph.is_acyclic:
        return graph
    copies: dict[str, list[str]] = {}  # of each node, the node itself first
    nodes: list[Node] = []
    edges: list[Edge] = []
    for node in graph.feedforward_order:
        arriving = [Edge(src, node.name, e.delay) for e in graph.incoming(node.name) for src in copies[e.src]]
        copies[node.name] = [node.name]
        nodes.append(node)
        if len(arriving) > 1 and isinstance(node, SumPool2d | Flatten | Conv2d | Linear):
            for i, edge in enumerate(arriving[1:], start=1):
                twin = replace(node, name=f"{node.name}.{i}")
                nodes.append(replace(twin, bias=None) if isinstance(twin, Conv2d | Linear) else twin)
                copies[node.name].append(twin.name)
                arriving[i] = replace(edge, dst=twin.name)
        edges += arriving
    return replace(graph, nodes=tuple(nodes), edges=tuple(edges))
