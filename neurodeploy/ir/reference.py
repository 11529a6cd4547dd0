"""What every node computes, in plain numpy, one timestep at a time: the definition that faster code must equal.

Real graphs compute in float64 in the order in which the formulas of `nodes.py` are written; integer graphs in int64
throughout (only a Vote, on the host, is real).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.fixedpoint import clip_symmetric, decay_toward_zero, shift_signed, wrap_modulo, wrap_once
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import (
    INT_NEURONS,
    Array,
    BatchNorm,
    Conv2d,
    CubaLif,
    CurrentLif,
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
    Sigma,
    SigmaDelta,
    SumPool2d,
    Vote,
)

# Of sigma-delta and Iaf neurons: Lava's models compute in int32, where a larger value would silently turn around; sinabs'
# in float32, which rounds integers beyond 24 bits, and the chip it simulates holds 16.
SIGMA_DELTA_BITS = 32

# Arrays [B, *shape] by node type, nothing for those not named; `t` counts steps.
#   Lif, Li v_mem, t;  Iaf v_mem;  CubaLif, CurrentLif v_mem, i_syn, t;  Delta act, residue;  SigmaDelta sigma, act, residue;
#   Sigma sigma;
#   Linear with delays: past [largest delay, B, I], what it received in earlier steps, newest first.
State = dict[str, Any]
_SIGMA_DELTA_STATES: dict[type[Node], tuple[str, ...]] = {
    Delta: ("act", "residue"), SigmaDelta: ("sigma", "act", "residue"), Sigma: ("sigma",),
}


@dataclass(frozen=True)
class Moment:
    """One timestep of a graph. All dicts are by node name; arrays are [B, *shape]; states are those after the step."""

    t: int
    total: dict[str, Array]  # the sum of the incoming edges
    output: dict[str, Array]
    before: dict[str, State]
    after: dict[str, State]


def initial_state(node: Node, batch: int) -> State:
    """State of `batch` copies of a node before the first timestep."""
    if isinstance(node, Lif):
        current = {"i_syn": np.zeros((batch, *node.shape))} if isinstance(node, CurrentLif) else {}
        start = node.v_reset if node.v_init is None else node.v_init
        return {"v_mem": np.full((batch, *node.shape), start, dtype=np.float64), **current, "t": 0}
    if isinstance(node, Li):
        return {"v_mem": np.zeros((batch, *node.shape)) + node.v_leak, "t": 0}
    if isinstance(node, CubaLif):
        v, u = (np.zeros((batch, *node.shape), dtype=np.int64) + start for start in (node.v_init, node.i_init))
        return {"v_mem": v, "i_syn": u, "t": 0}
    if isinstance(node, Iaf):
        return {"v_mem": np.zeros((batch, *node.shape), dtype=np.int64) + node.v_init}
    if isinstance(node, Delta | Sigma):
        return {name: np.zeros((batch, *node.shape), dtype=np.int64) for name in _SIGMA_DELTA_STATES[type(node)]}
    if isinstance(node, Linear) and node.delays is not None:
        longest = int(node.delays.max(initial=0))
        return {"past": np.zeros((longest, batch, node.weight.shape[1]), dtype=np.int64)}
    return {}


def is_integer_node(node: Node) -> bool:
    """Whether a node computes on integers only: a chip's neurons, and synapses with fields only a chip's have."""
    if isinstance(node, Conv2d):
        return node.binary or node.sum_bits is not None
    if isinstance(node, Linear):
        return node.binary or node.weight_exp != 0 or node.delays is not None
    return isinstance(node, INT_NEURONS)


def step(node: Node, a: Array, state: State) -> tuple[Array, State]:
    """(output, next state) of one timestep; `a` [B, *source shape] is the sum of the incoming edges (Input: x[t]).

    Neither argument is changed. Raises NeurodeployError for a node without a meaning here, or not in `a`'s arithmetic.
    """
    rule = _RULES.get(type(node))
    if rule is None:
        raise NeurodeployError(f"{type(node).__name__} has no reference", where=node.name, code="bad_node")
    integer = a.dtype.kind in "iu"
    if (is_integer_node(node) and not integer) or (isinstance(node, BatchNorm | Lif | Li | Relu | Qcfs) and integer):
        raise NeurodeployError(
            f"{type(node).__name__} received values of type {a.dtype}", where=node.name, code="bad_node",
            remedy="A chip's neurons and synapses compute on integers, Lif, Li, BatchNorm, Relu and Qcfs on real numbers",
        )
    return rule(node, a, state)


def conv2d(
    x: Array, weight: Array, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
) -> Array:
    """Cross-correlation of x [B, I, H, W] with weight [O, I/groups, kH, kW], pairs (y, x); [B, O, H', W']."""
    n_out, n_in_group, kh, kw = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0], padding[0]), (padding[1], padding[1])))
    height = (padded.shape[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    width = (padded.shape[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    batch = x.shape[0]
    by_group = weight.reshape(groups, n_out // groups, n_in_group, kh, kw)
    total = np.zeros((batch, groups, n_out // groups, height * width), dtype=np.result_type(x, weight))
    if not x.any():  # 0 exactly, as below; most layers of a pipeline receive nothing in most timesteps
        return total.reshape(batch, n_out, height, width)
    for ky in range(kh):
        for kx in range(kw):
            y0, x0 = ky * dilation[0], kx * dilation[1]
            seen = padded[:, :, y0 : y0 + stride[0] * (height - 1) + 1 : stride[0],
                          x0 : x0 + stride[1] * (width - 1) + 1 : stride[1]]
            total += by_group[..., ky, kx] @ seen.reshape(batch, groups, n_in_group, height * width)
    return total.reshape(batch, n_out, height, width)


def _input(node: Input, a: Array, state: State) -> tuple[Array, State]:
    return a, state


def _message(node: Conv2d | Linear, a: Array) -> Array:
    """What a synapse takes for its input: any value but 0 is one spike where it is binary."""
    return np.asarray(a != 0, dtype=a.dtype) if node.binary else a


def _conv2d(node: Conv2d, a: Array, state: State) -> tuple[Array, State]:
    y = conv2d(_message(node, a), node.weight, node.stride, node.padding, node.dilation, node.groups)
    if node.sum_bits is not None:
        y = wrap_modulo(y, node.sum_bits)
    return (y if node.bias is None else y + node.bias[:, None, None]), state


def _linear(node: Linear, a: Array, state: State) -> tuple[Array, State]:
    m = _message(node, a)
    if node.delays is not None:
        seen = np.concatenate([m[np.newaxis], state["past"]])  # seen[d]: the messages of d steps ago
        y = np.zeros((len(m), len(node.weight)), dtype=np.int64)
        for d in np.unique(node.delays):
            y += shift_signed(seen[d] @ np.where(node.delays == d, node.weight, 0).T, node.weight_exp)
        state = {"past": seen[: len(state["past"])]}
    else:
        y = m @ node.weight.T
        if node.weight_exp:
            y = shift_signed(y, node.weight_exp)
    return (y if node.bias is None else y + node.bias), state


def _batch_norm(node: BatchNorm, a: Array, state: State) -> tuple[Array, State]:
    mean, var, gamma, beta = (
        p.reshape(-1, *[1] * (a.ndim - 2)) for p in (node.mean, node.var, node.gamma, node.beta)
    )
    return (a - mean) / np.sqrt(var + node.eps) * gamma + beta, state


def _max_pool(node: MaxPool2d, a: Array, state: State) -> tuple[Array, State]:
    kh, kw = node.kernel
    batch, channels, height, width = a.shape
    kept = a[:, :, : height // kh * kh, : width // kw * kw]
    return kept.reshape(batch, channels, height // kh, kh, width // kw, kw).max(axis=(3, 5)), state


def _sum_pool(node: SumPool2d, a: Array, state: State) -> tuple[Array, State]:
    kh, kw = node.kernel
    batch, channels, height, width = a.shape
    kept = a[:, :, : height // kh * kh, : width // kw * kw]
    return kept.reshape(batch, channels, height // kh, kh, width // kw, kw).sum(axis=(3, 5)), state


def _relu(node: Relu, a: Array, state: State) -> tuple[Array, State]:
    return np.maximum(a, 0.0), state


def _qcfs(node: Qcfs, a: Array, state: State) -> tuple[Array, State]:
    if node.levels is None:
        return np.clip(a, 0.0, node.lam), state
    return np.clip(np.floor(a / node.lam * node.levels + 0.5) / node.levels, 0.0, 1.0) * node.lam, state


def _flatten(node: Flatten, a: Array, state: State) -> tuple[Array, State]:
    return a.reshape(a.shape[0], -1), state


def _restarts(node: Lif | Li | CubaLif, t: int) -> bool:
    """Whether the state is reset before the dynamics of the 0-based timestep t."""
    interval = node.reset_interval
    return interval is not None and (t + 1) % interval == node.reset_offset % interval


def _lif(node: Lif, a: Array, state: State) -> tuple[Array, State]:
    v, t = state["v_mem"], state["t"]
    if _restarts(node, t):
        v = np.full_like(v, node.v_reset)
    lost = v - node.v_reset
    v = v + (a - lost) * node.inv_tau if node.decay_input else v + (a - lost * node.inv_tau)
    if node.multi_spike:
        n = np.where(v > 0, np.trunc(v / node.v_th), 0.0)
    else:
        n = (v >= node.v_th if node.fire == ">=" else v > node.v_th).astype(v.dtype)
    v = np.where(n > 0, node.v_reset, v) if node.reset == "hard" else v - n * node.v_th
    return n, {"v_mem": v if node.v_min is None else np.maximum(v, node.v_min), "t": t + 1}


def _current_lif(node: CurrentLif, a: Array, state: State) -> tuple[Array, State]:
    i = np.zeros_like(state["i_syn"]) if _restarts(node, state["t"]) else state["i_syn"]
    i = i + (a - i * node.inv_tau_syn)
    n, after = _lif(node, i, state)
    return n, {**after, "i_syn": i}


def _li(node: Li, a: Array, state: State) -> tuple[Array, State]:
    v, t = state["v_mem"], state["t"]
    if _restarts(node, t):
        v = np.zeros_like(v) + node.v_leak
    v = v + (node.gain * a - (v - node.v_leak) * node.inv_tau)
    return v, {"v_mem": v, "t": t + 1}


def _iaf(node: Iaf, a: Array, state: State) -> tuple[Array, State]:
    v = within_state_bits(node, state["v_mem"] + a + node.bias)
    n = np.maximum(v, 0) // node.v_th if node.multi_spike else (v >= node.v_th).astype(np.int64)
    v = np.where(n > 0, 0, v) if node.reset == "hard" else v - n * node.v_th
    return n, {"v_mem": v if node.v_min is None else np.maximum(v, node.v_min)}


def _cuba_lif(node: CubaLif, a: Array, state: State) -> tuple[Array, State]:
    u, v, t = state["i_syn"], state["v_mem"], state["t"]
    if _restarts(node, t):
        u, v = np.zeros_like(u), np.zeros_like(v)
    bias = shift_signed(node.bias_mant, node.bias_exp)
    u = wrap_once(decay_toward_zero(u, node.i_decay) + (a << node.state_shift), node.state_bits)
    v = clip_symmetric(decay_toward_zero(v, node.v_decay) + u + bias, node.state_bits)
    fired = v > (np.asarray(node.v_th, dtype=np.int64) << node.state_shift)
    v = np.where(fired, 0, v)
    return fired.astype(np.int64), {"v_mem": v, "i_syn": u, "t": t + 1}


def within_state_bits(node: Node, values: Array) -> Array:
    """States of a sigma-delta or Iaf neuron, unchanged; raises NeurodeployError where they leave SIGMA_DELTA_BITS bits."""
    largest = int(np.abs(values).max(initial=0))
    if largest >= 2 ** (SIGMA_DELTA_BITS - 1):
        raise NeurodeployError(
            f"its state reaches {largest}", where=node.name, code="overflow",
            limit=f"{'Iaf' if isinstance(node, Iaf) else 'Sigma-delta'} neurons compute in {SIGMA_DELTA_BITS} bits with sign, "
            "and nothing is known beyond",
            remedy="Let it send several spikes a timestep, give it a floor, or use smaller weights" if isinstance(node, Iaf)
            else "Use smaller weights or exponents; a loop of unclipped neurons may amplify without end",
        )
    return values


def _send_change(node: Delta, act: Array, state: State) -> tuple[Array, State]:
    """The delta step of a neuron whose activation is now `act`: (message, its states)."""
    act = within_state_bits(node, act)
    change = within_state_bits(node, act - state["act"] + state["residue"])
    threshold = np.asarray(node.v_th, dtype=np.int64) << (node.spike_exp + node.state_exp)
    sent = np.where(np.abs(change) >= threshold, change, 0)
    return sent >> node.state_exp, {"act": act, "residue": change - sent}


def _delta(node: Delta, a: Array, state: State) -> tuple[Array, State]:
    return _send_change(node, a << (node.spike_exp + node.state_exp), state)


def _sigma_delta(node: SigmaDelta, a: Array, state: State) -> tuple[Array, State]:
    sigma = within_state_bits(node, state["sigma"] + a)
    act = sigma + (node.bias_mant << (node.spike_exp + node.state_exp))
    sent, after = _send_change(node, np.maximum(act, 0) if node.activation == "relu" else act, state)
    return sent, {"sigma": sigma, **after}


def _sigma(node: Sigma, a: Array, state: State) -> tuple[Array, State]:
    sigma = within_state_bits(node, state["sigma"] + a)
    return sigma, {"sigma": sigma}


def _vote(node: Vote, a: Array, state: State) -> tuple[Array, State]:
    return a.reshape(a.shape[0], node.n_classes, node.group).mean(axis=2), state


_RULES: dict[type[Node], Callable[[Any, Array, State], tuple[Array, State]]] = {
    Input: _input, Conv2d: _conv2d, Linear: _linear, BatchNorm: _batch_norm, MaxPool2d: _max_pool,
    SumPool2d: _sum_pool, Relu: _relu, Qcfs: _qcfs, Flatten: _flatten, Lif: _lif, CurrentLif: _current_lif, Li: _li,
    Iaf: _iaf, CubaLif: _cuba_lif, Delta: _delta, SigmaDelta: _sigma_delta, Sigma: _sigma, Vote: _vote,
}


def input_range(node: Input) -> tuple[float, float]:
    """(lowest, highest) value that an input may carry; analog values are unbounded."""
    if node.kind == "analog":
        return (-np.inf, np.inf)
    if node.kind == "spikes":
        return (0, 1)
    return (0 if node.kind == "graded" and not node.signed else -node.max_value, node.max_value)


def check_input(graph: Graph, x: Array) -> Array:
    """x [T, B, *input shape] as float64 (Graph) or int64 (IntGraph).

    Raises UsageError for a wrong shape, real numbers in an integer graph, or values outside the input's range.
    """
    if len(graph.inputs) != 1:
        raise NeurodeployError(f"the graph has {len(graph.inputs)} inputs", limit="One is supported", code="bad_graph")
    node = graph.inputs[0]
    x = np.asarray(x)
    if x.ndim < 2 or x.shape[2:] != node.shape or 0 in x.shape[:2]:
        raise UsageError(f"the input has shape {x.shape}", where=node.name, limit=f"Expected [T, B, *{node.shape}]")
    if not isinstance(graph, IntGraph):
        return x.astype(np.float64)
    if x.dtype.kind not in "iub":
        raise UsageError(f"the input has type {x.dtype}", where=node.name, limit="An integer graph takes integers")
    low, high = input_range(node)
    if x.min() < low or x.max() > high:
        raise UsageError(
            f"input values span {x.min()}..{x.max()}", where=node.name,
            limit=f"A {node.kind} input holds {low}..{high}",
            remedy="Saturate the values, or quantize with a smaller value_scale",
        )
    return x.astype(np.int64)


def default_steps(graph: Graph, n_timesteps: int) -> int:
    """Timesteps until `n_timesteps` of input have reached the last node; in a recurrent graph, which never ends, its Vote."""
    last = [n.name for n in graph.nodes if graph.is_acyclic or isinstance(n, Vote)]
    return n_timesteps + max((graph.latencies[name] for name in last), default=0)


def input_at(node: Input, x: Array, t: int) -> Array:
    """The input's value at chip step t: x[t], then its last value (kind bias) or zero."""
    if t < x.shape[0]:
        return np.asarray(x[t])
    return np.asarray(x[-1]) if node.kind == "bias" else np.zeros_like(x[0])


def walk(graph: Graph, x: Array, n_steps: int | None = None) -> Iterator[Moment]:
    """Run a graph timestep by timestep on x [T, B, *input shape]; see `evaluate`."""
    x = check_input(graph, x)
    batch = x.shape[1]
    n_steps = default_steps(graph, x.shape[0]) if n_steps is None else n_steps
    depth = 1 + max((e.delay for e in graph.edges), default=0)
    past: dict[str, deque[Array]] = {n.name: deque(maxlen=depth) for n in graph.nodes}  # newest first
    state = {n.name: initial_state(n, batch) for n in graph.nodes}
    for t in range(n_steps):
        before, total = dict(state), {}
        for node in graph.order:
            if isinstance(node, Input):
                a = input_at(node, x, t)
            else:
                terms = []
                for edge in graph.incoming(node.name):
                    # `past[src]` already starts with step t where the source has been computed in this step.
                    index = edge.delay - (0 if edge.src in total else 1)
                    seen = past[edge.src]
                    shape = (batch, *graph.shapes[edge.src])
                    terms.append(seen[index] if index < len(seen) else np.zeros(shape, dtype=x.dtype))
                # A neuron layer that nothing feeds lives on its bias or its initial state.
                a = terms[0] if terms else np.zeros((batch, *graph.shapes[node.name]), dtype=x.dtype)
                for term in terms[1:]:
                    a = a + term
            total[node.name] = a
            output, state[node.name] = step(node, a, state[node.name])
            past[node.name].appendleft(output)
        yield Moment(t, total, {name: values[0] for name, values in past.items()}, before, dict(state))


def evaluate(graph: Graph, x: Array, n_steps: int | None = None) -> dict[str, Array]:
    """Outputs of every node, [T', B, *shape], for the input x [T, B, *input shape].

    `n_steps` T' defaults to T plus the latency of the output (recurrent: of a Vote, else T). After T, an input of
    kind bias keeps its last value, others are zero. Several edges into a node add in edge order.
    """
    moments = [moment.output for moment in walk(graph, x, n_steps)]
    return {name: np.stack([m[name] for m in moments]) for name in moments[0]} if moments else {}
