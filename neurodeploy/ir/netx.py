"""lava-dl's loader netx (0.6.0): which integer graphs it holds exactly, and the arguments it needs beside the file.

It holds a chain of blocks, each a synapse and a layer of neurons, where a block may feed itself (a recurrent dense
layer); the first block may be neurons that take the input. Between blocks a flatten may stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.netx_dense import dense_weights as dense_weights
from neurodeploy.ir.netx_dense import survives_packing as survives_packing
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Delta, Flatten, Input, Linear, Node, Sigma, SigmaDelta, Vote

_EXPONENT = 6  # netx fixes it for biases, and for the state of sigma-delta neurons
_MAX_DELAY = 62
_MAX_PAIR = 127  # lava-nc keeps what describes a convolution in 8 bits
_SDNN = (Delta, SigmaDelta, Sigma)


@dataclass(frozen=True, eq=False)
class Block:
    """A layer of netx: neurons with the synapse before them, the loop around them, and the flatten before the synapse."""

    neuron: Node
    synapse: Conv2d | Linear | None = None
    loop: Linear | None = None
    flatten: Flatten | None = None


class _Reason(Exception):
    """Its text is the answer of `netx_reason`."""


def netx_reason(graph: IntGraph) -> str | None:
    """Why netx cannot hold the graph exactly, naming the node; None when it can."""
    try:
        found = _chain(graph)
        for k, block in enumerate(found):
            rule = _RULES.get(type(block.neuron))
            if rule is None:
                raise _Reason(
                    f"{block.neuron.name} is an {type(block.neuron).__name__}, the arithmetic of another chip; netx has no "
                    "such neurons"
                )
            rule(block, k, graph)
            if block.synapse is not None:
                _check_synapse(block, k, graph, found)
        _check_reset(found)
        _check_exponents(found)
    except _Reason as reason:
        return str(reason)
    return None


def blocks(graph: IntGraph) -> tuple[Block, ...]:
    """The blocks of a graph that netx can hold, in order."""
    return _chain(graph)


def netx_kwargs(graph: IntGraph) -> dict[str, Any]:
    """Arguments of `netx.hdf5.Network` beside the file name, so that it computes what the graph does."""
    found = _chain(graph)
    kwargs: dict[str, Any] = {"input_message_bits": _input_bits(graph)}
    for k, block in enumerate(found):
        if isinstance(block.neuron, CubaLif) and block.neuron.reset_interval:
            interval = block.neuron.reset_interval
            kwargs |= {"reset_interval": interval, "reset_offset": (block.neuron.reset_offset - 1 - k) % interval}
            break
    spike_exp = next((b.neuron.spike_exp for b in found if isinstance(b.neuron, Delta)), _EXPONENT)
    return kwargs if spike_exp == _EXPONENT else {**kwargs, "spike_exp": spike_exp}


def whole_weight(node: Linear) -> Array | None:
    """The weight with its exponent applied; None where a negative exponent cuts bits off the sums."""
    if node.weight_exp >= 0:
        return np.asarray(node.weight << node.weight_exp)
    if np.any(node.weight % 2**-node.weight_exp):
        return None
    return np.asarray(node.weight >> -node.weight_exp)


def _input_bits(graph: IntGraph) -> int:
    source = graph.inputs[0]
    feeds_neurons = any(graph[e.dst].is_neuron for e in graph.outgoing(source.name))
    return source.max_value.bit_length() if source.kind == "graded" and not feeds_neurons else 0


# ---------------------------------------------------------------------- the chain


def _loop_of(graph: IntGraph, neuron: Node) -> Linear | None:
    """The dense synapse by which a layer feeds itself, where there is one and it does nothing else."""
    for edge in graph.outgoing(neuron.name):
        node = graph[edge.dst]
        back = graph.outgoing(node.name)
        if isinstance(node, Linear) and len(graph.incoming(node.name)) == 1 and [e.dst for e in back] == [neuron.name]:
            if edge.delay != 1 or back[0].delay != 0:
                total = edge.delay + back[0].delay
                raise _Reason(f"{node.name} is a loop of {total} timesteps; netx has one timestep per synapse")
            return node
    return None


def _chain(graph: IntGraph) -> tuple[Block, ...]:
    if len(graph.inputs) != 1 or graph.inputs[0].kind == "analog":
        raise _Reason("netx needs one input of spikes, graded messages or biases")
    found: list[Block] = []
    current: Node = graph.inputs[0]
    flatten, synapse = None, None
    n_seen = 1
    while True:
        loop = _loop_of(graph, current) if current.is_neuron else None
        n_seen += int(loop is not None)
        if current.is_neuron:
            found.append(Block(current, synapse, loop, flatten))
            flatten, synapse = None, None
        onward = [e for e in graph.outgoing(current.name) if loop is None or e.dst != loop.name]
        origins = [e for e in graph.incoming(current.name) if loop is None or e.src != loop.name]
        if len(onward) > 1 or len(origins) > 1:
            kind = "chains" if graph.is_acyclic else "chains, recurrent only within a dense layer"
            raise _Reason(f"{current.name} has several sources or destinations; netx holds strict {kind}")
        if not onward:
            break
        before, current = current, graph[onward[0].dst]
        n_seen += 1
        if onward[0].delay != int(current.is_synapse):
            raise _Reason(
                f"{current.name} is fed with delay {onward[0].delay}; netx has one timestep per synapse and none elsewhere"
            )
        if isinstance(current, Conv2d | Linear):
            if isinstance(before, Input) and before.kind == "bias":
                raise _Reason(f"{current.name} is a synapse behind an input of kind bias")
            if not any(graph[e.dst].is_neuron for e in graph.outgoing(current.name)):
                raise _Reason(f"{current.name} is a synapse without neurons")
            synapse = current
        elif isinstance(current, Flatten):
            if before.is_synapse:
                raise _Reason(f"{before.name} is a synapse without neurons")
            flatten = current
        elif isinstance(current, Vote):
            if graph.outgoing(current.name):
                raise _Reason(f"{current.name} is not the last node")
        elif not current.is_neuron:
            raise _Reason(f"{current.name} is a {type(current).__name__}; netx has no such layer")
        elif not before.is_synapse and not isinstance(before, Input):
            raise _Reason(f"{current.name} does not follow a synapse")
    if n_seen != len(graph.nodes):
        raise _Reason("the graph is recurrent, or in several parts; netx holds strict chains")
    if not found:
        raise _Reason("the graph has no neurons")
    return tuple(found)


# ---------------------------------------------------------------------- neurons


def _cuba(block: Block, k: int, graph: IntGraph) -> None:
    node = block.neuron
    assert isinstance(node, CubaLif)
    direct = block.synapse is None
    if direct and (graph.inputs[0].kind != "bias" or np.any(np.asarray(node.i_decay) != 4096) or np.any(node.bias_mant)):
        raise _Reason(
            f"{node.name} takes the input directly; netx writes it to bias_mant, which needs an input of kind bias, a "
            "current without memory and no other bias"
        )
    if np.any(np.asarray(node.bias_exp) != _EXPONENT) or (node.state_bits, node.state_shift) != (24, 6):
        raise _Reason(f"{node.name} has a bias exponent or state width that netx does not know")
    if np.any(node.i_init) or np.any(node.v_init):
        raise _Reason(f"{node.name} starts with a state; netx starts at zero")
    if int(np.abs(node.bias_mant).max()) >= 2**15:
        raise _Reason(f"{node.name} has biases beyond 16 bits")


def _sdnn(block: Block, k: int, graph: IntGraph) -> None:
    node = block.neuron
    if type(node) is Delta and (block.synapse is not None or graph.inputs[0].kind != "graded"):
        raise _Reason(f"{node.name} is a delta layer that does not take a graded input")
    if type(node) is not Delta and block.synapse is None:
        raise _Reason(f"{node.name} takes the input directly; netx has delta or current-based neurons there")
    if isinstance(node, Delta):
        if np.size(node.v_th) != 1:
            raise _Reason(f"{node.name} has several thresholds; netx has one in a sigma-delta layer")
        if node.state_exp != _EXPONENT:
            raise _Reason(f"{node.name} has a state exponent of {node.state_exp}; netx fixes {_EXPONENT}")
    if isinstance(node, SigmaDelta) and node.activation != "relu":
        raise _Reason(f"{node.name} has the activation {node.activation!r}; netx has relu")


_RULES: dict[type[Node], Callable[[Block, int, IntGraph], None]] = {
    CubaLif: _cuba, Delta: _sdnn, SigmaDelta: _sdnn, Sigma: _sdnn,
}


def _check_reset(found: tuple[Block, ...]) -> None:
    first: tuple[int, CubaLif] | None = None
    for k, block in enumerate(found):
        node = block.neuron
        if not isinstance(node, CubaLif):
            continue
        start, other = first = first or (k, node)
        if node.reset_interval != other.reset_interval:
            raise _Reason(f"{node.name} and {other.name} have different reset intervals; netx has one")
        if node.reset_interval and (node.reset_offset - other.reset_offset - (k - start)) % node.reset_interval:
            raise _Reason(
                f"{node.name} resets at offset {node.reset_offset}; netx starts each layer one timestep after the one before"
            )


def _check_exponents(found: tuple[Block, ...]) -> None:
    exponents = {b.neuron.spike_exp: b.neuron.name for b in found if isinstance(b.neuron, Delta)}
    if len(exponents) > 1:
        raise _Reason(f"{' and '.join(exponents.values())} have different spike exponents; netx has one")


# ---------------------------------------------------------------------- synapses


def _largest_message(k: int, graph: IntGraph, found: tuple[Block, ...]) -> float:
    """Bound on the size of what block k receives."""
    if k == 0:
        return graph.inputs[0].max_value
    return math.inf if isinstance(found[k - 1].neuron, _SDNN) else 1


def _check_synapse(block: Block, k: int, graph: IntGraph, found: tuple[Block, ...]) -> None:
    node = block.synapse
    assert node is not None
    largest = _largest_message(k, graph, found)
    if node.binary and largest > 1:
        raise _Reason(f"{node.name} takes graded messages for one bit; netx takes them as they are")
    if isinstance(node, Conv2d):
        _check_conv(node, largest)
        return
    if block.flatten is not None and k > 0 and len(graph.shapes[found[k - 1].neuron.name]) != 3:
        raise _Reason(f"{block.flatten.name} flattens what is flat; netx stops at it")
    parts = []
    for part in (node, *([] if block.loop is None else [block.loop])):
        weight = whole_weight(part)
        if weight is None:
            raise _Reason(f"{part.name} cuts bits off its sums (weight_exp {part.weight_exp}); netx chooses the exponent")
        parts.append(weight)
        if part.delays is not None and part.delays.max() > _MAX_DELAY:
            raise _Reason(f"{part.name} has delays of {part.delays.max()}; netx clamps them at {_MAX_DELAY}")
    if not survives_packing(*parts):
        raise _Reason(f"{node.name} has weights that netx alters (all zero, or at the end of a one-sided range)")
    if block.loop is not None:
        if any(part.delays is not None and part.delays.any() for part in (node, block.loop)):
            raise _Reason(f"{node.name} has delays in a recurrent layer, whose weights netx then scales")
        graded = isinstance(block.neuron, _SDNN)
        if graded and block.loop.binary != (largest <= 1):
            raise _Reason(f"{block.loop.name} takes other messages than netx gives it: those of the layer's input")


def _check_conv(node: Conv2d, largest: float) -> None:
    sums = int(np.abs(node.weight).reshape(len(node.weight), -1).sum(axis=1).max())
    if node.sum_bits not in (None, 24) or (node.sum_bits is None and sums * largest >= 2**23):
        raise _Reason(f"{node.name} can exceed the 24 bits in which netx adds")
    if int(np.abs(node.weight).max()) > 2**24:
        raise _Reason(f"{node.name} has weights beyond what the file holds exactly")
    if max(*node.stride, *node.padding, *node.dilation, *node.weight.shape[2:], node.groups) > _MAX_PAIR:
        raise _Reason(f"{node.name} has a stride, padding, dilation, kernel or number of groups above {_MAX_PAIR}")
