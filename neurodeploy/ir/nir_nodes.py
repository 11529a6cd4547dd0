"""One NIR node per node of a graph. dt = 1 timestep; NIR's equations are integrated by forward Euler.

NIR LIF:  tau dv/dt = (v_leak - v) + r I   ->  v += ((v_leak - v) + r I) / tau,  spike, then v = v_reset.
Lif, decay_input=True,  v += (x - (v - v_reset)) inv_tau:      tau = 1/inv_tau, r = 1,   v_leak = v_reset
Lif, decay_input=False, v += x - (v - v_reset) inv_tau:        tau = 1/inv_tau, r = tau, v_leak = v_reset
Lif with inv_tau = 0 (decay_input=False), v += x:              IF, r = 1
CubaLif, u = (1 - i_decay/4096) u + 2^6 a;  v = (1 - v_decay/4096) v + u + bias  (rounding aside; 2^6 = 2^state_shift):
    i_decay = 4096 (no memory of the current), v_decay > 0:    LIF, tau = 4096/v_decay, r = 2^6 tau, v_leak = bias tau
    i_decay = 4096, v_decay = 0:                               IF, r = 2^6; bias / 2^6 becomes the synapse's bias
    i_decay < 4096, v_decay > 0:                               CubaLIF, tau_syn = 4096/i_decay, w_in = 2^6 tau_syn,
                                                               tau_mem = 4096/v_decay, r = tau_mem, v_leak = bias tau_mem
v_threshold is v_th (CubaLif: v_th 2^6). Vote is a Linear of 1/group. NIR resets hard and has no max-pool.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.fixedpoint import DECAY_BITS
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, Flatten, Input, Lif, Linear, Node, Vote

_ONE = 2**DECAY_BITS


def host_name(name: str) -> str:
    """Name in the file of a node of the host part."""
    return f"host.{name}"


def _fail(node: Node, what: str, remedy: str) -> NeurodeployError:
    return NeurodeployError(f"{what} has no NIR equivalent", where=node.name, code="not_nir", remedy=remedy)


def to_node(node: Node, graph: Graph) -> Any:
    """The NIR node of `node`. Raises NeurodeployError naming it where NIR has no equivalent."""
    if isinstance(node, Input):
        return nir.Input(input_type=np.array(node.shape), metadata={"kind": node.kind})
    if isinstance(node, Conv2d):
        return _conv2d(node, graph)
    if isinstance(node, Linear):
        bias = _moved_bias(node, graph) if node.bias is None else node.bias
        weight = node.weight.astype(np.float64)
        return nir.Linear(weight=weight) if bias is None else nir.Affine(weight=weight, bias=bias.astype(np.float64))
    if isinstance(node, Flatten):
        source = graph.shapes[graph.incoming(node.name)[0].src]
        return nir.Flatten(input_type={"input": np.array(source)}, start_dim=0, end_dim=-1)
    if isinstance(node, Vote):
        average = np.kron(np.eye(node.n_classes), np.full((1, node.group), 1 / node.group))
        return nir.Linear(weight=average, metadata={"group": node.group})
    if isinstance(node, Lif):
        return _lif(node)
    if isinstance(node, CubaLif):
        return _cuba_lif(node, graph)
    raise _fail(node, f"a {type(node).__name__}", "Lower the graph first")


def _conv2d(node: Conv2d, graph: Graph) -> Any:
    source = graph.shapes[graph.incoming(node.name)[0].src]
    bias = _moved_bias(node, graph) if node.bias is None else node.bias
    return nir.Conv2d(
        input_shape=(source[1], source[2]), weight=_ungroup(node), stride=node.stride, padding=node.padding,
        dilation=node.dilation, groups=1, bias=np.zeros(len(node.weight)) if bias is None else bias.astype(np.float64),
        metadata={"groups": node.groups},
    )


def _ungroup(node: Conv2d) -> Array:
    """The kernel for groups = 1: nir 1.0.8 gets the input type of grouped convolutions wrong and refuses to load them."""
    n_out, n_in, kh, kw = node.weight.shape
    full = np.zeros((n_out, n_in * node.groups, kh, kw))
    per_group = n_out // node.groups
    for g in range(node.groups):
        rows = slice(g * per_group, (g + 1) * per_group)
        full[rows, g * n_in : (g + 1) * n_in] = node.weight[rows]
    return full


def _lif(node: Lif) -> Any:
    if node.reset != "hard":
        raise _fail(node, "a soft reset", "Train with a hard reset")
    metadata = {"fire": node.fire}
    ones = np.ones(node.shape)
    if node.inv_tau == 0:
        if node.decay_input:
            raise _fail(node, "a neuron that ignores its input (inv_tau = 0 with decay_input)", "Give it a leak")
        return nir.IF(r=ones, v_threshold=ones * node.v_th, v_reset=ones * node.v_reset, metadata=metadata)
    tau = 1 / node.inv_tau
    return nir.LIF(
        tau=ones * tau, r=ones if node.decay_input else ones * tau, v_leak=ones * node.v_reset,
        v_threshold=ones * node.v_th, v_reset=ones * node.v_reset, metadata=metadata,
    )


def _bias(node: CubaLif) -> Array:
    full: Array = np.broadcast_to(node.bias_mant, node.shape) * 2.0**node.bias_exp
    return full


def _cuba_lif(node: CubaLif, graph: Graph) -> Any:
    metadata = {"fire": ">", "bias_mant": node.bias_mant}
    ones = np.ones(node.shape)
    unit = ones * 2.0**node.state_shift
    threshold, reset = unit * node.v_th, np.zeros(node.shape)
    if node.v_decay == 0:
        if node.i_decay != _ONE:
            raise _fail(node, "a current with memory on a membrane without leak", "Give the membrane a leak")
        if node.bias_mant.any() and not _takes_bias(node, graph):
            raise _fail(node, "a bias on a membrane without leak that no synapse can carry", "Use one bias per channel")
        return nir.IF(r=unit, v_threshold=threshold, v_reset=reset, metadata=metadata)
    tau = ones * (_ONE / node.v_decay)
    leak = _bias(node) * tau
    if node.i_decay == _ONE:
        return nir.LIF(tau=tau, r=unit * tau, v_leak=leak, v_threshold=threshold, v_reset=reset, metadata=metadata)
    if node.i_decay == 0:
        raise _fail(node, "a current that never decays", "Give the current a decay")
    tau_syn = ones * (_ONE / node.i_decay)
    return nir.CubaLIF(
        tau_syn=tau_syn, tau_mem=tau, r=tau, v_leak=leak, v_threshold=threshold, v_reset=reset, w_in=unit * tau_syn,
        metadata=metadata,
    )


def _carrier(node: CubaLif, graph: Graph) -> Node | None:
    """The synapse that can carry a neuron's bias: the first that feeds nothing else."""
    for source, _ in graph.sources(node.name):
        if isinstance(source, Conv2d | Linear) and len(graph.outgoing(source.name)) == 1:
            return source
    return None


def _takes_bias(node: CubaLif, graph: Graph) -> bool:
    full = _bias(node)
    per_channel = full.reshape(node.shape[0], -1)[:, 0].reshape(-1, *[1] * (full.ndim - 1))
    return _carrier(node, graph) is not None and np.array_equal(full, np.broadcast_to(per_channel, full.shape))


def _moved_bias(synapse: Node, graph: Graph) -> Array | None:
    """Bias that `synapse` carries for the leakless integer neuron behind it, in units of its weights."""
    for edge in graph.outgoing(synapse.name):
        node = graph[edge.dst]
        if isinstance(node, CubaLif) and node.v_decay == 0 and node.bias_mant.any() and _carrier(node, graph) is synapse:
            per_channel: Array = _bias(node).reshape(node.shape[0], -1)[:, 0] / 2.0**node.state_shift
            return per_channel
    return None


def array_of(found: Any, entry: dict[str, Any], field: str) -> Array:
    """The array `field` of the node described by `entry` (as serialize writes it), taken from its NIR node."""
    if field == "bias_mant":
        return np.asarray(found.metadata["bias_mant"])
    array = np.asarray(getattr(found, field))
    if entry["type"] == "Conv2d" and field == "weight" and entry["groups"] > 1:
        n_out, n_in = array.shape[0], array.shape[1] // entry["groups"]
        group = np.arange(n_out) // (n_out // entry["groups"])
        return np.stack([array[o, g * n_in : (g + 1) * n_in] for o, g in enumerate(group)])
    return array
