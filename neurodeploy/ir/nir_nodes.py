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
Li, v += gain x - (v - v_leak) inv_tau:                        LI, tau = 1/inv_tau, r = gain tau; I, r = gain, where inv_tau = 0
Li in front of a leaky Lif, read by it alone:                  CubaLIF with it: tau_syn = 1/inv_tau, w_in = gain tau_syn
Decays and thresholds may differ between the neurons of a layer; some leakless and some not have no NIR type in common.
v_threshold is v_th (CubaLif: v_th 2^6). Vote is a Linear of 1/group. NIR has no max-pool. Its text resets hard and knows no
floor and no second spike in a timestep; tools for event-driven chips (sinabs) write neurons that do all this as IF, and so are
they written here, with `reset`, `v_min` and `multi_spike` in their metadata:
Lif with inv_tau = 0, soft reset, a floor or several spikes;  Iaf without bias (r = 1):  IF
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nir
import numpy as np

from neurodeploy.errors import NeurodeployError
from neurodeploy.fixedpoint import DECAY_BITS
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array, Conv2d, CubaLif, CurrentLif, Flatten, Iaf, Input, Li, Lif, Linear, Node, SumPool2d, Vote

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
    if isinstance(node, Conv2d | Linear) and node.binary and not _sees_spikes(node, graph):
        raise _fail(node, "a synapse that takes any value for one spike", "Send it spikes")
    if isinstance(node, Conv2d):
        return _conv2d(node, graph)
    if isinstance(node, Linear):
        if node.delays is not None:
            raise _fail(node, "delays inside a synapse", "Split it into one synapse for each delay")
        bias = _moved_bias(node, graph) if node.bias is None else node.bias
        weight = node.weight * 2.0**node.weight_exp
        return nir.Linear(weight=weight) if bias is None else nir.Affine(weight=weight, bias=bias.astype(np.float64))
    if isinstance(node, Flatten):
        source = graph.shapes[graph.incoming(node.name)[0].src]
        return nir.Flatten(input_type={"input": np.array(source)}, start_dim=0, end_dim=-1)
    if isinstance(node, SumPool2d):
        kernel = np.array(node.kernel)
        return nir.SumPool2d(kernel_size=kernel, stride=kernel, padding=np.zeros(2, dtype=np.int64))
    if isinstance(node, Vote):
        average = np.kron(np.eye(node.n_classes), np.full((1, node.group), 1 / node.group))
        return nir.Linear(weight=average, metadata={"group": node.group})
    if isinstance(node, Lif):
        current = Li(node.name, node.shape, node.inv_tau_syn) if isinstance(node, CurrentLif) else current_of(node, graph)
        return _lif(node) if current is None else _with_current(current, node)
    if isinstance(node, Li):
        return _li(node)
    if isinstance(node, CubaLif):
        return _cuba_lif(node, graph)
    if isinstance(node, Iaf):
        return _iaf(node)
    raise _fail(node, f"a {type(node).__name__}", "Lower the graph first")


def _sees_spikes(node: Node, graph: Graph) -> bool:
    """Whether all that reaches a node is 0 or 1."""
    sources = [graph[e.src] for e in graph.incoming(node.name)]
    return len(sources) == 1 and (
        isinstance(sources[0], CubaLif) or (isinstance(sources[0], Input) and sources[0].kind == "spikes")
        or (isinstance(sources[0], Flatten) and _sees_spikes(sources[0], graph))
    )


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
    ones = np.ones(node.shape)
    if node.v_init is not None:
        raise _fail(node, "a state before the first timestep", "Start it at v_reset")
    metadata: dict[str, Any] = {"fire": node.fire}
    if node.reset != "hard" or node.multi_spike or node.v_min is not None:
        if node.inv_tau:
            raise _fail(node, "a leak beside soft reset, a floor or several spikes a timestep",
                        "Train without leak, or without them")
        metadata |= _event_driven(node)
    if node.inv_tau == 0:
        if node.decay_input:
            raise _fail(node, "a neuron that ignores its input (inv_tau = 0 with decay_input)", "Give it a leak")
        return nir.IF(r=ones, v_threshold=ones * node.v_th, v_reset=ones * node.v_reset, metadata=metadata)
    tau = 1 / node.inv_tau
    return nir.LIF(
        tau=ones * tau, r=ones if node.decay_input else ones * tau, v_leak=ones * node.v_reset,
        v_threshold=ones * node.v_th, v_reset=ones * node.v_reset, metadata=metadata,
    )


def current_of(node: Node, graph: Graph) -> Li | None:
    """The integrator that is the current of a layer of leaky neurons and nothing else, one value for all of them."""
    into = graph.incoming(node.name)
    source = graph[into[0].src] if len(into) == 1 and not into[0].delay else None
    if not isinstance(source, Li) or len(graph.outgoing(source.name)) != 1 or not isinstance(node, Lif) or not node.inv_tau:
        return None
    plain = not isinstance(source.gain, np.ndarray) and not isinstance(source.inv_tau, np.ndarray)
    return source if plain and source.inv_tau and not np.any(source.v_leak) else None


def _with_current(current: Li, node: Lif) -> Any:
    if not node.inv_tau or not current.inv_tau:
        raise _fail(node, "a current with memory on a membrane without leak, or one that never decays", "Give both a leak")
    lif, ones = _lif(node), np.ones(node.shape)
    tau_syn = ones / current.inv_tau
    return nir.CubaLIF(
        tau_syn=tau_syn, tau_mem=lif.tau, r=lif.r, v_leak=lif.v_leak, v_threshold=lif.v_threshold, v_reset=lif.v_reset,
        w_in=tau_syn * current.gain, metadata=lif.metadata,
    )


def _li(node: Li) -> Any:
    ones = np.ones(node.shape)
    inv_tau, gain, leak = ones * node.inv_tau, ones * node.gain, ones * node.v_leak
    # The arrays as they are, for the way back; what they mean is in the parameters, and both are compared.
    fields = {name: getattr(node, name) for name in ("inv_tau", "gain", "v_leak")}
    metadata = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    if not inv_tau.any():
        if leak.any():
            raise _fail(node, "an integrator without leak that starts at another value than 0", "Start it at 0")
        return nir.I(r=gain, metadata=metadata)
    if not inv_tau.all():
        raise _fail(node, "a layer with and without leak", "Give each kind a layer of its own")
    return nir.LI(tau=1 / inv_tau, r=gain / inv_tau, v_leak=leak, metadata=metadata)


def with_timestep(node: Any, dt: float) -> Any:
    """A node of a file whose timestep is dt: times grow by it, and the rates of what has no time constant shrink."""
    if isinstance(node, nir.IF | nir.I):
        return replace(node, r=node.r / dt)
    times = {name: getattr(node, name) * dt for name in ("tau", "tau_syn", "tau_mem", "delay") if hasattr(node, name)}
    return replace(node, **times) if times else node


def _event_driven(node: Lif | Iaf) -> dict[str, Any]:
    """What NIR has no field for, as metadata: numbers and words."""
    floor = {} if node.v_min is None else {"v_min": float(node.v_min)}
    return {"reset": node.reset, "multi_spike": str(node.multi_spike).lower(), **floor}


def _iaf(node: Iaf) -> Any:
    if node.bias.any() or node.v_init.any():
        raise _fail(node, "a bias or a first state of neurons without leak", "Train without biases, and reset the states")
    ones = np.ones(node.shape)
    # The arrays as they are, for the way back.
    metadata = {"fire": ">=", **_event_driven(node), "bias": node.bias, "v_init": node.v_init}
    return nir.IF(r=ones, v_threshold=ones * node.v_th, v_reset=np.zeros(node.shape), metadata=metadata)


def _bias(node: CubaLif) -> Array:
    full: Array = np.broadcast_to(node.bias_mant * np.exp2(node.bias_exp), node.shape)
    return full


def _cuba_lif(node: CubaLif, graph: Graph) -> Any:
    if node.i_init.any() or node.v_init.any():
        raise _fail(node, "a state before the first timestep", "Start it at zero")
    # The arrays as they are, for the way back; what they mean is in the parameters, and both are compared.
    constants = {name: getattr(node, name) for name in ("bias_mant", "bias_exp", "v_th", "i_decay", "v_decay")}
    metadata = {"fire": ">", **{name: value for name, value in constants.items() if isinstance(value, np.ndarray)}}
    ones = np.ones(node.shape)
    unit = ones * 2.0**node.state_shift
    threshold, reset = unit * node.v_th, np.zeros(node.shape)
    i_decay, v_decay = ones * node.i_decay, ones * node.v_decay
    forgets = bool((i_decay == _ONE).all())
    if not v_decay.all():
        if v_decay.any():
            raise _fail(node, "a layer with and without leak", "Give each kind a layer of its own")
        if not forgets:
            raise _fail(node, "a current with memory on a membrane without leak", "Give the membrane a leak")
        if node.bias_mant.any() and not _takes_bias(node, graph):
            raise _fail(node, "a bias on a membrane without leak that no synapse can carry", "Use one bias per channel")
        return nir.IF(r=unit, v_threshold=threshold, v_reset=reset, metadata=metadata)
    tau = _ONE / v_decay
    leak = _bias(node) * tau
    if forgets:
        return nir.LIF(tau=tau, r=unit * tau, v_leak=leak, v_threshold=threshold, v_reset=reset, metadata=metadata)
    if not i_decay.all():
        raise _fail(node, "a current that never decays", "Give the current a decay")
    tau_syn = _ONE / i_decay
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
        if isinstance(node, CubaLif) and not np.any(node.v_decay) and node.bias_mant.any() and _carrier(node, graph) is synapse:
            per_channel: Array = _bias(node).reshape(node.shape[0], -1)[:, 0] / 2.0**node.state_shift
            return per_channel
    return None


def array_of(found: Any, entry: dict[str, Any], field: str) -> Array:
    """The array `field` of the node described by `entry` (as serialize writes it), taken from its NIR node."""
    if field in found.metadata:
        return np.asarray(found.metadata[field])
    array = np.asarray(getattr(found, field))
    if entry["type"] == "Linear" and field == "weight":
        return np.asarray(array / 2.0 ** int(entry.get("weight_exp", 0)))
    if entry["type"] == "Conv2d" and field == "weight" and entry["groups"] > 1:
        n_out, n_in = array.shape[0], array.shape[1] // entry["groups"]
        group = np.arange(n_out) // (n_out // entry["groups"])
        return np.stack([array[o, g * n_in : (g + 1) * n_in] for o, g in enumerate(group)])
    return array
