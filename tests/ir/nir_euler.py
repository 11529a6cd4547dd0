"""NIR's own equations by forward Euler in steps of dt, written from NIR's documentation, not from ours."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

Edges = list[tuple[str, str]]
Values = dict[str, NDArray[np.float64]]


def correlate(x: NDArray[np.float64], node: Any) -> NDArray[np.float64]:
    """Conv2d [C, H, W] or Conv1d [C, L], one output element at a time."""
    rank = node.weight.ndim - 2
    stride, pad, dil = (np.broadcast_to(np.asarray(v, int), rank) for v in (node.stride, node.padding, node.dilation))
    x = np.pad(x, [(0, 0), *((p, p) for p in pad)])
    kernel = node.weight.shape[2:]
    size = [(x.shape[1 + a] - dil[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in range(rank)]
    n_in, groups, y = node.weight.shape[1], int(node.groups), np.zeros((len(node.weight), *size))
    for at in np.ndindex(*y.shape):
        first = at[0] // (len(y) // groups) * n_in
        starts = [at[1 + a] * stride[a] for a in range(rank)]
        where = [slice(starts[a], starts[a] + dil[a] * (kernel[a] - 1) + 1, dil[a]) for a in range(rank)]
        y[at] = (x[(slice(first, first + n_in), *where)] * node.weight[at[0]]).sum() + node.bias[at[0]]
    return y


def pooled(x: NDArray[np.float64], node: Any) -> NDArray[np.float64]:
    kh, kw = (int(k) for k in np.broadcast_to(node.kernel_size, 2))
    y = x.reshape(x.shape[0], x.shape[1] // kh, kh, x.shape[2] // kw, kw).sum(axis=(2, 4))
    return y / (kh * kw) if isinstance(node, nir.AvgPool2d) else y


def euler(
    nodes: dict[str, Any], edges: Edges, x: NDArray[np.float64], dt: float, *, fire: str = ">", last: Edges | None = None
) -> Values:
    """Outputs [T, *shape] of every node; nodes are in order. Edges in `last` hand on what was put out one timestep before."""
    last = last or []
    state: dict[str, Any] = {}
    seen: dict[str, list[Any]] = {name: [] for name in nodes}
    for frame in x:
        for name, node in nodes.items():
            if isinstance(node, nir.Delay):  # what its source put out so many timesteps ago, in any order of nodes
                (src,) = (s for s, d in edges if d == name)
                t = len(seen[name]) - round(float(np.ravel(node.delay)[0]) / dt)
                seen[name].append(seen[src][t] if t >= 0 else np.zeros(np.shape(node.delay)))
                continue
            arriving = []
            for src, dst in edges:
                if dst == name and (src, dst) not in last:
                    arriving.append(seen[src][-1])
                elif dst == name:
                    history = seen[src] if list(nodes).index(src) >= list(nodes).index(name) else seen[src][:-1]
                    arriving += history[-1:]
            a: Any = sum(arriving) if arriving else 0.0
            at = state.get(name, {"v": np.asarray(getattr(node, "v_reset", 0.0), float) * 1.0, "i": 0.0})
            if isinstance(node, nir.Input):
                a = frame
            elif isinstance(node, nir.Conv1d | nir.Conv2d):
                a = correlate(a, node)
            elif isinstance(node, nir.Linear | nir.Affine):
                a = node.weight @ (a + np.zeros(node.weight.shape[1])) + getattr(node, "bias", 0.0)
            elif isinstance(node, nir.AvgPool2d | nir.SumPool2d):
                a = pooled(a, node)
            elif isinstance(node, nir.Flatten):
                a = a.reshape(-1)
            elif isinstance(node, nir.Scale):
                a = node.scale * a
            elif isinstance(node, nir.Threshold):
                a = (a > node.threshold).astype(float)
            elif isinstance(node, nir.I):
                at["v"] = a = at["v"] + dt * node.r * a
            elif isinstance(node, nir.LI | nir.CubaLI):
                v = at["v"] if name in state else node.v_leak
                if isinstance(node, nir.CubaLI):
                    at["i"] = a = at["i"] + dt * (node.w_in * a - at["i"]) / node.tau_syn
                tau = node.tau if isinstance(node, nir.LI) else node.tau_mem
                at["v"] = a = v + dt * ((node.v_leak - v) + node.r * a) / tau
            elif isinstance(node, nir.IF | nir.LIF | nir.CubaLIF):
                if isinstance(node, nir.IF):
                    slope = node.r * a
                elif isinstance(node, nir.LIF):
                    slope = ((node.v_leak - at["v"]) + node.r * a) / node.tau
                else:
                    at["i"] = at["i"] + dt * (node.w_in * a - at["i"]) / node.tau_syn
                    slope = ((node.v_leak - at["v"]) + node.r * at["i"]) / node.tau_mem
                v = at["v"] + dt * slope
                fired = v >= node.v_threshold if fire == ">=" else v > node.v_threshold
                at["v"] = np.where(fired, node.v_reset, v)
                a = fired.astype(float)
            state[name] = at
            seen[name].append(a)
    return {name: np.stack([np.asarray(v, float) for v in values]) for name, values in seen.items()}
