"""What a network asks of a GPU in one timestep: kernels, operations and values, from shapes alone.

Spikes are floats there, so nothing depends on how many there are. Kernels are those of the exported step form
(`export/onnx_forms.py`): one a synapse, pool or readout, one an addition of two inputs, one for each elementwise operation of
a neuron's equation; flattening and identities compute nothing, batch norms are folded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import (
    BatchNorm,
    Conv2d,
    CubaLif,
    Delta,
    Flatten,
    Iaf,
    Input,
    Li,
    Lif,
    Linear,
    MaxPool2d,
    Node,
    Qcfs,
    Relu,
    Shape,
    Sigma,
    SigmaDelta,
    SumPool2d,
    Vote,
)

Kind = Literal["synapse", "neuron", "pool", "sum", "readout", "delay"]


@dataclass(frozen=True)
class LayerWork:
    """Work of a layer per sample and timestep; several entries may carry one layer's name.

    n_ops: a multiply-accumulate (n_macs) is two. n_read, n_written: values of activations. n_state: values kept from one
    timestep to the next, read and written in each. `each_step`: has to run timestep after timestep even where the
    input of all of them is known. n_once: kernels that the unrolled form adds, once an inference.
    """

    name: str
    kind: Kind
    n_kernels: int
    n_ops: int
    n_read: int
    n_written: int
    n_macs: int = 0
    n_weights: int = 0
    n_state: int = 0
    each_step: bool = False
    n_once: int = 0

    @classmethod
    def of_synapse(
        cls, name: str, weight: Shape, source: Shape, target: Shape, *, n_biases: int = 0, n_added: int = 0
    ) -> LayerWork:
        """A convolution (weight [O, I/groups, kH, kW]) or matrix (weight [O, I]) as one kernel from shape `source` to `target`.

        n_added: values that it adds to its output and has to read, where a residual addition is fused into it.

        >>> LayerWork.of_synapse("fc", (10, 64), (64,), (10,)).n_macs
        640
        """
        outputs = math.prod(target)
        macs = outputs * math.prod(weight[1:])
        return cls(
            name, "synapse", 1, 2 * macs + n_added, math.prod(source) + n_added, outputs, n_macs=macs,
            n_weights=math.prod(weight) + n_biases,
        )


def work_of(graph: Graph) -> tuple[LayerWork, ...]:
    """The work of every layer that computes, in topological order.

    Delays of an IntGraph are those of a chip's synapses and cost a GPU nothing.
    """
    work: list[LayerWork] = []
    for node in graph.order:
        work += [entry for entry in _node_work(graph, node) if entry.n_kernels]
    if any(getattr(n, "reset_interval", None) is not None for n in graph.nodes) and not isinstance(graph, IntGraph):
        work.append(LayerWork("t", "delay", 1, 1, 1, 1, each_step=True))  # the clock of layers that start anew
    return tuple(work)


def _node_work(graph: Graph, node: Node) -> Iterator[LayerWork]:
    looped = not graph.is_acyclic
    delays = () if isinstance(graph, IntGraph) else tuple(e.delay for e in graph.incoming(node.name) if e.delay)
    values, source = math.prod(graph.shapes[node.name]), _source(graph, node)
    if delays:
        yield LayerWork(node.name, "delay", len(delays), 0, len(delays) * source, len(delays) * source, each_step=looped)
    n_sums = len(graph.incoming(node.name)) - 1
    if n_sums > 0:
        yield LayerWork(node.name, "sum", n_sums, n_sums * source, (n_sums + 1) * source, n_sums * source, each_step=looped)
    if isinstance(node, Conv2d | Linear):
        biases = 0 if node.bias is None else int(node.bias.size)
        synapse = LayerWork.of_synapse(node.name, node.weight.shape, (source,), graph.shapes[node.name], n_biases=biases)
        yield replace(synapse, each_step=looped)
    elif isinstance(node, MaxPool2d | SumPool2d | Vote | Relu):
        n_kernels = int(not (isinstance(node, Vote) and node.group == 1))
        kind: Kind = "readout" if isinstance(node, Vote) else "pool"
        yield LayerWork(node.name, kind, n_kernels, source, source, values, each_step=looped)
    elif isinstance(node, Qcfs):
        n = 1 if node.levels is None else 7
        yield LayerWork(node.name, "pool", n, n * source, source, values, each_step=looped)
    elif type(node) in _ELEMENTWISE:
        n = _ELEMENTWISE[type(node)](node)
        restarts = 4 if isinstance(node, Lif | Li) and node.reset_interval is not None else 0
        once = 1 if graph.n_timesteps == 1 or looped else 2  # a split into timesteps, a concatenation of them
        yield LayerWork(
            node.name, "neuron", n + restarts, n * values, values, values, n_state=_STATES.get(type(node), 1) * values,
            each_step=True, n_once=once,
        )
    elif not isinstance(node, Input | Flatten | BatchNorm):
        raise NeurodeployError(f"the work of a {type(node).__name__} is not known", where=node.name, code="bad_node")
    longest = max((e.delay for e in graph.outgoing(node.name)), default=0)
    if longest and not isinstance(graph, IntGraph):
        yield LayerWork(node.name, "delay", 1 + (longest > 1), 0, values, values, n_state=longest * values, each_step=looped)


def _source(graph: Graph, node: Node) -> int:
    """Values that arrive over one edge."""
    edges = graph.incoming(node.name)
    return math.prod(graph.shapes[edges[0].src]) if edges else math.prod(graph.shapes[node.name])


def _lif(node: Lif) -> int:
    charge = 1 if node.inv_tau == 0 and not node.decay_input else 3 + bool(node.v_reset)
    fire = 2 + (node.v_th != 1) + (node.reset == "hard") if node.multi_spike else 2
    reset = 1 if node.reset == "hard" or node.v_th == 1 else 2
    return charge + fire + reset + (node.v_min is not None)


def _li(node: Li) -> int:
    leaks, scales, offset = np.any(node.inv_tau), np.any(np.not_equal(node.gain, 1)), np.any(node.v_leak)
    return int(1 + scales + (2 + offset if leaks else 0))


# Elementwise operations of a timestep. Of real-valued neurons those of the exported forms; of a chip's integers, which have
# no such form, the operations of the equation in `ir.nodes`.
_ELEMENTWISE: dict[type[Node], Callable[[Any], int]] = {
    Lif: _lif, Li: _li, CubaLif: lambda _: 8, Iaf: lambda node: 5 + (node.v_min is not None), Delta: lambda _: 6,
    SigmaDelta: lambda _: 9, Sigma: lambda _: 1,
}
_STATES: dict[type[Node], int] = {CubaLif: 2, Delta: 2, SigmaDelta: 3}
