"""How data enters the chip: as graded messages, as counts of events, as biases written by the host, or as spikes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import Arithmetic, Profile
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Conv2d, CurrentLif, Flatten, Input, Linear


def code_input(graph: Graph, profile: Profile, kind: str, *, n_levels: int | None, input_bits: int | None) -> Graph:
    """Replace the analog input (values 0..1, or counts of events) by what the chip receives.

    graded: integers 0..m every timestep, m = min(n_levels, 2^input_bits) - 1; the first weights are divided by m.
    counts: the events of each timestep, as they are, 0..2^input_bits - 1.
    bias: the first synapse is computed on the host (`graph.host`), its result enters the first neurons.
    rate: 0 or 1; the network must have been trained on such spikes.
    Where neither levels nor bits are given, messages take as many bits as the chip's hold and the first currents can take at
    the finest weights; `metadata["lowering"]["input"]` says so where those are fewer, and what counts are.
    """
    source = graph.inputs[0]
    if len(graph.inputs) != 1:
        raise UsageError(f"{len(graph.inputs)} inputs", code="cannot_lower", remedy="One input is supported")
    if kind == "rate":
        return _swap(graph, replace(source, kind="spikes", max_value=1, value_scale=1.0))
    if kind == "graded":
        return _graded(graph, source, profile, n_levels, input_bits)
    if kind == "counts":
        return _counts(graph, source, profile, input_bits)
    if kind == "bias":
        return _bias(graph, source)
    raise UsageError(f"unknown input coding {kind!r}", limit="Known: graded, counts, bias, rate")


def _counts(graph: Graph, source: Input, profile: Profile, input_bits: int | None) -> Graph:
    if input_bits is None and profile.arithmetic.message_bits == 1:
        raise UsageError(
            "counts of events in a timestep", where=source.name, code="other_arithmetic",
            limit=f"Spikes into {profile.title} carry no number",
            remedy="Take a chip with graded messages, or shorter timesteps of one event at most: --set input.input_bits=1",
        )
    top = 2 ** _bits(graph, source, profile, input_bits) - 1
    graph = _swap(graph, replace(source, kind="graded", max_value=top, value_scale=1.0))
    return _noted(graph, f"counts of events in each timestep, 0 to {top}")


def _bits(graph: Graph, source: Input, profile: Profile, given: int | None) -> int:
    """Bits of graded messages: `given` where the chip holds them, else as many as no first current wraps with."""
    most = profile.arithmetic.message_bits
    readers = _readers(graph, source.name)
    if given is None:
        return min(most, *(_bits_without_wrap(s, _lasting(graph, s), profile.arithmetic) for s in readers))
    if not 1 <= given <= most:
        raise UsageError(f"input_bits is {given}", limit=f"{profile.title} takes graded messages of 1 to {most} bits")
    return given


def _lasting(graph: Graph, synapse: Conv2d | Linear) -> float:
    """How many times a steady drive the currents behind a synapse reach: their memory."""
    fed = [graph[e.dst] for e in graph.outgoing(synapse.name)]
    return max((1 / n.inv_tau_syn for n in fed if isinstance(n, CurrentLif)), default=1.0)


def _bits_without_wrap(synapse: Conv2d | Linear, lasting: float, arithmetic: Arithmetic) -> int:
    """Bits of messages that fill half of a state at most where the largest weight is the largest that the chip has, so that
    fine-tuning has room; at least 1."""
    weight = np.abs(synapse.weight.reshape(len(synapse.weight), -1))
    largest = min(-arithmetic.weight_min, arithmetic.weight_max) / max(weight.max(initial=0.0), np.finfo(float).tiny)
    rounding = weight.shape[1] * arithmetic.weight_step / 2  # moves each weight by half a step at most
    most = weight.sum(1).max(initial=0.0) * largest + rounding
    room = 2 ** (arithmetic.state_bits - 2 - arithmetic.state_shift)
    return max(1, int(np.log2(room / max(most * lasting, 1.0) + 1)))


def _readers(graph: Graph, name: str) -> list[Conv2d | Linear]:
    """The synapses that read a node, behind flattenings; raises UsageError for anything else that does."""
    found: list[Conv2d | Linear] = []
    for edge in graph.outgoing(name):
        node = graph[edge.dst]
        if isinstance(node, Flatten):
            found += _readers(graph, node.name)
        elif isinstance(node, Conv2d | Linear):
            found.append(node)
        else:
            raise UsageError(
                "graded input must enter through a synapse", where=node.name, code="cannot_lower",
                remedy="Put a convolution or linear layer first, or use input = 'bias'",
            )
    return found


def _graded(graph: Graph, source: Input, profile: Profile, n_levels: int | None, input_bits: int | None) -> Graph:
    most = profile.arithmetic.message_bits
    known = input_bits if input_bits is not None or n_levels is None else min(most, (n_levels - 1).bit_length())
    bits = _bits(graph, source, profile, known)
    top = min(n_levels or 2**bits, 2**bits) - 1
    first = {n.name: replace(n, weight=n.weight / top) for n in _readers(graph, source.name)}
    graph = _swap(graph, replace(source, kind="graded", max_value=top, value_scale=float(top)))
    graph = replace(graph, nodes=tuple(first.get(n.name, n) for n in graph.nodes))
    if known is not None or bits == most:
        return graph
    held = f"of {2**most} that messages hold"
    return _noted(graph, f"values 0 to 1 in {top + 1} levels, {held}, so that no current wraps (input.input_bits)")


def _noted(graph: Graph, text: str) -> Graph:
    notes = {**graph.metadata.get("lowering", {}), "input": text}
    return replace(graph, metadata={**graph.metadata, "lowering": notes})


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
