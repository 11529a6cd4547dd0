"""How data enters the chip: as graded messages, as biases written by the host, or as spikes."""

from __future__ import annotations

from dataclasses import replace

from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import Profile
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, Input, Linear


def code_input(graph: Graph, profile: Profile, kind: str, *, n_levels: int, input_bits: int | None) -> Graph:
    """Replace the analog input (values 0..1) by what the chip receives.

    graded: integers 0..m every timestep, m = min(n_levels, 2^input_bits) - 1; the first weights are divided by m.
    bias: the first synapse is computed on the host (`graph.host`), its result enters the first neurons.
    rate: 0 or 1; the network must have been trained on such spikes.
    """
    source = graph.inputs[0]
    if len(graph.inputs) != 1:
        raise UsageError(f"{len(graph.inputs)} inputs", code="cannot_lower", remedy="One input is supported")
    if kind == "rate":
        return _swap(graph, replace(source, kind="spikes", max_value=1, value_scale=1.0))
    if kind == "graded":
        return _graded(graph, source, profile, n_levels, input_bits)
    if kind == "bias":
        return _bias(graph, source)
    raise UsageError(f"unknown input coding {kind!r}", limit="Known: graded, bias, rate")


def _graded(graph: Graph, source: Input, profile: Profile, n_levels: int, input_bits: int | None) -> Graph:
    most = profile.arithmetic.message_bits
    bits = min(most, (n_levels - 1).bit_length()) if input_bits is None else input_bits
    if not 1 <= bits <= most:
        raise UsageError(f"input_bits is {bits}", limit=f"{profile.title} takes graded messages of 1 to {most} bits")
    top = min(n_levels, 2**bits) - 1
    graph = _swap(graph, replace(source, kind="graded", max_value=top, value_scale=float(top)))
    first = {e.dst for e in graph.outgoing(source.name)}
    nodes = []
    for node in graph.nodes:
        if node.name in first:
            if not isinstance(node, Conv2d | Linear):
                raise UsageError(
                    "graded input must enter through a synapse", where=node.name, code="cannot_lower",
                    remedy="Put a convolution or linear layer first, or use input = 'bias'",
                )
            node = replace(node, weight=node.weight / top)
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _bias(graph: Graph, source: Input) -> Graph:
    out = graph.outgoing(source.name)
    first = graph[out[0].dst] if len(out) == 1 else None
    if not isinstance(first, Conv2d | Linear):
        raise UsageError(
            "input as biases needs exactly one synapse behind the input", where=source.name, code="cannot_lower",
            remedy="Use input = 'graded'",
        )
    fed = graph.outgoing(first.name)
    if len(fed) != 1 or not graph[fed[0].dst].is_neuron:
        raise UsageError(
            f"input as biases needs this synapse to feed one neuron layer, not {[e.dst for e in fed]}", where=first.name,
            code="cannot_lower", remedy="Use input = 'graded'",
        )
    host = Graph(nodes=(source, first), edges=(Edge(source.name, first.name),), n_timesteps=1)
    shape = graph.shapes[first.name]
    entry = replace(source, shape=shape, kind="bias", value_scale=1.0)
    nodes = tuple(entry if n is source else n for n in graph.nodes if n is not first)
    edges = tuple(
        Edge(source.name, e.dst, e.delay) if e.src == first.name else e for e in graph.edges if e.dst != first.name
    )
    return replace(graph, nodes=nodes, edges=edges, host=host)


def _swap(graph: Graph, node: Input) -> Graph:
    return replace(graph, nodes=tuple(node if n.name == node.name else n for n in graph.nodes))
