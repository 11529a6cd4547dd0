"""An EventNetwork as the flat tables that the compiled loops of events_kernel.py read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Array
from neurodeploy.sim import events_kernel as k
from neurodeploy.sim.events_network import INPUT, EventLayer, EventNetwork

_N_COLUMNS = 25


@dataclass(frozen=True, eq=False)
class Tables:
    """Made once for a network and used for any number of samples, by several threads at a time."""

    network: EventNetwork

    @cached_property
    def v_starts(self) -> list[int]:
        """Where each layer's neurons begin among all, and their number."""
        return [0, *np.cumsum([layer.n_neurons for layer in self.network.layers]).tolist()]

    @cached_property
    def _weights(self) -> tuple[NDArray[np.int16], list[int], list[int], NDArray[np.int64], list[int]]:
        """All weights and biases, where each layer's begin, and the groups of kernel columns with their beginnings."""
        parts: list[Array] = []
        w_starts, bias_starts, group_starts = [], [], []
        groups: list[int] = []
        for layer in self.network.layers:
            group_starts.append(len(groups))
            columns: list[int] = []
            for remainder in range(layer.stride[1]):
                taps = list(range(remainder, layer.weight.shape[3], layer.stride[1]))
                groups += [len(columns), len(taps)]
                columns += taps[::-1]
            w_starts.append(sum(p.size for p in parts))
            parts.append(layer.weight[..., columns].transpose(1, 2, 3, 0).ravel())
            bias_starts.append(-1 if layer.bias is None else sum(p.size for p in parts))
            parts += [] if layer.bias is None else [layer.bias]
        return np.concatenate(parts).astype(np.int16), w_starts, bias_starts, np.asarray(groups, dtype=np.int64), group_starts

    @cached_property
    def _connections(self) -> tuple[NDArray[np.int64], list[tuple[int, int]], NDArray[np.int64], list[tuple[int, int]]]:
        """Connections by source, with each one's first and last; sources by layer, likewise. The input comes last."""
        network = self.network
        edges: list[tuple[int, int, int, int]] = []
        spans = []
        for destinations in [*(layer.destinations for layer in network.layers), network.entry]:
            first = len(edges)
            edges += [(network.index[d.layer], *d.pool, d.feature_shift) for d in destinations]
            spans.append((first, len(edges)))
        sources: list[int] = []
        source_spans = []
        for i in range(len(network.layers)):
            first = len(sources)
            for source in (len(network.layers), *network.order):
                if any(edge[0] == i for edge in edges[slice(*spans[source])]):
                    sources.append(source)
            source_spans.append((first, len(sources)))
        return np.asarray(edges, dtype=np.int64), spans, np.asarray(sources, dtype=np.int64), source_spans

    def net(self, recorded: Collection[str], v_init: dict[str, Array]) -> tuple[Any, ...]:
        """What a compiled run takes; raises UsageError for a recorded layer that the network does not have."""
        unknown = set(recorded) - set(self.network.index)
        if unknown:
            raise UsageError(f"no layer {', '.join(sorted(unknown))}", where="record",
                             limit=f"Layers: {', '.join(self.network.index)}")
        weights, w_starts, bias_starts, groups, group_starts = self._weights
        edges, spans, sources, source_spans = self._connections
        table = np.zeros((len(self.network.layers) + 1, _N_COLUMNS), dtype=np.int64)
        for i, layer in enumerate(self.network.layers):
            row = table[i]
            row[[k.V0, k.N, k.N_OUT, k.H, k.W]] = self.v_starts[i], layer.n_neurons, *layer.shape
            row[[k.IN_H, k.IN_W, k.K_H, k.K_W]] = *layer.in_shape[1:], *layer.weight.shape[2:]
            row[[k.S_H, k.S_W, k.P_H, k.P_W]] = *layer.stride, *layer.padding
            row[[k.W0, k.G0, k.BIAS0]] = w_starts[i], group_starts[i], bias_starts[i]
            row[[k.V_TH, k.V_MIN, k.HARD]] = layer.v_th, layer.v_min, layer.reset == "hard"
            row[k.SATURATES] = may_saturate(layer, v_init[layer.name], self.network.state_bits)
            row[[k.SOURCE0, k.SOURCE1]] = source_spans[i]
            row[k.RECORDED] = layer.name in recorded
        table[:, [k.FIRST, k.LAST]] = spans
        return table, edges, np.asarray(self.network.order, dtype=np.int64), sources, groups, weights

    def flat(self, states: dict[str, Array]) -> NDArray[np.int16]:
        """States [C, H, W] by layer as the loops keep them, [y, x, channel] one layer after the other."""
        return np.concatenate([states[n].transpose(1, 2, 0).ravel() for n in self.network.index]).astype(np.int16)

    def maps(self, values: Array) -> dict[str, NDArray[np.int64]]:
        """The opposite of `flat`."""
        found = {}
        for i, layer in enumerate(self.network.layers):
            n_out, height, width = layer.shape
            part = values[self.v_starts[i] : self.v_starts[i + 1]].reshape(height, width, n_out)
            found[layer.name] = part.transpose(2, 0, 1).astype(np.int64)
        return found

    @property
    def sources_of_drops(self) -> tuple[str, ...]:
        """Names in the order of the rows of a tally."""
        return (*self.network.index, INPUT)


def may_saturate(layer: EventLayer, v_init: Array, state_bits: int) -> bool:
    """Whether an addition could leave the states' width; not where every weight is at most v_th and there is room.

    A neuron below v_th that gets at most v_th is below v_th again after its spike.
    """
    added = [layer.weight.max(), layer.weight.min()]
    if layer.bias is not None:
        added += [layer.bias.max(), layer.bias.min()]
    high, low, half = int(max(added)), int(min(added)), 1 << (state_bits - 1)
    grows = high > layer.v_th or int(v_init.max()) >= max(layer.v_th, 1)
    return grows or layer.v_th + max(high, 0) > half - 1 or min(layer.v_min, int(v_init.min())) + min(low, 0) < -half
